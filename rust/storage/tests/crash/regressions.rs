//! What others of this kind found in themselves, and what this suite found in ours.

use std::path::Path;
use std::sync::Arc;

use durastream_storage::Durability;
use durastream_storage::fs::sim::{Fault, FaultKind, OpClass, Policy};
use durastream_storage::fs::{Fs, Open, SimFs};

use crate::history::History;
use crate::session::{DIR, Diary, Session};
use crate::sweep::{Thoroughness, sweep};
use crate::workload::{Step, Workload, small};

const THOROUGHNESS: Thoroughness = Thoroughness {
    seeds: 3,
    recoveries: 20,
    recoveries_of_compactions: 20,
};

fn survives(steps: Vec<Step>) -> Session {
    let options = small(Durability::Sync);
    let workload = Workload { options, steps };
    let diary = workload.run(&|sim| Arc::new(sim)).unwrap();
    sweep(&diary, THOROUGHNESS).unwrap();
    reopen(diary)
}

fn reopen(mut diary: Diary) -> Session {
    diary.sim = diary.sim.kill();
    Session::open(Arc::new(diary.sim.clone()), diary, &small(Durability::Sync)).unwrap()
}

/// Commits frames until a segment is full and a bit more.
fn fill() -> [Step; 2] {
    [Step::Push(vec![3000; 6]), Step::Commit]
}

fn segments(session: &Session) -> usize {
    let names = session.diary.sim.list(Path::new(DIR)).unwrap();
    let ending = |name: &&std::path::PathBuf| name.extension().is_some_and(|e| e == "wal");
    names.iter().filter(ending).count()
}

#[test]
fn a_recycled_first_segment_shows_nothing_of_its_earlier_life() {
    let mut steps = Vec::new();
    for _ in 0..3 {
        steps.extend(fill());
        steps.extend([Step::Checkpoint(10), Step::Drop(16)]);
        steps.extend(fill());
        steps.extend([Step::Checkpoint(10), Step::Drop(15)]);
    }
    let options = small(Durability::Sync);
    let sim = SimFs::new();
    let diary = Diary::new(&sim, &options, History::default());
    let mut session = Session::open(Arc::new(sim), diary, &options).unwrap();
    for _ in 0..4 {
        for _ in 0..6 {
            session.push(3000).unwrap();
        }
        session.commit().unwrap();
        session.checkpoint(10).unwrap();
        session.drop_before(session.frames.len() - 1);
        session.compact().unwrap();
    }
    assert!(session.store.stats().recycled > 0, "nothing was recycled");
    drop(session);
    survives(steps);
}

#[test]
fn boots_prepare_no_segment_over_one_that_is_in_use() {
    let mut steps = Vec::new();
    for end in [Step::Close, Step::Kill, Step::Close, Step::Kill] {
        steps.extend(fill());
        steps.push(end);
    }
    let session = survives(steps);
    assert_eq!(session.frames.len(), 24);
    session.read_back().unwrap();
}

#[test]
fn boots_without_a_write_change_nothing_and_pile_up_nothing() {
    let mut steps = vec![Step::Kill, Step::Close, Step::Kill];
    steps.extend([Step::Push(vec![10]), Step::Commit]);
    let boots = [Step::Kill, Step::Kill, Step::Close, Step::Close];
    let once = survives([steps.clone(), boots.to_vec()].concat());
    let twice = survives([steps, boots.to_vec(), boots.to_vec()].concat());
    assert_eq!(once.frames.len(), 1);
    assert_eq!(once.frames, twice.frames);
    assert_eq!(segments(&once), segments(&twice));
}

