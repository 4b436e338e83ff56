//! Compaction of a running store: what is alive is read all the while, what is dead gives its space back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use durastream_storage::fs::sim::{Fault, FaultKind, OpClass};
use durastream_storage::fs::{Fs, Open, SimFs};
use durastream_storage::{
    CommitError, CompactError, Held, Live, Lsn, ReadError, Recovering, Store, Tenancy,
};
use parking_lot::Mutex;
use support::{Log, append, head, open_with, payload, small};

const DIR: &str = "/data";
const EVENT: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(20);

/// Streams up to the first number are gone, the others live from the second on.
#[derive(Default)]
struct Dead(Mutex<(u64, u64)>);

impl Tenancy for Dead {
    fn live(&self, streams: &[u64], out: &mut Vec<Live>) {
        let (gone, floor) = *self.0.lock();
        let live = |it: &u64| match *it > gone {
            true => Live::above(floor),
            false => Live::NOTHING,
        };
        out.extend(streams.iter().map(live));
    }

    fn within(&self, _from: Lsn, _to: Lsn, _out: &mut Vec<Held>) {}
}

struct Subject {
    fs: SimFs,
    dead: Arc<Dead>,
    store: Store,
    /// Events of each stream.
    events: u64,
}

/// Streams 1 to this.
const STREAMS: u64 = 10;

impl Subject {
    fn new() -> Self {
        let (fs, dead) = (SimFs::new(), Arc::new(Dead::default()));
        Self {
            store: open(&fs, &dead),
            fs,
            dead,
            events: 0,
        }
    }

    /// Appends as many events to every stream.
    fn append(&mut self, events: u64) -> Lsn {
        for event in self.events..self.events + events {
            for stream in 1..=STREAMS {
                let payload = payload(stream << 32 | event, EVENT as usize);
                append(&self.store, &head(stream, event * EVENT), &payload);
            }
        }
        self.events += events;
        self.store.end()
    }

