//! Numbers and headers of DTLS 1.2 (RFC 6347) as they stand on the wire. Integers are big-endian.

/// DTLS 1.2.
pub const VERSION_1_2: [u8; 2] = [0xfe, 0xfd];
/// DTLS 1.0: what a HelloVerifyRequest says (RFC 6347 §4.2.1).
pub const VERSION_1_0: [u8; 2] = [0xfe, 0xff];

/// The one suite: TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 (RFC 7251).
pub const CIPHER_SUITE: u16 = 0xc0ae;
/// TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC 5746 §3.3).
pub const RENEGOTIATION_SCSV: u16 = 0x00ff;
/// secp256r1 (RFC 8422 §5.1.1).
pub const CURVE_SECP256R1: u16 = 23;
/// ECDSA with SHA-256 in a signature_algorithms list (RFC 5246 §7.4.1.4.1).
pub const ECDSA_SHA256: u16 = 0x0403;
/// Certificate type RawPublicKey (RFC 7250 §7).
pub const RAW_PUBLIC_KEY: u8 = 2;

/// Length of a connection id given out by the cloud; Device OS takes no other.
pub const CID_BYTES: usize = 8;
/// A connection id.
pub type ConnectionId = [u8; CID_BYTES];

/// Header of a record without connection id.
pub const RECORD_HEADER_BYTES: usize = 13;
/// Header of a handshake message.
pub const HANDSHAKE_HEADER_BYTES: usize = 12;
/// Record numbers are below this: 48 bits.
pub const RECORD_NUMBERS: u64 = 1 << 48;

/// First byte of a record with a connection id (RFC 9146 §4, tls12_cid).
pub const TYPE_CID: u8 = 25;
/// First byte of a tls12_cid record of a resumed session (`session-resume.md` §2.3).
pub const TYPE_MOVED_CID: u8 = 253;
/// First byte of an application record with the device's id behind it (`session-resume.md` §2.4).
pub const TYPE_MOVED: u8 = 254;

/// What a record carries (RFC 5246 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ContentType {
    /// change_cipher_spec
    ChangeCipherSpec = 20,
    /// alert
    Alert = 21,
    /// handshake
    Handshake = 22,
    /// application_data
    ApplicationData = 23,
}

impl ContentType {
    /// `None` for numbers that RFC 5246 does not know.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            _ => None,
        }
    }
}

/// Handshake message types (RFC 5246 §7.4, RFC 6347 §4.3.2).
pub mod handshake_type {
    /// ClientHello
    pub const CLIENT_HELLO: u8 = 1;
    /// ServerHello
    pub const SERVER_HELLO: u8 = 2;
    /// HelloVerifyRequest
    pub const HELLO_VERIFY_REQUEST: u8 = 3;
    /// Certificate
    pub const CERTIFICATE: u8 = 11;
    /// ServerKeyExchange
    pub const SERVER_KEY_EXCHANGE: u8 = 12;
    /// CertificateRequest
    pub const CERTIFICATE_REQUEST: u8 = 13;
    /// ServerHelloDone
    pub const SERVER_HELLO_DONE: u8 = 14;
    /// CertificateVerify
    pub const CERTIFICATE_VERIFY: u8 = 15;
    /// ClientKeyExchange
    pub const CLIENT_KEY_EXCHANGE: u8 = 16;
    /// Finished
    pub const FINISHED: u8 = 20;
}

/// Extension numbers.
pub mod extension {
    /// supported_groups (RFC 8422)
    pub const SUPPORTED_GROUPS: u16 = 10;
    /// ec_point_formats (RFC 8422)
    pub const EC_POINT_FORMATS: u16 = 11;
    /// signature_algorithms (RFC 5246)
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    /// client_certificate_type (RFC 7250)
    pub const CLIENT_CERTIFICATE_TYPE: u16 = 19;
    /// server_certificate_type (RFC 7250)
    pub const SERVER_CERTIFICATE_TYPE: u16 = 20;
    /// extended_master_secret (RFC 7627)
    pub const EXTENDED_MASTER_SECRET: u16 = 23;
    /// connection_id (RFC 9146)
    pub const CONNECTION_ID: u16 = 54;
    /// connection_id of draft 05 under the number Device OS uses (`dtls-session.md` §3)
    pub const CONNECTION_ID_DRAFT_05: u16 = 254;
    /// renegotiation_info (RFC 5746)
    pub const RENEGOTIATION_INFO: u16 = 0xff01;
}

