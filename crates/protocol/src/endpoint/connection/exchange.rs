//! One request of ours whose fate is open.

use model::limits::{CALL_DEADLINE, TRANSMISSIONS};
use model::link::ExchangeId;
use model::{CloudMessage, Mono};

use super::fetch::Fetch;

/// A message that was sent and waits for its acknowledgement or answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: ExchangeId,
    pub(crate) asked: CloudMessage,
    pub(crate) token: Option<u8>,
    pub(crate) message_id: u16,
    pub(crate) state: State,
    /// After this nobody waits for the answer.
    pub(crate) answer_by: Mono,
    /// What is there of a description that was asked for.
    pub(crate) fetch: Option<Box<Fetch>>,
}

/// Where a message stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Nothing came back yet.
    Sent {
        /// The CoAP message, to be repeated as it is.
        bytes: Box<[u8]>,
        /// How often it was sent.
        transmissions: usize,
        /// When it is sent again or given up.
        next_at: Mono,
    },
    /// It arrived, or is never repeated (TCP); the answer is to come.
    Arrived,
}

impl State {
    /// A message that was sent once and is repeated until it is acknowledged.
    pub(crate) fn sent_once(bytes: &[u8], now: Mono) -> Self {
        Self::Sent { bytes: bytes.into(), transmissions: 1, next_at: now.after(TRANSMISSIONS[0]) }
    }
}

impl Exchange {
    /// When the answer to something sent now is of use to nobody any more.
    pub(crate) fn answer_by(now: Mono) -> Mono {
        now.after(CALL_DEADLINE)
    }

    /// When it is to be looked at; without record numbers not for a transmission.
    pub(crate) fn deadline(&self, can_send: bool) -> Option<Mono> {
        match &self.state {
            State::Sent { next_at, transmissions, .. } => {
                (can_send || *transmissions == TRANSMISSIONS.len()).then_some(*next_at)
            }
            State::Arrived => Some(self.answer_by),
        }
    }

    /// Whether the device has not shown that it got the message.
    pub(crate) fn is_unacknowledged(&self) -> bool {
        matches!(self.state, State::Sent { .. })
    }

    /// Whether an empty acknowledgement is all there is to come.
    pub(crate) fn ends_with_acknowledgement(&self) -> bool {
        match self.asked {
            CloudMessage::Event { .. } | CloudMessage::KeyChange | CloudMessage::Ping => true,
            CloudMessage::Describe(_)
            | CloudMessage::FunctionCall { .. }
            | CloudMessage::Signal(_)
            | CloudMessage::VariableRequest { .. } => false,
        }
    }
}
