//! A disk that tells of a failed sync once, as Linux does, while two syncs are under way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/meddled.rs"]
mod meddled;
mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use durastream_storage::Durability;
use durastream_storage::fs::SimFs;
use meddled::{Meddled, Meddler, Through};
use support::{append, head, open_with, payload, small};

/// From 1 on: syncs of segments that began since it was armed.
#[derive(Clone, Default)]
struct Once(Arc<AtomicU64>);

impl Meddler for Once {
    fn sync(&self, file: &Through<Self>) -> io::Result<()> {
        if !file.is_called(".wal") {
            return file.inner.sync_data();
        }
        let began = |count| (count > 0).then_some(count + 1);
        match self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, began)
        {
            Ok(1) => {
                // The first hears of the failure, while others may be at it.
                let until = Instant::now() + Duration::from_millis(200);
                while self.0.load(Ordering::SeqCst) < 3 && Instant::now() < until {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_millis(20));
                Err(io::Error::other("lost"))
            }
            _ => file.inner.sync_data(),
        }
    }
}

#[test]
fn a_sync_beside_one_that_failed_proves_nothing() {
    let fs = Meddled::new(SimFs::new(), Once::default());
    let armed = Arc::clone(&fs.meddler.0);
    let mut options = small();
    options.durability = Durability::Interval(Duration::from_millis(30));
    let opened = open_with(Arc::new(fs), Path::new("/data"), options).unwrap();
    let store = &opened.store;
    append(store, &head(1, 0), &payload(1, 10));
    std::thread::sleep(Duration::from_millis(100));
    armed.store(1, Ordering::SeqCst);
    let placed = append(store, &head(1, 10), &payload(2, 10));
    while armed.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
    // The interval's sync is under way and will fail.
    assert!(store.write_checkpoint(placed.end, &[]).is_err());
    assert!(store.poisoned().is_some());
}
