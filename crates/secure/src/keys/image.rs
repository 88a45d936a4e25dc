//! Images of the server key for a device's memory: what `particle keys server` and `dfu-util` write.
//!
//! ```text
//! 0                      address                port (address + 66)          size
//! | public key, SPKI DER | type, length, value  | big-endian | ............ |      rest 0xFF
//!    UDP: address 192, size 320                    TCP: address 384, size 512
//! ```

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::{KeyKind, PublicKey};

/// The image of a server key, with the server's address if one is given
/// (`keys-and-provisioning.md` §5): 320 bytes for P-256, 512 bytes for RSA-2048. Without an address
/// or a port their bytes stay 0xFF, which the device takes for unset.
pub fn key_image(key: &PublicKey, address: Option<&ServerAddress>) -> Result<Vec<u8>, ImageError> {
    let (offset, size) = match key.kind() {
        KeyKind::P256 => (192, 320),
        KeyKind::Rsa2048 => (384, 512),
        KeyKind::Rsa1024 => return Err(ImageError),
    };
    let mut image = vec![0xff; size];
    image[..key.spki().len()].copy_from_slice(key.spki());
    if let Some(address) = address {
        address.write(&mut image[offset..]);
    }
    Ok(image)
}

/// The key is a device's RSA key; servers have RSA-2048 or P-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a server key is P-256 or RSA with 2048 bits")]
pub struct ImageError;

/// Where a device finds the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Address or name.
    pub host: Host,
    /// Port; unset means the device's default: 5684 (UDP), 5683 (TCP).
    pub port: Option<u16>,
}

impl ServerAddress {
    /// Type, length, value; the port 66 bytes after the type (`keys-and-provisioning.md` §4).
    fn write(&self, record: &mut [u8]) {
        let (kind, value) = match &self.host {
            Host::Ipv4(address) => (0, address.octets().to_vec()),
            Host::Name(name) => (1, name.as_bytes().to_vec()),
        };
        record[0] = kind;
        record[1] = u8::try_from(value.len()).expect("a name has at most 63 bytes");
        record[2..2 + value.len()].copy_from_slice(&value);
        if let Some(port) = self.port {
            record[66..68].copy_from_slice(&port.to_be_bytes());
        }
    }
}

/// A host as devices can store it. A text of digits and dots is an IPv4 address, anything else a
/// name of 1 to 63 printable ASCII characters, in which `$id` stands for the device's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address that a device accepts: neither 0.0.0.0 nor 255.255.255.255.
    Ipv4(Ipv4Addr),
    /// A name to resolve.
    Name(HostName),
}

/// A checked domain name; made by parsing a [`Host`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A host that no device would accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Digits and dots, but no usable IPv4 address.
    #[error(
        "a host of digits and dots must be an IPv4 address other than 0.0.0.0 and 255.255.255.255"
    )]
    Address,
    /// Not 1 to 63 printable ASCII characters.
    #[error("a host name has 1 to 63 printable ASCII characters")]
    Name,
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return parse_address(text).map(Self::Ipv4);
        }
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > HOST_NAME_BYTES_MAX || !printable {
            return Err(HostError::Name);
        }
        Ok(Self::Name(HostName(text.to_owned())))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => fmt::Display::fmt(address, f),
            Self::Name(name) => f.write_str(&name.0),
        }
    }
}

fn parse_address(text: &str) -> Result<Ipv4Addr, HostError> {
    let address: Ipv4Addr = text.parse().map_err(|_| HostError::Address)?;
    if address.is_unspecified() || address.is_broadcast() {
        return Err(HostError::Address);
    }
    Ok(address)
}

/// The device's parser keeps one of 64 bytes for a terminator (`keys-and-provisioning.md` §4).
const HOST_NAME_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_digits_and_dots_is_an_address_or_an_error() {
        assert_eq!("10.0.0.5".parse(), Ok(Host::Ipv4(Ipv4Addr::new(10, 0, 0, 5))));
        for text in ["10.0.0", "10.0.0.256", "0.0.0.0", "255.255.255.255", "..", "1"] {
            assert_eq!(text.parse::<Host>(), Err(HostError::Address), "{text}");
        }
    }

    #[test]
    fn a_host_name_is_printable_and_leaves_room_for_a_terminator() {
        assert!("$id.udp.example.org".parse::<Host>().is_ok());
        assert!("a".repeat(63).parse::<Host>().is_ok());
        for text in ["", "with blank", "ü.example", "tab\t", &"a".repeat(64)] {
            assert_eq!(text.parse::<Host>(), Err(HostError::Name), "{text}");
        }
    }
}
