//! Bodies of the client's messages in flight 5.

use super::codec::{ECDSA_SHA256, HandshakeHeader, Reader, handshake_type};
use super::job::SIGNATURE_BYTES_MAX;
use super::prf::VerifyData;
use crate::p256::{Point, SPKI_BYTES};

/// Certificate: a raw public key has its length in 24 bits and no list around it (RFC 7250 §3).
pub(crate) fn raw_public_key(body: &[u8]) -> Option<[u8; SPKI_BYTES]> {
    let mut reader = Reader::new(body);
    let length = reader.u24()?;
    let spki = reader.array()?;
    (length == SPKI_BYTES && reader.is_empty()).then_some(spki)
}

/// ClientKeyExchange: a point with one byte of length in front.
pub(crate) fn key_exchange_point(body: &[u8]) -> Option<Point> {
    let mut reader = Reader::new(body);
    let point = reader.vec8()?.try_into().ok()?;
    reader.is_empty().then_some(point)
}

/// CertificateVerify: ECDSA with SHA-256.
pub(crate) fn signature(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(body);
    let algorithm = reader.u16()?;
    let signature = reader.vec16()?;
    let fits = algorithm == ECDSA_SHA256 && signature.len() <= SIGNATURE_BYTES_MAX;
    (fits && reader.is_empty()).then_some(signature)
}

/// Finished, with its header: it comes from inside a protected record.
pub(crate) fn finished(message: &[u8]) -> Option<VerifyData> {
    let mut reader = Reader::new(message);
    let header = HandshakeHeader::read(&mut reader)?;
    let data = reader.array()?;
    let fits = header.message_type == handshake_type::FINISHED && header.is_whole();
    (fits && header.length == 12 && reader.is_empty()).then_some(data)
}
