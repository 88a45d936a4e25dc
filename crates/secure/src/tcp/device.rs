//! The device's half of the handshake, as its firmware does it: for simulated devices and tests.

use openssl::rsa::Padding;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::job::mac;
use super::rsa::{self, DEVICE_ID_BYTES};
use super::{DEVICE_CREDENTIALS_BYTES, NONCE_BYTES, SESSION_KEY_BYTES, SessionCredentials};
use crate::keys::{KeyError, PrivateKey, PublicKey};

/// The device's message: nonce, id and, from all but the oldest firmware, its public key, encrypted
/// for the server. `server` must be RSA-2048 and `own` RSA-1024, else [`KeyError::Unsupported`].
/// `fill` gives random bytes: 39 for a message with a key, 201 without.
pub fn seal_credentials(
    server: &PublicKey,
    nonce: &[u8; NONCE_BYTES],
    device_id: &[u8; DEVICE_ID_BYTES],
    own: Option<&PublicKey>,
    fill: &mut dyn FnMut(&mut [u8]),
) -> Result<[u8; DEVICE_CREDENTIALS_BYTES], KeyError> {
    let spki = own.map_or(&[][..], PublicKey::spki);
    let message = [&nonce[..], device_id, spki].concat();
    let room = DEVICE_CREDENTIALS_BYTES - 3;
    let size = room.checked_sub(message.len()).ok_or(KeyError::Unsupported)?;
    let mut padding = vec![0; size];
    fill(&mut padding);
    let mut sealed = [0; DEVICE_CREDENTIALS_BYTES];
    encrypt_for_server(server, &padding, &message, &mut sealed)?;
    Ok(sealed)
}

/// Why a device closes on the server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not decrypted by the device's key: the server has another key registered.
    #[error("the session's credentials cannot be decrypted")]
    Credentials,
    /// Not signed by the server whose key the device has.
    #[error("the server's signature is wrong")]
    Signature,
}

/// Opens the server's answer and checks its signature.
pub fn open_answer(
    device: &PrivateKey,
    server: &PublicKey,
    answer: &[u8; SESSION_KEY_BYTES],
) -> Result<SessionCredentials, AnswerError> {
    let (encrypted, signature) = answer.split_at(128);
    let credentials = decrypt(device, encrypted).ok_or(AnswerError::Credentials)?;
    let signed = recover(server, signature).ok_or(AnswerError::Signature)?;
    if signed.ct_eq(&mac(&credentials, encrypted)).into() {
        Ok(credentials)
    } else {
        Err(AnswerError::Signature)
    }
}

fn encrypt_for_server(
    server: &PublicKey,
    padding: &[u8],
    message: &[u8],
    out: &mut [u8; DEVICE_CREDENTIALS_BYTES],
) -> Result<(), KeyError> {
    let key = server.to_rsa()?;
    if key.size() as usize != DEVICE_CREDENTIALS_BYTES {
        return Err(KeyError::Unsupported);
    }
    rsa::encrypt(&key, padding, message, out).map_err(|_| KeyError::Library)
}

fn decrypt(device: &PrivateKey, encrypted: &[u8]) -> Option<SessionCredentials> {
    let mut message = Zeroizing::new([0; 256]);
    let len = device.rsa()?.private_decrypt(encrypted, &mut *message, Padding::PKCS1).ok()?;
    Some(SessionCredentials::new(message[..len].try_into().ok()?))
}

fn recover(server: &PublicKey, signature: &[u8]) -> Option<Vec<u8>> {
    let mut message = vec![0; DEVICE_CREDENTIALS_BYTES];
    let key = server.to_rsa().ok()?;
    let len = key.public_decrypt(signature, &mut message, Padding::PKCS1).ok()?;
    message.truncate(len);
    Some(message)
}
