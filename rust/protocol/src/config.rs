//! Choices and limits of the protocol layer.

use std::time::Duration;

/// The longest of the durations below; a longer one is taken as this, so that every deadline is a time
/// that a clock can say.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Choices and limits of the protocol layer. Every one has a default; no duration is over a year.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where streams live; default `/v1/stream` and `/v1/streams`; `/` takes every path that is left.
    pub base_paths: Vec<String>,
    /// How long a long-poll waits; default 30 s.
    pub long_poll_timeout: Duration,
    /// After how long an SSE response ends at an event boundary; default 60 s.
    pub sse_max: Duration,
    /// Silence after which SSE sends a comment; default 15 s.
    pub sse_heartbeat: Duration,
    /// Largest page, in bytes; default 4 MiB (one append may be larger).
    pub page_bytes: usize,
    /// Bytes of pages read from disk that are on their way to readers; default 256 MiB. Beyond it such pages have 64 KiB
    /// (one append may be larger), so that slow readers hold no more memory than that each.
    pub sending_bytes: usize,
    /// Origins allowed by CORS; default any (`*`).
    pub cors_origins: Vec<String>,
    /// How long an early producer sequence is held for its predecessor; default 20 ms, zero: not at all.
    pub hold_time: Duration,
    /// Most appends held at once; default 1,024.
    pub hold_count: usize,
    /// Most body bytes held at once; default 64 MiB.
    pub hold_bytes: usize,
}

impl Config {
    /// The same with every value within bounds.
    pub(crate) fn bounded(mut self) -> Self {
        for duration in [
            &mut self.long_poll_timeout,
            &mut self.sse_max,
            &mut self.sse_heartbeat,
            &mut self.hold_time,
        ] {
            *duration = LONGEST.min(*duration);
        }
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_paths: vec!["/v1/stream".to_owned(), "/v1/streams".to_owned()],
            long_poll_timeout: Duration::from_secs(30),
            sse_max: Duration::from_secs(60),
            sse_heartbeat: Duration::from_secs(15),
            page_bytes: 4 << 20,
            sending_bytes: 256 << 20,
            cors_origins: vec!["*".to_owned()],
            hold_time: Duration::from_millis(20),
            hold_count: 1024,
            hold_bytes: 64 << 20,
        }
    }
}
