//! Hello (`messages.md` §5).
//!
//! ```text
//! product id (2), product version (2), flags (2), platform (2)           TCP up to 2.x ends here
//! length of the id (2: always 0 or 12), id                               UDP up to 2.x ends here
//! system version (2), message bytes (2), binary bytes (4), chunk (2)     3.0 and later
//! ```

use model::hello::{HelloFlags, HelloSystem};
use model::link::Transport;
use model::{DeviceId, Hello, Platform};

use super::CoapError;
use crate::coap::{Builder, Code, Header, Token};

/// The resource letter.
pub const RESOURCE: u8 = b'h';

/// Reads the payload of a device's Hello. What follows the known fields is ignored.
///
/// # Errors
/// 4.00: shorter than 8 bytes, or an id that is neither absent nor 12 bytes long.
pub fn parse(payload: &[u8]) -> Result<Hello, CoapError> {
    let mut fields = Fields(payload);
    Ok(Hello {
        product_id: fields.u16()?,
        product_version: fields.u16()?,
        flags: HelloFlags(fields.u16()?),
        platform: Platform(fields.u16()?),
        device_id: device_id(&mut fields)?,
        system: system(&mut fields)?,
    })
}

fn device_id(fields: &mut Fields<'_>) -> Result<Option<DeviceId>, CoapError> {
    if fields.0.len() < 2 {
        return Ok(None);
    }
    match fields.u16()? {
        0 => Ok(None),
        12 => Ok(Some(DeviceId(fields.take()?))),
        _ => Err(CoapError::bad_request("the Hello's device id is not 12 bytes long")),
    }
}

fn system(fields: &mut Fields<'_>) -> Result<Option<HelloSystem>, CoapError> {
    if fields.0.len() < 10 {
        return Ok(None);
    }
    Ok(Some(HelloSystem {
        version: fields.u16()?,
        message_bytes_max: fields.u16()?,
        binary_bytes_max: u32::from_be_bytes(fields.take()?),
        chunk_bytes: fields.u16()?,
    }))
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u16(&mut self) -> Result<u16, CoapError> {
        Ok(u16::from_be_bytes(self.take()?))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], CoapError> {
        let (field, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(CoapError::bad_request("the Hello ends too early"))?;
        self.0 = rest;
        Ok(*field)
    }
}

/// Writes a device's Hello: CON over UDP, NON over TCP. The layout follows the fields that are there:
/// with [`Hello::system`] that of 3.0, else that of 2.x for the transport.
pub fn emit(hello: &Hello, transport: Transport, message_id: u16, out: &mut Vec<u8>) {
    let mut payload = Vec::with_capacity(32);
    for field in [hello.product_id, hello.product_version, hello.flags.0, hello.platform.0] {
        payload.extend_from_slice(&field.to_be_bytes());
    }
    if hello.system.is_some() || hello.device_id.is_some() {
        let id: &[u8] = hello.device_id.as_ref().map_or(&[], |id| id.as_bytes());
        payload.extend_from_slice(&[0, id.len() as u8]);
        payload.extend_from_slice(id);
    }
    if let Some(system) = hello.system {
        payload.extend_from_slice(&system.version.to_be_bytes());
        payload.extend_from_slice(&system.message_bytes_max.to_be_bytes());
        payload.extend_from_slice(&system.binary_bytes_max.to_be_bytes());
        payload.extend_from_slice(&system.chunk_bytes.to_be_bytes());
    }
    Builder::new(header(transport, message_id), out).resource(RESOURCE).payload(&payload);
}

/// Writes the cloud's Hello, which has no payload: NON over TCP, where the device waits for it; CON over
/// UDP, where it only clears the device's flag [`HelloFlags::OTA_SUCCESSFUL`].
pub fn emit_cloud(transport: Transport, message_id: u16, out: &mut Vec<u8>) {
    Builder::new(header(transport, message_id), out).resource(RESOURCE).payload(&[]);
}

fn header(transport: Transport, message_id: u16) -> Header {
    match transport {
        Transport::Tcp => Header::non_confirmable(Code::POST, message_id, Token::EMPTY),
        Transport::Udp => Header::confirmable(Code::POST, message_id, Token::EMPTY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_tcp_layout_ends_after_the_platform() {
        let hello = parse(&[255, 255, 255, 255, 0, 6, 0, 6]).expect("8 bytes");
        assert_eq!(hello.platform, Platform(6));
        assert_eq!((hello.device_id, hello.system), (None, None));
    }

    #[test]
    fn seven_bytes_a_cut_id_and_an_id_of_five_bytes_are_refused() {
        assert!(parse(&[0; 7]).is_err());
        assert!(parse(&[0, 0, 0, 0, 0, 0, 0, 6, 0, 12, 1, 2, 3]).is_err());
        assert!(parse(&[0, 0, 0, 0, 0, 0, 0, 6, 0, 5, 1, 2, 3, 4, 5]).is_err());
    }

    #[test]
    fn fields_appended_by_later_versions_are_ignored() {
        let mut out = Vec::new();
        let hello = Hello {
            product_id: 1,
            product_version: 2,
            flags: HelloFlags(0xf6),
            platform: Platform(13),
            device_id: Some(DeviceId([7; 12])),
            system: Some(HelloSystem {
                version: 6200,
                message_bytes_max: 1152,
                binary_bytes_max: 1_536_000,
                chunk_bytes: 512,
            }),
        };
        emit(&hello, Transport::Udp, 1, &mut out);
        out.extend_from_slice(&[1, 2, 3]);
        assert_eq!(parse(&out[7..]), Ok(hello));
    }
}
