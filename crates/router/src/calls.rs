//! Functions, variables and signals: one at a time for each device, the others wait in order.

use std::time::Duration;

use model::limits::{CALL_DEADLINE, CALLS_WAITING_MAX, TRANSMISSIONS};
use model::link::{ExchangeId, Transport};
use model::{
    Answer, CloudMessage, DeviceId, Mono, Now, Refusal, RequestId, VariableType, VariableValue,
};

use crate::Reply;
use crate::device::{Busy, Device, Sent, Slot, What};
use crate::shard::Shard;
use crate::timers::Timer;

/// A call that was not sent yet.
#[derive(Debug)]
pub(crate) struct Call {
    id: RequestId,
    ask: Ask,
    deadline: Mono,
}

/// What a caller asks of a device.
#[derive(Debug)]
enum Ask {
    Function { name: Box<str>, argument: Box<str> },
    Signal(bool),
    Variable { name: Box<str> },
}

/// The call that was sent.
#[derive(Debug)]
pub(crate) struct Running {
    /// Absent: the caller has its answer, the device has not finished.
    id: Option<RequestId>,
    exchange: ExchangeId,
    wanted: Wanted,
    /// The caller's deadline; after it, when the next call may start.
    until: Mono,
}

/// Which answer fits.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Acceptance,
    Return,
    Value(VariableType),
}

impl Shard {
    pub(crate) fn call(
        &mut self,
        now: Now,
        id: RequestId,
        device: DeviceId,
        name: Box<str>,
        argument: Box<str>,
    ) {
        self.take_call(now, id, device, Ask::Function { name, argument });
    }

    pub(crate) fn read(&mut self, now: Now, id: RequestId, device: DeviceId, name: Box<str>) {
        self.take_call(now, id, device, Ask::Variable { name });
    }

    pub(crate) fn signal(&mut self, now: Now, id: RequestId, device: DeviceId, on: bool) {
        self.take_call(now, id, device, Ask::Signal(on));
    }

    fn take_call(&mut self, now: Now, id: RequestId, device: DeviceId, ask: Ask) {
        let Some(slot) = self.devices.slot_of(device) else {
            return self.reply(id, Err(Refusal::UnknownDevice));
        };
        if let Err(refusal) = self.admit(now, slot, &ask) {
            return self.reply(id, Err(refusal));
        }
        if let Some(device) = self.devices.get_mut(slot) {
            let deadline = now.mono.after(CALL_DEADLINE);
            device.busy().calls.push_back(Call { id, ask, deadline });
        }
        self.start_calls(now, slot);
        self.rest(slot);
    }

    /// Whether the call may wait for its turn; the first reason against it counts.
    fn admit(&mut self, now: Now, slot: Slot, ask: &Ask) -> Result<(), Refusal> {
        let device = self.devices.get(slot).ok_or(Refusal::UnknownDevice)?;
        if let Err(refusal) = self.may_call(device, ask) {
            return self.refuse_call(refusal);
        }
        if !device.marks.online || device.link.is_none() {
            return Err(Refusal::Offline);
        }
        if !device.describing.is_application_to_come() {
            message_of(device, ask)?;
        }
        let waiting = device.busy.as_ref().map_or(0, |busy| busy.calls.len());
        if waiting >= CALLS_WAITING_MAX {
            self.counters.calls_queue_full += 1;
            return Err(Refusal::QueueFull);
        }
        if self.store_refuses(now) { Err(Refusal::Unavailable) } else { Ok(()) }
    }

    fn may_call(&self, device: &Device, ask: &Ask) -> Result<(), Refusal> {
        let account = device.row.account.ok_or(Refusal::UnknownDevice)?;
        match (ask, self.pause_of(account, Some(device))) {
            (Ask::Function { .. } | Ask::Variable { .. }, Some(pause)) => {
                Err(Refusal::Paused(pause.why.to_string()))
            }
            (Ask::Function { .. } | Ask::Variable { .. }, None) | (Ask::Signal(_), _) => Ok(()),
        }
    }

    fn refuse_call(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.counters.calls_paused += u64::from(matches!(refusal, Refusal::Paused(_)));
        Err(refusal)
    }

    /// Sends the next call if none is running and it may go.
    pub(crate) fn start_calls(&mut self, now: Now, slot: Slot) {
        while let Some(call) = self.next_call(slot) {
            if let Err(refusal) = self.start(now, slot, &call) {
                self.reply(call.id, Err(refusal));
            }
        }
        self.arm_calls(slot);
    }

    fn next_call(&mut self, slot: Slot) -> Option<Call> {
        let device = self.devices.get_mut(slot)?;
        let is_to_come = device.describing.is_application_to_come();
        let busy = device.busy.as_mut()?;
        if busy.running.is_some() || busy.update.as_ref().is_some_and(|job| job.keeps_calls()) {
            return None;
        }
        let may_go = |call: &Call| !is_to_come || matches!(call.ask, Ask::Signal(_));
        busy.calls.front().is_some_and(may_go).then(|| busy.calls.pop_front()).flatten()
    }

