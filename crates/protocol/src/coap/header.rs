//! What every message begins with.

use std::fmt;

use model::link::Receipt;

use super::{Code, Type};

/// A token of 0 to 8 bytes, by value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Token {
    len: u8,
    bytes: [u8; 8],
}

impl Token {
    /// No token.
    pub const EMPTY: Self = Self { len: 0, bytes: [0; 8] };

    /// The one-byte token that everything addressed to a device carries (`reliability.md` §7).
    pub const fn one(byte: u8) -> Self {
        Self { len: 1, bytes: [byte, 0, 0, 0, 0, 0, 0, 0] }
    }

    /// A token of these bytes; absent if there are more than 8.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut token = Self { len: u8::try_from(bytes.len()).ok()?, bytes: [0; 8] };
        token.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(token)
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Its only byte; absent for a token of another length.
    pub fn byte(&self) -> Option<u8> {
        (self.len == 1).then_some(self.bytes[0])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Type, code, message id and token of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// CON, NON, ACK or RST.
    pub message_type: Type,
    /// Method or answer.
    pub code: Code,
    /// Message id.
    pub message_id: u16,
    /// Token.
    pub token: Token,
}

impl Header {
    /// A confirmable message.
    pub const fn confirmable(code: Code, message_id: u16, token: Token) -> Self {
        Self { message_type: Type::Confirmable, code, message_id, token }
    }

    /// A non-confirmable message.
    pub const fn non_confirmable(code: Code, message_id: u16, token: Token) -> Self {
        Self { message_type: Type::NonConfirmable, code, message_id, token }
    }

    /// An acknowledgement. With [`Code::EMPTY`] the token has to be empty.
    pub const fn acknowledgement(code: Code, message_id: u16, token: Token) -> Self {
        Self { message_type: Type::Acknowledgement, code, message_id, token }
    }

    /// What a handler keeps to answer this message later; absent unless it is confirmable.
    pub fn receipt(&self) -> Option<Receipt> {
        (self.message_type == Type::Confirmable).then_some(Receipt {
            message_id: self.message_id,
            token_len: self.token.len,
            token: self.token.bytes,
        })
    }
}

impl From<&Receipt> for Token {
    /// The token of the message that waits. A length above 8 cannot come from [`Header::receipt`]
    /// and reads as 8.
    fn from(receipt: &Receipt) -> Self {
        Self { len: receipt.token_len.min(8), bytes: receipt.token }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_at_most_eight_bytes() {
        assert_eq!(Token::new(&[1; 8]).map(|token| token.as_slice().len()), Some(8));
        assert_eq!(Token::new(&[1; 9]), None);
        assert_eq!(Token::new(&[7]), Some(Token::one(7)));
        assert_eq!(Token::EMPTY.byte(), None);
    }

    #[test]
    fn a_receipt_gives_the_token_back_and_exists_for_con_only() {
        let token = Token::new(&[1, 2, 3]).expect("short enough");
        let receipt = Header::confirmable(Code::POST, 9, token).receipt().expect("confirmable");
        assert_eq!(receipt.message_id, 9);
        assert_eq!(Token::from(&receipt), token);
        assert_eq!(Header::non_confirmable(Code::POST, 9, token).receipt(), None);
    }
}
