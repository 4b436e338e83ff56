//! Power cuts at every operation of random workloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use durastream_storage::Durability;
use durastream_storage::fs::SimFs;
use parking_lot::Mutex;

use crate::history::History;
use crate::session::{Diary, PATIENCE, Session};
use crate::sweep::{Tally, Thoroughness, sweep};
use crate::workload::{Step, Workload, small};
use crate::{first_seed, rounds};

const THOROUGHNESS: Thoroughness = Thoroughness {
    seeds: 1,
    recoveries: 40,
    recoveries_of_compactions: 20,
};

/// Runs so many workloads a round: one after the other in CI, where other tests have the other cores.
fn sweep_all(workloads: u64, durability: Durability) -> Tally {
    let threads = match (rounds(), std::thread::available_parallelism()) {
        (2.., Ok(cores)) => cores.get(),
        _ => 1,
    };
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= workloads * rounds() {
                return;
            }
            let seen = sweep_one(first_seed() + number, durability);
            *tally.lock() += seen;
            if rounds() > 1 {
                eprintln!("{durability:?}, workload {number}: {:?}", *tally.lock());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    tally.into_inner()
}

fn sweep_one(seed: u64, durability: Durability) -> Tally {
    let workload = Workload::random(seed, durability);
    let diary = workload
        .run(&|sim| Arc::new(sim))
        .unwrap_or_else(|e| panic!("workload {seed} {:?}: {e:?}", workload.steps));
    sweep(&diary, THOROUGHNESS)
        .unwrap_or_else(|e| panic!("workload {seed} {:?}: {e}", workload.steps))
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    let tally = sweep_all(8, Durability::Sync);
    // `make fuzz` takes twelve rounds: a million.
    let least = if rounds() < 12 {
        10_000 * rounds()
    } else {
        1_000_000
    };
    assert!(tally.images >= least, "too few to mean much: {tally:?}");
    // Timing moves these a little; a sweep that met none of one would prove nothing of it.
    let met = tally.torn.min(tally.lost).min(tally.kept);
    assert!(met >= 25, "too little was met: {tally:?}");
    assert!(
        tally.compactions >= 3 && tally.compacting >= 100 && tally.recoveries >= 3,
        "too little was compacted: {tally:?}"
    );
    assert!(
        tally.unlinked >= 6 && tally.through >= 5,
        "too little was met: {tally:?}"
    );
}

#[test]
fn no_power_cut_within_a_compaction_loses_what_was_acknowledged() {
    let mut steps = vec![];
    for sixteenths in [4, 12] {
        for _ in 0..3 {
            steps.extend([Step::Push(vec![3000; 5]), Step::Commit, Step::Compact]);
            steps.push(Step::Checkpoint(100));
        }
        // Some of it is dead, and merged with the rest.
        steps.extend([Step::Drop(sixteenths), Step::Compact]);
        // And some that lies in between.
        let (from, to) = (sixteenths + 1, sixteenths + 3);
        steps.extend([Step::Hollow(from, to), Step::Compact]);
    }
    // All of it is.
    steps.extend([Step::Drop(16), Step::Compact, Step::Push(vec![500])]);
    steps.push(Step::Commit);
    let options = small(Durability::Sync);
    let workload = Workload { options, steps };
    let diary = workload.run(&|sim| Arc::new(sim)).unwrap();
    let tally = sweep(&diary, THOROUGHNESS).unwrap();
    assert!(tally.images > 500 && tally.sealed > 300, "{tally:?}");
    assert!(
        tally.compactions >= 4 && tally.compacting > 100,
        "{tally:?}"
    );
}

#[test]
fn no_power_cut_while_the_stores_own_thread_merges_loses_what_was_acknowledged() {
    let mut steps = vec![];
    for sixteenths in [2, 6, 16] {
        // Four files of about equal size are enough for it.
        for _ in 0..5 {
            steps.extend([Step::Push(vec![1900; 6]), Step::Commit]);
            steps.push(Step::Checkpoint(100));
        }
        steps.extend([Step::Merged, Step::Drop(sixteenths)]);
        steps.push(Step::Hollow(sixteenths + 1, sixteenths + 6));
        // Of what is dead, files are rewritten, or removed.
        for _ in 0..2 {
            steps.extend([Step::Push(vec![1900; 6]), Step::Commit]);
        }
        steps.extend([Step::Settle, Step::Tidy, Step::Kill]);
    }
    let options = small(Durability::Sync);
    let workload = Workload { options, steps };
    let diary = workload.run(&|sim| Arc::new(sim)).unwrap();
    let tally = sweep(&diary, THOROUGHNESS).unwrap();
    assert!(tally.compactions >= 3 && tally.unlinked >= 12, "{tally:?}");
    assert!(tally.compacting > 50 && tally.recoveries > 1, "{tally:?}");
}

#[test]
fn no_power_cut_while_the_log_is_sealed_past_damage_loses_or_confuses_anything_else() {
    let mut steps = vec![];
    for sixteenths in [1, 8, 16] {
        // Damaged below the checkpoint, in a segment that is not full.
        steps.extend([
            Step::Push(vec![900; 6]),
            Step::Commit,
            Step::Checkpoint(100),
        ]);
        steps.extend([Step::Damage(2), Step::Damage(4)]);
        // Sealed once there is a checkpoint behind it, given up at the one after that.
        steps.extend([Step::Push(vec![1900; 8]), Step::Commit, Step::Settle]);
        steps.extend([Step::Checkpoint(100), Step::Sealed, Step::Checkpoint(100)]);
        // Merged with what is lost, and without once that is dead.
        steps.extend([Step::Push(vec![700; 3]), Step::Commit, Step::Compact]);
        steps.extend([Step::Kill, Step::Drop(sixteenths), Step::Compact]);
        steps.push(Step::Checkpoint(100));
    }
    let options = small(Durability::Sync);
    let workload = Workload { options, steps };
    let diary = workload.run(&|sim| Arc::new(sim)).unwrap();
    let hurt = diary.history.lock().at(usize::MAX).hurt;
    assert_eq!(hurt.len(), 6);
    let tally = sweep(&diary, THOROUGHNESS).unwrap();
    assert!(tally.images > 500 && tally.sealed > 200, "{tally:?}");
    assert!(tally.lossy > 50, "nothing was lost: {tally:?}");
}

#[test]
fn without_sync_a_power_cut_leaves_a_beginning_of_what_was_written() {
    let tally = sweep_all(4, Durability::None);
    assert!(tally.images > 1000 && tally.torn > 25, "{tally:?}");
}

#[test]
fn with_a_sync_now_and_then_a_power_cut_leaves_a_beginning_of_what_was_written() {
    let tally = sweep_all(4, Durability::Interval(Duration::from_millis(1)));
    assert!(tally.images > 1000, "{tally:?}");
}

#[test]
fn writers_that_share_groups_lose_nothing_acknowledged() {
    let sim = SimFs::recording();
    let options = small(Durability::Sync);
    let diary = Diary::new(&sim, &options, History::default());
    let session = Session::open(Arc::new(sim), diary.clone(), &options).unwrap();
    let store = session.store.clone();
    let session = Mutex::new(session);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (session, store, diary) = (&session, &store, &diary);
            scope.spawn(move || {
                for n in 0..6 {
                    let end = session.lock().push(writer * 700 + n * 31).unwrap();
                    assert!(store.wait(end, Some(PATIENCE)).unwrap());
                    diary.acknowledge(end);
                }
            });
        }
    });
    assert_eq!(session.lock().frames.len(), 24);
    session.lock().read_back().unwrap();
    let tally = sweep(&diary, THOROUGHNESS).unwrap();
    assert!(tally.images > 300, "{tally:?}");
}
