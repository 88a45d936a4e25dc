//! Events of the system itself, by name (`messages.md` §10.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::limits::EVENT_TTL_S_DEFAULT;
use model::link::{Receipt, Source, Verdict};
use model::message::{Publish, SubscriptionContent};
use model::{AccountId, DeviceId, DeviceRow, Event, EventData, EventId, EventName, Now, Origin};
use rand::Rng;
use std::sync::Arc;

use crate::device::Slot;
use crate::presence::event_of;
use crate::shard::Shard;
use crate::{ClaimOutcome, Effect};

/// What the shard does with a documented event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Internal {
    /// Remember the largest file it takes.
    BinaryBytesMax,
    /// Remember the size of its chunks.
    ChunkBytes,
    /// Look the code up.
    ClaimCode,
    /// Answer with the public address.
    Ip,
    /// Answer with the device's name.
    Name,
    /// Answer with random text.
    Random,
    /// The application is not running.
    SafeMode,
    /// Show it to the owner, no more.
    Show,
    /// Remember whether updates are allowed.
    UpdatesEnabled,
    /// Remember whether updates are forced.
    UpdatesForced,
}

impl Internal {
    /// Absent: not documented, goes no further.
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            CLAIM_CODE => Self::ClaimCode,
            "spark/device/ip" | "particle/device/ip" => Self::Ip,
            "spark/device/name" | "particle/device/name" => Self::Name,
            "spark/device/random"
            | "particle/device/random"
            | "spark/device/random/seed"
            | "particle/device/random/seed" => Self::Random,
            "spark/device/safemode" => Self::SafeMode,
            "spark/hardware/max_binary" => Self::BinaryBytesMax,
            "spark/hardware/ota_chunk_size" => Self::ChunkBytes,
            "spark/device/last_reset"
            | "particle/device/updates/pending"
            | "spark/device/key/error"
            | "spark/device/ident/0"
            | "spark/cc3000-patch-version"
            | "spark/device/ota_result"
            | "spark/device/diagnostics/update" => Self::Show,
            "particle/device/updates/enabled" => Self::UpdatesEnabled,
            "particle/device/updates/forced" => Self::UpdatesForced,
            _ => return None,
        })
    }
}

const CLAIM_CODE: &str = "spark/device/claim/code";
const SAFE_MODE_STATUS: &str = "spark/status/safe-mode";
/// A claim code has 63 characters; what is longer is none.
const CLAIM_CODE_BYTES_MAX: usize = 63;
/// 40 base64 characters.
const RANDOM_BYTES: usize = 30;

