//! Every kind of id, each a type of its own, so that two numbers never meet by accident.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The 12-byte identity of a device. Its text form is 24 lower-case hex digits in the same order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceId(pub [u8; 12]);

/// A text that is no device id: it must be 24 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device id is 24 hex digits")]
pub struct DeviceIdError;

impl DeviceId {
    /// The raw bytes, in the order of the text form.
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

impl FromStr for DeviceId {
    type Err = DeviceIdError;

    /// Takes 24 hex digits in any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 12];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| DeviceIdError)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<&[u8]> for DeviceId {
    type Error = DeviceIdError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self(bytes.try_into().map_err(|_| DeviceIdError)?))
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number_id! {
    /// The billing unit: owns devices and products. Numbers start at 1.
    AccountId(u64)
}
number_id! {
    /// A product: a fleet of devices with an owner. The numeric id that devices send in Hello.
    ProductId(u32)
}
number_id! {
    /// One connection of a device, as the protocol half names it to the routing half. Opaque, and
    /// unique within a shard until the process ends.
    LinkId(u64)
}
number_id! {
    /// One request of an API caller on its way through a shard.
    RequestId(u64)
}
number_id! {
    /// The order in which events were accepted by this server, over restarts as well.
    EventId(u64)
}

/// The SHA-256 of a public key's SubjectPublicKeyInfo in DER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_id_is_read_in_any_case_and_written_in_lower_case() {
        let id: DeviceId = "E00FCE68a1b2c3d4e5f60718".parse().expect("24 hex digits");
        assert_eq!(id.to_string(), "e00fce68a1b2c3d4e5f60718");
    }

    #[test]
    fn a_device_id_of_another_length_is_refused() {
        assert!("e00fce68".parse::<DeviceId>().is_err());
        assert!("".parse::<DeviceId>().is_err());
        assert!("e00fce68a1b2c3d4e5f60718aa".parse::<DeviceId>().is_err());
        assert!("z00fce68a1b2c3d4e5f60718".parse::<DeviceId>().is_err());
    }
}
