//! Goodbye (`messages.md` §9.4): flags, then for each set flag its number, all as unsigned LEB128.

use model::link::Transport;
use model::message::Goodbye;

use super::CoapError;
use crate::coap::{Builder, Code, Header, Token, option};

/// The resource letter.
pub const RESOURCE: u8 = b'x';

const CLOUD_REASON: u32 = 0x01;
const RESET_REASON: u32 = 0x02;
const SLEEP: u32 = 0x04;
const NETWORK_REASON: u32 = 0x08;

/// Reads the payload; an empty one names no reason. What follows the known numbers is ignored.
///
/// # Errors
/// 4.00: a number that is cut or passes 32 bits.
pub fn parse(payload: &[u8]) -> Result<Goodbye, CoapError> {
    if payload.is_empty() {
        return Ok(Goodbye::default());
    }
    let mut rest = payload;
    let flags = read_varint(&mut rest)?;
    let mut number = |flag| (flags & flag != 0).then(|| read_varint(&mut rest)).transpose();
    Ok(Goodbye {
        cloud_reason: number(CLOUD_REASON)?,
        reset_reason: number(RESET_REASON)?,
        sleep_s: number(SLEEP)?,
        network_reason: number(NETWORK_REASON)?,
    })
}

fn read_varint(bytes: &mut &[u8]) -> Result<u32, CoapError> {
    let mut number = 0;
    for shift in (0..).step_by(7).take(5) {
        let (byte, rest) =
            bytes.split_first().ok_or(CoapError::bad_request("the Goodbye ends too early"))?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let too_large = CoapError::bad_request("a number in the Goodbye passes 32 bits");
            return u32::try_from(number).map_err(|_| too_large);
        }
    }
    Err(CoapError::bad_request("a number in the Goodbye passes 32 bits"))
}

/// Writes a device's Goodbye: CON over UDP; NON over TCP, with an empty No-Response option.
pub fn emit(goodbye: &Goodbye, transport: Transport, message_id: u16, out: &mut Vec<u8>) {
    let fields = [
        (CLOUD_REASON, goodbye.cloud_reason),
        (RESET_REASON, goodbye.reset_reason),
        (SLEEP, goodbye.sleep_s),
        (NETWORK_REASON, goodbye.network_reason),
    ];
    let flags = fields.iter().filter(|(_, number)| number.is_some()).map(|(flag, _)| flag).sum();
    let mut payload = Vec::new();
    write_varint(flags, &mut payload);
    fields.iter().filter_map(|(_, number)| *number).for_each(|n| write_varint(n, &mut payload));
    match transport {
        Transport::Tcp => {
            Builder::new(Header::non_confirmable(Code::POST, message_id, Token::EMPTY), out)
                .resource(RESOURCE)
                .option(option::NO_RESPONSE, &[])
                .payload(&payload);
        }
        Transport::Udp => {
            Builder::new(Header::confirmable(Code::POST, message_id, Token::EMPTY), out)
                .resource(RESOURCE)
                .payload(&payload);
        }
    }
}

fn write_varint(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_in_the_order_of_their_flags() {
        let goodbye = parse(&[0x0f, 6, 0x8c, 0x01, 0xac, 0x02, 5]).expect("well formed");
        assert_eq!(goodbye.cloud_reason, Some(6));
        assert_eq!(goodbye.reset_reason, Some(140));
        assert_eq!(goodbye.sleep_s, Some(300));
        assert_eq!(goodbye.network_reason, Some(5));
    }

    #[test]
    fn no_payload_names_no_reason() {
        assert_eq!(parse(&[]), Ok(Goodbye::default()));
        assert_eq!(parse(&[0]), Ok(Goodbye::default()));
    }

    #[test]
    fn cut_and_oversized_numbers_are_refused() {
        assert!(parse(&[0x01]).is_err());
        assert!(parse(&[0x04, 0xff, 0xff]).is_err());
        assert!(parse(&[0x04, 0xff, 0xff, 0xff, 0xff, 0x1f]).is_err());
        assert!(parse(&[0x04, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    }
}