    fn start(&mut self, now: Now, slot: Slot, call: &Call) -> Result<(), Refusal> {
        let device = self.devices.get(slot).ok_or(Refusal::Offline)?;
        if let Err(refusal) = self.may_call(device, &call.ask) {
            return self.refuse_call(refusal);
        }
        let (message, wanted) = message_of(device, &call.ask)?;
        let exchange = self.send(now, slot, What::Call, message).ok_or(Refusal::Offline)?;
        self.counters.calls_sent += 1;
        let device = self.devices.get_mut(slot).ok_or(Refusal::Offline)?;
        let (id, until) = (Some(call.id), call.deadline);
        device.busy().running = Some(Running { id, exchange, wanted, until });
        Ok(())
    }

    /// Sets the timer of the running call and of the first waiting one.
    pub(crate) fn arm_calls(&mut self, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let due = device.busy.as_ref().and_then(|busy| first_deadline(busy));
        self.timers.set(slot, device, Timer::Call, due);
    }

    pub(crate) fn call_timer(&mut self, now: Now, slot: Slot) {
        self.expire_waiting(now, slot);
        self.expire_running(now, slot);
        self.start_calls(now, slot);
    }

    fn expire_waiting(&mut self, now: Now, slot: Slot) {
        while let Some(busy) = self.devices.get_mut(slot).and_then(|device| device.busy.as_mut())
            && busy.calls.front().is_some_and(|call| call.deadline <= now.mono)
            && let Some(call) = busy.calls.pop_front()
        {
            self.counters.calls_timed_out += 1;
            self.reply(call.id, Err(Refusal::TimedOut));
        }
    }

    /// The caller is answered at its deadline. The next call starts when the device must have
    /// acknowledged this one, else it would have been given up by then. One that has not left yet, because
    /// its session waits for the disk, is waited for: it counts when it does.
    fn expire_running(&mut self, now: Now, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let transport = device.facts.transport;
        let Some(running) = device.busy.as_ref().and_then(|busy| busy.running.as_ref()) else {
            return;
        };
        if running.until > now.mono {
            return;
        }
        let exchange = running.exchange;
        self.answer_running(slot, Err(Refusal::TimedOut));
        let Some(device) = self.devices.get_mut(slot) else { return };
        let given_up_at = device.sent(exchange).and_then(|sent| match (sent.attempts, transport) {
            (0, _) => Some(now.mono.after(all_attempts())),
            (_, Transport::Udp) => Some(sent.since.after(all_attempts())),
            (_, Transport::Tcp) => None,
        });
        match given_up_at {
            Some(at) if at > now.mono => {
                if let Some(running) = &mut device.busy().running {
                    running.until = at;
                }
            }
            Some(_) | None => {
                device.take_sent(exchange);
                device.busy().running = None;
            }
        }
    }

    /// Answers the caller of the running call, once its attempts are durable. The call goes on.
    fn answer_running(&mut self, slot: Slot, result: Result<Reply, Refusal>) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let Some(running) = device.busy.as_mut().and_then(|busy| busy.running.as_mut()) else {
            return;
        };
        let (id, exchange) = (running.id.take(), running.exchange);
        let sequence = device.sent(exchange).map_or(0, |sent| sent.sequence);
        if let Some(id) = id {
            self.counters.calls_timed_out += u64::from(result == Err(Refusal::TimedOut));
            self.reply_after(sequence, id, result);
        }
    }

    pub(crate) fn call_answered(&mut self, now: Now, slot: Slot, sent: &Sent, answer: Answer) {
        let Some(running) = self.take_running(slot, sent.exchange) else { return };
        match running.id {
            Some(id) => self.reply_after(sent.sequence, id, result_of(running.wanted, answer)),
            None => self.counters.answers_late += 1,
        }
        if model::planted!("call-wakeup-lost") && sent.exchange.0.is_multiple_of(16) {
            return;
        }
        self.start_calls(now, slot);
    }

    pub(crate) fn call_unsendable(&mut self, now: Now, slot: Slot, sent: &Sent) {
        let Some(running) = self.take_running(slot, sent.exchange) else { return };
        let bytes = self.devices.get(slot).map_or(0, |device| device.facts.argument_bytes_max());
        if let Some(id) = running.id {
            self.reply(id, Err(Refusal::ArgumentTooLong(bytes)));
        }
        self.start_calls(now, slot);
    }

    fn take_running(&mut self, slot: Slot, exchange: ExchangeId) -> Option<Running> {
        let busy = self.devices.get_mut(slot)?.busy.as_mut()?;
        busy.running.take_if(|running| running.exchange == exchange)
    }

    /// The attempt of a call cannot be written: the caller is told, the call itself goes on.
    pub(crate) fn attempt_refused(&mut self, slot: Slot, exchange: ExchangeId) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let Some(running) = device.busy.as_mut().and_then(|busy| busy.running.as_mut()) else {
            return;
        };
        if running.exchange != exchange {
            return;
        }
        if let Some(id) = running.id.take() {
            self.reply(id, Err(Refusal::Unavailable));
        }
        self.arm_calls(slot);
    }

    /// Ends the running call; its answer, should one come, is nobody's.
    pub(crate) fn fail_running(&mut self, slot: Slot, refusal: Refusal) {
        self.answer_running(slot, Err(refusal));
        if let Some(busy) = self.devices.get_mut(slot).and_then(|device| device.busy.as_mut()) {
            busy.running = None;
        }
    }

    /// Answers everybody who waits.
    pub(crate) fn fail_calls(&mut self, slot: Slot, refusal: Refusal) {
        let Some(busy) = self.devices.get_mut(slot).and_then(|device| device.busy.as_mut()) else {
            return;
        };
        for call in std::mem::take(&mut busy.calls) {
            self.reply(call.id, Err(refusal.clone()));
        }
    }

    /// The caller went away. What was sent goes on and counts.
    pub(crate) fn cancel(&mut self, device: DeviceId, request: RequestId) {
        let Some(slot) = self.devices.slot_of(device) else { return };
        if let Some(busy) = self.devices.get_mut(slot).and_then(|device| device.busy.as_mut()) {
            busy.calls.retain(|call| call.id != request);
        }
        self.arm_calls(slot);
        self.rest(slot);
    }
}

