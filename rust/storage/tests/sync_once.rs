//! A disk that tells of a failed sync once, as Linux does, while two syncs are under way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use durastream_storage::Durability;
use durastream_storage::fs::{Fs, FsFile, Open, SimFs};
use support::{append, head, open_with, payload, small};

/// From 1 on: syncs of segments that began since it was armed.
#[derive(Clone)]
struct Once {
    inner: SimFs,
    armed: Arc<AtomicU64>,
}

struct OnceFile {
    inner: Arc<dyn FsFile>,
    armed: Option<Arc<AtomicU64>>,
}

impl Fs for Once {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn FsFile>> {
        let segment = path.extension().is_some_and(|it| it == "wal");
        Ok(Arc::new(OnceFile {
            inner: self.inner.open(path, how)?,
            armed: segment.then(|| Arc::clone(&self.armed)),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.inner.lock(path, holder)
    }
}

impl FsFile for OnceFile {
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(slices, offset)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let Some(armed) = &self.armed else {
            return self.inner.sync_data();
        };
        let began = |count| (count > 0).then_some(count + 1);
        match armed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, began) {
            Ok(1) => {
                // The first hears of the failure, while others may be at it.
                let until = Instant::now() + Duration::from_millis(200);
                while armed.load(Ordering::SeqCst) < 3 && Instant::now() < until {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_millis(20));
                Err(io::Error::other("lost"))
            }
            _ => self.inner.sync_data(),
        }
    }
}

#[test]
fn a_sync_beside_one_that_failed_proves_nothing() {
    let fs = Once {
        inner: SimFs::new(),
        armed: Arc::default(),
    };
    let mut options = small();
    options.durability = Durability::Interval(Duration::from_millis(30));
    let opened = open_with(Arc::new(fs.clone()), Path::new("/data"), options).unwrap();
    let store = &opened.store;
    append(store, &head(1, 0), &payload(1, 10));
    std::thread::sleep(Duration::from_millis(100));
    fs.armed.store(1, Ordering::SeqCst);
    let placed = append(store, &head(1, 10), &payload(2, 10));
    while fs.armed.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
    // The interval's sync is under way and will fail.
    assert!(store.write_checkpoint(placed.end, &[]).is_err());
    assert!(store.poisoned().is_some());
}
