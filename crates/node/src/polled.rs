//! What an endpoint and a shard count are plain numbers, read once a second; a packet costs nothing
//! here.

use metrics::{counter, gauge};

use crate::metrics::{
    API_PUBLISHES_REFUSED, CALLS, CLAIMS, CONNECTIONS_CLOSED, COOKIES, DATAGRAM_BYTES, DATAGRAMS,
    DATAGRAMS_DROPPED, DELIVERIES, DEVICES, DEVICES_ONLINE, DTLS_FAILURES, DTLS_HANDSHAKES,
    DTLS_RESUMES, HELLOS_REFUSED, MESSAGES, MESSAGES_DROPPED, PUBLISHES, RECORDS_WAITING, RESETS,
    SESSIONS, STORE_REFUSALS, SUBSCRIPTIONS_REFUSED, TCP_HANDSHAKES, UPDATE_BYTES,
};

/// One number of an endpoint or a shard, and where it is exported.
struct Source<C> {
    name: &'static str,
    label: Option<(&'static str, &'static str)>,
    read: fn(&C) -> u64,
}

macro_rules! sources {
    ($counters:ty: $($name:ident $([$label:literal = $value:literal])? $field:ident;)*) => {
        &[$(Source::<$counters> {
            name: $name,
            label: sources!(@label $($label $value)?),
            read: |counters| counters.$field,
        },)*]
    };
    (@label) => { None };
    (@label $label:literal $value:literal) => { Some(($label, $value)) };
}

type EndpointCounters = protocol::endpoint::Counters;
type ShardCounters = router::Counters;

const ENDPOINT: &[Source<EndpointCounters>] = sources! { EndpointCounters:
    DATAGRAMS["direction" = "received"] datagrams_received;
    DATAGRAMS["direction" = "sent"] datagrams_sent;
    DATAGRAMS["direction" = "forwarded"] forwarded;
    DATAGRAM_BYTES["direction" = "received"] bytes_received;
    DATAGRAM_BYTES["direction" = "sent"] bytes_sent;
    MESSAGES messages_received;
    DTLS_HANDSHAKES handshakes_completed;
    DTLS_FAILURES["reason" = "failed"] handshakes_failed;
    DTLS_FAILURES["reason" = "unknown_key"] handshakes_unknown_key;
    TCP_HANDSHAKES tcp_handshakes_completed;
    DTLS_RESUMES resumes;
    SESSIONS sessions_opened;
    HELLOS_REFUSED hellos_refused;
    COOKIES cookies_sent;
    DATAGRAMS_DROPPED["reason" = "noise"] dropped_noise;
    DATAGRAMS_DROPPED["reason" = "not_admitted"] dropped_not_admitted;
    DATAGRAMS_DROPPED["reason" = "too_many_open"] dropped_handshakes_full;
    DATAGRAMS_DROPPED["reason" = "unknown_session"] dropped_unknown_session;
    DATAGRAMS_DROPPED["reason" = "not_authentic"] dropped_not_authentic;
    DATAGRAMS_DROPPED["reason" = "replayed"] dropped_replayed;
    DATAGRAMS_DROPPED["reason" = "malformed"] dropped_malformed_record;
    MESSAGES_DROPPED["reason" = "malformed"] dropped_malformed_message;
    MESSAGES_DROPPED["reason" = "before_hello"] dropped_before_hello;
    MESSAGES_DROPPED["reason" = "unanswerable"] dropped_unanswerable;
    MESSAGES_DROPPED["reason" = "answer_to_nothing"] answers_unmatched;
    MESSAGES_DROPPED["reason" = "copy"] copies;
    MESSAGES_DROPPED["reason" = "queue_full"] dropped_queue_full;
    UPDATE_BYTES update_bytes_sent;
    CONNECTIONS_CLOSED["reason" = "alert"] closed_by_alert;
    CONNECTIONS_CLOSED["reason" = "malformed_stream"] closed_malformed_stream;
};

const SHARD: &[Source<ShardCounters>] = sources! { ShardCounters:
    PUBLISHES["outcome" = "accepted"] publishes_accepted;
    PUBLISHES["outcome" = "copied"] publishes_copied;
    PUBLISHES["outcome" = "paused"] publishes_paused;
    PUBLISHES["outcome" = "over_rate"] publishes_over_rate;
    MESSAGES_DROPPED["reason" = "unowned"] messages_unowned;
    MESSAGES_DROPPED["reason" = "internal_undocumented"] internal_undocumented;
    MESSAGES_DROPPED["reason" = "internal_over_rate"] internal_over_rate;
    DELIVERIES["outcome" = "sent"] deliveries_sent;
    DELIVERIES["outcome" = "queue_full"] deliveries_queue_full;
    DELIVERIES["outcome" = "offline"] deliveries_offline;
    DELIVERIES["outcome" = "too_large"] deliveries_too_large;
    DELIVERIES["outcome" = "paused"] deliveries_paused;
    API_PUBLISHES_REFUSED["reason" = "paused"] api_publishes_paused;
    CALLS["outcome" = "paused"] calls_paused;
    CALLS["outcome" = "sent"] calls_sent;
    CALLS["outcome" = "queue_full"] calls_queue_full;
    CALLS["outcome" = "timed_out"] calls_timed_out;
    CALLS["outcome" = "late"] answers_late;
    RESETS resets;
    SUBSCRIPTIONS_REFUSED subscriptions_refused;
    CLAIMS claims;
    STORE_REFUSALS store_refusals;
};

/// What one shard told last time; the exporter gets the difference, so that shards add up.
#[derive(Debug, Default)]
pub(crate) struct ShardMetrics {
    endpoint: EndpointCounters,
    shard: ShardCounters,
    records_waiting: u64,
}

impl ShardMetrics {
    /// To be called about once a second.
    pub(crate) fn poll(
        &mut self,
        endpoint: &EndpointCounters,
        shard: &ShardCounters,
        records_waiting: u64,
    ) {
        export(ENDPOINT, &self.endpoint, endpoint);
        export(SHARD, &self.shard, shard);
        export_gauge(DEVICES, self.shard.devices, shard.devices);
        export_gauge(DEVICES_ONLINE, self.shard.devices_online, shard.devices_online);
        export_gauge(RECORDS_WAITING, self.records_waiting, records_waiting);
        (self.endpoint, self.shard) = (*endpoint, *shard);
        self.records_waiting = records_waiting;
    }
}

fn export<C>(sources: &[Source<C>], before: &C, after: &C) {
    for Source { name, label, read } in sources {
        let grown = read(after).saturating_sub(read(before));
        match label {
            Some((label, value)) => counter!(*name, *label => *value).increment(grown),
            None => counter!(*name).increment(grown),
        }
    }
}

fn export_gauge(name: &'static str, before: u64, after: u64) {
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    gauge!(name).increment(after as f64 - before as f64);
}
