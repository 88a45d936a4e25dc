//! Every metric of the device side, declared once. `docs/operate/metrics.md` tells when to worry.

use std::time::Duration;

use metering::Matter;
use metrics::{Unit, counter, gauge, histogram};
use model::journal::{Charge, Entry, OperationKind};

/// A declared metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As it is exported.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// One sentence.
    pub description: &'static str,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Its distribution is kept.
    Histogram,
}

macro_rules! declare {
    ($($constant:ident = $name:literal, $kind:ident, $unit:ident, $description:literal;)*) => {
        $(pub(crate) const $constant: &str = $name;)*

        /// All metrics of the device side.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            unit: Unit::$unit,
            description: $description,
        },)*];
    };
}

declare! {
    API_PUBLISHES_REFUSED = "cloudchamber_api_publishes_refused_total", Counter, Count,
        "Publishes of callers that were refused, by reason: paused.";
    CALLS = "cloudchamber_calls_total", Counter, Count,
        "Calls, reads and signals, by outcome: sent, paused, queue_full, timed_out, late (answered when nobody waited).";
    CLAIMS = "cloudchamber_claims_total", Counter, Count, "Claim codes told by devices.";
    COMMITS_FAILED = "cloudchamber_commits_failed_total", Counter, Count,
        "Groups of records that the journal refused.";
    COMMIT_ENTRIES = "cloudchamber_commit_entries", Histogram, Count, "Records in one commit.";
    COMMIT_SECONDS = "cloudchamber_commit_seconds", Histogram, Seconds,
        "Time of one commit: a write and an fdatasync.";
    CONNECTIONS_CLOSED = "cloudchamber_connections_closed_total", Counter, Count,
        "Connections that ended badly, by reason: alert, malformed_stream, slow_reader.";
    CONNECTIONS_REFUSED = "cloudchamber_tcp_connections_refused_total", Counter, Count,
        "TCP connections not accepted, by reason: full, address_full, refusing.";
    COOKIES = "cloudchamber_dtls_cookies_sent_total", Counter, Count,
        "ClientHellos answered with a cookie.";
    DATAGRAMS = "cloudchamber_udp_datagrams_total", Counter, Count,
        "Datagrams, by direction: received, sent, forwarded (to another shard).";
    DATAGRAMS_DROPPED = "cloudchamber_datagrams_dropped_total", Counter, Count,
        "Datagrams dropped, by reason.";
    DATAGRAM_BYTES = "cloudchamber_udp_bytes_total", Counter, Bytes,
        "Bytes of datagrams, by direction: received, sent.";
    DELIVERIES = "cloudchamber_deliveries_total", Counter, Count,
        "Events for devices, by outcome: sent, paused, queue_full, offline, too_large.";
    DEVICES = "cloudchamber_devices", Gauge, Count, "Devices known to the shards.";
    DEVICES_ONLINE = "cloudchamber_devices_online", Gauge, Count, "Devices believed online.";
    DEVICES_REFUSED = "cloudchamber_devices_refused_total", Counter, Count,
        "Devices that could not be added because the plan of their account allows no more.";
    DTLS_FAILURES = "cloudchamber_dtls_failures_total", Counter, Count,
        "Key exchanges that came to nothing, by reason: failed, unknown_key.";
    DTLS_HANDSHAKES = "cloudchamber_dtls_handshakes_total", Counter, Count,
        "Full DTLS handshakes completed.";
    DTLS_RESUMES = "cloudchamber_dtls_resumes_total", Counter, Count,
        "Times a DTLS session went on without a handshake after a restart, silence, Goodbye or a new address.";
    EVENTS_MISSED = "cloudchamber_stream_events_missed_total", Counter, Count,
        "Events that found the queue of a stream's reader full.";
    HELLOS_REFUSED = "cloudchamber_hellos_refused_total", Counter, Count,
        "Hellos with an id that the device's key is not registered for.";
    INBOX_REFUSED = "cloudchamber_inbox_refused_total", Counter, Count,
        "Requests, datagrams and events that found a shard's inbox full, by kind.";
    MESSAGES = "cloudchamber_messages_received_total", Counter, Count,
        "CoAP messages taken from devices.";
    MESSAGES_DROPPED = "cloudchamber_messages_dropped_total", Counter, Count,
        "Authentic messages that went no further, by reason.";
    NOTICES = "cloudchamber_notices_total", Counter, Count,
        "Notices to accounts about their limits, by kind: threshold, paused, resumed, blocks_added.";
    OPERATIONS = "cloudchamber_operations_total", Counter, Count,
        "Data Operations made durable, by kind.";
    POOL_WAITING = "cloudchamber_pool_waiting", Gauge, Count, "Public-key jobs that wait for a thread.";
    PUBLISHES = "cloudchamber_publishes_total", Counter, Count,
        "Publishes of devices, by outcome: accepted, copied, paused, over_rate.";
    RECORDS_WAITING = "cloudchamber_records_waiting", Gauge, Count,
        "Records that are not durable yet.";
    RELEASES_HALTED = "cloudchamber_releases_halted_total", Counter, Count,
        "Releases that stopped by themselves.";
    RESETS = "cloudchamber_sessions_reset_total", Counter, Count,
        "Sessions that the server knew too little of and ended with a reset.";
    SESSIONS = "cloudchamber_sessions_opened_total", Counter, Count,
        "Sessions that began with a Hello.";
    STORE_REFUSALS = "cloudchamber_store_refusals_total", Counter, Count,
        "Messages and requests refused because a record could not be written.";
    STREAMS = "cloudchamber_streams", Gauge, Count, "Open event streams.";
    SUBSCRIPTIONS_REFUSED = "cloudchamber_subscriptions_refused_total", Counter, Count,
        "Subscriptions of devices that had too many.";
    TASKS = "cloudchamber_tasks", Gauge, Count,
        "Tasks of the HTTP side and of the background that are alive.";
    TCP_CONNECTIONS = "cloudchamber_tcp_connections", Gauge, Count, "Open TCP connections.";
    TCP_FAILURES = "cloudchamber_tcp_failures_total", Counter, Count,
        "TCP connections that ended before their key exchange was done, by reason.";
    TCP_HANDSHAKES = "cloudchamber_tcp_handshakes_total", Counter, Count,
        "RSA handshakes completed.";
    UPDATES = "cloudchamber_updates_total", Counter, Count,
        "Updates that are over, by outcome: success, failed, cancelled.";
    UPDATES_OPEN = "cloudchamber_updates_open", Gauge, Count,
        "Updates that are not over, those that wait for their device included.";
    UPDATE_BYTES = "cloudchamber_update_bytes_total", Counter, Bytes,
        "Bytes of chunks sent, repetitions included.";
}

