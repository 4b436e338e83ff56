//! A disk on which sealed files are slow: appends do not wait for them until too many segments do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use durastream_storage::fs::{Fs, FsFile, Open, SimFs};
use support::{Opened, append, head, open_with, payload, small};

/// How long it takes to begin a sealed file.
const DELAY: Duration = Duration::from_millis(150);

struct Slow(SimFs);

impl Fs for Slow {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn FsFile>> {
        if how == Open::CreateNew && path.extension().is_some_and(|it| it == "sealed") {
            thread::sleep(DELAY);
        }
        self.0.open(path, how)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.0.lock(path, holder)
    }
}

fn opened(backlog: u64) -> Opened {
    let mut options = small();
    options.seal_backlog = backlog;
    open_with(Arc::new(Slow(SimFs::new())), Path::new("/data"), options).unwrap()
}

/// Appends ten segments' worth.
fn write(opened: &Opened) {
    for turn in 0..160 {
        append(&opened.store, &head(1, turn * 1000), &payload(turn, 1000));
    }
}

#[test]
fn appends_do_not_wait_for_the_sealer() {
    let opened = opened(100);
    write(&opened);
    let stats = opened.store.stats();
    assert!(stats.sealing_backlog >= 3, "it was not behind: {stats:?}");
    assert_eq!(stats.slowed_nanos, 0);
}

#[test]
fn appends_are_slowed_down_while_too_many_segments_wait_and_that_is_told() {
    let opened = opened(1);
    write(&opened);
    let stats = opened.store.stats();
    assert!(
        stats.slowed_nanos > 0 && stats.sealing_halted.is_none(),
        "{stats:?}"
    );
    let begun = Instant::now();
    while opened.store.stats().sealing_backlog > 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it does not catch up"
        );
        thread::sleep(Duration::from_millis(5));
    }
    let slowed = opened.store.stats().slowed_nanos;
    append(&opened.store, &head(1, 160_000), &payload(160, 1000));
    assert_eq!(opened.store.stats().slowed_nanos, slowed);
}
