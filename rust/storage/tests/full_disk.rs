//! A disk that is full: what is deleted on it gives its space back, and appends go on by themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use durastream_storage::fs::sim::{Fault, FaultKind, OpClass};
use durastream_storage::fs::{Fs, Open, SimFs};
use durastream_storage::{
    CommitError, FrameHead, Held, Live, Lsn, PushError, Recovering, Store, Tenancy,
};
use parking_lot::Mutex;
use support::{Log, append, head, payload, small};

const DIR: &str = "/data";
const EVENT: usize = 1000;
const STREAMS: u64 = 8;
const CAPACITY: u64 = 400 << 10;
/// Payload of a checkpoint of a subject that others filled the disk of.
const CHECKPOINT: usize = 5000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Below which position each stream is dead, and which are gone.
#[derive(Default)]
struct Dead(Mutex<Tenants>);

#[derive(Default)]
struct Tenants {
    gone: Vec<u64>,
    floor: u64,
}

impl Tenancy for Dead {
    fn live(&self, streams: &[u64], out: &mut Vec<Live>) {
        let tenants = self.0.lock();
        let live = |it| match tenants.gone.contains(it) {
            false => Live::above(tenants.floor),
            true => Live::NOTHING,
        };
        out.extend(streams.iter().map(live));
    }

    fn within(&self, _from: Lsn, _to: Lsn, _out: &mut Vec<Held>) {}
}

struct Subject {
    fs: SimFs,
    dead: Arc<Dead>,
    store: Store,
    events: u64,
}

impl Subject {
    fn new() -> Self {
        let (fs, dead) = (SimFs::new(), Arc::new(Dead::default()));
        fs.set_capacity(Some(CAPACITY));
        let store = open(&fs, &dead);
        Self {
            fs,
            dead,
            store,
            events: 0,
        }
    }

    /// With history and nothing else, and no space for more of anything.
    fn filled_by_others() -> Self {
        let mut subject = Self::new();
        subject.fs.set_capacity(None);
        for _ in 0..100 {
            subject.append().unwrap();
        }
        subject.store.compact().unwrap();
        for _ in 0..2 {
            let end = subject.store.end();
            let payload = payload(1, CHECKPOINT);
            subject.store.write_checkpoint(end, &[payload]).unwrap();
        }
        let names = subject.fs.list(Path::new(DIR)).unwrap();
        let len = |name: &PathBuf| {
            let file = subject.fs.open(&Path::new(DIR).join(name), Open::Read);
            file.unwrap().len().unwrap()
        };
        subject.fs.set_capacity(Some(names.iter().map(len).sum()));
        subject
    }

    /// Appends one event, of the streams in turn.
    fn append(&mut self) -> Result<(), PushError> {
        let (stream, turn) = (self.events % STREAMS + 1, self.events / STREAMS);
        let head = head(stream, turn * EVENT as u64);
        let placed = self.store.push(&head, &payload(self.events, EVENT))?;
        self.store.wait(placed.end, None)?;
        self.events += 1;
        Ok(())
    }

    /// Appends until that is refused for longer than any merge of live data takes.
    fn fill(&mut self) {
        let mut refused = Instant::now();
        while refused.elapsed() < Duration::from_millis(700) {
            match self.append() {
                Ok(()) => refused = Instant::now(),
                Err(PushError::Commit(CommitError::StorageFull { .. })) => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("{error}"),
            }
            self.keep();
            assert!(
                self.events < 2 * CAPACITY / EVENT as u64,
                "it never is full"
            );
        }
        assert!(self.store.full().is_some());
        assert!(self.store.stats().storage_full.is_some());
    }

    /// What the owner of a store does now and then.
    fn keep(&self) {
        self.keep_with(300);
    }

