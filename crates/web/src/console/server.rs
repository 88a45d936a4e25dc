//! `/console/server`: what the operator wants to know first. The same figures are at `/metrics`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Shared;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::state::{State, utc_now};

/// Counters and gauges by name and labels, as the metrics tell them; histograms by their count and sum.
pub(super) async fn show(
    Shared(state): Shared<State>,
    _caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let text = (state.render_metrics)();
    Ok(Json(json!({
        "at": utc_now().to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "degraded": state.handle.health().degraded,
        "metrics": figures(&text),
    })))
}

/// The lines `name{labels} value`, without comments and the buckets of histograms.
fn figures(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{"));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    pairs.filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_text_of_the_metrics() {
        let text =
            "# TYPE a counter\na_total{reason=\"x y\"} 3\n\nb 0.5\nc_bucket{le=\"1\"} 7\nc_sum 2\n";
        let told = figures(text);
        let expected = [("a_total{reason=\"x y\"}", 3.0), ("b", 0.5), ("c_sum", 2.0)];
        assert_eq!(told.into_iter().collect::<Vec<_>>(), expected);
    }
}
