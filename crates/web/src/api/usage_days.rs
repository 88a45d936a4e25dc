//! What the devices of an account used on a day.

use std::collections::BTreeMap;

use model::{AccountId, Bearer, DeviceId, ProductId, Timestamp};
use store::{CarriedSum, Hour, Span, Store, StoreError, Sum};

/// A day in milliseconds.
pub(super) const DAY_MS: i64 = 86_400_000;

/// What a device used in a product (or in none) on a day, or in a month that is summed up and begins with the day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeviceDay {
    pub(super) device: DeviceId,
    pub(super) product: Option<ProductId>,
    /// Whether it is a month.
    pub(super) is_month: bool,
    pub(super) sum: Sum,
    /// Data Operations by kind.
    pub(super) kinds: BTreeMap<&'static str, u64>,
    pub(super) carried: CarriedSum,
    pub(super) is_cellular: bool,
}

impl DeviceDay {
    /// Adds what the same device used in another product.
    pub(super) fn add(&mut self, other: Self) {
        self.sum.add(other.sum);
        self.carried.add(other.carried);
        self.is_cellular |= other.is_cellular;
        for (kind, operations) in other.kinds {
            *self.kinds.entry(kind).or_default() += operations;
        }
    }
}

/// The devices that used something on the day that begins at `day`, by id.
pub(super) async fn devices_of(
    store: &Store,
    account: AccountId,
    day: Timestamp,
) -> Result<Vec<DeviceDay>, StoreError> {
    let (from, to) = (Hour::of(day), Hour::of(Timestamp(day.0.saturating_add(DAY_MS))));
    let mut lines = BTreeMap::<(DeviceId, Option<ProductId>, bool), DeviceDay>::new();
    for hour in store.ledger().device_hours(account, from, to).await? {
        let line = line_of(&mut lines, hour.device, hour.product, hour.span);
        line.sum.add(hour.sum);
        *line.kinds.entry(hour.kind.name()).or_default() += hour.sum.operations;
    }
    for hour in store.ledger().device_traffic(account, from, to).await? {
        let line = line_of(&mut lines, hour.device, hour.product, hour.span);
        line.carried.add(hour.sum);
        line.is_cellular |= hour.bearer != Bearer::Wifi;
    }
    Ok(lines.into_values().collect())
}

fn line_of(
    lines: &mut BTreeMap<(DeviceId, Option<ProductId>, bool), DeviceDay>,
    device: DeviceId,
    product: Option<ProductId>,
    span: Span,
) -> &mut DeviceDay {
    let is_month = span == Span::Month;
    lines.entry((device, product, is_month)).or_insert_with(|| DeviceDay {
        device,
        product,
        is_month,
        sum: Sum::default(),
        kinds: BTreeMap::new(),
        carried: CarriedSum::default(),
        is_cellular: false,
    })
}

/// A day as `2026-01-31`.
pub(super) fn date(day: Timestamp) -> String {
    let mut date = day.to_string();
    date.truncate("2026-01-31".len());
    date
}
