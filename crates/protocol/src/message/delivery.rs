//! Delivering events (`messages.md` §7.2): POST `e/<name>` to a device.

use model::limits;

use crate::coap::{Builder, Code, Header, option};

/// The resource letter the cloud writes. Every version takes `E` alike.
pub const RESOURCE: u8 = b'e';

/// An event as it goes to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Event name.
    pub name: &'a str,
    /// Content-Format, told to devices from 6.2 on unless it is 0.
    pub format: u16,
    /// Time to live in seconds, told unless it is 60.
    pub ttl_s: u32,
    /// The data; empty for none.
    pub data: &'a [u8],
}

/// Writes a delivery. The path comes first, in one option; up to 6.1 (`typed` false) only Max-Age may
/// follow it, as anything else would be taken for data. `header`'s code is set here.
pub fn emit(delivery: &Delivery<'_>, typed: bool, header: Header, out: &mut Vec<u8>) {
    let mut builder = Builder::new(Header { code: Code::POST, ..header }, out)
        .resource(RESOURCE)
        .option(option::URI_PATH, delivery.name.as_bytes());
    if typed && delivery.format != 0 {
        builder = builder.uint(option::CONTENT_FORMAT, delivery.format.into());
    }
    if delivery.ttl_s != limits::EVENT_TTL_S_DEFAULT {
        builder = builder.uint(option::MAX_AGE, delivery.ttl_s);
    }
    builder.payload(delivery.data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coap::Token;

    fn written(delivery: &Delivery<'_>, typed: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let header = Header::confirmable(Code::POST, 0x4d44, Token::EMPTY);
        emit(delivery, typed, header, &mut out);
        out
    }

    #[test]
    fn the_content_format_is_told_only_to_devices_that_parse_options() {
        let delivery = Delivery { name: "data", format: 60, ttl_s: 60, data: &[0xa0] };
        assert_eq!(written(&delivery, true), *b"\x40\x02\x4d\x44\xb1e\x04data\x11\x3c\xff\xa0");
        assert_eq!(written(&delivery, false), *b"\x40\x02\x4d\x44\xb1e\x04data\xff\xa0");
    }

    #[test]
    fn max_age_follows_the_path_unless_it_is_the_default() {
        let delivery = Delivery { name: "alarm", format: 0, ttl_s: 61, data: b"fire" };
        assert_eq!(written(&delivery, false), *b"\x40\x02\x4d\x44\xb1e\x05alarm\x31\x3d\xfffire");
    }
}