    /// Waits for the store's own thread.
    fn until(&self, what: &str, holds: impl Fn(&Store) -> bool) {
        let begun = Instant::now();
        while !holds(&self.store) {
            let stats = self.store.stats();
            assert!(begun.elapsed() < PATIENCE, "never {what}: {stats:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn sealed_files(&self) -> Vec<PathBuf> {
        let is_sealed = |path: &PathBuf| path.extension().is_some_and(|it| it == "sealed");
        let files = files(&self.fs).into_iter().map(|(path, _)| path);
        files.filter(is_sealed).collect()
    }
}

/// The files that are there, and their lengths. Some may go meanwhile.
fn files(fs: &SimFs) -> Vec<(PathBuf, u64)> {
    let names = fs.list(Path::new(DIR)).unwrap();
    let paths = names.iter().map(|name| Path::new(DIR).join(name));
    let lengths = paths.filter_map(|path| {
        let file = fs.open(&path, Open::Read).ok()?;
        Some((path, file.len().ok()?))
    });
    lengths.collect()
}

fn open(fs: &SimFs, dead: &Arc<Dead>) -> Store {
    let mut options = small();
    options.hot_bytes = 0;
    let fs = Arc::new(fs.clone());
    let mut recovering = Recovering::open(fs, Path::new(DIR), options, "a test").unwrap();
    recovering.set_tenancy(Arc::clone(dead) as Arc<dyn Tenancy>);
    recovering.replay(&mut |_| Ok(())).unwrap();
    recovering.start(Arc::new(Log::default())).unwrap()
}

/// Reads all that is sealed of a stream from the floor on, page by page.
fn assert_readable(store: &Store, stream: u64, floor: u64, events: u64) {
    let mut at = floor * EVENT;
    while at < events * EVENT {
        let page = store.history(stream, at, events * EVENT, 2000).unwrap();
        assert!(
            page.start == at && page.end > at,
            "{page:?} of {stream} at {at}"
        );
        let bytes = page.chunks.concat();
        for (index, bytes) in bytes.chunks(EVENT as usize).enumerate() {
            let event = at / EVENT + index as u64;
            assert_eq!(bytes, payload(stream << 32 | event, EVENT as usize));
        }
        at = page.end;
    }
}

#[test]
fn files_are_merged_by_themselves_so_that_they_stay_few() {
    let mut subject = Subject::new();
    subject.append(200);
    subject.until("merged", |store| {
        let stats = store.stats();
        stats.sealing_backlog == 0 && stats.sealed_files <= 12
    });
    let stats = subject.store.stats();
    // A byte is written again only when its file becomes a multiple as large.
    assert!(
        stats.compactions > 1 && stats.write_amplification() < 6.0,
        "{stats:?}"
    );
    subject.store.compact().unwrap();
    assert_eq!(subject.store.stats().sealed_files, 1);
    for stream in 1..=STREAMS {
        assert_readable(&subject.store, stream, 0, 200);
    }
    assert_eq!(subject.sealed_files().len(), 1);
}

#[test]
fn files_without_anything_alive_are_unlinked_by_themselves() {
    let mut subject = Subject::new();
    subject.append(100);
    subject.store.compact().unwrap();
    subject.dead.0.lock().0 = STREAMS;
    subject.until("unlinked", |store| store.stats().sealed_files == 0);
    assert_eq!(subject.sealed_files(), Vec::<PathBuf>::new());
    assert_eq!(subject.store.stats().space_amplification(), None);
    subject.store.close().unwrap();
    let store = open(&subject.fs, &subject.dead);
    assert_eq!(store.history_events(1, 0, u64::MAX).unwrap(), 0);
}

#[test]
fn deleted_and_trimmed_data_gives_its_space_back() {
    let mut subject = Subject::new();
    subject.append(200);
    subject.store.compact().unwrap();
    let before = subject.store.stats();
    assert!(before.space_amplification().unwrap() < 1.1, "{before:?}");
    // One stream in ten is left, and half of it.
    *subject.dead.0.lock() = (STREAMS - 1, 100 * EVENT);
    subject.store.compact().unwrap();
    let stats = subject.store.stats();
    assert_eq!(stats.sealed_live_bytes, 100 * EVENT);
    assert!(stats.space_amplification().unwrap() < 1.2, "{stats:?}");
    assert!(stats.sealed_bytes < before.sealed_bytes / 15, "{stats:?}");
    assert_readable(&subject.store, STREAMS, 100, 200);
}

#[test]
fn readers_see_the_same_bytes_whatever_is_swapped_meanwhile() {
    let mut subject = Subject::new();
    let done = AtomicBool::new(false);
    let known = Mutex::new(0);
    let store = subject.store.clone();
    thread::scope(|scope| {
        for reader in 1..=3_u64 {
            let (store, done, known) = (&store, &done, &known);
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let events = *known.lock();
                    for stream in (reader..=STREAMS).step_by(3) {
                        assert_readable(store, stream, 0, events);
                    }
                }
            });
        }
        for _ in 0..15 {
            subject.append(10);
            subject.store.compact().unwrap();
            // Checkpoints have the log's files given up.
            subject
                .store
                .write_checkpoint(subject.store.end(), &[])
                .unwrap();
            *known.lock() = subject.events;
        }
        done.store(true, Ordering::Release);
    });
    assert!(subject.store.stats().compactions >= 10);
}

#[test]
fn every_failed_write_or_sync_of_a_compaction_poisons() {
    let classes = [OpClass::Write, OpClass::Sync];
    for (class, nth) in classes
        .iter()
        .flat_map(|&class| (0..20).map(move |nth| (class, nth)))
    {
        let mut subject = Subject::new();
        subject.append(10);
        subject.store.compact().unwrap();
        subject.append(1);
        subject.dead.0.lock().0 = 1;
        subject.fs.inject(Fault {
            class,
            after: nth,
            times: 1,
            kind: FaultKind::Io,
        });
        let refused = subject.store.compact();
        if subject.fs.heal() > 0 {
            assert!(nth > 3, "only {nth} operations");
            refused.unwrap();
            continue;
        }
        // The store's own thread may have been the one that failed.
        subject.until("poisoned", |store| store.poisoned().is_some());
        let poisoned = subject.store.compact().unwrap_err();
        assert!(
            matches!(poisoned, CompactError::Commit(CommitError::Poisoned { .. })),
            "{poisoned}"
        );
        assert!(subject.store.push(&head(20, 0), &payload(1, 10)).is_err());
        // Reads go on, and so does the next life.
        assert_readable(&subject.store, STREAMS, 0, 10);
        let store = open(&subject.fs.kill(), &subject.dead);
        store.compact().unwrap();
        assert_readable(&store, STREAMS, 0, 11);
    }
}

