//! What a shard counts for the operator's eyes; the ledger is elsewhere.

/// Plain numbers since the shard began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Publishes accepted from devices.
    pub publishes_accepted: u64,
    /// Second copies of a publish.
    pub publishes_copied: u64,
    /// Publishes refused because the account is paused.
    pub publishes_paused: u64,
    /// Publishes refused because they came too fast.
    pub publishes_over_rate: u64,
    /// Messages of devices that nobody owns, acknowledged and dropped.
    pub messages_unowned: u64,
    /// Internal events that are not documented, acknowledged and dropped.
    pub internal_undocumented: u64,
    /// Internal events over their rate, acknowledged and dropped.
    pub internal_over_rate: u64,
    /// Events sent to devices (messages, not attempts).
    pub deliveries_sent: u64,
    /// Events dropped because a device's queue was full.
    pub deliveries_queue_full: u64,
    /// Events dropped because the device went offline before they were sent.
    pub deliveries_offline: u64,
    /// Events dropped because they are larger than the device takes.
    pub deliveries_too_large: u64,
    /// Events not sent to devices because the account is paused.
    pub deliveries_paused: u64,
    /// Publishes of callers refused because the account is paused.
    pub api_publishes_paused: u64,
    /// Calls and reads refused because the account is paused.
    pub calls_paused: u64,
    /// Calls, reads and signals sent to devices (messages, not attempts).
    pub calls_sent: u64,
    /// Calls refused because the device's queue was full.
    pub calls_queue_full: u64,
    /// Calls that were sent and not answered in time.
    pub calls_timed_out: u64,
    /// Answers that nobody waited for any more.
    pub answers_late: u64,
    /// Messages of sessions the shard did not know enough of, answered with a reset.
    pub resets: u64,
    /// Subscriptions refused because the device has too many.
    pub subscriptions_refused: u64,
    /// Claim codes told by devices.
    pub claims: u64,
    /// What waited for records that could not be written.
    pub store_refusals: u64,
    /// Devices known.
    pub devices: u64,
    /// Devices believed online.
    pub devices_online: u64,
}
