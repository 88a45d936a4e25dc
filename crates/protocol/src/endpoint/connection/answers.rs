//! What the cloud answers to the device's messages.

use model::limits::HELLO_QUIET;
use model::link::{Receipt, Verdict};

use super::duplicates::{Fate, Kind};
use super::{Connection, Context, Phase};
use crate::coap::{Code, Header, Token};
use crate::message::ack;

impl Connection {
    /// Lets the answer to a message go.
    pub(super) fn acknowledge(&mut self, cx: &mut Context<'_>, receipt: Receipt, verdict: Verdict) {
        let id = receipt.message_id;
        let before = self.duplicates.as_ref().and_then(|seen| seen.fate(id));
        if verdict == Verdict::Unavailable && is_kept_until_durable(before) {
            // The device takes any code as success; without an answer it begins a new session.
            return;
        }
        let code = ack::verdict_code(verdict);
        if let Some(seen) = &mut self.duplicates {
            seen.settle(id, code);
        }
        self.acknowledge_with(cx, id, Token::from(&receipt), code);
        if before == Some(Fate::Waiting(Kind::Hello)) {
            self.wait_for_device(cx);
        }
    }

    /// The answer to the Hello left: the device's next message will prove that it arrived.
    pub(super) fn wait_for_device(&mut self, cx: &mut Context<'_>) {
        if self.phase == Phase::Quiet {
            self.busy().quiet_until = Some(cx.now.mono.after(HELLO_QUIET));
        }
    }

    /// Acknowledges with this code; [`Code::EMPTY`] is plain success and takes no token.
    pub(super) fn acknowledge_with(
        &mut self,
        cx: &mut Context<'_>,
        message_id: u16,
        token: Token,
        code: Code,
    ) {
        cx.scratch.clear();
        ack::coded(code, message_id, token, cx.scratch);
        self.send_reply(cx);
    }

    /// Refuses a message if its sender waits for an answer.
    pub(super) fn refuse(&mut self, cx: &mut Context<'_>, header: Header, code: Code) {
        if header.receipt().is_some() {
            self.acknowledge_with(cx, header.message_id, header.token, code);
        } else {
            cx.counters.dropped_unanswerable += 1;
        }
    }
}

fn is_kept_until_durable(fate: Option<Fate>) -> bool {
    matches!(fate, Some(Fate::Waiting(Kind::Hello | Kind::Describe)))
}
