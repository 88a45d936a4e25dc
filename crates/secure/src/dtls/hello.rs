//! The ClientHello: what a client offers, and whether it is a device.

use sha2::{Digest, Sha256};

use super::codec::{
    CIPHER_SUITE, CURVE_SECP256R1, ContentType, ECDSA_SHA256, HandshakeHeader, RAW_PUBLIC_KEY,
    RECORD_NUMBERS, RENEGOTIATION_SCSV, Reader, RecordHeader, extension, handshake_type,
};
use super::record::CidMode;

/// A ClientHello that can be answered with a handshake.
#[derive(Clone)]
pub struct ClientHello {
    /// The client's random: names this handshake among those of its address.
    pub random: [u8; 32],
    /// Number of the record it came in; ours go on from there.
    pub(crate) record_number: u64,
    /// Number of the message; ours go on from there.
    pub(crate) message_seq: u16,
    pub(crate) offer: Offer,
    /// The handshake so far, which begins with this message.
    pub(crate) transcript: Sha256,
}

impl ClientHello {
    /// Parses the datagram of a hello *without* looking at its cookie: for hellos whose cookie was
    /// given out by somebody else, as in a recording. [`super::Cookies::answer`] is for all others.
    ///
    /// # Errors
    /// See [`HelloError`].
    pub fn parse(datagram: &[u8]) -> Result<Self, HelloError> {
        RawHello::parse(datagram).ok_or(HelloError::Malformed)?.accept().ok_or(HelloError::Unusable)
    }
}

/// Why a hello begins no handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Not one unfragmented ClientHello of DTLS 1.2.
    #[error("not a ClientHello")]
    Malformed,
    /// It does not offer the one suite, the one curve, ECDSA with SHA-256 and raw public keys.
    #[error("nothing in common with the client")]
    Unusable,
}

/// What of the offer matters for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Built like the firmware's: such a client refuses a Certificate message, all others want one.
    pub(crate) is_firmware: bool,
    pub(crate) cid_mode: CidMode,
    pub(crate) extended_master_secret: bool,
    pub(crate) secure_renegotiation: bool,
    pub(crate) point_formats: bool,
}

/// The fields of a ClientHello, unjudged.
pub(crate) struct RawHello<'a> {
    pub(crate) record_number: u64,
    pub(crate) message_seq: u16,
    pub(crate) random: [u8; 32],
    pub(crate) cookie: &'a [u8],
    suites: &'a [u8],
    compressions: &'a [u8],
    extensions: &'a [u8],
    /// With its header.
    message: &'a [u8],
}

impl<'a> RawHello<'a> {
    /// Reads the first record of a datagram as one whole ClientHello.
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(datagram);
        let record = RecordHeader::read(&mut reader)?;
        let message = reader.bytes(record.length)?;
        let mut reader = Reader::new(message);
        let header = HandshakeHeader::read(&mut reader)?;
        let fits = record.first_byte == ContentType::Handshake as u8
            && record.epoch == 0
            && record.number < RECORD_NUMBERS / 2
            && header.message_type == handshake_type::CLIENT_HELLO
            && header.message_seq < u16::MAX / 2
            && header.is_whole()
            && header.length == reader.rest().len();
        fits.then_some(())?;
        Self::parse_body(reader, record.number, header.message_seq, message)
    }

    fn parse_body(
        mut body: Reader<'a>,
        record_number: u64,
        message_seq: u16,
        message: &'a [u8],
    ) -> Option<Self> {
        let [0xfe, 0..=0xfd] = body.array()? else { return None };
        let random = body.array()?;
        let _session_id = body.vec8()?;
        let cookie = body.vec8()?;
        let suites = body.vec16()?;
        let compressions = body.vec8()?;
        let extensions = if body.is_empty() { &[] } else { body.vec16()? };
        body.is_empty().then_some(Self {
            record_number,
            message_seq,
            random,
            cookie,
            suites,
            compressions,
            extensions,
            message,
        })
    }

    /// The hello, if there is something in common.
    pub(crate) fn accept(&self) -> Option<ClientHello> {
        let offer = self.offer()?;
        Some(ClientHello {
            random: self.random,
            record_number: self.record_number,
            message_seq: self.message_seq,
            offer,
            transcript: Sha256::new_with_prefix(self.message),
        })
    }

    fn offer(&self) -> Option<Offer> {
        let mut extensions = Extensions::default();
        extensions.read(self.extensions)?;
        let has_suite = lists_u16(self.suites, CIPHER_SUITE) && self.compressions.contains(&0);
        (has_suite && extensions.are_usable()).then_some(())?;
        let renegotiation_scsv = lists_u16(self.suites, RENEGOTIATION_SCSV);
        Some(Offer {
            is_firmware: self.suites == FIRMWARE_SUITES && extensions.are_those_of_firmware(),
            cid_mode: extensions.cid_mode(),
            extended_master_secret: extensions.extended_master_secret,
            secure_renegotiation: renegotiation_scsv || extensions.renegotiation_info,
            point_formats: extensions.point_formats,
        })
    }
}

