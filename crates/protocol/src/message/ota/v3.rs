//! Version 3 of the update protocol (`ota.md` §3).

use crate::coap::{Builder, Code, Header, Packet, Token, Type, option};
use crate::message::CoapError;

use super::MALFORMED;

/// Private options of updates.
pub mod number {
    /// Chunk-Index.
    pub const CHUNK_INDEX: u16 = 2049;
    /// Window-Size, in chunks.
    pub const WINDOW_SIZE: u16 = 2053;
    /// File-Size, in bytes.
    pub const FILE_SIZE: u16 = 2057;
    /// File-SHA-256.
    pub const FILE_SHA_256: u16 = 2061;
    /// Chunk-Size, in bytes.
    pub const CHUNK_SIZE: u16 = 2065;
    /// Discard-Data, empty.
    pub const DISCARD_DATA: u16 = 2069;
    /// Cancel-Update, empty.
    pub const CANCEL_UPDATE: u16 = 2073;
    /// Module-Function (5.5.0).
    pub const MODULE_FUNCTION: u16 = 2077;
}

/// The smallest chunk, in bytes.
pub const CHUNK_BYTES_MIN: u16 = 512;
/// The largest chunk, in bytes.
pub const CHUNK_BYTES_MAX: u16 = 1136;

/// POST `S`: the cloud begins, or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateStart {
    /// Bytes of the file, not 0.
    pub file_bytes: u32,
    /// Hash of the file; without it nothing can be resumed.
    pub sha256: Option<[u8; 32]>,
    /// Bytes of a chunk, a multiple of 4.
    pub chunk_bytes: u16,
    /// Whether data of an earlier transfer is thrown away.
    pub discard: bool,
    /// The module function of the file (5.5.0); required for assets.
    pub function: Option<u8>,
}

impl UpdateStart {
    /// Writes the request.
    pub fn emit(&self, message_id: u16, token: u8, out: &mut Vec<u8>) {
        let header = Header::confirmable(Code::POST, message_id, Token::one(token));
        let mut builder = Builder::new(header, out)
            .resource(b'S')
            .uint(number::FILE_SIZE, self.file_bytes)
            .maybe(number::FILE_SHA_256, self.sha256.as_ref().map(|hash| &hash[..]))
            .uint(number::CHUNK_SIZE, self.chunk_bytes.into())
            .maybe(number::DISCARD_DATA, self.discard.then_some(&[][..]));
        if let Some(function) = self.function {
            builder = builder.uint(number::MODULE_FUNCTION, function.into());
        }
        builder.payload(&[]);
    }

    /// Reads it as a device does; absent: it answers 5.03.
    pub fn read(packet: &Packet<'_>) -> Option<Self> {
        packet.token().byte()?;
        let file_bytes = packet.uint(number::FILE_SIZE).ok()??;
        let chunk_bytes = u16::try_from(packet.uint(number::CHUNK_SIZE).ok()??).ok()?;
        let is_good = (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_bytes)
            && chunk_bytes.is_multiple_of(4)
            && file_bytes > 0;
        let sha256 = packet.value(number::FILE_SHA_256).map(<[u8; 32]>::try_from);
        let function = packet.uint(number::MODULE_FUNCTION).ok()?;
        is_good.then_some(Self {
            file_bytes,
            sha256: sha256.transpose().ok()?,
            chunk_bytes,
            discard: read_flag(packet, number::DISCARD_DATA)?,
            function: function.and_then(|function| u8::try_from(function).ok()),
        })
    }
}

/// 2.01: the device takes the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateStarted {
    /// Chunks that may be sent beyond the last one acknowledged.
    pub window: u32,
    /// Bytes that are there from an earlier transfer: chunk 1 begins behind them.
    pub offset: u32,
}

impl UpdateStarted {
    /// Writes the answer of a device. `header` tells type, id and token.
    pub fn emit(&self, header: Header, out: &mut Vec<u8>) {
        Builder::new(Header { code: Code::CREATED, ..header }, out)
            .option(number::WINDOW_SIZE, &option::uint_without_three(self.window))
            .option(number::FILE_SIZE, &option::uint_without_three(self.offset))
            .payload(&[]);
    }