fn first_deadline(busy: &Busy) -> Option<Mono> {
    let running = busy.running.as_ref().map(|running| running.until);
    let waiting = busy.calls.front().map(|call| call.deadline);
    running.into_iter().chain(waiting).min()
}

/// From the first attempt until the device is given up, and a little for late timers.
fn all_attempts() -> Duration {
    TRANSMISSIONS.iter().sum::<Duration>() + Duration::from_secs(1)
}

/// What to send, with the name as the device described it.
fn message_of(device: &Device, ask: &Ask) -> Result<(CloudMessage, Wanted), Refusal> {
    let description = device.description();
    match ask {
        Ask::Function { name, argument } => {
            let described = description.and_then(|description| description.function(name));
            let name = described.ok_or_else(|| Refusal::UnknownFunction(name.to_string()))?.into();
            let bytes_max = device.facts.argument_bytes_max();
            if argument.len() > bytes_max {
                return Err(Refusal::ArgumentTooLong(bytes_max));
            }
            let argument = argument.clone();
            Ok((CloudMessage::FunctionCall { name, argument }, Wanted::Return))
        }
        Ask::Signal(on) => Ok((CloudMessage::Signal(*on), Wanted::Acceptance)),
        Ask::Variable { name } => {
            let described = description.and_then(|description| description.variable(name));
            let (name, of_type) = described.ok_or(Refusal::UnknownVariable)?;
            let name = name.into();
            Ok((CloudMessage::VariableRequest { name }, Wanted::Value(of_type)))
        }
    }
}

/// A device's internal error, for answers that make no sense.
const NONSENSE: Refusal = Refusal::DeviceFailed(500);
const NOT_FOUND: u16 = 404;

fn result_of(wanted: Wanted, answer: Answer) -> Result<Reply, Refusal> {
    match (wanted, answer) {
        (Wanted::Acceptance, Answer::Accepted) => Ok(Reply::Done),
        (Wanted::Return, Answer::Returned(value)) => Ok(Reply::Returned(value)),
        (Wanted::Value(of_type), Answer::Value(raw)) => {
            value_of(of_type, &raw).map(Reply::Value).ok_or(NONSENSE)
        }
        (Wanted::Value(_), Answer::Failed(NOT_FOUND)) => Err(Refusal::UnknownVariable),
        (_, Answer::Failed(code)) => Err(Refusal::DeviceFailed(code)),
        (_, Answer::Accepted | Answer::Described(_) | Answer::Returned(_) | Answer::Value(_)) => {
            Err(NONSENSE)
        }
    }
}

/// The value of a variable as it lies on the wire (`messages.md` §8.2); absent: of another length than
/// its type.
fn value_of(of_type: VariableType, raw: &[u8]) -> Option<VariableValue> {
    Some(match of_type {
        VariableType::Bool => VariableValue::Bool(*raw.first()? != 0),
        VariableType::Double => VariableValue::Double(f64::from_le_bytes(raw.try_into().ok()?)),
        VariableType::Int => VariableValue::Int(i32::from_be_bytes(raw.try_into().ok()?)),
        VariableType::String => VariableValue::String(String::from_utf8_lossy(raw).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_by_their_type() {
        let double = [0, 0, 0, 0, 0, 0, 0xF8, 0x3F];
        assert_eq!(value_of(VariableType::Double, &double), Some(VariableValue::Double(1.5)));
        let int = [0xFF, 0xFF, 0xFF, 0xFE];
        assert_eq!(value_of(VariableType::Int, &int), Some(VariableValue::Int(-2)));
        assert_eq!(value_of(VariableType::Bool, &[1]), Some(VariableValue::Bool(true)));
        let empty = VariableValue::String("".into());
        assert_eq!(value_of(VariableType::String, &[]), Some(empty));
    }

    #[test]
    fn a_value_of_the_wrong_length_is_no_value() {
        assert_eq!(value_of(VariableType::Int, &[1]), None);
        assert_eq!(value_of(VariableType::Double, &[1; 4]), None);
        assert_eq!(value_of(VariableType::Bool, &[]), None);
    }
}
