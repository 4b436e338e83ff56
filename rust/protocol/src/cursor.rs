//! `Stream-Cursor`: interval numbers that keep caches from looping (protocol section 10.1).

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2024-10-09T00:00:00Z in Unix seconds.
const EPOCH: u64 = 1_728_432_000;
/// Length of an interval in seconds.
const INTERVAL: u64 = 20;
/// Largest jitter in seconds.
const JITTER: u64 = 3600;

/// Largest cursor taken from a client: with every jitter added it still is exact in JavaScript.
pub(crate) const MAX: u64 = (1 << 53) - 1 - JITTER;

/// Number of the interval that `now` is in.
fn interval(now: SystemTime) -> u64 {
    let unix = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    unix.saturating_sub(EPOCH) / INTERVAL
}

/// The cursors of one live read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    /// Never given less than this.
    least: u64,
}

impl Cursor {
    /// Begins at `now` for a client that echoes `client`: where the client is not behind, strictly
    /// beyond it by a random 1..=3600 s, counted in intervals and never less than one.
    pub(crate) fn begin(client: Option<u64>, now: SystemTime) -> Self {
        let current = interval(now);
        let least = match client {
            Some(client) if client >= current => {
                let seconds = 1 + random() % JITTER;
                client.saturating_add((seconds / INTERVAL).max(1))
            }
            _ => current,
        };
        Self { least }
    }

    /// The cursor at `now`; never goes backwards.
    pub(crate) fn at(self, now: SystemTime) -> u64 {
        self.least.max(interval(now))
    }

    /// Whether the cursor at `now` is the one of everybody who did not run ahead.
    pub(crate) fn is_common(self, now: SystemTime) -> bool {
        self.least <= interval(now)
    }
}

/// Random enough for jitter: a fresh hasher's keys are.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn intervals_count_twenty_seconds_from_the_epoch() {
        assert_eq!(Cursor::begin(None, at(EPOCH)).at(at(EPOCH)), 0);
        assert_eq!(Cursor::begin(None, at(EPOCH + 19)).at(at(EPOCH + 19)), 0);
        assert_eq!(Cursor::begin(None, at(EPOCH + 20)).at(at(EPOCH + 20)), 1);
        assert_eq!(Cursor::begin(None, at(0)).at(at(0)), 0);
    }

    #[test]
    fn a_client_that_is_behind_gets_the_current_interval() {
        let now = at(EPOCH + 2000);
        assert_eq!(Cursor::begin(Some(99), now).at(now), 100);
    }

    #[test]
    fn a_client_that_is_not_behind_gets_a_strictly_greater_cursor() {
        let now = at(EPOCH + 2000);
        for client in [100, 101, 5000, MAX] {
            for _ in 0..100 {
                let next = Cursor::begin(Some(client), now).at(now);
                assert!(next > client, "{client} -> {next}");
                assert!(next <= client + JITTER / INTERVAL, "{client} -> {next}");
            }
        }
    }

    #[test]
    fn the_cursors_of_one_read_never_go_backwards() {
        let cursor = Cursor::begin(Some(100), at(EPOCH + 2000));
        let first = cursor.at(at(EPOCH + 2000));
        assert!(cursor.at(at(EPOCH + 2020)) >= first);
        assert!(!cursor.is_common(at(EPOCH + 2000)));
        assert!(cursor.is_common(at(EPOCH + 1_000_000)));
    }
}
