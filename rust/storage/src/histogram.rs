//! Counts by size, for whoever watches.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets with a bound; one more counts what is beyond.
const BUCKETS: usize = 24;

/// Counts values in buckets that double. Neither locks nor allocates; what is counted at the same time may be
/// missing from a snapshot.
#[derive(Debug)]
pub struct Histogram {
    /// The first bucket holds values up to two to this power.
    first: u32,
    counts: [AtomicU64; BUCKETS + 1],
    sum: AtomicU64,
}

/// What a [`Histogram`] has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Largest value of each bucket but the last, which has no bound. Empty when nothing could be counted.
    pub bounds: Vec<u64>,
    /// Values in each bucket alone.
    pub counts: Vec<u64>,
    /// All values together.
    pub sum: u64,
}

impl Histogram {
    /// The first bucket holds values up to two to the power of `first`, each one after it up to twice as much.
    pub const fn new(first: u32) -> Self {
        Self {
            first,
            counts: [const { AtomicU64::new(0) }; BUCKETS + 1],
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        // The power of two that holds the value.
        let power = u64::BITS - value.saturating_sub(1).leading_zeros();
        let bucket = (power.saturating_sub(self.first) as usize).min(BUCKETS);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> Distribution {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Distribution {
            bounds: (0..BUCKETS as u32)
                .map(|bucket| 1 << (self.first + bucket))
                .collect(),
            counts: self.counts.iter().map(load).collect(),
            sum: load(&self.sum),
        }
    }
}

impl Distribution {
    /// Adds what another histogram with the same buckets has counted.
    pub fn add(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_in_the_smallest_bucket_that_holds_it() {
        let histogram = Histogram::new(4);
        for value in [0, 1, 16, 17, 32, 33, u64::MAX] {
            histogram.record(value);
        }
        let seen = histogram.snapshot();
        assert_eq!(seen.bounds[..3], [16, 32, 64]);
        assert_eq!(seen.counts[..3], [3, 2, 1]);
        assert_eq!((seen.counts[BUCKETS], seen.count()), (1, 7));
    }

    #[test]
    fn what_several_threads_counted_adds_up() {
        let (one, other) = (Histogram::new(0), Histogram::new(0));
        one.record(1);
        other.record(1);
        other.record(2);
        let mut both = Distribution::default();
        both.add(&one.snapshot());
        both.add(&other.snapshot());
        assert_eq!((both.counts[..2].to_vec(), both.sum), (vec![2, 1], 4));
    }
}
