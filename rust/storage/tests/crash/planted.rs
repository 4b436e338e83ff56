//! Faults planted between the store and the disk, which the suite must find: or it proves nothing.

use std::sync::Arc;

use durastream_storage::Durability;
use durastream_storage::fs::Fs;

use crate::lying::{Lie, lying};
use crate::sweep::{Thoroughness, sweep};
use crate::workload::Workload;

/// What the suite says to a lie, the workload's own checks included.
fn verdict(seed: u64, lie: Lie) -> Result<(), String> {
    let wrap = |inner| -> Arc<dyn Fs> { Arc::new(lying(inner, lie)) };
    let workload = Workload::random(seed, Durability::Sync);
    let diary = workload.run(&wrap).map_err(|wrong| format!("{wrong:?}"))?;
    let thoroughness = Thoroughness {
        seeds: 2,
        recoveries: u64::MAX,
        recoveries_of_compactions: u64::MAX,
    };
    sweep(&diary, thoroughness).map(drop)
}

/// A few workloads are enough to find the lie, and none of them is at fault without it.
fn is_found(lie: Lie) {
    for seed in 0..4 {
        assert_eq!(verdict(seed, Lie::None), Ok(()), "seed {seed}");
        if verdict(seed, lie).is_err() {
            return;
        }
    }
    panic!("{lie:?} was not found");
}

#[test]
fn one_forgotten_fdatasync_of_the_log_is_found() {
    is_found(Lie::Sync {
        ending: ".wal",
        nth: 4,
        times: 1,
    });
}

/// Acknowledged and shown to readers before it is durable, though it will be in a moment.
#[test]
fn what_is_acknowledged_before_its_sync_is_found() {
    is_found(Lie::Late { ending: ".wal" });
}

#[test]
fn a_group_that_is_written_through_and_is_not_durable_is_found() {
    is_found(Lie::Through { nth: 3 });
}

#[test]
fn a_log_that_is_never_synced_is_found() {
    is_found(Lie::Sync {
        ending: ".wal",
        nth: 0,
        times: u64::MAX,
    });
}

#[test]
fn a_manifest_that_is_not_synced_before_its_rename_is_found() {
    is_found(Lie::Sync {
        ending: "MANIFEST",
        nth: 0,
        times: u64::MAX,
    });
}

#[test]
fn a_checkpoint_that_is_not_synced_is_found() {
    is_found(Lie::Sync {
        ending: ".checkpoint",
        nth: 0,
        times: u64::MAX,
    });
}

#[test]
fn a_sealed_file_that_is_not_synced_is_found() {
    is_found(Lie::Sync {
        ending: ".sealed",
        nth: 0,
        times: u64::MAX,
    });
}

#[test]
fn a_write_of_a_sealed_file_that_is_a_byte_short_is_found() {
    is_found(Lie::ShortWrite { ending: ".sealed" });
}

#[test]
fn a_directory_that_is_never_synced_is_found() {
    is_found(Lie::SyncDir { nth: 0 });
}

#[test]
fn a_directory_that_is_synced_once_only_is_found() {
    is_found(Lie::SyncDir { nth: 1 });
}

#[test]
fn a_write_that_is_a_byte_short_is_found() {
    is_found(Lie::ShortWrite { ending: ".wal" });
}
