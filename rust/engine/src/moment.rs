//! Times as the rules use them: whole milliseconds since the Unix epoch.

use std::time::{Duration, SystemTime};

/// Milliseconds since the Unix epoch; times before it are 0.
pub(crate) type Millis = u64;

/// Rounds down; far futures saturate, which the rules read as "never".
pub(crate) fn millis(time: SystemTime) -> Millis {
    span(
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// A duration in milliseconds, rounded down, saturating.
pub(crate) fn span(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The time of so many milliseconds.
pub(crate) fn time(millis: Millis) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
