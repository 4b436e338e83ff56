//! Power cuts at every operation of random workloads.

use std::sync::Arc;
use std::time::Duration;

use durastream_storage::Durability;

use crate::sweep::{Thoroughness, sweep};
use crate::workload::Workload;
use crate::{first_seed, rounds};

const THOROUGHNESS: Thoroughness = Thoroughness {
    seeds: 1,
    recoveries: 40,
};

fn images(workloads: u64, durability: Durability) -> u64 {
    let seeds = (0..workloads * rounds()).map(|seed| first_seed() + seed);
    seeds
        .map(|seed| {
            let workload = Workload::random(seed, durability);
            let diary = workload
                .run(&|sim| Arc::new(sim))
                .unwrap_or_else(|e| panic!("workload {seed} {:?}: {e:?}", workload.steps));
            sweep(&diary, THOROUGHNESS)
                .unwrap_or_else(|e| panic!("workload {seed} {:?}: {e}", workload.steps))
        })
        .sum()
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    let images = images(24, Durability::Sync);
    assert!(images >= 10_000, "{images} are too few to mean much");
}

#[test]
fn without_sync_a_power_cut_leaves_a_beginning_of_what_was_written() {
    assert!(images(4, Durability::None) > 1000);
}

#[test]
fn with_a_sync_now_and_then_a_power_cut_leaves_a_beginning_of_what_was_written() {
    assert!(images(4, Durability::Interval(Duration::from_millis(1))) > 1000);
}
