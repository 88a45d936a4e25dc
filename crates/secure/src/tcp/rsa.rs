//! The blocks of PKCS#1 v1.5 and the bare RSA operations under them.
//!
//! The blocks are built and taken apart here, not by the library. The library's decryption tells
//! by its time, its result and its error queue whether a padding was right, which is enough to
//! decrypt somebody else's credentials by many questions (Bleichenbacher 1998; the Marvin attack).
//! Here padding, length and nonce are one verdict, reached in constant time: only who knows the
//! nonce of this very connection, inside the ciphertext, can see anything but a refusal.

use openssl::error::ErrorStack;
use openssl::pkey::{Private, Public};
use openssl::rsa::{Padding, Rsa};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{DEVICE_CREDENTIALS_BYTES, NONCE_BYTES};

/// Length of a device id in bytes.
pub(super) const DEVICE_ID_BYTES: usize = 12;
/// Length of the SubjectPublicKeyInfo of a device's RSA key.
pub(super) const DEVICE_KEY_BYTES: usize = 162;
/// Random bytes before the session's credentials: 128 − 3 − 40.
pub(super) const ANSWER_PADDING_BYTES: usize = 85;

/// What the device said: who it is, and the public key it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeviceCredentials {
    pub(super) device_id: [u8; DEVICE_ID_BYTES],
    pub(super) offered: Option<Box<[u8; DEVICE_KEY_BYTES]>>,
}

/// Decrypts the device's message with one server key. `None` for every kind of failure.
pub(super) fn open_device_credentials(
    key: &Rsa<Private>,
    ciphertext: &[u8; DEVICE_CREDENTIALS_BYTES],
    nonce: &[u8; NONCE_BYTES],
) -> Option<DeviceCredentials> {
    let mut block = [0; DEVICE_CREDENTIALS_BYTES];
    // An error leaves zeros, which are refused below. It depends on ciphertext and modulus alone.
    let _ = key.private_decrypt(ciphertext, &mut block, Padding::NONE);
    let with_key = holds(&block, LONG, nonce);
    let without_key = holds(&block, SHORT, nonce);
    if bool::from(with_key) {
        let (id, offered) = block[256 - LONG + NONCE_BYTES..].split_first_chunk()?;
        Some(DeviceCredentials {
            device_id: *id,
            offered: Some(Box::new(offered.try_into().ok()?)),
        })
    } else if bool::from(without_key) {
        let id = block[256 - SHORT + NONCE_BYTES..].try_into().ok()?;
        Some(DeviceCredentials { device_id: id, offered: None })
    } else {
        None
    }
}

/// The library's `private_encrypt` writes the type 1 block `00 01 FF… 00 || mac`, without the
/// DigestInfo that its signatures have (`tcp-session.md` §2, step 3).
pub(super) fn sign(key: &Rsa<Private>, mac: &[u8; 20], out: &mut [u8]) -> Result<(), ErrorStack> {
    key.private_encrypt(mac, out, Padding::PKCS1)?;
    Ok(())
}

/// Encrypts `message` with the type 2 block `00 02 padding 00 || message`. The lengths add up to
/// the key's. A zero in `padding`, which would end it early, is replaced by a one: the loss of
/// randomness is far below what guessing could use.
pub(super) fn encrypt(
    key: &Rsa<Public>,
    padding: &[u8],
    message: &[u8],
    out: &mut [u8],
) -> Result<(), ErrorStack> {
    let length = 3 + padding.len() + message.len();
    let mut block = Zeroizing::new(Vec::with_capacity(length));
    block.extend([0, 2]);
    block.extend(padding.iter().map(|byte| byte.max(&1)));
    block.push(0);
    block.extend_from_slice(message);
    key.public_encrypt(&block, out, Padding::NONE)?;
    Ok(())
}

/// Whether `block` is `00 02 PS 00 || nonce …` with a message of `len` bytes and no zero in PS.
fn holds(block: &[u8; DEVICE_CREDENTIALS_BYTES], len: usize, nonce: &[u8; NONCE_BYTES]) -> Choice {
    let (padded, message) = block.split_at(DEVICE_CREDENTIALS_BYTES - len);
    let (random, separator) = padded[2..].split_at(padded.len() - 3);
    let zeros = random.iter().fold(Choice::from(0), |any, byte| any | byte.ct_eq(&0));
    padded[..2].ct_eq(&[0, 2])
        & !zeros
        & separator.ct_eq(&[0])
        & message[..NONCE_BYTES].ct_eq(nonce)
}

/// Nonce and id, as devices without an appended key sent it.
const SHORT: usize = NONCE_BYTES + DEVICE_ID_BYTES;
/// The same with the device's public key.
const LONG: usize = SHORT + DEVICE_KEY_BYTES;
