//! Disks that refuse: at every operation, with `EIO` and `ENOSPC`, once and for good.

use std::sync::Arc;
use std::time::{Duration, Instant};

use durastream_storage::fs::SimFs;
use durastream_storage::fs::sim::{Fault, FaultKind, OpClass, Policy};
use durastream_storage::{
    CommitError, CompactError, Durability, OpenError, PushError, ReadError, StoreOptions,
};

use crate::history::History;
use crate::session::{Diary, PATIENCE, Session, Wrong};
use crate::workload::{Step, Workload, small};
use crate::{first_seed, rounds};

const KINDS: [FaultKind; 4] = [
    FaultKind::Io,
    FaultKind::NoSpace,
    FaultKind::ShortWrite,
    FaultKind::ShortNoSpace,
];

/// How a workload on a failing disk went.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    refused_open: u64,
    full: u64,
    poisoned: u64,
    unharmed: u64,
}

/// A workload that goes on as an application would when its disk fails.
struct Run<'a> {
    workload: &'a Workload,
    tally: &'a mut Tally,
}

impl Run<'_> {
    /// Tells whether the fault struck at all.
    fn go(&mut self, fault: Fault) -> Result<bool, String> {
        self.tally.runs += 1;
        let options = &self.workload.options;
        let sim = self.workload.disk();
        sim.inject(fault);
        let mut diary = Diary::new(&sim, options, History::default());
        let mut harmed = false;
        let mut session = None;
        for step in &self.workload.steps {
            if session.is_none() {
                match open(&diary, options) {
                    Ok(opened) => session = Some(opened),
                    Err(Wrong::Open(e)) => {
                        self.judge_open(&e)?;
                        harmed = true;
                        continue;
                    }
                    Err(Wrong::Content(e)) => return Err(e),
                }
            }
            let Some(running) = &mut session else {
                continue;
            };
            match Self::take(running, step) {
                Ok(false) => {}
                Ok(true) => {
                    diary = running.diary.clone();
                    session = None;
                    diary.sim = diary.sim.kill();
                }
                Err(e) => {
                    harmed = true;
                    self.judge(running, &e)?;
                }
            }
            if let Some(running) = &session {
                self.reads_go_on(running, fault)?;
            }
        }
        if let Some(session) = &session {
            diary = session.diary.clone();
        }
        if !harmed {
            self.tally.unharmed += 1;
        }
        // Whatever happened, what was acknowledged survives a power cut now ...
        let op = diary.sim.op_count();
        for (seed, policy) in (0..).zip(Policy::ALL) {
            let image = diary.sim.crash_image(op, policy, seed);
            image.record();
            let history = History::after_power_cut(diary.history.lock().at(op));
            let diary = Diary::new(&image, options, history);
            let opened = open(&diary, options);
            let session = opened.map_err(|e| format!("after a power cut, {policy:?}: {e:?}"))?;
            session.read_back()?;
        }
        // ... and the death of the process, when the disk is well again.
        drop(session);
        diary.sim = diary.sim.kill();
        let struck = diary.sim.heal() < fault.times;
        let opened = open(&diary, options);
        let mut session = opened.map_err(|e| format!("when the disk was well again: {e:?}"))?;
        session.read_back()?;
        session.push(100).map_err(|e| e.to_string())?;
        session.commit().map_err(|e| e.to_string())?;
        session.read_back()?;
        Ok(struck)
    }

    /// Takes a step; `true` when the store is to be opened again.
    fn take(session: &mut Session, step: &Step) -> Result<bool, PushError> {
        match step {
            Step::Push(sizes) => {
                for &len in sizes {
                    session.push(len)?;
                }
            }
            Step::Commit => session.commit()?,
            Step::Kick => session.kick()?,
            Step::Checkpoint(filler) => session.checkpoint(*filler)?,
            Step::Drop(sixteenths) => session.drop_before(session.frames.len() * sixteenths / 16),
            Step::Hollow(from, to) => {
                let nth = |sixteenths| session.frames.len() * sixteenths / 16;
                session.hollow(nth(*from), nth(*to));
            }
            Step::Compact => match session.compact() {
                Err(CompactError::Commit(e)) => return Err(e.into()),
                // A disk that does not answer is no damage.
                Err(CompactError::Damaged(ReadError::Io { .. })) | Ok(()) => {}
                Err(e) => panic!("a fault came out as {e}"),
            },
            Step::Settle => session.settle(),
            // What a fault does to compaction, `Compact` shows; waiting at every fault would take long.
            Step::Tidy | Step::Merged | Step::Sealed => {}
            Step::Damage(_) => {}
            Step::Close => {
                session.store.close()?;
                return Ok(true);
            }
            Step::Kill => return Ok(true),
        }
        Ok(false)
    }

    fn judge_open(&mut self, e: &OpenError) -> Result<(), String> {
        self.tally.refused_open += 1;
        // A disk that cannot be read is no damage, and no reason to cut anything.
        match e {
            OpenError::Io { .. } => Ok(()),
            e => Err(format!("refused to open for the wrong reason: {e}")),
        }
    }

    fn judge(&mut self, session: &Session, e: &PushError) -> Result<(), String> {
        let PushError::Commit(e) = e else {
            return Err(format!("a fault came out as {e}"));
        };
        match e {
            // Poison may have come behind it, from the store's own thread.
            CommitError::StorageFull { .. } => {
                self.tally.full += 1;
                Ok(())
            }
            CommitError::Poisoned { .. } | CommitError::Closed => {
                self.tally.poisoned += 1;
                match (session.store.poisoned(), e) {
                    (Some(cause), e) if cause.to_string() == e.to_string() => Ok(()),
                    (_, CommitError::Closed) => Ok(()),
                    (cause, e) => Err(format!("said {e}, but the first cause is {cause:?}")),
                }
            }
            e => Err(format!("an unknown refusal: {e}")),
        }
    }

    /// Reads work on a poisoned store as before, unless it is reads that fail.
    fn reads_go_on(&self, session: &Session, fault: Fault) -> Result<(), String> {
        if fault.class == OpClass::Any {
            return Ok(());
        }
        session.read_back()
    }
}