/// Alert levels and descriptions (RFC 5246 §7.2).
pub mod alert {
    /// Level: the connection may go on.
    pub const WARNING: u8 = 1;
    /// Level: the connection is over.
    pub const FATAL: u8 = 2;
    /// close_notify
    pub const CLOSE_NOTIFY: u8 = 0;
    /// unexpected_message
    pub const UNEXPECTED_MESSAGE: u8 = 10;
    /// handshake_failure
    pub const HANDSHAKE_FAILURE: u8 = 40;
    /// illegal_parameter
    pub const ILLEGAL_PARAMETER: u8 = 47;
    /// access_denied
    pub const ACCESS_DENIED: u8 = 49;
    /// decrypt_error
    pub const DECRYPT_ERROR: u8 = 51;
    /// internal_error
    pub const INTERNAL_ERROR: u8 = 80;
}

/// Reads from the front of a slice; every method gives `None` once the bytes run out.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    /// The next `N` bytes, copied.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Three bytes.
    pub fn u24(&mut self) -> Option<usize> {
        let [a, b, c] = self.array()?;
        Some(usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c))
    }

    /// Six bytes.
    pub fn u48(&mut self) -> Option<u64> {
        let [a, b, c, d, e, f] = self.array()?;
        Some(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// A vector with one byte of length in front.
    pub fn vec8(&mut self) -> Option<&'a [u8]> {
        let count = self.u8()?;
        self.bytes(usize::from(count))
    }

    /// A vector with two bytes of length in front.
    pub fn vec16(&mut self) -> Option<&'a [u8]> {
        let count = self.u16()?;
        self.bytes(usize::from(count))
    }
}

/// Header of one record, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// First byte: a [`ContentType`], [`TYPE_CID`], [`TYPE_MOVED_CID`] or [`TYPE_MOVED`].
    pub first_byte: u8,
    /// 0 before, 1 after ChangeCipherSpec.
    pub epoch: u16,
    /// Below [`RECORD_NUMBERS`].
    pub number: u64,
    /// In records of type 25 and 253.
    pub cid: Option<ConnectionId>,
    /// Length of the fragment behind the header.
    pub length: usize,
}

impl RecordHeader {
    /// Reads a header of DTLS 1.0 or 1.2; `None` if bytes are missing or it is something else.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let first_byte = reader.u8()?;
        let version = reader.array()?;
        if version != VERSION_1_2 && version != VERSION_1_0 {
            return None;
        }
        let epoch = reader.u16()?;
        let number = reader.u48()?;
        let cid = match first_byte {
            TYPE_CID | TYPE_MOVED_CID => Some(reader.array()?),
            _ => None,
        };
        let length = usize::from(reader.u16()?);
        Some(Self { first_byte, epoch, number, cid, length })
    }

    /// Length of the header itself.
    pub fn header_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + if self.cid.is_some() { CID_BYTES } else { 0 }
    }

    /// Appends the header of a DTLS 1.2 record.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.first_byte);
        out.extend_from_slice(&VERSION_1_2);
        out.extend_from_slice(&epoch_and_number(self.epoch, self.number));
        if let Some(cid) = self.cid {
            out.extend_from_slice(&cid);
        }
        out.extend_from_slice(&length_u16(self.length));
    }
}

/// Cuts the first record off a datagram: `(header, record, rest)`, the record with its header.
/// `None` when no whole record is left. The trailer of a type-254 record stays in the rest.
pub fn split_record(datagram: &mut [u8]) -> Option<(RecordHeader, &mut [u8], &mut [u8])> {
    let header = RecordHeader::read(&mut Reader::new(datagram))?;
    let (record, rest) = datagram.split_at_mut_checked(header.header_bytes() + header.length)?;
    Some((header, record, rest))
}

/// Appends an unprotected record of epoch 0.
pub fn write_plain_record(content: ContentType, number: u64, fragment: &[u8], out: &mut Vec<u8>) {
    let length = fragment.len();
    RecordHeader { first_byte: content as u8, epoch: 0, number, cid: None, length }.write(out);
    out.extend_from_slice(fragment);
}

