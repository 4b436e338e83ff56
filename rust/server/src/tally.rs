//! What the listener counts. Each thread has counts of its own, which only it writes: nothing is shared
//! between loops while they serve, and a request costs a few adds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use durastream_engine::storage::{Distribution, Histogram};

/// Answers within 2^14 ns (16 us) are counted together.
const TIMES_FROM: u32 = 14;
/// The least status there is, and how many there are.
const STATUSES: (u16, usize) = (100, 500);

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Append,
    Create,
    Read,
    /// A long-poll or SSE: its time lasts to the head of its answer.
    Live,
    Head,
    Delete,
    /// Not an operation of a stream: a preflight, a path of the other listener's, what is no HTTP.
    Other,
}

impl Operation {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Append, "append"),
        (Self::Create, "create"),
        (Self::Read, "read"),
        (Self::Live, "live"),
        (Self::Head, "head"),
        (Self::Delete, "delete"),
        (Self::Other, "other"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(_, name)| name)
    }

    /// Of a request for a stream.
    pub(crate) fn of(method: &str, query: &[u8]) -> Self {
        match method {
            "POST" => Self::Append,
            "PUT" => Self::Create,
            "GET" if query.split(|byte| *byte == b'&').any(is_live) => Self::Live,
            "GET" => Self::Read,
            "HEAD" => Self::Head,
            "DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }
}

fn is_live(pair: &[u8]) -> bool {
    pair.starts_with(b"live=")
}

/// The counts of one thread.
#[derive(Debug)]
pub(crate) struct Tally {
    answers: [Histogram; Operation::ALL.len()],
    statuses: Vec<AtomicU64>,
    received: AtomicU64,
    sent: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    /// Live reads that wait in crowds, and their crowds.
    crowded: AtomicU64,
    crowds: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            answers: [const { Histogram::new(TIMES_FROM) }; Operation::ALL.len()],
            statuses: (0..STATUSES.1).map(|_| AtomicU64::new(0)).collect(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
            crowds: AtomicU64::new(0),
        }
    }
}

/// For counts that have one writer: cheaper than a read-modify-write.
fn add(count: &AtomicU64, more: u64) {
    let sum = count.load(Ordering::Relaxed).wrapping_add(more);
    count.store(sum, Ordering::Relaxed);
}

impl Tally {
    /// The head of an answer was made.
    pub(crate) fn answered(&self, operation: Operation, status: u16, took: Duration) {
        if let Some(times) = self.answers.get(operation as usize) {
            times.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
        if let Some(count) = self
            .statuses
            .get(usize::from(status - STATUSES.0.min(status)))
        {
            add(count, 1);
        }
    }

    /// Bytes of a request body arrived.
    pub(crate) fn received(&self, bytes: usize) {
        add(&self.received, bytes as u64);
    }

    /// Bytes of an answer's body were handed over to be sent.
    pub(crate) fn sent(&self, bytes: usize) {
        add(&self.sent, bytes as u64);
    }

    /// A connection was accepted.
    pub(crate) fn accepted(&self) {
        add(&self.accepted, 1);
    }

    /// A connection was one too many.
    pub(crate) fn refused(&self) {
        add(&self.refused, 1);
    }

    /// There are so many crowds now.
    pub(crate) fn crowds(&self, now: usize) {
        self.crowds.store(now as u64, Ordering::Relaxed);
    }
}

/// A live read that waits in a crowd, counted until dropped.
pub(crate) struct Crowded(Arc<Tally>);

impl Crowded {
    pub(crate) fn new(tally: &Arc<Tally>) -> Self {
        add(&tally.crowded, 1);
        Self(Arc::clone(tally))
    }
}

impl Drop for Crowded {
    fn drop(&mut self) {
        add(&self.0.crowded, u64::MAX);
    }
}

/// A snapshot of the listener's counts.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Connections open now.
    pub connections: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Of them, those over the limit.
    pub refused: u64,
    /// Bytes of request bodies being received now.
    pub upload_bytes: u64,
    /// Bytes of request bodies received.
    pub received_bytes: u64,
    /// Bytes of answers' bodies sent.
    pub sent_bytes: u64,
    /// Live reads that wait with others, less the watches that the engine has for them all: what
    /// [`durastream_engine::EngineStats::watches`] does not count.
    pub sharing: i64,
    /// Nanoseconds from a request's head to its answer's, by operation.
    pub answer_times: Vec<(&'static str, Distribution)>,
    /// Answers by status.
    pub statuses: Vec<(u16, u64)>,
}

impl ListenerStats {
    /// The sum over all threads.
    pub(crate) fn of<'a>(tallies: impl Iterator<Item = &'a Tally> + Clone) -> Self {
        let sum = |count: fn(&Tally) -> &AtomicU64| {
            let counts = tallies.clone().map(count);
            counts.map(|count| count.load(Ordering::Relaxed)).sum()
        };
        let times = |operation: Operation| {
            let mut all = Distribution::default();
            for times in tallies
                .clone()
                .filter_map(|t| t.answers.get(operation as usize))
            {
                all.add(&times.snapshot());
            }
            all
        };
        let status = |at: usize| -> u64 {
            let counts = tallies.clone().filter_map(|tally| tally.statuses.get(at));
            counts.map(|count| count.load(Ordering::Relaxed)).sum()
        };
        Self {
            connections: 0,
            accepted: sum(|tally| &tally.accepted),
            refused: sum(|tally| &tally.refused),
            upload_bytes: 0,
            received_bytes: sum(|tally| &tally.received),
            sent_bytes: sum(|tally| &tally.sent),
            sharing: sum(|tally| &tally.crowded) as i64 - sum(|tally| &tally.crowds) as i64,
            answer_times: Operation::ALL
                .map(|(operation, name)| (name, times(operation)))
                .into(),
            statuses: (STATUSES.0..)
                .zip((0..STATUSES.1).map(status))
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_counted_under_its_own_name() {
        for (at, (operation, _)) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, at);
        }
    }

    #[test]
    fn a_live_read_is_one_that_says_so() {
        for (query, operation) in [
            ("offset=-1&live=sse", Operation::Live),
            ("live=long-poll&offset=now", Operation::Live),
            ("offset=-1&xlive=1", Operation::Read),
            ("offset=-1&x=live=1", Operation::Read),
            ("", Operation::Read),
        ] {
            assert_eq!(Operation::of("GET", query.as_bytes()), operation, "{query}");
        }
    }

    #[test]
    fn the_counts_of_all_threads_add_up() {
        let (one, other) = (Tally::default(), Tally::default());
        one.answered(Operation::Append, 204, Duration::from_micros(20));
        other.answered(Operation::Append, 204, Duration::from_micros(40));
        other.answered(Operation::Read, 404, Duration::ZERO);
        other.answered(Operation::Other, 7, Duration::ZERO);
        other.sent(5);
        let stats = ListenerStats::of([&one, &other].into_iter());
        assert_eq!(stats.statuses, [(100, 1), (204, 2), (404, 1)]);
        assert_eq!(stats.sent_bytes, 5);
        let appends = stats
            .answer_times
            .iter()
            .find(|(name, _)| *name == "append");
        assert_eq!(appends.map(|(_, times)| times.sum), Some(60_000));
    }
}
