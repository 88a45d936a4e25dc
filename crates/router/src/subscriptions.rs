//! Which devices of the shard want which events, by account and prefix.

use std::collections::{BTreeMap, BTreeSet};

use model::event::{CBOR, STRUCTURED};
use model::message::{Subscribe, SubscriptionContent};
use model::{AccountId, DeviceId, Event, EventPrefix};

use crate::device::Slot;

/// The subscriptions of all devices of a shard. Finding those that match a name looks up its prefixes,
/// at most 65, whatever else is subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Index {
    accounts: BTreeMap<AccountId, AccountIndex>,
}

#[derive(Debug, Default)]
struct AccountIndex {
    subscribers: BTreeMap<EventPrefix, Subscribers>,
    /// Bit n is set if a prefix of n bytes is, or was, among the keys.
    lengths: u128,
}

/// Who subscribed to one prefix. Nearly all want the events of any device.
#[derive(Debug, Default)]
struct Subscribers {
    any: BTreeSet<Subscriber>,
    /// By the device wanted.
    of_device: BTreeSet<(DeviceId, Subscriber)>,
}

type Subscriber = (Slot, SubscriptionContent);

impl Index {
    /// Adds a subscription of the device in `slot`. Prefixes of internal names match nothing and are
    /// left out.
    pub(crate) fn insert(&mut self, account: AccountId, slot: Slot, subscribe: &Subscribe) {
        let prefix = subscribe.prefix.as_str();
        if is_internal(&subscribe.prefix) {
            return;
        }
        let index = self.accounts.entry(account).or_default();
        index.lengths |= 1 << prefix.len();
        let subscribers = match index.subscribers.get_mut(prefix) {
            Some(subscribers) => subscribers,
            None => index.subscribers.entry(subscribe.prefix.clone()).or_default(),
        };
        subscribers.insert(slot, subscribe);
    }

    /// The same prefix, sharing its text with the subscriptions that are there.
    pub(crate) fn shared(&self, account: AccountId, prefix: &EventPrefix) -> Option<EventPrefix> {
        let subscribers = &self.accounts.get(&account)?.subscribers;
        subscribers.get_key_value(prefix).map(|(shared, _)| shared.clone())
    }

    /// Takes a subscription out.
    pub(crate) fn remove(&mut self, account: AccountId, slot: Slot, subscribe: &Subscribe) {
        let Some(index) = self.accounts.get_mut(&account) else { return };
        let prefix = subscribe.prefix.as_str();
        let Some(subscribers) = index.subscribers.get_mut(prefix) else { return };
        subscribers.remove(slot, subscribe);
        if subscribers.is_empty() {
            index.subscribers.remove(prefix);
        }
        if index.subscribers.is_empty() {
            self.accounts.remove(&account);
        }
    }

    /// The devices that want `event`, each once, in the content that most of its matching handlers take.
    /// Internal events match nothing.
    pub(crate) fn matches(&self, event: &Event) -> Vec<(Slot, SubscriptionContent)> {
        let mut found = Vec::new();
        if let Some(index) = self.accounts.get(&event.account)
            && !event.name.is_internal()
        {
            index.collect(event, &mut found);
        }
        if model::planted!("wrong-account") && !event.name.is_internal() {
            self.accounts.values().for_each(|index| index.collect(event, &mut found));
        }
        let format = event.data.as_ref().map_or(0, |data| data.format);
        found.sort_unstable_by_key(|(slot, content)| (*slot, loss(*content, format)));
        found.dedup_by_key(|(slot, _)| *slot);
        found
    }
}

impl AccountIndex {
    fn collect(&self, event: &Event, found: &mut Vec<(Slot, SubscriptionContent)>) {
        let name = event.name.as_str();
        for length in (0..=name.len()).filter(|length| self.lengths >> length & 1 == 1) {
            let Some(prefix) = name.get(..length) else { continue };
            let Some(subscribers) = self.subscribers.get(prefix) else { continue };
            found.extend(&subscribers.any);
            if let Some(device) = event.device() {
                found.extend(subscribers.of_device(device));
            }
        }
    }
}

impl Subscribers {
    fn insert(&mut self, slot: Slot, subscribe: &Subscribe) {
        match subscribe.device {
            Some(device) => self.of_device.insert((device, (slot, subscribe.content))),
            None => self.any.insert((slot, subscribe.content)),
        };
    }

    fn remove(&mut self, slot: Slot, subscribe: &Subscribe) {
        match subscribe.device {
            Some(device) => self.of_device.remove(&(device, (slot, subscribe.content))),
            None => self.any.remove(&(slot, subscribe.content)),
        };
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.of_device.is_empty()
    }

    fn of_device(&self, device: DeviceId) -> impl Iterator<Item = Subscriber> {
        let first = (device, (Slot::FIRST, SubscriptionContent::Text));
        let last = (device, (Slot::LAST, SubscriptionContent::Cbor));
        self.of_device.range(first..=last).map(|(_, subscriber)| *subscriber)
    }
}

/// Whether every name that begins so is internal.
pub(crate) fn is_internal(prefix: &EventPrefix) -> bool {
    prefix.as_str().starts_with("spark") || prefix.as_str().starts_with("particle")
}

