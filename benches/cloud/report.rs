//! What is measured, what it should be, and how it is told.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::Outcome;

/// What counts as good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

/// Every key of the report with its bar.
pub(crate) const BARS: [(&str, Bar); 14] = [
    ("publish_vs_echo", Bar::AtLeast(0.25)),
    ("publish_flat", Bar::AtLeast(0.85)),
    ("metering_cost", Bar::AtMost(0.10)),
    ("publish_sse_p99_ms", Bar::Below(5.0)),
    ("sse_readers_loss", Bar::AtMost(0.0)),
    ("sse_reader_bytes", Bar::AtMost(32_768.0)),
    ("sse_writes_vs_ceiling", Bar::AtLeast(0.5)),
    ("session_bytes", Bar::AtMost(1024.0)),
    ("dtls_handshake_vs_arithmetic", Bar::AtLeast(0.70)),
    ("tcp_handshake_vs_arithmetic", Bar::AtLeast(0.75)),
    ("console_devices_ms", Bar::Below(200.0)),
    ("restart_s", Bar::Below(2.0)),
    ("updates_publish_p99", Bar::AtMost(2.0)),
    ("update_bytes", Bar::AtMost(65_536.0)),
];

/// Measured figures, in the order of the bars.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<(&'static str, f64, String)>,
}

impl Report {
    /// Adds a figure and, for people, what it was made of.
    pub(crate) fn add(&mut self, key: &'static str, value: f64, made_of: String) {
        say(&format!("{key}: {} ({made_of})", digits(value)));
        self.lines.push((key, value, made_of));
    }

    /// Prints the table and one line of JSON.
    pub(crate) fn print(&self) -> Outcome {
        let mut out = format!("\n{:30}{:>10}  {:9}  {:5}\n", "key", "measured", "bar", "");
        let mut json = serde_json::Map::new();
        for (key, bar) in BARS {
            let Some((_, value, made_of)) = self.lines.iter().find(|line| line.0 == key) else {
                continue;
            };
            let verdict = if bar.is_met(*value) { "met" } else { "MISSED" };
            let (value_text, bar) = (digits(*value), bar.text());
            writeln!(out, "{key:30}{value_text:>10}  {bar:9}  {verdict:7} {made_of}")?;
            json.insert(key.into(), serde_json::from_str(&value_text)?);
        }
        let json = serde_json::Value::Object(json);
        Ok(writeln!(std::io::stdout(), "{out}\n{json}")?)
    }
}

impl Bar {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bar) => value >= bar,
            Self::AtMost(bar) => value <= bar,
            Self::Below(bar) => value < bar,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bar) => format!(">= {bar}"),
            Self::AtMost(bar) => format!("<= {bar}"),
            Self::Below(bar) => format!("< {bar}"),
        }
    }
}

/// Progress, for whoever waits.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn digits(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// The middle value; the mean of the two in the middle of an even number.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}