/// Tells the exporter what each metric means. Call it once the exporter is installed.
pub fn describe() {
    for Metric { name, kind, unit, description } in METRICS.iter().copied() {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, unit, description),
            Kind::Gauge => metrics::describe_gauge!(name, unit, description),
            Kind::Histogram => metrics::describe_histogram!(name, unit, description),
        }
    }
}

/// An update is over.
pub(crate) fn update_over(outcome: &'static str) {
    counter!(UPDATES, "outcome" => outcome).increment(1);
}

/// So many updates are not over.
pub(crate) fn updates_open(open: usize) {
    gauge!(UPDATES_OPEN).set(count(open));
}

/// A release stopped by itself.
pub(crate) fn release_halted() {
    counter!(RELEASES_HALTED).increment(1);
}

/// One commit ended.
pub(crate) fn commit(entries: usize, took: Duration, ok: bool) {
    if !ok {
        counter!(COMMITS_FAILED).increment(1);
        return;
    }
    histogram!(COMMIT_SECONDS).record(took.as_secs_f64());
    histogram!(COMMIT_ENTRIES).record(count(entries));
}

/// Data Operations became durable.
pub(crate) fn operations(entries: &[Entry]) {
    let mut sums = [0_u64; OperationKind::ALL.len()];
    for charge in entries.iter().flat_map(charges) {
        if let Some(place) = OperationKind::ALL.iter().position(|kind| *kind == charge.kind) {
            sums[place] += u64::from(charge.operations);
        }
    }
    for (kind, sum) in OperationKind::ALL.into_iter().zip(sums).filter(|(_, sum)| *sum > 0) {
        counter!(OPERATIONS, "kind" => kind.name()).increment(sum);
    }
}

