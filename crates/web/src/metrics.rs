//! Every metric of HTTP connections and webhooks, declared once. `docs/operate/metrics.md` tells when to worry.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

const CONNECTIONS_REFUSED: &str = "cloudchamber_http_connections_refused_total";
const CONNECTIONS_SLOW: &str = "cloudchamber_http_connections_too_slow_total";
const DISCARDED: &str = "cloudchamber_webhook_discarded_total";
const REQUESTS: &str = "cloudchamber_webhook_requests_total";
const RETRIES: &str = "cloudchamber_webhook_retries_total";
const SECONDS: &str = "cloudchamber_webhook_seconds";
const THROTTLED: &str = "cloudchamber_webhook_throttled_total";
const WAITING: &str = "cloudchamber_webhook_waiting";

/// How a request of a webhook ended, as the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Private,
    Status(u16),
    Success,
    TimedOut,
    Unreachable,
}

impl Ended {
    fn label(self) -> &'static str {
        match self {
            Self::Private => "private_target",
            Self::Status(500..) => "status_5xx",
            Self::Status(400..) => "status_4xx",
            Self::Status(_) => "redirect",
            Self::Success => "success",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Tells the exporter what each metric means. Call it once the exporter is installed.
pub(crate) fn describe() {
    describe_counter!(
        CONNECTIONS_REFUSED,
        Unit::Count,
        "HTTP connections not served, by reason: full, address_full."
    );
    describe_counter!(
        CONNECTIONS_SLOW,
        Unit::Count,
        "HTTP connections closed because no whole head of a request came in time."
    );
    describe_counter!(
        DISCARDED,
        Unit::Count,
        "Events that a webhook did not get, by reason: attempts (all failed or were skipped), no_room."
    );
    describe_counter!(REQUESTS, Unit::Count, "Requests of webhooks that ended, by outcome.");
    describe_counter!(
        RETRIES,
        Unit::Count,
        "Second and third attempts that were put off to later."
    );
    describe_histogram!(
        SECONDS,
        Unit::Seconds,
        "Time of one request of a webhook, its answer included."
    );
    describe_counter!(
        THROTTLED,
        Unit::Count,
        "Attempts skipped because their host failed too often."
    );
    describe_gauge!(
        WAITING,
        Unit::Count,
        "Deliveries that wait for their turn or for another attempt."
    );
}

/// An HTTP connection was not served.
pub(crate) fn connection_refused(reason: &'static str) {
    counter!(CONNECTIONS_REFUSED, "reason" => reason).increment(1);
}

/// An HTTP connection had its time.
pub(crate) fn connection_too_slow() {
    counter!(CONNECTIONS_SLOW).increment(1);
}

/// A request was made and ended.
pub(crate) fn webhook_request(ended: Ended, took: Duration) {
    counter!(REQUESTS, "outcome" => ended.label()).increment(1);
    histogram!(SECONDS).record(took.as_secs_f64());
}

/// An attempt was put off.
pub(crate) fn webhook_retry() {
    counter!(RETRIES).increment(1);
}

/// An attempt was skipped.
pub(crate) fn webhook_throttled() {
    counter!(THROTTLED).increment(1);
}

/// An event was given up for a webhook.
pub(crate) fn webhook_discarded(reason: &'static str) {
    counter!(DISCARDED, "reason" => reason).increment(1);
}

/// How many deliveries wait.
pub(crate) fn webhooks_waiting(waiting: usize) {
    gauge!(WAITING).set(waiting as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_by_their_class() {
        let told = [302, 404, 429, 500, 599].map(|status| Ended::Status(status).label());
        assert_eq!(told, ["redirect", "status_4xx", "status_4xx", "status_5xx", "status_5xx"]);
    }
}