impl Shard {
    /// An event whose name is the system's own: never counted, never matched to a subscription.
    pub(crate) fn internal_event(
        &mut self,
        now: Now,
        slot: Slot,
        publish: Publish,
        receipt: Option<Receipt>,
        source: Source,
    ) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        if !device.internal.take(now.mono) {
            self.counters.internal_over_rate += 1;
            return self.acknowledge_now(slot, receipt, Verdict::Accepted);
        }
        let Some(internal) = Internal::of(publish.name.as_str()) else {
            self.counters.internal_undocumented += 1;
            return self.acknowledge_now(slot, receipt, Verdict::Accepted);
        };
        match self.handle_internal(now, slot, internal, publish) {
            Some(shown) => self.show(now, slot, shown, receipt, source),
            None => self.acknowledge_now(slot, receipt, Verdict::Accepted),
        }
    }

    /// Does what the event asks for. Gives what the owner is to see.
    fn handle_internal(
        &mut self,
        now: Now,
        slot: Slot,
        internal: Internal,
        publish: Publish,
    ) -> Option<Publish> {
        match internal {
            Internal::BinaryBytesMax => {
                let told = number(publish.data.as_ref());
                let facts = &mut self.devices.get_mut(slot)?.facts;
                facts.set_binary_bytes_max(told.unwrap_or(0));
            }
            Internal::ChunkBytes => {
                let told = number(publish.data.as_ref()).and_then(|told| told.try_into().ok());
                self.devices.get_mut(slot)?.facts.set_chunk_bytes(told.unwrap_or(0));
            }
            // The code is a secret of its maker.
            Internal::ClaimCode => {
                self.claim(slot, publish.data.as_ref());
                return None;
            }
            Internal::Ip => self.answer_with_ip(now, slot, &publish.name),
            Internal::Name => self.answer_with_name(now, slot, &publish.name),
            Internal::Random => self.answer_with_random(now, slot, &publish.name),
            Internal::SafeMode => return self.enter_safe_mode(slot, publish),
            Internal::Show => {}
            Internal::UpdatesEnabled => {
                self.devices.get_mut(slot)?.marks.updates_enabled = truth(publish.data.as_ref());
                self.permission_changed(now, slot);
            }
            Internal::UpdatesForced => {
                self.devices.get_mut(slot)?.marks.updates_forced = truth(publish.data.as_ref());
                self.permission_changed(now, slot);
            }
        }
        Some(publish)
    }

    fn show(
        &mut self,
        now: Now,
        slot: Slot,
        shown: Publish,
        receipt: Option<Receipt>,
        source: Source,
    ) {
        let Some(device) = self.devices.get(slot) else { return };
        let Some(event) = event_of(device, shown.name, shown.data, now) else {
            self.counters.messages_unowned += 1;
            return self.acknowledge_now(slot, receipt, Verdict::Accepted);
        };
        let event = Event { ttl_s: shown.ttl_s, ..event };
        let publisher = self.publisher(slot, receipt);
        self.record_event(event, Some(source), None, publisher);
    }

    /// Functions and variables are out of force until the device describes itself anew.
    fn enter_safe_mode(&mut self, slot: Slot, publish: Publish) -> Option<Publish> {
        self.devices.get_mut(slot)?.marks.safe_mode = true;
        let name = EventName::parse(SAFE_MODE_STATUS.as_bytes()).ok()?;
        Some(Publish { name, ..publish })
    }

    fn claim(&mut self, slot: Slot, data: Option<&EventData>) {
        self.counters.claims += 1;
        let code = data.and_then(|data| std::str::from_utf8(&data.bytes).ok());
        let code = code.filter(|code| !code.is_empty() && code.len() <= CLAIM_CODE_BYTES_MAX);
        let Some(device) = self.devices.get(slot) else { return };
        if let Some((code, link)) = code.zip(device.link) {
            let device = device.id;
            self.effect(Effect::Claim { device, code: code.into(), link });
        }
    }

    /// Whatever came of a code that was looked up, the device is told to forget it.
    pub(crate) fn claimed(
        &mut self,
        now: Now,
        id: DeviceId,
        outcome: ClaimOutcome,
        row: Option<DeviceRow>,
    ) {
        let Some(slot) = self.devices.slot_of(id) else { return };
        match row {
            Some(row) => self.take_row(slot, row),
            None => return self.row_changed(now, id, None),
        }
        let Ok(name) = EventName::parse(CLAIM_CODE.as_bytes()) else { return };
        if outcome == ClaimOutcome::OwnedByOther {
            self.tell_owner(now, slot, &name);
        }
        if outcome != ClaimOutcome::NotLookedUp {
            self.answer(now, slot, &name, b"claimed");
        }
        self.rest(slot);
    }

    /// Somebody else has a claim code for the device.
    fn tell_owner(&mut self, now: Now, slot: Slot, name: &EventName) {
        let device = self.devices.get(slot);
        if let Some(event) = device.and_then(|device| event_of(device, name.clone(), None, now)) {
            self.record_event(event, None, None, crate::gate::Publisher::Nobody);
        }
    }

    fn answer_with_ip(&mut self, now: Now, slot: Slot, name: &EventName) {
        if let Some(device) = self.devices.get(slot) {
            let ip = device.peer.ip().to_canonical().to_string();
            self.answer(now, slot, name, ip.as_bytes());
        }
    }

    fn answer_with_name(&mut self, now: Now, slot: Slot, name: &EventName) {
        if let Some(device) = self.devices.get(slot) {
            let text = device.row.name.clone().unwrap_or_default();
            self.answer(now, slot, name, text.as_bytes());
        }
    }

    fn answer_with_random(&mut self, now: Now, slot: Slot, name: &EventName) {
        let mut bytes = [0; RANDOM_BYTES];
        self.random.fill_bytes(&mut bytes);
        self.answer(now, slot, name, STANDARD.encode(bytes).as_bytes());
    }

    /// Sends an event of the system to this device alone.
    pub(crate) fn answer(&mut self, now: Now, slot: Slot, name: &EventName, data: &[u8]) {
        let Some(device) = self.devices.get(slot) else { return };
        let event = Event {
            id: EventId(0),
            account: device.row.account.unwrap_or(NOBODY),
            origin: Origin::Internal,
            product: device.row.product,
            name: name.clone(),
            data: Some(EventData { format: 0, bytes: data.into() }),
            ttl_s: EVENT_TTL_S_DEFAULT,
            published_at: now.utc,
        };
        self.enqueue(now, slot, &Arc::new(event), SubscriptionContent::Text);
    }
}

/// Accounts begin at 1; an event to a device that nobody owns goes to that device only.
const NOBODY: AccountId = AccountId(0);

fn number(data: Option<&EventData>) -> Option<u32> {
    std::str::from_utf8(&data?.bytes).ok()?.parse().ok()
}

fn truth(data: Option<&EventData>) -> Option<bool> {
    match &*data?.bytes {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}
