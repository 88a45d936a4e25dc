//! Secrets of TLS 1.2: the PRF with SHA-256 (RFC 5246 §5) and what is derived with it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The master secret (RFC 5246 §8.1).
pub type MasterSecret = [u8; 48];
/// `client_write_key[16] ‖ server_write_key[16] ‖ client_write_iv[4] ‖ server_write_iv[4]`.
pub type KeyBlock = [u8; 40];
/// Content of a Finished message (RFC 5246 §7.4.9).
pub type VerifyData = [u8; 12];

/// Who wrote a Finished message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The device.
    Client,
    /// The cloud.
    Server,
}

/// `P_SHA256(secret, label ‖ seed)`, as many bytes as `out` takes. The seed comes in parts, to be
/// read one after the other.
pub fn prf(secret: &[u8], label: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let keyed = keyed(secret);
    let mut a = tag(&keyed, &[], label, seed);
    for chunk in out.chunks_mut(32) {
        let block = Zeroizing::new(tag(&keyed, &a, label, seed));
        chunk.copy_from_slice(&block[..chunk.len()]);
        a = tag_of(keyed.clone(), &a);
    }
}

/// The classic master secret (RFC 5246 §8.1).
pub fn master_secret(
    premaster: &[u8; 32],
    client_random: &[u8; 32],
    server_random: &[u8; 32],
) -> Zeroizing<MasterSecret> {
    let mut master = Zeroizing::new([0; 48]);
    prf(premaster, b"master secret", &[client_random, server_random], &mut *master);
    master
}

/// The master secret over the handshake up to ClientKeyExchange (RFC 7627 §4).
pub fn extended_master_secret(
    premaster: &[u8; 32],
    session_hash: &[u8; 32],
) -> Zeroizing<MasterSecret> {
    let mut master = Zeroizing::new([0; 48]);
    prf(premaster, b"extended master secret", &[session_hash], &mut *master);
    master
}

/// The keys of both directions (RFC 5246 §6.3).
pub fn key_block(
    master: &MasterSecret,
    client_random: &[u8; 32],
    server_random: &[u8; 32],
) -> Zeroizing<KeyBlock> {
    let mut block = Zeroizing::new([0; 40]);
    prf(master, b"key expansion", &[server_random, client_random], &mut *block);
    block
}

/// What the Finished message of `sender` must hold, by the hash of the handshake before it.
pub fn verify_data(master: &MasterSecret, sender: Sender, transcript: &[u8; 32]) -> VerifyData {
    let label: &[u8] = match sender {
        Sender::Client => b"client finished",
        Sender::Server => b"server finished",
    };
    let mut data = [0; 12];
    prf(master, label, &[transcript], &mut data);
    data
}

fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes keys of every length")
}

fn tag(keyed: &Hmac<Sha256>, a: &[u8], label: &[u8], seed: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed.clone();
    mac.update(a);
    mac.update(label);
    for part in seed {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn tag_of(mut mac: Hmac<Sha256>, data: &[u8]) -> [u8; 32] {
    mac.update(data);
    mac.finalize().into_bytes().into()
}
