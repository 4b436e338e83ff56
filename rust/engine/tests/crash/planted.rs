//! Faults planted beneath the engine and in how it is used, which the suite must find: or it proves nothing.

use std::sync::Arc;

use durastream_engine::storage::fs::SimFs;

use crate::lying::{Lie, lying};
use crate::player::Manners;
use crate::sweep::{Script, sweep};

/// What the suite says to a workload, its own checks left out.
fn verdict(seed: u64, lie: Lie, manners: Manners) -> Result<(), String> {
    let wrap = |fs| Arc::new(lying(fs, lie)) as _;
    let script = Script::play(SimFs::recording(), &wrap, seed, 40, manners);
    sweep(&script, usize::MAX).map(drop)
}

/// A few workloads are enough to find it, and none of them is at fault without it.
fn is_found(lie: Lie, manners: Manners) {
    for seed in 0..4 {
        assert_eq!(
            verdict(seed, Lie::None, Manners::Waits),
            Ok(()),
            "seed {seed}"
        );
        if verdict(seed, lie, manners).is_err() {
            return;
        }
    }
    panic!("{lie:?} with {manners:?} was not found");
}

#[test]
fn one_skipped_fsync_is_found() {
    let lie = Lie::Sync {
        ending: ".wal",
        nth: 6,
        times: 1,
    };
    is_found(lie, Manners::Waits);
}

#[test]
fn a_forgotten_fsync_of_the_directory_is_found() {
    is_found(Lie::SyncDir { nth: 0 }, Manners::Waits);
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    is_found(Lie::None, Manners::Hasty);
}

/// The committer is told that a group is durable before it is, and moves the readers' view.
#[test]
fn an_event_applied_for_readers_before_it_is_durable_is_found() {
    is_found(Lie::Late { ending: ".wal" }, Manners::Waits);
}