    fn keep_with(&self, checkpoint: usize) {
        if self.store.wants_checkpoint() {
            match self
                .store
                .write_checkpoint(self.store.end(), &[payload(1, checkpoint)])
            {
                Ok(()) | Err(CommitError::StorageFull { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Appends until `events` more were taken.
    fn go_on(&mut self, events: u64) {
        let (goal, begun) = (self.events + events, Instant::now());
        while self.events < goal {
            match self.append() {
                Ok(()) => {}
                Err(PushError::Commit(CommitError::StorageFull { .. })) => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("{error}"),
            }
            self.keep();
            let stats = self.store.stats();
            assert!(
                begun.elapsed() < PATIENCE,
                "{} of {goal} events: {stats:?}, {:?}",
                self.events,
                self.fs.list(Path::new(DIR)).unwrap()
            );
        }
    }

    /// Every event that lives can be read.
    fn check(&self) {
        let tenants = self.dead.0.lock();
        for stream in (1..=STREAMS).filter(|stream| !tenants.gone.contains(stream)) {
            let sealed = self
                .store
                .history_events(stream, tenants.floor, u64::MAX)
                .unwrap();
            let mut at = tenants.floor;
            for _ in 0..sealed {
                let page = self.store.history(stream, at, u64::MAX, 1).unwrap();
                let number = at / EVENT as u64 * STREAMS + stream - 1;
                assert_eq!(page.chunks.concat(), payload(number, EVENT));
                at = page.end;
            }
        }
    }
}

fn open(fs: &SimFs, dead: &Arc<Dead>) -> Store {
    let fs = Arc::new(fs.clone());
    let mut options = small();
    options.hot_bytes = 0;
    let mut recovering = Recovering::open(fs, Path::new(DIR), options, "a test").unwrap();
    recovering.set_tenancy(Arc::clone(dead) as Arc<dyn Tenancy>);
    recovering.replay(&mut |_| Ok(())).unwrap();
    recovering.start(Arc::new(Log::default())).unwrap()
}

#[test]
fn deleting_everything_gives_all_of_the_disk_back() {
    let mut subject = Subject::new();
    for _ in 0..3 {
        subject.fill();
        // The deletions themselves are taken.
        append(&subject.store, &head(1, 0), &payload(1, 0));
        subject.dead.0.lock().floor = subject.events.div_ceil(STREAMS) * EVENT as u64;
        subject.go_on(100);
        subject.check();
    }
    assert!(subject.store.poisoned().is_none());
}

#[test]
fn deleting_some_of_the_streams_gives_their_space_back() {
    let mut subject = Subject::new();
    subject.fill();
    append(&subject.store, &head(1, 0), &payload(1, 0));
    // Every file keeps half of what it holds.
    subject.dead.0.lock().gone = (1..=STREAMS / 2).collect();
    subject.go_on(60);
    subject.check();
    assert!(subject.store.poisoned().is_none());
}

#[test]
fn a_full_disk_that_is_reopened_gives_space_back_too() {
    let mut subject = Subject::new();
    subject.fill();
    let fs = subject.fs.kill();
    let dead = Arc::clone(&subject.dead);
    subject = Subject {
        store: open(&fs, &dead),
        fs,
        dead,
        events: subject.events,
    };
    append(&subject.store, &head(1, 0), &payload(1, 0));
    subject.dead.0.lock().floor = subject.events.div_ceil(STREAMS) * EVENT as u64;
    subject.go_on(100);
    subject.check();
}

#[test]
fn deletions_on_a_disk_that_others_have_filled_go_on_and_give_space_back() {
    let mut subject = Subject::filled_by_others();
    // Much more than the reserves hold.
    let (meta, begun) = ([7; 500], Instant::now());
    let mut taken = 0;
    while taken < 200 {
        let deletion = FrameHead {
            meta: &meta,
            ..head(1, 0)
        };
        match subject.store.push(&deletion, &payload(1, 0)) {
            Ok(placed) => {
                subject.store.wait(placed.end, None).unwrap();
                taken += 1;
            }
            Err(PushError::Commit(CommitError::StorageFull { .. })) => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
        subject.keep_with(CHECKPOINT);
        let stats = subject.store.stats();
        assert!(begun.elapsed() < PATIENCE, "{taken} deletions: {stats:?}");
    }
    // What they deleted gives its space back.
    subject.dead.0.lock().floor = subject.events.div_ceil(STREAMS) * EVENT as u64;
    subject.go_on(20);
    subject.check();
}

#[test]
fn space_that_comes_from_elsewhere_is_noticed_without_an_append() {
    let mut subject = Subject::new();
    subject.fill();
    subject.fs.set_capacity(None);
    let begun = Instant::now();
    while subject.store.full().is_some() {
        assert!(begun.elapsed() < PATIENCE, "it is not noticed");
        thread::sleep(Duration::from_millis(5));
    }
    subject.append().unwrap();
}

#[test]
fn a_process_out_of_descriptors_loses_nothing_and_goes_on_once_it_has_some() {
    let mut subject = Subject::new();
    subject.fs.set_capacity(None);
    for after in 0..24 {
        subject.fs.inject(Fault {
            class: OpClass::Open,
            after,
            times: 12,
            kind: FaultKind::NoSpace,
        });
        subject.go_on(20);
        let checkpoint = subject.store.write_checkpoint(0, &[payload(1, 300)]);
        assert!(matches!(
            checkpoint,
            Ok(()) | Err(CommitError::StorageFull { .. })
        ));
        subject.fs.heal();
        subject.go_on(20);
        subject.check();
    }
    assert!(subject.store.poisoned().is_none());
    subject.store.close().unwrap();
}

#[test]
fn space_that_is_made_for_a_checkpoint_is_left_to_it() {
    let mut subject = Subject::filled_by_others();
    let (meta, dead) = ([7; 500], payload(1, 0));
    let deletion = FrameHead {
        meta: &meta,
        ..head(1, 0)
    };
    while let Ok(placed) = subject.store.push(&deletion, &dead) {
        subject.store.wait(placed.end, None).unwrap();
    }
    assert!(subject.store.stats().sealing_backlog > 0);
    let names = || subject.fs.list(Path::new(DIR)).unwrap();
    let before = names();
    let mut checkpoint = subject.store.begin_checkpoint(subject.store.end()).unwrap();
    // Longer than those who need space for segments and sealed files wait before they try again.
    thread::sleep(Duration::from_millis(1200));
    let log = |name: &PathBuf| {
        let kind = name.extension().unwrap_or_default();
        kind == "sealed" || kind == "wal"
    };
    let taken: Vec<_> = names()
        .into_iter()
        .filter(|name| log(name) && !before.contains(name))
        .collect();
    assert!(taken.is_empty(), "{taken:?}");
    checkpoint.push(payload(1, CHECKPOINT)).unwrap();
    checkpoint.finish().unwrap();
    subject.dead.0.lock().floor = subject.events.div_ceil(STREAMS) * EVENT as u64;
    subject.go_on(50);
    subject.check();
}
