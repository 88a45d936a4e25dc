//! Frames: one message each, a two-byte length and AES-128-CBC with PKCS#7 padding
//! (`tcp-session.md` §5).
//!
//! There is no authentication and no sequence number. Each frame is an encryption of its own, whose
//! vector is the *first* block of the ciphertext before it in the same direction. Both halves keep
//! the bare key, not its schedule: expanding it takes a fraction of a microsecond, and an idle
//! connection stays small.

use std::fmt;

use aes::{Aes128Dec, Aes128Enc};
use cbc::{Decryptor, Encryptor};
use cipher::block_padding::Pkcs7;
use cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use zeroize::Zeroizing;

use super::FrameKeys;

/// Longest message in bytes: the longest ciphertext has at least one byte of padding.
pub const FRAME_MESSAGE_BYTES_MAX: usize = CIPHERTEXT_BYTES_MAX - 1;

/// Turns the bytes of one direction into messages, however they are cut.
///
/// After an error the stream cannot be understood any more: the connection is to be closed, and
/// every later call gives the same error.
pub struct FrameOpener {
    key: Zeroizing<[u8; 16]>,
    iv: Zeroizing<[u8; 16]>,
    /// Length and ciphertext of the frame at hand, as far as they are here: at most 2,050 bytes.
    frame: Vec<u8>,
    /// `frame` was handed out, and the next call starts anew.
    opened: bool,
    failed: Option<FrameError>,
}

/// Why a stream ended: the peer sent what no device sends, or the keys differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A message of no bytes; devices never send one.
    #[error("an empty message")]
    Empty,
    /// The length is no multiple of 16 from 16 to 2,048.
    #[error("a frame of {0} bytes")]
    Length(u16),
    /// The padding is not PKCS#7: most likely another key.
    #[error("wrong padding")]
    Padding,
}

impl FrameOpener {
    /// Starts one direction.
    pub fn new(keys: &FrameKeys) -> Self {
        Self {
            key: keys.key.into(),
            iv: keys.iv.into(),
            frame: Vec::new(),
            opened: false,
            failed: None,
        }
    }

    /// Takes bytes off the front of `input` and gives the next message, or `None` when `input` is
    /// used up. Call it until then: bytes left in `input` are not kept.
    pub fn open(&mut self, input: &mut &[u8]) -> Result<Option<&[u8]>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.advance(input) {
            Ok(None) => Ok(None),
            Ok(Some(len)) => Ok(Some(&self.frame[HEADER..HEADER + len])),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// Whether a frame has begun and not ended: a connection closed here was cut.
    pub fn is_within_frame(&self) -> bool {
        !self.opened && !self.frame.is_empty()
    }

    /// The length of the message that is complete in `frame`.
    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<usize>, FrameError> {
        if self.opened {
            self.start_anew();
        }
        if !self.fill_to(HEADER, input) {
            return Ok(None);
        }
        let length = ciphertext_length([self.frame[0], self.frame[1]])?;
        if !self.fill_to(HEADER + length, input) {
            return Ok(None);
        }
        let len = self.decrypt()?;
        self.opened = true;
        Ok(Some(len))
    }

    fn start_anew(&mut self) {
        self.opened = false;
        self.frame.clear();
        if self.frame.capacity() > FRAME_BYTES_KEPT {
            self.frame = Vec::new();
        }
    }

    fn fill_to(&mut self, size: usize, input: &mut &[u8]) -> bool {
        let missing = size.saturating_sub(self.frame.len());
        let (taken, rest) = input.split_at(missing.min(input.len()));
        self.frame.extend_from_slice(taken);
        *input = rest;
        self.frame.len() >= size
    }

    fn decrypt(&mut self) -> Result<usize, FrameError> {
        let ciphertext = &mut self.frame[HEADER..];
        let cipher = Decryptor::<Aes128Dec>::new((&*self.key).into(), (&*self.iv).into());
        self.iv.copy_from_slice(&ciphertext[..BLOCK]);
        match cipher.decrypt_padded::<Pkcs7>(ciphertext) {
            Ok([]) => Err(FrameError::Empty),
            Ok(message) => Ok(message.len()),
            Err(_) => Err(FrameError::Padding),
        }
    }
}

impl fmt::Debug for FrameOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameOpener").field("buffered", &self.frame.len()).finish_non_exhaustive()
    }
}

fn ciphertext_length(header: [u8; HEADER]) -> Result<usize, FrameError> {
    let length = u16::from_be_bytes(header);
    match usize::from(length) {
        size @ BLOCK..=CIPHERTEXT_BYTES_MAX if size % BLOCK == 0 => Ok(size),
        _ => Err(FrameError::Length(length)),
    }
}

/// Turns messages into the bytes of one direction.
pub struct FrameSealer {
    key: Zeroizing<[u8; 16]>,
    iv: Zeroizing<[u8; 16]>,
}

/// A message that no frame can hold; ours to avoid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Empty messages are not sent.
    #[error("an empty message cannot be sent")]
    Empty,
    /// Longer than [`FRAME_MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes does not fit a frame")]
    TooLong(usize),
}

impl FrameSealer {
    /// Starts one direction.
    pub fn new(keys: &FrameKeys) -> Self {
        Self { key: keys.key.into(), iv: keys.iv.into() }
    }

    /// Appends one frame to `out`. Length and ciphertext must leave in one write: a device that
    /// reads a single byte of the length loses it (`tcp-session.md` §3).
    pub fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let length = padded_length(message)?;
        let start = out.len();
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(message);
        out.resize(start + HEADER + usize::from(length), 0);
        let ciphertext = &mut out[start + HEADER..];
        Encryptor::<Aes128Enc>::new((&*self.key).into(), (&*self.iv).into())
            .encrypt_padded::<Pkcs7>(ciphertext, message.len())
            .expect("the space is a whole number of blocks and longer than the message");
        self.iv.copy_from_slice(&ciphertext[..BLOCK]);
        Ok(())
    }
}

impl fmt::Debug for FrameSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameSealer").finish_non_exhaustive()
    }
}

fn padded_length(message: &[u8]) -> Result<u16, SealError> {
    match message.len() {
        0 => Err(SealError::Empty),
        #[expect(clippy::cast_possible_truncation, reason = "at most 2,048")]
        len @ 1..=FRAME_MESSAGE_BYTES_MAX => Ok(((len / BLOCK + 1) * BLOCK) as u16),
        len => Err(SealError::TooLong(len)),
    }
}

/// Bytes of the length field.
const HEADER: usize = 2;
/// Bytes of an AES block.
const BLOCK: usize = 16;
/// Longest ciphertext taken (`tcp-session.md` §6).
const CIPHERTEXT_BYTES_MAX: usize = 2048;
/// A larger buffer is given back after its frame, so that an idle connection holds none.
const FRAME_BYTES_KEPT: usize = 256;
