//! Reads the journal as an auditor does: what is in there must follow the rules by itself.

use model::journal::{Charge, Entry, OperationKind};
use model::link::Source;
use model::{DeviceId, Event, EventId, Origin};

use super::Judge;
use crate::world::cloud::Journal;

/// A confirmable message is transmitted at most four times.
const COPIES_MAX: u32 = 3;

impl Judge {
    /// Reads what was added since the last time.
    pub(crate) fn read_journal(&mut self, journal: &Journal) {
        while let Some((_, entry)) = journal.entries.get(self.journal_read) {
            self.journal_read += 1;
            self.read(EventId(self.journal_read as u64), entry);
        }
        if journal.entries.len() < self.journal_read {
            self.fail("the journal became shorter".into());
        }
    }

    fn read(&mut self, place: EventId, entry: &Entry) {
        match entry {
            Entry::Attempt { charge, .. } => {
                self.tally.attempts += 1;
                self.audit(charge);
                self.read_attempt(charge);
            }
            Entry::Copy { source, charge, .. } => self.read_copy(source, charge),
            Entry::Publish { event, source, charge, .. } => {
                self.read_publish(place, event, source.as_ref(), charge.as_ref());
            }
            Entry::Session { device, full_handshake, .. } => {
                self.read_session(*device, *full_handshake);
            }
            Entry::Describe { .. }
            | Entry::Forget { .. }
            | Entry::Presence { .. }
            | Entry::Reserve { .. }
            | Entry::Subscribe { .. }
            | Entry::Traffic(_) => {}
        }
    }

    fn read_session(&mut self, device: DeviceId, full_handshake: bool) {
        let Some(index) = self.index_of(device) else { return };
        let watched = &mut self.devices[index];
        watched.last_session = self.journal_read;
        if full_handshake {
            watched.records.clear();
            watched.copies.clear();
        }
    }

    fn read_attempt(&mut self, charge: &Charge) {
        let Some(index) = self.index_of(charge.device) else { return };
        match charge.kind {
            OperationKind::FunctionCall => self.devices[index].attempts[0] += 1,
            OperationKind::VariableRequest => self.devices[index].attempts[1] += 1,
            OperationKind::Delivery => {}
            other => self.fail(format!("device {index}: an attempt of {other:?}")),
        }
    }

    /// A call or a read got its answer: so many attempts at least are durable.
    pub(super) fn answered(&mut self, index: usize, kind: usize) {
        let watched = &mut self.devices[index];
        watched.answers[kind] += 1;
        if watched.answers[kind] > watched.attempts[kind] {
            self.fail(format!("device {index}: an answer before its attempt is durable"));
        }
    }

    fn read_publish(
        &mut self,
        place: EventId,
        event: &Event,
        source: Option<&Source>,
        charge: Option<&Charge>,
    ) {
        if event.name.is_internal() {
            if charge.is_some() {
                self.fail(format!("the internal {event:?} is counted"));
            }
            return self.read_status(event);
        }
        self.publish_durable(place, event);
        self.check_paused(event);
        match (event.origin, source, charge) {
            (Origin::Device(device), Some(source), Some(charge)) => {
                let is_right = charge.device == device
                    && charge.account == event.account
                    && charge.kind == OperationKind::Publish
                    && charge.bytes as usize == event.data_bytes();
                if !is_right {
                    self.fail(format!("{event:?} is counted as {charge:?}"));
                }
                self.audit(charge);
                self.read_source(device, source, false);
            }
            (Origin::Api, None, None) => {}
            _ => self.fail(format!("{event:?} came from {source:?}, counted as {charge:?}")),
        }
    }

    fn read_copy(&mut self, source: &Source, charge: &Charge) {
        self.tally.copies += 1;
        self.audit(charge);
        if charge.kind != OperationKind::PublishCopy {
            self.fail(format!("a copy is counted as {charge:?}"));
        }
        self.read_source(charge.device, source, true);
    }

    /// Each counted message came in a record of its own, and no message more often than a device
    /// sends it.
    fn read_source(&mut self, device: DeviceId, source: &Source, is_copy: bool) {
        let Some(index) = self.index_of(device) else { return };
        let watched = &mut self.devices[index];
        if !watched.is_udp {
            if is_copy {
                self.fail(format!("device {index}: a copy over TCP"));
            }
            return;
        }
        let is_new = watched.records.insert(source.record);
        let copies = if is_copy {
            let copies = watched.copies.get_mut(&source.message_id);
            copies.map(|copies| {
                *copies += 1;
                *copies
            })
        } else {
            Some(*watched.copies.entry(source.message_id).or_insert(0))
        };
        match copies {
            _ if !is_new => self.fail(format!("device {index}: {source:?} is counted twice")),
            None => self.fail(format!("device {index}: a copy of nothing, {source:?}")),
            Some(COPIES_MAX..) if !is_copy => {}
            Some(count) if count > COPIES_MAX => {
                self.fail(format!("device {index}: {count} copies, {source:?}"));
            }
            Some(_) => {}
        }
    }

    fn audit(&mut self, charge: &Charge) {
        let Some(index) = self.index_of(charge.device) else {
            return self.fail(format!("{charge:?} for no device"));
        };
        if Some(charge.account) != self.devices[index].account || !self.is_right_price(charge) {
            self.fail(format!("device {index}: {charge:?}"));
        }
    }

    /// The disk refuses: what was to be told may be lost.
    pub(crate) fn disk_refuses(&mut self) {
        for device in &mut self.devices {
            device.last_status = None;
        }
    }

    /// Each change is told once. Over TCP a device is offline after a start without a word, and a
    /// session that another shard takes over ends without one.
    fn read_status(&mut self, event: &Event) {
        let Some(index) = event.device().and_then(|device| self.index_of(device)) else { return };
        let data = event.data.as_ref().map(|data| &*data.bytes);
        let is_online = match (event.name.as_str(), data) {
            ("spark/status", Some(b"online")) => true,
            ("spark/status", Some(b"offline")) => false,
            _ => return,
        };
        let watched = &mut self.devices[index];
        let before = watched.last_status.replace(is_online);
        let is_silent = self.shards > 1 && is_online;
        if watched.is_udp && !is_silent && before == Some(is_online) {
            self.fail(format!("device {index} is told online={is_online} twice"));
        }
    }
}