#[test]
fn a_full_disk_delays_a_compaction_and_harms_nothing() {
    let mut subject = Subject::new();
    subject.append(100);
    subject.store.compact().unwrap();
    let bytes: u64 = files(&subject.fs).iter().map(|(_, len)| len).sum();
    subject.fs.set_capacity(Some(bytes + 1000));
    subject.dead.0.lock().0 = 1;
    let refused = subject.store.compact().unwrap_err();
    let full = |error: &CompactError| {
        matches!(error, CompactError::Commit(CommitError::StorageFull { .. }))
    };
    assert!(full(&refused), "{refused}");
    assert!(subject.store.poisoned().is_none());
    for stream in 1..=STREAMS {
        assert_readable(&subject.store, stream, 0, 100);
    }
    subject.fs.set_capacity(None);
    subject.store.compact().unwrap();
    assert_eq!(subject.store.history_events(1, 0, u64::MAX).unwrap(), 0);
    assert_eq!(subject.sealed_files().len(), 1);
}

#[test]
fn what_a_dying_compaction_left_is_removed_at_the_next_start() {
    let mut subject = Subject::new();
    subject.append(50);
    subject.store.compact().unwrap();
    let listed = subject.sealed_files();
    let fs = subject.fs.kill();
    let left = Path::new(DIR).join("0000000000009999.sealed");
    fs.open(&left, Open::CreateNew).unwrap();
    assert!(files(&fs).iter().any(|(path, _)| *path == left));
    let opened = open_with(Arc::new(fs.clone()), Path::new(DIR), small()).unwrap();
    let files: Vec<PathBuf> = files(&fs).into_iter().map(|(path, _)| path).collect();
    assert!(!files.contains(&left));
    assert!(listed.iter().all(|path| files.contains(path)));
    opened.store.close().unwrap();
}

#[test]
fn a_damaged_file_is_told_and_everything_else_is_compacted() {
    let mut subject = Subject::new();
    subject.append(10);
    subject.store.compact().unwrap();
    // The first file's first block: all that it has.
    let first = subject.sealed_files()[0].clone();
    let file = subject.fs.open(&first, Open::Write).unwrap();
    file.write_all_at(&mut [IoSlice::new(b"?")], 4096 + 10)
        .unwrap();
    subject.append(30);
    subject.dead.0.lock().0 = 2;
    let refused = subject.store.compact().unwrap_err();
    let CompactError::Damaged(ReadError::Damaged { file, offset, .. }) = &refused else {
        panic!("{refused}");
    };
    assert_eq!((file, *offset), (&first, 4096));
    let stats = subject.store.stats();
    assert_eq!((stats.sealed_files, stats.sealed_files_damaged), (2, 1));
    // Of the other file everything dead is gone, and everything alive is there.
    assert_eq!(
        subject
            .store
            .history_events(1, 10 * EVENT, u64::MAX)
            .unwrap(),
        0
    );
    for stream in 3..=STREAMS {
        assert_readable(&subject.store, stream, 10, 40);
        assert!(subject.store.history(stream, 0, u64::MAX, 1).is_err());
    }
    assert!(subject.store.poisoned().is_none());
    // It is told every time, as long as the file is left.
    assert!(matches!(
        subject.store.compact(),
        Err(CompactError::Damaged(_))
    ));
    subject.dead.0.lock().0 = STREAMS;
    subject.store.compact().unwrap();
    assert_eq!(subject.sealed_files(), Vec::<PathBuf>::new());
    assert_eq!(subject.store.stats().sealed_files_damaged, 0);
}
