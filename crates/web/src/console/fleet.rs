//! All devices of an account, ready to be searched, filtered and sorted.
//!
//! A list of 100,000 devices is asked for again with each letter typed, so what it is looked up in is
//! kept in memory for those who look: the rows from the node's registry, and how the devices were at
//! most some seconds ago. The devices of the page that is shown are looked up anew.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{AccountId, DeviceId, DeviceState, Platform, ProductId, Timestamp};
use node::{FleetRow, Handle};
use store::{Store, StoreError};

use super::kept::Kept;

/// How old what is known of the devices' state may be, if reading it takes little time.
const FRESH: Duration = Duration::from_secs(2);
/// Devices whose whole states are held at once.
const ASKED_AT_ONCE: usize = 1_000;
/// Accounts whose fleets are kept; a further one takes the place of the one asked longest ago.
const KEPT_MAX: usize = 8;
/// Products of one account whose groups are kept.
const GROUPED_MAX: usize = 8;

/// The fleets of accounts whose console is open. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fleets {
    kept: Arc<Mutex<HashMap<AccountId, Arc<Slot>>>>,
}

/// One account's place.
#[derive(Debug)]
struct Slot {
    asked: Mutex<Instant>,
    fleet: Arc<Kept<Fleet>>,
    groups: Mutex<BTreeMap<ProductId, Arc<Kept<Groups>>>>,
}

/// The devices of each group of a product, by the group's name.
pub(super) type Groups = BTreeMap<String, Arc<HashSet<DeviceId>>>;

/// A fleet as it was when it was read.
#[derive(Debug)]
pub(super) struct Fleet {
    rows: Vec<Row>,
}

/// A device, as far as lists are searched and sorted by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) device: DeviceId,
    /// Whether the account itself owns it; else it owns the device's product.
    pub(super) owned: bool,
    pub(super) product: Option<ProductId>,
    /// In small letters.
    name: Option<Box<str>>,
    platform: Option<Platform>,
    pub(super) online: bool,
    last_heard: Option<Timestamp>,
    firmware: Option<u16>,
    system: Option<u16>,
}

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Firmware,
    LastHeard,
    Name,
    Online,
    Platform,
    Product,
    System,
}

/// Which devices, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// In small letters; part of a name or id.
    pub(super) text: String,
    pub(super) online: Option<bool>,
    pub(super) product: Option<ProductId>,
    /// The devices of the group that is asked for.
    pub(super) group: Option<Arc<HashSet<DeviceId>>>,
    pub(super) sort: Sort,
    pub(super) descending: bool,
}

impl Fleets {
    /// How many devices an account has.
    pub(super) async fn count(&self, handle: &Handle, account: AccountId) -> usize {
        self.fleet(handle, account).await.rows.len()
    }

    /// The account's fleet, read again if it is old or if a row changed.
    pub(super) async fn fleet(&self, handle: &Handle, account: AccountId) -> Arc<Fleet> {
        let (slot, own) = (self.slot(account), handle.clone());
        let read = move || async move { Ok::<_, Infallible>(Fleet::read(&own, account).await) };
        let Ok(fleet) = slot.fleet.get(handle.fleet_changes(), FRESH, read).await;
        fleet
    }

    /// The devices of a product's groups.
    pub(super) async fn groups(
        &self,
        store: &Arc<Store>,
        account: AccountId,
        product: ProductId,
    ) -> Result<Arc<Groups>, StoreError> {
        let (kept, store) = (self.slot(account).groups(product), Arc::clone(store));
        kept.get(0, Duration::ZERO, move || async move { read_groups(&store, product).await }).await
    }

    fn slot(&self, account: AccountId) -> Arc<Slot> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.contains_key(&account) && kept.len() >= KEPT_MAX {
            let oldest = kept.iter().min_by_key(|(_, slot)| slot.asked()).map(|(key, _)| *key);
            oldest.and_then(|key| kept.remove(&key));
        }
        let slot = kept.entry(account).or_insert_with(|| {
            Arc::new(Slot {
                asked: Mutex::new(Instant::now()),
                fleet: Arc::default(),
                groups: Mutex::default(),
            })
        });
        *slot.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Arc::clone(slot)
    }
}

