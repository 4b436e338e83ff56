//! Latencies in a histogram.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::Failure;

/// Latencies up to a minute, in microseconds, three digits.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self(Histogram::new_with_bounds(1, 60_000_000, 3)?))
    }

    pub(crate) fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    /// `p50_ms`, `p99_ms` and so on, under `prefix`.
    pub(crate) fn tell(&self, prefix: &str, told: &mut Map<String, Value>) {
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            told.insert(
                format!("{prefix}{name}_ms"),
                milliseconds(self.0.value_at_quantile(quantile)),
            );
        }
        told.insert(format!("{prefix}max_ms"), milliseconds(self.0.max()));
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most a minute")]
fn milliseconds(micros: u64) -> Value {
    json!(micros as f64 / 1000.0)
}
