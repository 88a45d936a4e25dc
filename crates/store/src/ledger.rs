//! The ledger: sums of what was counted, by account, product, device, kind and UTC hour; old ones by day and by month.
//!
//! A day's or month's sum is told with its first hour, and belongs to every range in which that hour lies. So ranges
//! without gap and overlap have every sum once, however old, and those of billing periods are exact.
//!
//! Folded from the journal's charges; what was committed within the last second or so may be missing
//! until [`crate::Store::settle`].

use async_trait::async_trait;
use model::journal::OperationKind;
use model::{AccountId, Bearer, DeviceId, ProductId, Timestamp};

use crate::{Span, StoreError};

/// A UTC hour: whole hours since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub i64);

impl Hour {
    /// The hour this moment lies in.
    pub fn of(at: Timestamp) -> Self {
        Self(at.0.div_euclid(3_600_000))
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(3_600_000))
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Messages, whatever they cost.
    pub messages: u64,
    /// Data Operations.
    pub operations: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

impl Sum {
    /// Adds another sum.
    pub fn add(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.operations = self.operations.saturating_add(other.operations);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Bytes over the carrier, with their headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CarriedSum {
    /// From devices.
    pub received: u64,
    /// To devices.
    pub sent: u64,
}

impl CarriedSum {
    /// Adds another sum.
    pub fn add(&mut self, other: Self) {
        self.received = self.received.saturating_add(other.received);
        self.sent = self.sent.saturating_add(other.sent);
    }

    /// Both directions.
    pub fn total(self) -> u64 {
        self.received.saturating_add(self.sent)
    }
}

/// Bytes of one device in one hour, day or month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceTraffic {
    /// Which device.
    pub device: DeviceId,
    /// The hour, or the first one.
    pub hour: Hour,
    /// How much time.
    pub span: Span,
    /// The product it was in.
    pub product: Option<ProductId>,
    /// How it was connected.
    pub bearer: Bearer,
    /// How much.
    pub sum: CarriedSum,
}

/// The sum of one account, product and kind in one hour, day or month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountHour {
    /// The hour, or the first one.
    pub hour: Hour,
    /// How much time.
    pub span: Span,
    /// Which product; absent: devices outside of products.
    pub product: Option<ProductId>,
    /// What was counted.
    pub kind: OperationKind,
    /// How much.
    pub sum: Sum,
}

/// The sum of one device and kind in one hour, day or month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceHour {
    /// Which device.
    pub device: DeviceId,
    /// The hour, or the first one.
    pub hour: Hour,
    /// How much time.
    pub span: Span,
    /// The product it was in.
    pub product: Option<ProductId>,
    /// What was counted.
    pub kind: OperationKind,
    /// How much.
    pub sum: Sum,
}

/// The ledger, to read. Ranges are half open: from the first hour up to, not including, the second.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The total of an account.
    async fn total(&self, account: AccountId, from: Hour, to: Hour) -> Result<Sum, StoreError>;
    /// The sums of an account, by hour, product and kind.
    async fn account_hours(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<AccountHour>, StoreError>;
    /// The sums of an account's devices, by hour, device, product and kind.
    async fn device_hours(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<DeviceHour>, StoreError>;
    /// Bytes over the carrier of an account, by bearer.
    async fn carried(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<(Bearer, CarriedSum)>, StoreError>;
    /// Bytes of an account's devices, by hour, device, product and bearer.
    async fn device_traffic(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<DeviceTraffic>, StoreError>;
    /// Bytes of one device, by hour, product and bearer.
    async fn traffic_of_device(
        &self,
        account: AccountId,
        device: DeviceId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<DeviceTraffic>, StoreError>;
    /// The sums of one device, by hour, product and kind.
    async fn hours_of_device(
        &self,
        account: AccountId,
        device: DeviceId,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<DeviceHour>, StoreError>;
    /// The devices of an account that used most Data Operations, at most `limit`, most first.
    async fn busiest_devices(
        &self,
        account: AccountId,
        from: Hour,
        to: Hour,
        limit: u32,
    ) -> Result<Vec<(DeviceId, Sum)>, StoreError>;
}
