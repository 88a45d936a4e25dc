//! Names that devices and callers choose, parsed once at the edge.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

/// An event's name: 1 to 64 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventName(Box<str>);

/// The beginning of event names that somebody wants: 0 to 64 bytes, compared byte by byte. Clones share
/// the text: all devices of a fleet subscribe to the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventPrefix(Arc<str>);

impl Borrow<str> for EventPrefix {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text is no event name or prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A name has at least one byte.
    #[error("an event name must not be empty")]
    Empty,
    /// Longer than [`limits::EVENT_NAME_BYTES_MAX`].
    #[error("an event name has at most {} bytes", limits::EVENT_NAME_BYTES_MAX)]
    TooLong,
    /// Not UTF-8, or with a control character (a line break would break an event stream's framing).
    #[error("an event name is text without control characters")]
    NotText,
}

impl EventName {
    /// Parses a name from the bytes of a device or the text of a caller.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        Ok(Self(parse_text(bytes)?.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is the system's own: it begins with `spark` or `particle` (case matters).
    /// Such events are never counted and never matched to a device's subscription.
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("spark") || self.0.starts_with("particle")
    }
}

impl EventPrefix {
    /// Parses a prefix; the empty one matches every name.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        Ok(Self(parse_text(bytes)?.into()))
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` begins with this prefix, byte by byte.
    pub fn matches(&self, name: &EventName) -> bool {
        name.0.starts_with(&*self.0)
    }
}

fn parse_text(bytes: &[u8]) -> Result<&str, NameError> {
    if bytes.len() > limits::EVENT_NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NameError::NotText)?;
    if text.chars().any(char::is_control) {
        return Err(NameError::NotText);
    }
    Ok(text)
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}
as_text!(EventName);
as_text!(EventPrefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_64_bytes_are_taken_and_of_65_refused() {
        assert!(EventName::parse(&[b'a'; 64]).is_ok());
        assert_eq!(EventName::parse(&[b'a'; 65]), Err(NameError::TooLong));
        assert_eq!(EventName::parse(b""), Err(NameError::Empty));
    }

    #[test]
    fn a_line_break_in_a_name_is_refused() {
        assert_eq!(EventName::parse(b"a\nb"), Err(NameError::NotText));
        assert_eq!(EventName::parse(b"\xff"), Err(NameError::NotText));
    }

    #[test]
    fn the_empty_prefix_matches_everything_and_others_byte_by_byte() {
        let name = EventName::parse(b"temp/outside").expect("a name");
        assert!(EventPrefix::parse(b"").expect("a prefix").matches(&name));
        assert!(EventPrefix::parse(b"temp").expect("a prefix").matches(&name));
        assert!(!EventPrefix::parse(b"Temp").expect("a prefix").matches(&name));
    }

    #[test]
    fn only_spark_and_particle_names_are_internal() {
        for (name, internal) in [
            ("spark/status", true),
            ("particle", true),
            ("sparkling", true),
            ("Spark/x", false),
            ("temp", false),
        ] {
            assert_eq!(
                EventName::parse(name.as_bytes()).expect("a name").is_internal(),
                internal,
                "{name}"
            );
        }
    }
}