fn open(diary: &Diary, options: &StoreOptions) -> Result<Session, Wrong> {
    // What an attempt that failed left open and locked is gone with its process.
    let mut diary = diary.clone();
    diary.sim = diary.sim.kill();
    Session::open(Arc::new(diary.sim.clone()), diary, options)
}

/// Fails every operation of a class in turn, until there are no more.
fn fail_all(workloads: u64, class: OpClass, times: u64) -> Tally {
    let mut tally = Tally::default();
    let seeds = (0..workloads * rounds()).map(|seed| first_seed() + seed);
    for (seed, kind) in seeds.flat_map(|seed| KINDS.map(|kind| (seed, kind))) {
        let workload = Workload::random(seed, Durability::Sync);
        for after in 0.. {
            let fault = Fault {
                class,
                after,
                times,
                kind,
            };
            let mut run = Run {
                workload: &workload,
                tally: &mut tally,
            };
            match run.go(fault) {
                Ok(true) => {}
                Ok(false) => break,
                Err(wrong) => panic!("workload {seed} {:?}, {fault:?}: {wrong}", workload.steps),
            }
        }
    }
    tally
}

#[test]
fn one_failed_change_loses_nothing_acknowledged() {
    let tally = fail_all(4, OpClass::Change, 1);
    assert!(
        tally.full > 0 && tally.poisoned > 0 && tally.refused_open > 0 && tally.unharmed > 0,
        "{tally:?}"
    );
    assert!(tally.runs > 1000, "{tally:?}");
}

#[test]
fn a_disk_that_takes_no_more_changes_loses_nothing_acknowledged() {
    let tally = fail_all(2, OpClass::Change, u64::MAX);
    assert!(
        tally.full > 0 && tally.poisoned > 0 && tally.refused_open > 0,
        "{tally:?}"
    );
}

#[test]
fn one_failed_operation_of_any_kind_loses_nothing_acknowledged() {
    let tally = fail_all(2, OpClass::Any, 1);
    assert!(
        tally.full > 0 && tally.poisoned > 0 && tally.refused_open > 0,
        "{tally:?}"
    );
}

/// What a push of `len` bytes and its commit come to.
fn append(session: &mut Session, len: usize) -> Result<(), PushError> {
    session.push(len)?;
    Ok(session.commit()?)
}

fn is_full(error: &PushError) -> bool {
    matches!(error, PushError::Commit(CommitError::StorageFull { .. }))
}

/// Appends until the disk is full. Merging sealed files may have made a little space meanwhile.
fn fill(session: &mut Session) {
    let frames = session.frames.len();
    while session.frames.len() < frames + 100 {
        if let Err(refused) = append(session, 3000) {
            assert!(is_full(&refused), "{refused}");
            return;
        }
    }
    panic!("the disk holds more than it can");
}

#[test]
fn a_full_disk_refuses_payloads_only_and_takes_them_again_when_there_is_space() {
    let sim = SimFs::recording();
    let options = small(Durability::Sync);
    let diary = Diary::new(&sim, &options, History::default());
    let mut session = Session::open(Arc::new(sim.clone()), diary, &options).unwrap();
    sim.set_capacity(Some(100 << 10));
    fill(&mut session);
    fill(&mut session);
    assert!(session.store.poisoned().is_none());
    session.read_back().unwrap();
    // Deletions and trims have no payload.
    append(&mut session, 0).unwrap();

    // A full disk can be opened, read, and still take what frees it.
    let mut diary = session.diary.clone();
    diary.sim = diary.sim.kill();
    drop(session);
    let mut session = Session::open(Arc::new(diary.sim.clone()), diary, &options).unwrap();
    session.read_back().unwrap();
    for _ in 0..2 {
        fill(&mut session);
        append(&mut session, 0).unwrap();
    }
    assert!(session.store.poisoned().is_none());
    session.read_back().unwrap();
    sim.set_capacity(None);
    let begun = Instant::now();
    while let Err(e) = append(&mut session, 3000) {
        assert!(is_full(&e) && begun.elapsed() < PATIENCE, "{e}");
        std::thread::sleep(Duration::from_millis(1));
    }
    session.read_back().unwrap();
    let store = session.store.clone();
    store.close().unwrap();
}
