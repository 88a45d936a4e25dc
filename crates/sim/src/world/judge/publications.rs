//! Events: from whom, to whom, how often.

use std::sync::Arc;

use model::{AccountId, DeviceId, Event, EventId, Mono, Origin};

use super::Judge;
use crate::device::application::ReceivedEvent;
use crate::world::step::LINGERS;

/// One publish, known by the serial number in its data.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) account: Option<AccountId>,
    /// The device that made it; absent for the API.
    pub(super) device: Option<usize>,
    name: String,
    made_at: Mono,
    /// The id under which it is durable.
    pub(super) durable: Option<EventId>,
    /// The server start in which its maker was told that it is refused.
    pub(super) refused: Option<u32>,
}

impl Judge {
    /// The data of the next event.
    pub(crate) fn next_data(&self) -> String {
        format!("{DATA_PREFIX}{}", self.publications.len())
    }

    /// A device published what [`Self::next_data`] gave.
    pub(crate) fn device_published(&mut self, now: Mono, index: usize, number: u64, name: &str) {
        let serial = self.publications.len() as u64;
        let device = &mut self.devices[index];
        device.by_number.insert(number, serial);
        let account = device.account;
        self.push(now, account, Some(index), name);
    }

    /// A caller published it; gives its serial number.
    pub(crate) fn caller_published(&mut self, now: Mono, account: AccountId, name: &str) -> u64 {
        self.push(now, Some(account), None, name);
        self.publications.len() as u64 - 1
    }

    fn push(
        &mut self,
        made_at: Mono,
        account: Option<AccountId>,
        device: Option<usize>,
        name: &str,
    ) {
        self.tally.publishes += 1;
        let (name, durable, refused) = (name.to_owned(), None, None);
        let publication = Publication { account, device, name, made_at, durable, refused };
        self.publications.push(publication);
    }

    /// The device was told what became of its publish.
    pub(super) fn publish_answered(&mut self, now: Mono, index: usize, number: u64, code: u16) {
        let Some(serial) = self.devices[index].by_number.get(&number).copied() else {
            return self.fail(format!("device {index}: an answer to publish {number}"));
        };
        let (starts, stopped_at) = (self.starts, self.stopped_at);
        let publication = &mut self.publications[serial as usize];
        let may_precede_stop = publication.made_at <= stopped_at && now.since(stopped_at) < LINGERS;
        match code {
            0 if publication.account.is_some() && publication.durable.is_none() => {
                self.fail(format!("device {index}: p{serial} is acknowledged and not durable"));
            }
            0 => {}
            // What a start remembers is what was acknowledged (decisions, "A crash"), and a refusal is in
            // no journal. One that was under way when the server stopped is not one of the next start,
            // which may take a later copy, before the refusal is heard or after.
            403 | 429 | 503 if may_precede_stop => {}
            403 | 429 | 503 => {
                publication.refused = publication.durable.is_none().then_some(starts);
                // A copy that the disk does not take is answered so, whatever became of the first one.
                if publication.durable.is_some() && code != 503 {
                    self.fail(format!("device {index}: p{serial} is durable, answered {code}"));
                }
            }
            other => self.fail(format!("device {index}: p{serial} is answered {other}")),
        }
    }

    /// An event is in the journal.
    pub(super) fn publish_durable(&mut self, id: EventId, event: &Event) {
        let Some(serial) = serial_of(event) else {
            return self.fail(format!("{event:?} was made by nobody"));
        };
        self.tally.durable += 1;
        let device = match event.origin {
            Origin::Device(device) => self.index_of(device),
            Origin::Api | Origin::Internal => None,
        };
        let starts = self.starts;
        let Some(publication) = self.publications.get_mut(serial as usize) else {
            return self.fail(format!("{event:?} was made by nobody"));
        };
        let is_same = publication.account == Some(event.account)
            && publication.device == device
            && publication.name == event.name.as_str();
        let before = publication.durable.replace(id);
        if !is_same {
            self.fail(format!("{event:?} was made otherwise"));
        } else if let Some(before) = before {
            self.fail(format!("p{serial} is durable twice, as {before} and {id}"));
        } else if publication.refused == Some(starts) {
            self.fail(format!("p{serial} was refused and is durable"));
        }
    }

    /// An event is shown on the streams.
    pub(crate) fn notified(&mut self, shard: usize, event: &Event) {
        if !self.shown.insert(event.id) {
            self.fail(format!("event {} is shown twice", event.id));
        }
        if let Some(before) = self.last_shown.insert(shard, event.id)
            && before >= event.id
        {
            self.fail(format!("event {} is shown after {before}", event.id));
        }
        if event.id.0 > self.journal_read as u64 {
            self.fail(format!("event {} is shown and not durable", event.id));
        }
        if event.name.is_internal() {
            return;
        }
        let publication = serial_of(event).and_then(|s| self.publications.get(s as usize));
        if publication.is_none_or(|publication| publication.durable != Some(event.id)) {
            self.fail(format!("{event:?} is shown, {publication:?} was published"));
        }
    }

