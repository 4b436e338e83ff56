//! A disk on which sealed files are slow: appends do not wait for them until too many segments do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/meddled.rs"]
mod meddled;
mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use durastream_storage::fs::{Fs, FsFile, Open, SimFs};
use meddled::{Meddled, Meddler};
use support::{Opened, append, head, open_with, payload, small};

/// How long it takes to begin a sealed file.
const DELAY: Duration = Duration::from_millis(150);

#[derive(Clone)]
struct Slow;

impl Meddler for Slow {
    fn open(&self, disk: &SimFs, path: &Path, how: Open) -> io::Result<Arc<dyn FsFile>> {
        if how == Open::CreateNew && path.extension().is_some_and(|it| it == "sealed") {
            thread::sleep(DELAY);
        }
        disk.open(path, how)
    }
}

fn opened(backlog: u64) -> Opened {
    let mut options = small();
    options.seal_backlog = backlog;
    let fs = Meddled::new(SimFs::new(), Slow);
    open_with(Arc::new(fs), Path::new("/data"), options).unwrap()
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
