//! The legacy update protocol (`ota.md` §2). Devices read it at fixed offsets: every message to them has
//! a token of one byte and no option but those named here.

use crate::coap::packet::PAYLOAD_MARKER;
use crate::coap::{Builder, Code, Header, Packet, Token, Type, option};

/// The most chunks of a file: their indices have 16 bits, and the last is not used.
pub const CHUNKS_MAX: u32 = 65_534;

/// POST `u`: the cloud begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateBegin {
    /// Whether chunks may come without an answer to each.
    pub fast: bool,
    /// Bytes of a chunk.
    pub chunk_bytes: u16,
    /// Bytes of the file.
    pub file_bytes: u32,
    /// 0: firmware.
    pub store: u8,
    /// Where to; 0.
    pub address: u32,
}

impl UpdateBegin {
    /// Writes the request.
    pub fn emit(&self, message_id: u16, token: u8, out: &mut Vec<u8>) {
        let mut payload = [0; 12];
        payload[0] = u8::from(self.fast);
        payload[1..3].copy_from_slice(&self.chunk_bytes.to_be_bytes());
        payload[3..7].copy_from_slice(&self.file_bytes.to_be_bytes());
        payload[7] = self.store;
        payload[8..].copy_from_slice(&self.address.to_be_bytes());
        let header = Header::confirmable(Code::POST, message_id, Token::one(token));
        Builder::new(header, out).resource(b'u').payload(&payload);
    }

    /// Reads it as a device does, at fixed offsets; absent if the device would not look at it.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 20 || bytes[7] != PAYLOAD_MARKER {
            return None;
        }
        Some(Self {
            fast: bytes[8] & 1 != 0,
            chunk_bytes: u16::from_be_bytes([bytes[9], bytes[10]]),
            file_bytes: u32::from_be_bytes([bytes[11], bytes[12], bytes[13], bytes[14]]),
            store: bytes[15],
            address: u32::from_be_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]),
        })
    }
}

/// POST `c`: a piece of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// CRC-32 of the data.
    pub crc: u32,
    /// Which one, from 0; only in the fast form.
    pub index: Option<u16>,
    /// The piece.
    pub data: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// A piece with its CRC.
    pub fn of(index: Option<u16>, data: &'a [u8]) -> Self {
        Self { crc: crc32fast::hash(data), index, data }
    }

    /// Writes the message: confirmable without an index, else not, for nothing answers it then.
    pub fn emit(&self, message_id: u16, token: u8, out: &mut Vec<u8>) {
        let message_type = match self.index {
            Some(_) => Type::NonConfirmable,
            None => Type::Confirmable,
        };
        let token = Token::one(token);
        let header = Header { message_type, code: Code::POST, message_id, token };
        let index = self.index.map(u16::to_be_bytes);
        Builder::new(header, out)
            .resource(b'c')
            .option(option::URI_QUERY, &self.crc.to_be_bytes())
            .maybe(option::URI_QUERY, index.as_ref().map(|index| &index[..]))
            .payload(self.data);
    }

    /// Reads it as a device does; absent if it has no CRC.
    pub fn read(packet: &Packet<'a>) -> Option<Self> {
        let mut queries = packet.values(option::URI_QUERY);
        let crc = queries.next()?.try_into().ok().map(u32::from_be_bytes)?;
        let index = queries.next().and_then(|index| index.try_into().ok());
        Some(Self { crc, index: index.map(u16::from_be_bytes), data: packet.payload })
    }
}

/// Writes PUT `u`: everything was sent; apply it, or tell what is missing.
pub fn emit_done(message_id: u16, token: u8, out: &mut Vec<u8>) {
    let header = Header::confirmable(Code::PUT, message_id, Token::one(token));
    Builder::new(header, out).resource(b'u').payload(&[]);
}

/// GET `c`: indices of chunks that did not arrive, each of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkMissed<'a>(pub &'a [u8]);

impl ChunkMissed<'_> {
    /// The indices; a byte that is left over is none.
    pub fn indices(&self) -> impl Iterator<Item = u16> {
        self.0.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// Writes the request of a device.
    pub fn emit(&self, message_type: Type, message_id: u16, out: &mut Vec<u8>) {
        let header = Header { message_type, code: Code::GET, message_id, token: Token::EMPTY };
        Builder::new(header, out).resource(b'c').payload(self.0);
    }
}

/// Writes PUT `u` of a classic device: it has everything, with this result in JSON.
pub fn emit_device_done(result: &[u8], message_id: u16, out: &mut Vec<u8>) {
    let message_type = Type::NonConfirmable;
    let header = Header { message_type, code: Code::PUT, message_id, token: Token::EMPTY };
    Builder::new(header, out).resource(b'u').payload(result);
}

/// Whether the result that a device tells in JSON is a failure (§2.3). What cannot be read is none: the
/// text may be cut.
pub fn is_failure(result: &[u8]) -> bool {
    result.starts_with(br#"{"r":"error""#) || result.starts_with(br#"{"r":-"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_versions_are_told_apart() {
        for (result, failed) in [
            (&b""[..], false),
            (br#"{"r":"ok","u":{"s":131072"#, false),
            (br#"{"r":0}"#, false),
            (br#"{"r":"error"}"#, true),
            (br#"{"r":-1330}"#, true),
            (b"\xff\xfe", false),
        ] {
            assert_eq!(is_failure(result), failed, "{result:?}");
        }
    }
}