fn charges(entry: &Entry) -> impl Iterator<Item = &Charge> {
    let (first, second) = match entry {
        Entry::Attempt { charge, .. } | Entry::Copy { charge, .. } => (Some(charge), None),
        Entry::Publish { charge, point, .. } => (charge.as_ref(), point.as_ref()),
        Entry::Describe { .. }
        | Entry::Forget { .. }
        | Entry::Presence { .. }
        | Entry::Reserve { .. }
        | Entry::Session { .. }
        | Entry::Subscribe { .. }
        | Entry::Traffic(_) => (None, None),
    };
    first.into_iter().chain(second)
}

/// An account is told something about its limits.
pub(crate) fn notice(matter: &Matter) {
    let kind = match matter {
        Matter::BlocksAdded { .. } => "blocks_added",
        Matter::Paused(_) => "paused",
        Matter::Resumed => "resumed",
        Matter::Threshold { .. } => "threshold",
    };
    counter!(NOTICES, "kind" => kind).increment(1);
}

/// Devices could not be added to an account.
pub(crate) fn devices_refused(count: u64) {
    counter!(DEVICES_REFUSED).increment(count);
}

/// Something found a shard's inbox full.
pub(crate) fn inbox_refused(kind: &'static str) {
    counter!(INBOX_REFUSED, "kind" => kind).increment(1);
}

/// A datagram was dropped by the shell.
pub(crate) fn datagram_dropped(reason: &'static str) {
    datagrams_dropped(reason, 1);
}

/// Datagrams were dropped by the shell.
pub(crate) fn datagrams_dropped(reason: &'static str, many: usize) {
    counter!(DATAGRAMS_DROPPED, "reason" => reason).increment(many as u64);
}

/// A connection ended badly.
pub(crate) fn connection_closed(reason: &'static str) {
    counter!(CONNECTIONS_CLOSED, "reason" => reason).increment(1);
}

/// A TCP connection was not accepted.
pub(crate) fn connection_refused(reason: &'static str) {
    counter!(CONNECTIONS_REFUSED, "reason" => reason).increment(1);
}

/// A TCP connection ended before its key exchange was done.
pub(crate) fn tcp_failed(reason: &'static str) {
    counter!(TCP_FAILURES, "reason" => reason).increment(1);
}

/// Open TCP connections.
pub(crate) fn tcp_connections(open: usize) {
    gauge!(TCP_CONNECTIONS).set(count(open));
}

/// What belongs to no shard.
pub(crate) fn shared(tasks: usize, pool_waiting: usize, streams: usize, events_missed: u64) {
    gauge!(TASKS).set(count(tasks));
    gauge!(POOL_WAITING).set(count(pool_waiting));
    gauge!(STREAMS).set(count(streams));
    counter!(EVENTS_MISSED).absolute(events_missed);
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PAGE: &str = include_str!("../../../docs/operate/metrics.md");

    #[test]
    fn the_operators_page_names_every_metric_with_its_kind() {
        for Metric { name, kind, .. } in METRICS {
            let row = format!("| `{name}` | {} |", format!("{kind:?}").to_lowercase());
            assert!(PAGE.contains(&row), "docs/operate/metrics.md has no row beginning {row}");
        }
    }

    #[test]
    fn names_are_unique_sorted_and_counters_end_in_total() {
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for Metric { name, kind, .. } in METRICS {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        }
    }

    #[test]
    fn only_completed_handshakes_are_counted_under_a_name_that_says_handshakes() {
        let named: Vec<_> =
            METRICS.iter().map(|metric| metric.name).filter(|n| n.contains("handshake")).collect();
        assert_eq!(
            named,
            ["cloudchamber_dtls_handshakes_total", "cloudchamber_tcp_handshakes_total"]
        );
    }
}
