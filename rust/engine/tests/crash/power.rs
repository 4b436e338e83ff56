//! Power cuts at every operation of random workloads.

use std::sync::Arc;

use durastream_engine::storage::fs::SimFs;

use crate::player::Manners;
use crate::sweep::{Script, Tally, sweep};
use crate::{first_seed, rounds};

const STEPS: usize = 70;

#[test]
fn what_was_told_survives_a_power_cut_at_any_operation() {
    let mut tally = Tally::default();
    for seed in (0..2 * rounds()).map(|seed| first_seed() + seed) {
        let script = Script::play(
            SimFs::recording(),
            &|fs| Arc::new(fs),
            seed,
            STEPS,
            Manners::Waits,
        );
        tally += sweep(&script, 200).unwrap_or_else(|e| panic!("workload {seed}: {e}"));
        if rounds() > 1 {
            eprintln!("workload {seed}: {tally:?}");
        }
    }
    let enough = tally.images >= 2000 * rounds() as usize;
    assert!(enough, "too few to mean much: {tally:?}");
    // A sweep that met none of one would prove nothing of it.
    assert!(
        tally.ahead > 25 && tally.sealed > 50 && tally.recoveries > 5,
        "{tally:?}"
    );
}
