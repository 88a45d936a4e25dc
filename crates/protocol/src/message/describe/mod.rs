//! Describe: what a device can do and what it consists of (`messages.md` §6).
//!
//! The cloud asks with [`emit_get`]; devices from 2.0 on also send parts by themselves ([`DescribePost`]).
//! Either way the payload, put together from its blocks, is read by [`parse`].

use model::DescribePart;

use super::CoapError;
use crate::coap::{Block, Builder, Code, Header, Packet, Token, option};

pub mod application;
pub mod metrics;
mod modules;
pub mod system;

/// The resource letter.
pub const RESOURCE: u8 = b'd';

/// The flag of the system part.
pub const SYSTEM: u8 = 0x01;
/// The flag of the application part.
pub const APPLICATION: u8 = 0x02;
/// The flag of the metrics.
pub const METRICS: u8 = 0x04;

/// Writes the cloud's request. `flags` 0 is the form without a query, for devices that do not send their
/// description by themselves; from 5.5 on a device takes exactly one flag.
pub fn emit_get(flags: u8, block: Option<Block>, message_id: u16, token: u8, out: &mut Vec<u8>) {
    let query = [flags];
    Builder::new(Header::confirmable(Code::GET, message_id, Token::one(token)), out)
        .resource(RESOURCE)
        .maybe(option::URI_QUERY, (flags != 0).then_some(&query[..]))
        .block(option::BLOCK2, block)
        .payload(&[]);
}

/// A part that a device sends by itself, or one block of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribePost<'a> {
    /// Which part: [`SYSTEM`], [`APPLICATION`] or [`METRICS`]. Blocks of different parts may be
    /// interleaved, so they are put together by this.
    pub flags: u8,
    /// Content-Format: 42 for a system part in protobuf, absent for JSON and metrics.
    pub format: Option<u16>,
    /// Which block this is; absent if the part is complete.
    pub block: Option<Block>,
    /// The part, or this block of it.
    pub payload: &'a [u8],
}

impl<'a> DescribePost<'a> {
    /// Reads a device's POST.
    ///
    /// # Errors
    /// 4.00: no flag byte in the query, or an option of the wrong form.
    pub fn parse(packet: &Packet<'a>) -> Result<Self, CoapError> {
        let Some(&[flags]) = packet.value(option::URI_QUERY) else {
            return Err(CoapError::bad_request("a Describe tells its part in one byte"));
        };
        let format = packet.uint(option::CONTENT_FORMAT)?;
        Ok(Self {
            flags,
            format: format.and_then(|format| u16::try_from(format).ok()),
            block: packet.block(option::BLOCK1)?,
            payload: packet.payload,
        })
    }

    /// Writes a device's POST. Devices before 3.3 send no token.
    pub fn emit(&self, message_id: u16, token: Token, out: &mut Vec<u8>) {
        let mut builder = Builder::new(Header::confirmable(Code::POST, message_id, token), out)
            .resource(RESOURCE);
        if let Some(format) = self.format {
            builder = builder.uint(option::CONTENT_FORMAT, format.into());
        }
        builder
            .option(option::URI_QUERY, &[self.flags])
            .block(option::BLOCK1, self.block)
            .payload(self.payload);
    }
}

/// Reads a complete payload: the parts it holds. `flags` are those of the POST or GET; 0 for the form
/// without a query. One JSON object may hold the application and the system part (up to 3.2).
///
/// # Errors
/// 4.00: none of the forms of §6.5 to §6.7.
pub fn parse(flags: u8, payload: &[u8]) -> Result<Vec<DescribePart>, CoapError> {
    match payload.first() {
        _ if flags == METRICS => Ok(vec![DescribePart::Metrics(metrics::parse(payload)?)]),
        Some(b'{') => parse_json(flags, payload),
        _ if flags == SYSTEM => Ok(vec![DescribePart::System(system::parse_protobuf(payload)?)]),
        _ => Err(CoapError::bad_request("a description of no known form")),
    }
}

/// What was asked for is read even if it is empty; what was not, if it is there.
fn parse_json(flags: u8, payload: &[u8]) -> Result<Vec<DescribePart>, CoapError> {
    let told = Told::read(payload)?;
    let mut parts = Vec::new();
    if flags == APPLICATION || told.application {
        parts.push(DescribePart::Application(application::parse(payload)?));
    }
    if flags == SYSTEM || told.system {
        parts.push(DescribePart::System(system::parse_json(payload)?));
    }
    Ok(parts)
}

/// Which parts a JSON object holds.
struct Told {
    application: bool,
    system: bool,
}

impl Told {
    fn read(json: &[u8]) -> Result<Self, CoapError> {
        #[derive(serde::Deserialize)]
        struct Keys {
            f: Option<serde::de::IgnoredAny>,
            v: Option<serde::de::IgnoredAny>,
            p: Option<serde::de::IgnoredAny>,
            m: Option<serde::de::IgnoredAny>,
        }
        let keys: Keys = serde_json::from_slice(json).map_err(|_| BAD_JSON)?;
        Ok(Self {
            application: keys.f.is_some() || keys.v.is_some(),
            system: keys.p.is_some() || keys.m.is_some(),
        })
    }
}

const BAD_JSON: CoapError = CoapError::bad_request("a description that is no such JSON object");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_may_hold_both_parts() {
        let parts = parse(0, br#"{"f":["a"],"v":{},"p":6,"m":[]}"#).expect("both");
        assert!(matches!(parts[..], [DescribePart::Application(_), DescribePart::System(_)]));
    }

    #[test]
    fn a_part_that_was_asked_for_may_be_empty() {
        assert!(matches!(parse(APPLICATION, b"{}").as_deref(), Ok([DescribePart::Application(_)])));
        assert!(matches!(parse(SYSTEM, b"{}").as_deref(), Ok([DescribePart::System(_)])));
        assert!(matches!(parse(SYSTEM, b"").as_deref(), Ok([DescribePart::System(_)])));
        assert_eq!(parse(0, b"{}"), Ok(vec![]));
    }

    #[test]
    fn what_is_no_description_is_refused() {
        for (flags, payload) in [
            (APPLICATION, &b"xyz"[..]),
            (APPLICATION, b"{\"f\":1}"),
            (APPLICATION, b"{\"f\":[\"a\"]"),
            (METRICS, b"{}"),
            (0, b""),
        ] {
            let code = parse(flags, payload).map_err(|error| error.code);
            assert_eq!(code, Err(Code::BAD_REQUEST), "{flags} {payload:?}");
        }
    }

    #[test]
    fn a_post_without_its_flag_byte_is_refused() {
        for bytes in [&[0x40, 2, 0, 1, 0xb1, b'd'][..], &[0x40, 2, 0, 1, 0xb1, b'd', 0x42, 1, 1]] {
            let packet = Packet::decode(bytes).expect("well formed");
            assert!(DescribePost::parse(&packet).is_err());
        }
    }
}