    /// An event goes to a device.
    pub(crate) fn sent(&mut self, device: DeviceId, event: &Arc<Event>) {
        let Some(index) = self.index_of(device) else { return };
        if !event.name.is_internal() && !self.sent_to.insert((index, event.id)) {
            self.fail(format!("device {index} is sent event {} twice", event.id));
        }
        // What the server tells a device alone has no account if the device has none.
        let account = self.devices[index].account.unwrap_or(AccountId(0));
        if account != event.account {
            self.fail(format!("device {index} is sent {event:?} of another account"));
        }
    }

    /// An application saw an event.
    pub(super) fn received(&mut self, index: usize, event: &ReceivedEvent) {
        if event.name.starts_with("spark") || event.name.starts_with("particle") {
            return;
        }
        self.tally.received += 1;
        let data = event.data.as_deref().unwrap_or_default();
        let serial = serial_in(data).filter(|serial| *serial < self.publications.len() as u64);
        let Some(serial) = serial else {
            return self.fail(format!("device {index} receives {event:?}"));
        };
        let publication = &self.publications[serial as usize];
        let device = &mut self.devices[index];
        let is_first = device.received.insert((device.connection, serial));
        if publication.account != device.account || publication.name != event.name {
            let what = format!("device {index} receives {event:?}, made as {publication:?}");
            self.fail(what);
        } else if publication.durable.is_none() {
            self.fail(format!("device {index} receives p{serial}, which is not durable"));
        } else if !is_first {
            self.fail(format!("device {index} receives p{serial} twice"));
        }
    }

    /// Whether an application saw the event in its present connection.
    pub(crate) fn has_received(&self, index: usize, serial: u64) -> bool {
        let device = &self.devices[index];
        device.received.contains(&(device.connection, serial))
    }

    pub(crate) fn is_durable(&self, serial: u64) -> bool {
        self.publications[serial as usize].durable.is_some()
    }

    /// The serial number of the last publish.
    pub(crate) fn last_serial(&self) -> u64 {
        self.publications.len() as u64 - 1
    }

    /// The server is started: the shards number their events anew, what was refused is forgotten.
    pub(crate) fn starts(&mut self) {
        self.starts += 1;
        self.updates_start();
        self.last_shown.clear();
    }
}

const DATA_PREFIX: &str = "p";

fn serial_of(event: &Event) -> Option<u64> {
    serial_in(&event.data.as_ref()?.bytes)
}

fn serial_in(data: &[u8]) -> Option<u64> {
    std::str::from_utf8(data).ok()?.strip_prefix(DATA_PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use model::{EventData, EventName, Timestamp};

    use super::*;
    use crate::device::profile::Profile;
    use crate::world::judge::Watched;

    #[test]
    fn a_refusal_under_way_when_the_server_stopped_does_not_bind_the_next_start() {
        for is_heard_first in [true, false] {
            let mut judge = published_and_stopped();
            if is_heard_first {
                judge.publish_answered(seconds(11), 0, 1, 403);
            }
            judge.publish_durable(EventId(1), &event());
            if !is_heard_first {
                judge.publish_answered(seconds(11), 0, 1, 403);
            }
            assert_eq!(judge.broken, [""; 0]);
        }
    }

    #[test]
    fn a_publish_that_the_running_server_refused_must_not_become_durable() {
        let mut judge = published_and_stopped();
        judge.publish_answered(seconds(10).after(LINGERS), 0, 1, 403);
        judge.publish_durable(EventId(1), &event());
        assert_eq!(judge.broken, ["p0 was refused and is durable"]);
    }

    #[test]
    fn a_publish_made_after_the_stop_is_refused_by_the_next_start_alone() {
        let mut judge = published_and_stopped();
        judge.device_published(seconds(11), 0, 2, NAME);
        judge.publish_answered(seconds(12), 0, 2, 403);
        judge.publish_durable(EventId(1), &Event { data: text("p1"), ..event() });
        assert_eq!(judge.broken, ["p1 was refused and is durable"]);
    }

    /// Published at 8 s; the server stopped at 10 s and started again.
    fn published_and_stopped() -> Judge {
        let watched = Watched::new(DEVICE, Some(AccountId(1)), &Profile::os6());
        let mut judge = Judge::new(vec![watched], 1);
        judge.starts();
        judge.device_published(seconds(8), 0, 1, NAME);
        judge.server_stopped(seconds(10));
        judge.starts();
        judge
    }

    fn event() -> Event {
        Event {
            id: EventId(0),
            account: AccountId(1),
            origin: Origin::Device(DEVICE),
            product: None,
            name: EventName::parse(NAME.as_bytes()).unwrap(),
            data: text("p0"),
            ttl_s: 60,
            published_at: Timestamp(0),
        }
    }

    fn text(data: &str) -> Option<EventData> {
        Some(EventData { format: 0, bytes: data.as_bytes().into() })
    }

    fn seconds(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000)
    }

    const DEVICE: DeviceId = DeviceId([9; 12]);
    const NAME: &str = "other";
}