/// `C0AE 00FF`
const FIRMWARE_SUITES: [u8; 4] = [0xc0, 0xae, 0x00, 0xff];
/// More extensions than any client offers are not taken.
const EXTENSIONS_MAX: usize = 32;

/// What was seen while walking over the extensions.
#[derive(Default)]
struct Extensions {
    numbers: [u16; EXTENSIONS_MAX],
    count: usize,
    lacks_curve: bool,
    lacks_signature: bool,
    raw_key_of_client: bool,
    raw_key_of_server: bool,
    extended_master_secret: bool,
    renegotiation_info: bool,
    point_formats: bool,
    empty_cid: bool,
    empty_cid_draft_05: bool,
}

impl Extensions {
    fn read(&mut self, block: &[u8]) -> Option<()> {
        let mut reader = Reader::new(block);
        while !reader.is_empty() {
            let number = reader.u16()?;
            let content = reader.vec16()?;
            *self.numbers.get_mut(self.count)? = number;
            self.count += 1;
            self.note(number, content);
        }
        Some(())
    }

    fn note(&mut self, number: u16, content: &[u8]) {
        match number {
            extension::SUPPORTED_GROUPS => self.lacks_curve = !offers_u16(content, CURVE_SECP256R1),
            extension::SIGNATURE_ALGORITHMS => {
                self.lacks_signature = !offers_u16(content, ECDSA_SHA256);
            }
            extension::CLIENT_CERTIFICATE_TYPE => self.raw_key_of_client = offers_raw_key(content),
            extension::SERVER_CERTIFICATE_TYPE => self.raw_key_of_server = offers_raw_key(content),
            extension::EXTENDED_MASTER_SECRET => self.extended_master_secret = true,
            extension::RENEGOTIATION_INFO => self.renegotiation_info = true,
            extension::EC_POINT_FORMATS => self.point_formats = true,
            extension::CONNECTION_ID => self.empty_cid = content == [0],
            extension::CONNECTION_ID_DRAFT_05 => self.empty_cid_draft_05 = content == [0],
            _ => {}
        }
    }

    fn are_usable(&self) -> bool {
        let raw_keys = self.raw_key_of_client && self.raw_key_of_server;
        raw_keys && !self.lacks_curve && !self.lacks_signature
    }

    /// Signature lists differ between builds, their order of extensions does not
    /// (`dtls-session.md` §3).
    fn are_those_of_firmware(&self) -> bool {
        let offered = &self.numbers[..self.count];
        offered == [13, 10, 11, 254, 19, 20] || offered == [13, 10, 11, 19, 20]
    }

    /// A client that offers an id of its own wants it in our records, which the cloud does not do:
    /// it gets no connection id at all.
    fn cid_mode(&self) -> CidMode {
        match (self.empty_cid_draft_05, self.empty_cid) {
            (true, _) => CidMode::Draft05,
            (false, true) => CidMode::Rfc9146,
            (false, false) => CidMode::None,
        }
    }
}

/// A list of numbers with its length in front.
fn offers_u16(content: &[u8], wanted: u16) -> bool {
    Reader::new(content).vec16().is_some_and(|list| lists_u16(list, wanted))
}

fn lists_u16(list: &[u8], wanted: u16) -> bool {
    list.chunks_exact(2).any(|number| number == wanted.to_be_bytes())
}

fn offers_raw_key(content: &[u8]) -> bool {
    Reader::new(content).vec8().is_some_and(|types| types.contains(&RAW_PUBLIC_KEY))
}
