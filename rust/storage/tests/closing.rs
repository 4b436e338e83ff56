//! Closing a store while its own threads are at work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/meddled.rs"]
mod meddled;
mod support;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use durastream_storage::fs::{Fs, FsFile, Open, SimFs};
use durastream_storage::{Recovering, Store, Tenancy};
use meddled::{Meddled, Meddler, Through};
use support::{Log, append, head, payload, small};

const PATIENCE: Duration = Duration::from_secs(20);
const STREAMS: u64 = 10;

/// Where the threads stand.
#[derive(Default)]
struct Stage {
    /// Whoever asks what is alive is to wait.
    holds: AtomicBool,
    /// Somebody does.
    held: AtomicBool,
    closing: AtomicBool,
    /// Something is dead.
    dead: AtomicBool,
    /// Files that the compactor has begun.
    begun: AtomicU64,
}

#[derive(Clone, Default)]
struct Director(Arc<Stage>);

impl Tenancy for Director {
    fn live(&self, streams: &[u64], out: &mut Vec<Option<u64>>) {
        // A bit is dead: worth a merge on a full disk, but there is no space for one.
        let gone = u64::from(self.0.dead.load(Ordering::SeqCst));
        out.extend(streams.iter().map(|stream| (*stream > gone).then_some(0)));
        while self.0.holds.load(Ordering::SeqCst) {
            self.0.held.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Meddler for Director {
    fn open(&self, disk: &SimFs, path: &Path, how: Open) -> io::Result<Arc<dyn FsFile>> {
        let is_sealed = path.extension().is_some_and(|it| it == "sealed");
        let merges = thread::current().name() == Some("durastream-compactor");
        if how == Open::CreateNew && is_sealed && merges {
            self.0.begun.fetch_add(1, Ordering::SeqCst);
        }
        disk.open(path, how)
    }

    fn sync(&self, file: &Through<Self>) -> io::Result<()> {
        if file.is_called("MANIFEST") && self.0.closing.load(Ordering::SeqCst) {
            // Nobody else may change which files there are: now the compactor goes on, and wants to.
            self.0.holds.store(false, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(200));
        }
        file.inner.sync_data()
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn open(fs: &SimFs, director: &Director) -> Store {
    let mut options = small();
    options.segment_bytes = 64 << 10;
    let fs = Arc::new(Meddled::new(fs.clone(), director.clone()));
    let mut recovering = Recovering::open(fs, Path::new("/data"), options, "a test").unwrap();
    recovering.set_tenancy(Arc::new(director.clone()));
    recovering.start(Arc::new(Log::default())).unwrap()
}

#[test]
fn a_store_on_a_full_disk_closes_while_it_looks_for_space() {
    let (fs, director) = (SimFs::new(), Director::default());
    let stage = Arc::clone(&director.0);
    let store = open(&fs, &director);
    for event in 0..50 {
        for stream in 1..=STREAMS {
            append(&store, &head(stream, event * 1000), &payload(event, 1000));
        }
    }
    store.compact().unwrap();
    assert_eq!(store.stats().sealed_files, 1);
    // Full from here on, with room for what is prepared only.
    let names = fs.list(Path::new("/data")).unwrap();
    let len = |name| {
        Some(
            fs.open(&Path::new("/data").join(name), Open::Read)
                .ok()?
                .len()
                .unwrap(),
        )
    };
    fs.set_capacity(Some(names.iter().filter_map(len).sum()));
    let begun = stage.begun.load(Ordering::SeqCst);
    stage.dead.store(true, Ordering::SeqCst);
    let mut position = 0;
    until("full", || {
        store.full().is_some() || {
            let pushed = store.push(&head(99, position), &payload(1, 30_000));
            pushed.is_ok_and(|placed| {
                position += 30_000;
                store.wait(placed.end, None).is_err()
            })
        }
    });
    until("tried to merge", || {
        stage.begun.load(Ordering::SeqCst) > begun
    });
    stage.holds.store(true, Ordering::SeqCst);
    until("asked", || stage.held.load(Ordering::SeqCst));
    stage.closing.store(true, Ordering::SeqCst);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(store.close()).unwrap());
    let closed = told.recv_timeout(PATIENCE);
    closed.expect("it never closes").unwrap();
}
