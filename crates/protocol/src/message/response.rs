//! What a device answers: acknowledgements, resets, and answers with a code (`messages.md` §2.1, §8).

use model::{Answer, CloudMessage};

use super::function;
use crate::coap::{Block, Builder, Code, Header, Packet, Type, option, packet::BadOption};

/// A message from a device that is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response<'a> {
    /// An empty ACK: matched by its message id.
    Acknowledged,
    /// An ACK with a code (matched by id or token), or a CON or NON with a code (by token). A separate
    /// answer implies the acknowledgement.
    Answer(DeviceAnswer<'a>),
    /// RST: matched by its message id.
    Reset,
}

/// An answer with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceAnswer<'a> {
    /// Class 2, 4 or 5.
    pub code: Code,
    /// Version of a block-wise answer.
    pub etag: Option<&'a [u8]>,
    /// Content-Format, if told.
    pub format: Option<u16>,
    /// Which block of the answer this is.
    pub block: Option<Block>,
    /// The payload, empty for none.
    pub payload: &'a [u8],
}

impl<'a> Response<'a> {
    /// Reads a message that is no request; absent for requests and pings, and for an ACK or RST that
    /// carries neither nothing nor an answer.
    pub fn read(packet: &Packet<'a>) -> Option<Self> {
        match (packet.message_type(), packet.code()) {
            (Type::Reset, Code::EMPTY) => Some(Self::Reset),
            (Type::Acknowledgement, Code::EMPTY) => Some(Self::Acknowledged),
            (Type::Reset, _) => None,
            (_, code) if code.is_response() => Some(Self::Answer(DeviceAnswer::read(packet))),
            (_, _) => None,
        }
    }
}

impl<'a> DeviceAnswer<'a> {
    /// Reads the options of an answer; one of the wrong form counts as absent.
    fn read(packet: &Packet<'a>) -> Self {
        Self {
            code: packet.code(),
            etag: packet.value(option::ETAG),
            format: lenient(packet.uint(option::CONTENT_FORMAT)).and_then(|f| f.try_into().ok()),
            block: lenient(packet.block(option::BLOCK2)),
            payload: packet.payload,
        }
    }

    /// An answer that has nothing but a code and a payload.
    pub fn plain(code: Code, payload: &'a [u8]) -> Self {
        Self { code, etag: None, format: None, block: None, payload }
    }

    /// Writes the answer. `header` tells type, id and token; its code is set here.
    pub fn emit(&self, header: Header, out: &mut Vec<u8>) {
        let mut builder =
            Builder::new(Header { code: self.code, ..header }, out).maybe(option::ETAG, self.etag);
        if let Some(format) = self.format {
            builder = builder.uint(option::CONTENT_FORMAT, format.into());
        }
        builder.block(option::BLOCK2, self.block).payload(self.payload);
    }

    /// What this means as the answer to `asked`; absent for a Describe that succeeded, which is read
    /// by [`super::describe::parse`] once its blocks are together. A function that succeeds without a
    /// value of 4 bytes failed with 500.
    pub fn to_answer(&self, asked: &CloudMessage) -> Option<Answer> {
        if !self.code.is_success() {
            return Some(Answer::Failed(self.code.number()));
        }
        Some(match asked {
            CloudMessage::Describe(_) => return None,
            CloudMessage::Event { .. }
            | CloudMessage::KeyChange
            | CloudMessage::Ping
            | CloudMessage::Signal(_) => Answer::Accepted,
            CloudMessage::FunctionCall { .. } => match function::read_return(self.payload) {
                Some(value) => Answer::Returned(value),
                None => Answer::Failed(Code::INTERNAL_SERVER_ERROR.number()),
            },
            CloudMessage::VariableRequest { .. } => Answer::Value(self.payload.into()),
        })
    }
}

fn lenient<T>(read: Result<Option<T>, BadOption>) -> Option<T> {
    read.unwrap_or(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<Response<'_>> {
        Response::read(&Packet::decode(bytes).expect("well formed"))
    }

    #[test]
    fn acks_resets_and_answers_are_told_from_requests() {
        assert_eq!(read(&[0x60, 0, 0, 1]), Some(Response::Acknowledged));
        assert_eq!(read(&[0x70, 0, 0, 1]), Some(Response::Reset));
        assert_eq!(read(&[0x40, 0, 0, 1]), None);
        assert_eq!(read(&[0x40, 2, 0, 1, 0xb1, b'h']), None);
        assert_eq!(read(&[0x60, 2, 0, 1]), None);
        let not_found = DeviceAnswer::plain(Code::NOT_FOUND, &[]);
        assert_eq!(read(&[0x41, 0x84, 0, 1, 9]), Some(Response::Answer(not_found)));
    }

    #[test]
    fn answers_are_understood_by_what_was_asked() {
        let call = CloudMessage::FunctionCall { name: "f".into(), argument: "".into() };
        let request = CloudMessage::VariableRequest { name: "v".into() };
        let ok = DeviceAnswer::plain(Code::CHANGED, &[0, 0, 0, 7]);
        assert_eq!(ok.to_answer(&call), Some(Answer::Returned(7)));
        assert_eq!(ok.to_answer(&request), Some(Answer::Value([0, 0, 0, 7].into())));
        assert_eq!(ok.to_answer(&CloudMessage::Signal(true)), Some(Answer::Accepted));
        assert_eq!(ok.to_answer(&CloudMessage::Describe(1)), None);
        let empty = DeviceAnswer::plain(Code::CHANGED, &[]);
        assert_eq!(empty.to_answer(&call), Some(Answer::Failed(500)));
        let missing = DeviceAnswer::plain(Code::NOT_FOUND, &[]);
        assert_eq!(missing.to_answer(&CloudMessage::Describe(1)), Some(Answer::Failed(404)));
    }
}
