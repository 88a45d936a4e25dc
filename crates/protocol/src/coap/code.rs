//! Message types and codes.

use std::fmt;

/// The type of a message (RFC 7252 §3); its number on the wire is the discriminant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// CON: wants an acknowledgement.
    Confirmable = 0,
    /// NON: wants none.
    NonConfirmable = 1,
    /// ACK.
    Acknowledgement = 2,
    /// RST.
    Reset = 3,
}

impl Type {
    /// The type in the two lowest bits.
    pub(crate) fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Confirmable,
            1 => Self::NonConfirmable,
            2 => Self::Acknowledgement,
            _ => Self::Reset,
        }
    }
}

/// A code: class in the upper three bits, detail in the lower five (RFC 7252 §3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u8);

impl Code {
    /// 0.00: a ping, an acknowledgement without an answer, or a reset.
    pub const EMPTY: Self = Self::new(0, 0);
    /// 0.01
    pub const GET: Self = Self::new(0, 1);
    /// 0.02
    pub const POST: Self = Self::new(0, 2);
    /// 0.03
    pub const PUT: Self = Self::new(0, 3);
    /// 2.01
    pub const CREATED: Self = Self::new(2, 1);
    /// 2.04: the success code for everything but the time.
    pub const CHANGED: Self = Self::new(2, 4);
    /// 2.05: to a device always the answer to its time request (`messages.md` §2.1).
    pub const CONTENT: Self = Self::new(2, 5);
    /// 2.31
    pub const CONTINUE: Self = Self::new(2, 31);
    /// 4.00
    pub const BAD_REQUEST: Self = Self::new(4, 0);
    /// 4.02
    pub const BAD_OPTION: Self = Self::new(4, 2);
    /// 4.03
    pub const FORBIDDEN: Self = Self::new(4, 3);
    /// 4.04
    pub const NOT_FOUND: Self = Self::new(4, 4);
    /// 4.08
    pub const REQUEST_ENTITY_INCOMPLETE: Self = Self::new(4, 8);
    /// 4.13
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self::new(4, 13);
    /// 4.29 (RFC 8516)
    pub const TOO_MANY_REQUESTS: Self = Self::new(4, 29);
    /// 5.00
    pub const INTERNAL_SERVER_ERROR: Self = Self::new(5, 0);
    /// 5.03
    pub const SERVICE_UNAVAILABLE: Self = Self::new(5, 3);

    /// The code of this class (0–7) and detail (0–31).
    pub const fn new(class: u8, detail: u8) -> Self {
        Self(class << 5 | detail)
    }

    /// 0 request or empty, 2 success, 4 the client's error, 5 the server's.
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// The part after the dot.
    pub const fn detail(self) -> u8 {
        self.0 & 0x1f
    }

    /// Whether this is a method.
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    /// Whether this is an answer (class 2, 4 or 5).
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2 | 4 | 5)
    }

    /// Whether this is an answer that tells success.
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }

    /// Class × 100 + detail: 404 for 4.04.
    pub fn number(self) -> u16 {
        u16::from(self.class()) * 100 + u16::from(self.detail())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_with_a_dot_and_numbered_like_http() {
        assert_eq!(Code(0x84).to_string(), "4.04");
        assert_eq!(Code::TOO_MANY_REQUESTS.0, 0x9d);
        assert_eq!(Code::CONTINUE.0, 0x5f);
        assert_eq!(Code::NOT_FOUND.number(), 404);
        assert!(Code::PUT.is_request() && !Code::EMPTY.is_request());
        assert!(!Code::new(1, 0).is_response() && Code::CHANGED.is_response());
    }
}