impl Slot {
    fn asked(&self) -> Instant {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups(&self, product: ProductId) -> Arc<Kept<Groups>> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if !groups.contains_key(&product) && groups.len() >= GROUPED_MAX {
            groups.clear();
        }
        Arc::clone(groups.entry(product).or_default())
    }
}

async fn read_groups(store: &Store, product: ProductId) -> Result<Groups, StoreError> {
    let mut groups = BTreeMap::<String, HashSet<DeviceId>>::new();
    for (device, assignment) in store.assignments().of_product(product).await? {
        for group in assignment.groups {
            groups.entry(group).or_default().insert(device);
        }
    }
    Ok(groups.into_iter().map(|(name, devices)| (name, Arc::new(devices))).collect())
}

impl Fleet {
    async fn read(handle: &Handle, account: AccountId) -> Self {
        let known = handle.fleet(account);
        let mut rows = Vec::with_capacity(known.len());
        for some in known.chunks(ASKED_AT_ONCE) {
            let ids: Vec<DeviceId> = some.iter().map(|row| row.device).collect();
            let states = handle.states(&ids).await;
            rows.extend(some.iter().zip(&states).map(|(row, state)| Row::new(row, state)));
        }
        Self { rows }
    }

    /// How many devices there are, and how many are online.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.rows.len(), self.rows.iter().filter(|row| row.online).count())
    }

    /// The rows from `skip` on, at most `take`, of those that match; and how many match.
    pub(super) fn page(&self, asked: &Question, skip: usize, take: usize) -> (Vec<&Row>, usize) {
        let mut matching: Vec<&Row> = self.rows.iter().filter(|row| asked.matches(row)).collect();
        let (total, end) = (matching.len(), skip.saturating_add(take));
        // Only the page has to be in order.
        if skip > 0 && skip < total {
            matching.select_nth_unstable_by(skip, |a, b| asked.compare(a, b));
            matching.drain(..skip);
        }
        let rest = end.min(total).saturating_sub(skip);
        if skip >= total {
            return (Vec::new(), total);
        }
        if rest < matching.len() {
            matching.select_nth_unstable_by(rest, |a, b| asked.compare(a, b));
            matching.truncate(rest);
        }
        matching.sort_unstable_by(|a, b| asked.compare(a, b));
        (matching, total)
    }
}

impl Row {
    fn new(row: &FleetRow, state: &DeviceState) -> Self {
        Self {
            device: row.device,
            owned: row.owned,
            product: row.product,
            name: row.name.as_ref().map(|name| name.to_lowercase().into()),
            platform: state.platform.or(row.platform),
            online: state.online,
            last_heard: state.last_heard.max(row.last_heard),
            firmware: state.firmware_version,
            system: state.system_version,
        }
    }
}

impl Question {
    fn matches(&self, row: &Row) -> bool {
        self.online.is_none_or(|online| row.online == online)
            && self.product.is_none_or(|product| row.product == Some(product))
            && self.group.as_ref().is_none_or(|group| group.contains(&row.device))
            && self.matches_text(row)
    }

    fn matches_text(&self, row: &Row) -> bool {
        self.text.is_empty()
            || row.name.as_ref().is_some_and(|name| name.contains(&self.text))
            || has_digits(row.device, &self.text)
    }

