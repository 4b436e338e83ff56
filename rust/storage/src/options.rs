//! Choices and limits of a store.

use std::time::Duration;

/// When an append counts as acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `fdatasync` covers the frame before the answer: an acknowledged frame survives the loss of power.
    Sync,
    /// Written before the answer, synced within this time (an hour at most). An acknowledged frame survives the death
    /// of the process; the loss of power takes at most what was written within this time.
    Interval(Duration),
    /// Written before the answer; the operating system syncs when it likes. An acknowledged frame
    /// survives the death of the process, not the loss of power. What survives is always a prefix.
    None,
}

/// A longer interval is no durability, and no time that a clock can say.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// Limits and choices of a store. Every one has a default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoreOptions {
    /// When an append counts as acknowledged; default `Sync`.
    pub durability: Durability,
    /// Size of a WAL segment in bytes; default 64 MiB. A frame that is larger gets a segment of its own.
    pub segment_bytes: u64,
    /// Payload bytes kept in memory for reads; default 64 MiB.
    pub hot_bytes: usize,
    /// Bytes of not yet committed frames beyond which `push` refuses; default 256 MiB.
    pub pending_bytes: usize,
    /// Largest payload of one frame; default 128 MiB, at most 1 GiB.
    pub frame_bytes: usize,
    /// Full segments that may wait to be sealed before commits are slowed down; default 8.
    pub seal_backlog: u64,
    /// How long the medium may fail to read a part of the log that is to be sealed before that counts as lost and
    /// sealing goes on without it; default 10 minutes.
    pub unreadable_for: Duration,
    /// Bytes a second that compaction writes at most, and about as many that it reads; default 128 MiB.
    pub compaction_bytes_per_second: u64,
    /// Largest file that compaction makes of smaller ones, in bytes; default 4 GiB.
    pub sealed_file_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            segment_bytes: 64 << 20,
            hot_bytes: 64 << 20,
            pending_bytes: 256 << 20,
            frame_bytes: 128 << 20,
            seal_backlog: 8,
            unreadable_for: Duration::from_secs(600),
            compaction_bytes_per_second: 128 << 20,
            sealed_file_bytes: 4 << 30,
        }
    }
}

impl StoreOptions {
    /// The same with every value within what the formats can hold.
    pub(crate) fn bounded(mut self) -> Self {
        self.segment_bytes = self
            .segment_bytes
            .clamp(16 << 10, 1 << 32)
            .next_multiple_of(4096);
        self.frame_bytes = self.frame_bytes.min(1 << 30);
        if let Durability::Interval(interval) = &mut self.durability {
            *interval = LONGEST_INTERVAL.min(*interval);
        }
        self
    }
}