#[test]
fn a_stream_whose_only_frame_was_torn_is_as_if_it_had_never_been() {
    let options = small(Durability::Sync);
    let mut torn = 0;
    for seed in 0..200 {
        let sim = SimFs::recording();
        let diary = Diary::new(&sim, &options, History::default());
        let mut session = Session::open(Arc::new(sim.clone()), diary.clone(), &options).unwrap();
        session.push(3000).unwrap();
        // The sync fails, so nobody is told, and the power goes.
        sim.inject(Fault {
            class: OpClass::Sync,
            after: 1,
            times: 1,
            kind: FaultKind::Io,
        });
        session.commit().unwrap_err();
        let policy = Policy::Torn { sector: 512 };
        let image = sim.crash_image(sim.op_count(), policy, seed);
        image.record();
        let expected = diary.history.lock().at(sim.op_count());
        let diary = Diary::new(&image, &options, History::after_power_cut(expected));
        let mut session = Session::open(Arc::new(image.clone()), diary, &options).unwrap();
        torn += u64::from(session.torn);
        session.push(20).unwrap();
        session.commit().unwrap();
        let frames = session.frames.clone();
        let again = reopen(session.diary.clone());
        assert_eq!(again.frames, frames);
        again.read_back().unwrap();
    }
    assert!(torn > 50, "torn {torn} times only");
}

#[test]
fn what_a_checkpoint_replaced_never_comes_back() {
    let mut steps = Vec::new();
    for filler in [10, 5000, 0] {
        steps.extend(fill());
        steps.extend([Step::Checkpoint(filler), Step::Drop(16), Step::Kill]);
    }
    let session = survives(steps);
    // The suite's judgement refuses every checkpoint older than the last one written.
    assert_eq!(session.frames.len(), 18);
}

#[test]
fn a_sync_that_failed_is_not_made_good_by_one_that_did_nothing() {
    let options = small(Durability::Sync);
    let sim = SimFs::recording();
    let diary = Diary::new(&sim, &options, History::default());
    let mut session = Session::open(Arc::new(sim.clone()), diary.clone(), &options).unwrap();
    session.push(100).unwrap();
    session.commit().unwrap();
    session.push(200).unwrap();
    sim.inject(Fault {
        class: OpClass::Sync,
        after: 0,
        times: 1,
        kind: FaultKind::Io,
    });
    session.commit().unwrap_err();
    // The same machine, so the written pages are still there to be read, but marked clean.
    let mut session = reopen(diary);
    session.push(300).unwrap();
    session.commit().unwrap();
    let diary = session.diary.clone();
    sweep(&diary, THOROUGHNESS).unwrap();
}

#[test]
fn a_directory_sync_that_found_no_space_is_relied_upon_by_nobody() {
    let options = small(Durability::Sync);
    for nth in 0..8 {
        let sim = SimFs::recording();
        let diary = Diary::new(&sim, &options, History::default());
        let mut session = Session::open(Arc::new(sim.clone()), diary.clone(), &options).unwrap();
        for len in [3000, 3000] {
            session.push(len).unwrap();
        }
        session.commit().unwrap();
        sim.inject(Fault {
            class: OpClass::SyncDir,
            after: nth,
            times: 1,
            kind: FaultKind::NoSpace,
        });
        session.compact().ok();
        drop(session);
        sim.heal();
        sweep(&diary, THOROUGHNESS).unwrap_or_else(|wrong| panic!("sync {nth}: {wrong}"));
    }
}

#[test]
fn files_left_by_a_dying_process_are_never_taken_for_segments_in_use() {
    let options = small(Durability::Sync);
    let sim = SimFs::recording();
    let diary = Diary::new(&sim, &options, History::default());
    let mut session = Session::open(Arc::new(sim.clone()), diary, &options).unwrap();
    session.push(100).unwrap();
    session.commit().unwrap();
    let mut diary = session.diary.clone();
    diary.sim = diary.sim.kill();
    drop(session);
    // Prepared, but the process died before the manifest listed them.
    for number in 1..8 {
        let path = Path::new(DIR).join(format!("{number:016}.wal"));
        if let Ok(file) = diary.sim.open(&path, Open::CreateNew) {
            file.allocate(options.segment_bytes).unwrap();
        }
    }
    let mut session = reopen(diary);
    for len in [40_000, 15_000, 15_000, 40_000, 15_000, 15_000] {
        session.push(len).unwrap();
        session.commit().unwrap();
        session.read_back().unwrap();
    }
    let frames = session.frames.clone();
    let session = reopen(session.diary.clone());
    assert_eq!(session.frames, frames);
    sweep(&session.diary, THOROUGHNESS).unwrap();
}
