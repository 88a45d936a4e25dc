//! Publishing (`messages.md` §7.1, §7.4): POST `E/<name>` or `e/<name>` from a device.

use model::message::Publish;
use model::{EventData, EventName, limits};
use smallvec::SmallVec;

use super::CoapError;
use crate::coap::{Block, Builder, Code, Header, Packet, option};

/// The resource letter of every publish of 6.2 and of private ones before.
pub const RESOURCE: u8 = b'E';
/// The resource letter of public publishes before 6.2.
pub const RESOURCE_PUBLIC: u8 = b'e';

/// A publish, or one block of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRequest<'a> {
    /// Event name; a name split into several segments is joined with `/`.
    pub name: EventName,
    /// Content-Format; 0 is text.
    pub format: u16,
    /// Time to live in seconds; 60 if the device did not say.
    pub ttl_s: u32,
    /// The data, or this block of it; empty if there was no payload.
    pub payload: &'a [u8],
    /// Which block this is; absent if the publish is complete.
    pub block: Option<Block>,
    /// Tells the blocks of one publish from those of another.
    pub request_tag: Option<&'a [u8]>,
    /// The classes of answers the device does not want (RFC 7967), if it said so.
    pub no_response: Option<u8>,
}

impl PublishRequest<'_> {
    /// The publish, if it came in one message.
    pub fn to_publish(&self) -> Publish {
        self.to_publish_of(self.payload)
    }

    /// The publish whose blocks make up `data`.
    pub fn to_publish_of(&self, data: &[u8]) -> Publish {
        let data =
            (!data.is_empty()).then(|| EventData { format: self.format, bytes: data.into() });
        Publish { name: self.name.clone(), data, ttl_s: self.ttl_s }
    }
}

/// Reads a device's publish.
///
/// # Errors
/// 4.00: no name, a name over 64 bytes or no text, an option of the wrong form. 4.13: more than 1,024
/// bytes of data in the message.
pub fn parse<'a>(packet: &Packet<'a>) -> Result<PublishRequest<'a>, CoapError> {
    let name = join_path(packet.path().skip(1))?;
    let name = EventName::parse(&name)
        .map_err(|_| CoapError::bad_request("the event's name is no event name"))?;
    if packet.payload.len() > limits::EVENT_DATA_BYTES_MAX {
        return Err(CoapError::too_large("the event has more data than one message may carry"));
    }
    Ok(PublishRequest {
        name,
        format: narrow(packet.uint(option::CONTENT_FORMAT)?)?.unwrap_or(0),
        ttl_s: packet.uint(option::MAX_AGE)?.unwrap_or(limits::EVENT_TTL_S_DEFAULT),
        payload: packet.payload,
        block: packet.block(option::BLOCK1)?,
        request_tag: packet.value(option::REQUEST_TAG),
        no_response: narrow(packet.uint(option::NO_RESPONSE)?)?,
    })
}

fn narrow<N: TryFrom<u32>>(number: Option<u32>) -> Result<Option<N>, CoapError> {
    number
        .map(|number| {
            N::try_from(number).map_err(|_| CoapError::from(crate::coap::packet::BadOption))
        })
        .transpose()
}

/// Joins the segments of a name with `/`.
///
/// # Errors
/// 4.00: more than 16 segments or 255 bytes (`limits.md` §7).
pub(super) fn join_path<'a>(
    segments: impl Iterator<Item = &'a [u8]>,
) -> Result<SmallVec<[u8; 64]>, CoapError> {
    let mut name = SmallVec::new();
    for (count, segment) in segments.enumerate() {
        if count > 0 {
            name.push(b'/');
        }
        if count == PATH_SEGMENTS_MAX || name.len() + segment.len() > PATH_BYTES_MAX {
            return Err(CoapError::bad_request("the path is too long"));
        }
        name.extend_from_slice(segment);
    }
    Ok(name)
}

const PATH_SEGMENTS_MAX: usize = 16;
const PATH_BYTES_MAX: usize = 255;

/// How a device of some version writes a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Up to 6.1: no Content-Format; a Max-Age of 3 bytes; the letter tells public from private.
    Untyped {
        /// Whether it is published as public.
        public: bool,
    },
    /// 6.2.
    Typed,
    /// 6.3: the name is split at `/`.
    Split,
}