/// Header of a handshake message or of a fragment of one (RFC 6347 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeHeader {
    /// See [`handshake_type`].
    pub message_type: u8,
    /// Length of the whole message without header, at most 2^24 − 1.
    pub length: usize,
    /// Number of the message in its direction.
    pub message_seq: u16,
    /// Where this fragment begins.
    pub fragment_offset: usize,
    /// Length of this fragment.
    pub fragment_length: usize,
}

impl HandshakeHeader {
    /// Header of an unfragmented message.
    pub fn whole(message_type: u8, message_seq: u16, length: usize) -> Self {
        Self { message_type, length, message_seq, fragment_offset: 0, fragment_length: length }
    }

    /// Reads a header; `None` if bytes are missing or the fragment reaches beyond its message.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let header = Self {
            message_type: reader.u8()?,
            length: reader.u24()?,
            message_seq: reader.u16()?,
            fragment_offset: reader.u24()?,
            fragment_length: reader.u24()?,
        };
        (header.fragment_offset + header.fragment_length <= header.length).then_some(header)
    }

    /// Whether the fragment is the message.
    pub fn is_whole(&self) -> bool {
        self.fragment_length == self.length
    }

    /// The twelve bytes.
    pub fn to_bytes(&self) -> [u8; HANDSHAKE_HEADER_BYTES] {
        let mut bytes = [0; HANDSHAKE_HEADER_BYTES];
        bytes[0] = self.message_type;
        bytes[1..4].copy_from_slice(&length_u24(self.length));
        bytes[4..6].copy_from_slice(&self.message_seq.to_be_bytes());
        bytes[6..9].copy_from_slice(&length_u24(self.fragment_offset));
        bytes[9..12].copy_from_slice(&length_u24(self.fragment_length));
        bytes
    }
}

/// Appends a whole handshake message: its header and `body`.
pub fn write_handshake(message_type: u8, message_seq: u16, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(
        &HandshakeHeader::whole(message_type, message_seq, body.len()).to_bytes(),
    );
    out.extend_from_slice(body);
}

/// `epoch(2) ‖ number(6)`, as in the header, the explicit nonce and the additional data.
pub fn epoch_and_number(epoch: u16, number: u64) -> [u8; 8] {
    debug_assert!(number < RECORD_NUMBERS);
    (u64::from(epoch) << 48 | number).to_be_bytes()
}

/// Lengths here are those of our own messages and records, far below the bound.
fn length_u16(length: usize) -> [u8; 2] {
    debug_assert!(u16::try_from(length).is_ok());
    (length as u16).to_be_bytes()
}

fn length_u24(length: usize) -> [u8; 3] {
    debug_assert!(length < 1 << 24);
    [(length >> 16) as u8, (length >> 8) as u8, length as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_header_with_connection_id_survives_the_round_trip() {
        let header = RecordHeader {
            first_byte: TYPE_CID,
            epoch: 1,
            number: 0x0102_0304_0506,
            cid: Some([7; 8]),
            length: 48,
        };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        assert_eq!(bytes.len(), header.header_bytes());
        assert_eq!(RecordHeader::read(&mut Reader::new(&bytes)), Some(header));
    }

    #[test]
    fn a_fragment_beyond_its_message_is_refused() {
        let mut header = HandshakeHeader::whole(handshake_type::CERTIFICATE, 2, 10);
        header.fragment_offset = 4;
        header.fragment_length = 7;
        assert_eq!(HandshakeHeader::read(&mut Reader::new(&header.to_bytes())), None);
    }

    #[test]
    fn records_are_cut_off_one_by_one_and_a_torn_one_ends_the_datagram() {
        let mut datagram = Vec::new();
        write_plain_record(ContentType::ChangeCipherSpec, 5, &[1], &mut datagram);
        write_plain_record(ContentType::Alert, 6, &[2, 40], &mut datagram);
        datagram.pop();
        let (header, record, rest) = split_record(&mut datagram).unwrap();
        assert_eq!((header.number, record.len()), (5, 14));
        assert!(split_record(rest).is_none());
    }
}