/// How much is lost of what the handlers of a device take when data of this format is sent as one of them
/// wants it, and only so. Structured data as JSON reaches all but those of CBOR, as CBOR all but those of
/// text, as it is only those of any format; CBOR itself is no text.
fn loss(content: SubscriptionContent, format: u16) -> u8 {
    match (format, content) {
        (STRUCTURED, SubscriptionContent::Text) | (CBOR, SubscriptionContent::Any) => 0,
        (STRUCTURED | CBOR, SubscriptionContent::Cbor) => 1,
        (STRUCTURED, SubscriptionContent::Any) | (CBOR, SubscriptionContent::Text) => 2,
        (_, SubscriptionContent::Any) => 0,
        (_, SubscriptionContent::Text) => 1,
        (_, SubscriptionContent::Cbor) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{EventId, EventName, Origin, Timestamp};

    const ACCOUNT: AccountId = AccountId(7);

    fn subscribe(prefix: &str) -> Subscribe {
        Subscribe {
            prefix: EventPrefix::parse(prefix.as_bytes()).expect("a prefix"),
            device: None,
            content: SubscriptionContent::Text,
        }
    }

    fn event(name: &str, device: u8) -> Event {
        Event {
            id: EventId(0),
            account: ACCOUNT,
            origin: Origin::Device(DeviceId([device; 12])),
            product: None,
            name: EventName::parse(name.as_bytes()).expect("a name"),
            data: None,
            ttl_s: 60,
            published_at: Timestamp(0),
        }
    }

    fn slots(index: &Index, event: &Event) -> Vec<u32> {
        index.matches(event).iter().map(|(slot, _)| slot.0).collect()
    }

    #[test]
    fn a_name_finds_every_prefix_of_itself_and_nothing_else() {
        let mut index = Index::default();
        for (n, prefix) in ["", "t", "te", "temp", "temp/", "tempo", "x"].iter().enumerate() {
            index.insert(ACCOUNT, Slot(n as u32), &subscribe(prefix));
        }
        assert_eq!(slots(&index, &event("temp", 1)), [0, 1, 2, 3]);
        assert_eq!(slots(&index, &event("temp/out", 1)), [0, 1, 2, 3, 4]);
        assert_eq!(slots(&index, &event("é", 1)), [0]);
    }

    #[test]
    fn internal_names_match_not_even_the_empty_prefix() {
        let mut index = Index::default();
        index.insert(ACCOUNT, Slot(0), &subscribe(""));
        index.insert(ACCOUNT, Slot(1), &subscribe("spark"));
        index.insert(ACCOUNT, Slot(2), &subscribe("spa"));
        assert!(slots(&index, &event("spark/status", 1)).is_empty());
        assert_eq!(slots(&index, &event("spagetti", 1)), [0, 2]);
    }

    #[test]
    fn a_device_with_two_matching_prefixes_is_found_once_with_the_widest_content() {
        let mut index = Index::default();
        let wide = Subscribe { content: SubscriptionContent::Any, ..subscribe("temp") };
        index.insert(ACCOUNT, Slot(3), &subscribe("te"));
        index.insert(ACCOUNT, Slot(3), &wide);
        assert_eq!(index.matches(&event("temp", 1)), [(Slot(3), SubscriptionContent::Any)]);
        index.remove(ACCOUNT, Slot(3), &wide);
        assert_eq!(index.matches(&event("temp", 1)), [(Slot(3), SubscriptionContent::Text)]);
    }

    #[test]
    fn of_overlapping_subscriptions_that_content_is_sent_which_most_of_them_take() {
        use SubscriptionContent::{Any, Cbor, Text};
        let of_format = |format| {
            let bytes = (&[0xA0][..]).into();
            Event { data: Some(model::EventData { format, bytes }), ..event("temp", 1) }
        };
        let content_of = |contents: [SubscriptionContent; 2], format| {
            let mut index = Index::default();
            for (content, prefix) in contents.into_iter().zip(["te", "temp"]) {
                index.insert(ACCOUNT, Slot(3), &Subscribe { content, ..subscribe(prefix) });
            }
            index.matches(&of_format(format))[0].1
        };
        assert_eq!(content_of([Text, Cbor], CBOR), Cbor);
        assert_eq!(content_of([Text, Any], CBOR), Any);
        assert_eq!(content_of([Text, Any], STRUCTURED), Text, "JSON reaches both");
        assert_eq!(content_of([Any, Cbor], STRUCTURED), Cbor, "plain CBOR reaches both");
        assert_eq!(content_of([Any, Text], 50), Any);
    }

    #[test]
    fn the_device_form_matches_events_of_that_device_only() {
        let mut index = Index::default();
        let form = Subscribe { device: Some(DeviceId([1; 12])), ..subscribe("te") };
        index.insert(ACCOUNT, Slot(0), &form);
        assert_eq!(slots(&index, &event("temp", 1)), [0]);
        assert!(slots(&index, &event("temp", 2)).is_empty());
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_behind() {
        let mut index = Index::default();
        index.insert(ACCOUNT, Slot(0), &subscribe("te"));
        index.remove(ACCOUNT, Slot(0), &subscribe("te"));
        assert!(index.accounts.is_empty());
    }
}