/// Writes a publish, or one block of it. `header` is CON or NON; its code is set here.
pub fn emit(publish: &PublishRequest<'_>, form: Form, header: Header, out: &mut Vec<u8>) {
    let letter = if form == (Form::Untyped { public: true }) { RESOURCE_PUBLIC } else { RESOURCE };
    let header = Header { code: Code::POST, ..header };
    let mut builder = Builder::new(header, out).resource(letter);
    let name = publish.name.as_str();
    let split = if form == Form::Split { '/' } else { NO_SPLIT };
    for segment in name.split(split) {
        builder = builder.option(option::URI_PATH, segment.as_bytes());
    }
    if publish.format != 0 && !matches!(form, Form::Untyped { .. }) {
        builder = builder.uint(option::CONTENT_FORMAT, publish.format.into());
    }
    if publish.ttl_s != limits::EVENT_TTL_S_DEFAULT {
        builder = builder.option(option::MAX_AGE, &max_age(publish.ttl_s, form));
    }
    builder
        .block(option::BLOCK1, publish.block)
        .maybe(option::NO_RESPONSE, publish.no_response.as_ref().map(std::slice::from_ref))
        .maybe(option::REQUEST_TAG, publish.request_tag)
        .payload(publish.payload);
}

fn max_age(ttl_s: u32, form: Form) -> SmallVec<[u8; 4]> {
    match form {
        Form::Untyped { .. } => SmallVec::from_slice(&ttl_s.to_be_bytes()[1..]),
        Form::Typed | Form::Split => option::uint_without_three(ttl_s),
    }
}

/// Event names hold no control characters, so nothing is split at this one.
const NO_SPLIT: char = '\0';

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coap::Token;

    fn parsed(bytes: &[u8]) -> Result<PublishRequest<'_>, CoapError> {
        parse(&Packet::decode(bytes).expect("well formed"))
    }

    fn code_of(bytes: &[u8]) -> Option<Code> {
        parsed(bytes).err().map(|error| error.code)
    }

    #[test]
    fn a_publish_without_a_name_or_with_one_of_65_bytes_is_refused() {
        assert_eq!(code_of(&[0x40, 2, 0, 1, 0xb1, b'E']), Some(Code::BAD_REQUEST));
        assert_eq!(code_of(&[0x40, 2, 0, 1, 0xb1, b'E', 0x00]), Some(Code::BAD_REQUEST));
        let long = [&[0x40, 2, 0, 1, 0xb1, b'E', 0x0d, 52][..], &[b'a'; 65]].concat();
        assert_eq!(code_of(&long), Some(Code::BAD_REQUEST));
    }

    #[test]
    fn max_age_is_read_from_zero_to_four_bytes_and_refused_with_five() {
        for (option, ttl_s) in [
            (&[0x30][..], 0),
            (&[0x31, 60], 60),
            (&[0x32, 14, 16], 3600),
            (&[0x33, 0, 14, 16], 3600),
            (&[0x34, 0, 1, 0, 0], 65536),
        ] {
            let bytes = [&[0x40, 2, 0, 1, 0xb1, b'E', 0x01, b'a'][..], option].concat();
            assert_eq!(parsed(&bytes).map(|p| p.ttl_s), Ok(ttl_s));
        }
        let five = [&[0x40, 2, 0, 1, 0xb1, b'E', 0x01, b'a'][..], &[0x35, 0, 0, 0, 0, 1]].concat();
        assert_eq!(code_of(&five), Some(Code::BAD_REQUEST));
    }

    #[test]
    fn more_than_1024_bytes_of_data_are_too_large() {
        let head = [0x40, 2, 0, 1, 0xb1, b'E', 0x01, b'a', 0xff];
        assert!(parsed(&[&head[..], &[0; 1024]].concat()).is_ok());
        let large = [&head[..], &[0; 1025]].concat();
        assert_eq!(code_of(&large), Some(Code::REQUEST_ENTITY_TOO_LARGE));
    }

    #[test]
    fn a_split_name_is_joined_again() {
        let publish = PublishRequest {
            name: EventName::parse(b"a/b//c").expect("a name"),
            format: 50,
            ttl_s: 65_536,
            payload: b"{}",
            block: Some(Block { num: 0, more: true, szx: 6 }),
            request_tag: Some(&[1, 2]),
            no_response: Some(26),
        };
        let mut out = Vec::new();
        emit(&publish, Form::Split, Header::confirmable(Code::POST, 1, Token::one(1)), &mut out);
        assert_eq!(parsed(&out), Ok(publish));
    }

    #[test]
    fn names_of_too_many_segments_are_refused() {
        let bytes = [&[0x40, 2, 0, 1, 0xb1, b'E'][..], &[0x00; 17]].concat();
        assert_eq!(code_of(&bytes), Some(Code::BAD_REQUEST));
    }
}