    /// Reads the answer of a device; absent if it tells no window.
    pub fn read(packet: &Packet<'_>) -> Option<Self> {
        let window = packet.uint(number::WINDOW_SIZE).ok()??;
        let offset = packet.uint(number::FILE_SIZE).ok()?.unwrap_or(0);
        Some(Self { window, offset })
    }
}

/// POST `C`: a piece of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// 1 is the first behind the offset.
    pub index: u32,
    /// The piece.
    pub data: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Writes the message: never confirmable, never with a token.
    pub fn emit(&self, message_id: u16, out: &mut Vec<u8>) {
        Builder::new(plain(message_id), out)
            .resource(b'C')
            .uint(number::CHUNK_INDEX, self.index)
            .payload(self.data);
    }

    /// Reads it as a device does; absent: it cancels the update.
    pub fn read(packet: &Packet<'a>) -> Option<Self> {
        let index = packet.uint(number::CHUNK_INDEX).ok()??;
        (!packet.payload.is_empty()).then_some(Self { index, data: packet.payload })
    }
}

/// POST `A`: what has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateAck<'a> {
    /// Every chunk up to this one is there.
    pub index: u32,
    /// Words of 32 bits, little-endian: bit i says that chunk `index` + 1 + i is there.
    pub bitmap: &'a [u8],
}

impl<'a> UpdateAck<'a> {
    /// Writes the message of a device.
    pub fn emit(&self, message_id: u16, out: &mut Vec<u8>) {
        Builder::new(plain(message_id), out)
            .resource(b'A')
            .option(number::CHUNK_INDEX, &option::uint_without_three(self.index))
            .payload(self.bitmap);
    }

    /// Reads it.
    ///
    /// # Errors
    /// 4.00: no index, or one of the wrong form.
    pub fn parse(packet: &Packet<'a>) -> Result<Self, CoapError> {
        let index = packet.uint(number::CHUNK_INDEX)?.ok_or(MALFORMED)?;
        Ok(Self { index, bitmap: packet.payload })
    }

    /// Whether chunk `index` + 1 + `ahead` is there.
    pub fn has(&self, ahead: u32) -> bool {
        // Bit i of little-endian words is bit i of the bytes.
        let byte = self.bitmap.get(ahead as usize / 8);
        byte.is_some_and(|byte| byte >> (ahead % 8) & 1 == 1)
    }
}

/// POST `F`: check and apply, or call off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpdateFinish {
    /// Call off. What is there is kept for later.
    pub cancel: bool,
    /// What is there is forgotten.
    pub discard: bool,
}

impl UpdateFinish {
    /// Writes the request.
    pub fn emit(&self, message_id: u16, token: u8, out: &mut Vec<u8>) {
        let header = Header::confirmable(Code::POST, message_id, Token::one(token));
        Builder::new(header, out)
            .resource(b'F')
            .maybe(number::DISCARD_DATA, self.discard.then_some(&[][..]))
            .maybe(number::CANCEL_UPDATE, self.cancel.then_some(&[][..]))
            .payload(&[]);
    }

    /// Reads it as a device does; absent: it answers 5.03.
    pub fn read(packet: &Packet<'_>) -> Option<Self> {
        packet.token().byte()?;
        Some(Self {
            cancel: read_flag(packet, number::CANCEL_UPDATE)?,
            discard: read_flag(packet, number::DISCARD_DATA)?,
        })
    }
}

/// An option that is there or not; absent if it has a value.
fn read_flag(packet: &Packet<'_>, number: u16) -> Option<bool> {
    match packet.value(number) {
        None => Some(false),
        Some([]) => Some(true),
        Some(_) => None,
    }
}

fn plain(message_id: u16) -> Header {
    Header { message_type: Type::NonConfirmable, code: Code::POST, message_id, token: Token::EMPTY }
}