    /// What is absent comes last either way; equal devices come by id.
    fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let down = self.descending;
        let order = match self.sort {
            Sort::Firmware => absent_last(a.firmware, b.firmware, down),
            Sort::LastHeard => absent_last(a.last_heard, b.last_heard, down),
            Sort::Name => absent_last(a.name.as_deref(), b.name.as_deref(), down),
            Sort::Online => absent_last(Some(Reverse(a.online)), Some(Reverse(b.online)), down),
            Sort::Platform => absent_last(a.platform, b.platform, down),
            Sort::Product => absent_last(a.product, b.product, down),
            Sort::System => absent_last(a.system, b.system, down),
        };
        order.then_with(|| a.device.cmp(&b.device))
    }
}

/// Whether a text is part of an id as it is written.
fn has_digits(device: DeviceId, text: &str) -> bool {
    let mut digits = [0; 24];
    if text.len() > digits.len() || hex::encode_to_slice(device.0, &mut digits).is_err() {
        return false;
    }
    digits.windows(text.len()).any(|part| part == text.as_bytes())
}

fn absent_last<T: Ord>(a: Option<T>, b: Option<T>, descending: bool) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if descending => b.cmp(&a),
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(names: &[Option<&str>]) -> Fleet {
        let row = |(number, name): (usize, &Option<&str>)| Row {
            device: DeviceId([u8::try_from(number).expect("small"); 12]),
            owned: true,
            product: None,
            name: name.map(Into::into),
            platform: None,
            online: number % 2 == 0,
            last_heard: None,
            firmware: None,
            system: None,
        };
        let rows = names.iter().enumerate().map(row).collect();
        Fleet { rows }
    }

    fn by_name(text: &str) -> Question {
        Question {
            text: text.into(),
            online: None,
            product: None,
            group: None,
            sort: Sort::Name,
            descending: false,
        }
    }

    fn shown(fleet: &Fleet, asked: &Question, skip: usize, take: usize) -> (Vec<u8>, usize) {
        let (rows, total) = fleet.page(asked, skip, take);
        (rows.iter().map(|row| row.device.0[0]).collect(), total)
    }

    #[test]
    fn pages_follow_each_other_in_order_and_devices_without_a_name_come_last() {
        let fleet = fleet(&[Some("c"), None, Some("a"), Some("b"), None]);
        let asked = by_name("");
        assert_eq!(shown(&fleet, &asked, 0, 2), (vec![2, 3], 5));
        assert_eq!(shown(&fleet, &asked, 2, 2), (vec![0, 1], 5));
        assert_eq!(shown(&fleet, &asked, 4, 2), (vec![4], 5));
        assert_eq!(shown(&fleet, &asked, 5, 2), (vec![], 5));
        assert_eq!(shown(&fleet, &asked, usize::MAX, 2), (vec![], 5));
        let down = Question { descending: true, ..asked };
        assert_eq!(shown(&fleet, &down, 0, 9), (vec![0, 3, 2, 1, 4], 5));
    }

    #[test]
    fn a_text_is_looked_for_in_names_and_ids() {
        let fleet = fleet(&[Some("pump 01"), Some("valve"), None]);
        assert_eq!(shown(&fleet, &by_name("pump"), 0, 9), (vec![0], 1));
        assert_eq!(shown(&fleet, &by_name("0101"), 0, 9), (vec![1], 1));
        assert_eq!(shown(&fleet, &by_name("none"), 0, 9), (vec![], 0));
    }

    #[test]
    fn online_devices_can_be_asked_for_alone() {
        let fleet = fleet(&[Some("a"), Some("b"), Some("c")]);
        let asked = Question { online: Some(true), ..by_name("") };
        assert_eq!(shown(&fleet, &asked, 0, 9), (vec![0, 2], 2));
        assert_eq!(fleet.counts(), (3, 2));
    }

    #[test]
    fn the_devices_of_a_group_can_be_asked_for_alone() {
        let fleet = fleet(&[Some("a"), Some("b"), Some("c")]);
        let group = Some(Arc::new(HashSet::from([DeviceId([2; 12]), DeviceId([9; 12])])));
        assert_eq!(shown(&fleet, &Question { group, ..by_name("") }, 0, 9), (vec![2], 1));
    }
}
