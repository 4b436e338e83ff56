//! Faults planted between the store and the disk, which the suite must find: or it proves nothing.

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use durastream_storage::Durability;
use durastream_storage::fs::{Fs, FsFile, Open, SimFs};

use crate::sweep::{Thoroughness, sweep};
use crate::workload::Workload;

/// What is forgotten.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// `fdatasync` of files with this ending, from the `nth` on, so many times.
    Sync {
        ending: &'static str,
        nth: u64,
        times: u64,
    },
    /// Every `fsync` of a directory from the `nth` on.
    SyncDir { nth: u64 },
    /// The last byte of every write to files with this ending.
    ShortWrite { ending: &'static str },
}

/// A file system that says it did what it did not.
#[derive(Clone)]
struct LyingFs {
    inner: SimFs,
    lie: Lie,
    count: Arc<AtomicU64>,
}

struct LyingFile {
    inner: Arc<dyn FsFile>,
    fs: LyingFs,
    path: PathBuf,
}

impl LyingFs {
    /// Whether the next of the things counted, from `nth` on and so many times, is forgotten.
    fn forgets(&self, nth: u64, times: u64) -> bool {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        count >= nth && count - nth < times
    }
}

impl Fs for LyingFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(LyingFile {
            inner: self.inner.open(path, how)?,
            fs: self.clone(),
            path: path.to_owned(),
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
        match self.lie {
            Lie::SyncDir { nth } if self.forgets(nth, u64::MAX) => Ok(()),
            _ => self.inner.sync_dir(dir),
        }
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.inner.lock(path, holder)
    }
}

impl LyingFile {
    fn ends(&self, ending: &str) -> bool {
        self.path.to_str().is_some_and(|path| path.contains(ending))
    }
}

impl FsFile for LyingFile {
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        match self.fs.lie {
            Lie::ShortWrite { ending } if self.ends(ending) => {
                let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
                let mut data: Vec<u8> = bytes.collect();
                data.pop();
                self.inner.write_all_at(&mut [IoSlice::new(&data)], offset)
            }
            _ => self.inner.write_all_at(slices, offset),
        }
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
        match self.fs.lie {
            Lie::Sync { ending, nth, times }
                if self.ends(ending) && self.fs.forgets(nth, times) =>
            {
                Ok(())
            }
            _ => self.inner.sync_data(),
        }
    }
}

/// What the suite says to a lie, the workload's own checks included.
fn verdict(seed: u64, lie: Lie) -> Result<(), String> {
    let wrap = |inner| -> Arc<dyn Fs> {
        let count = Arc::default();
        Arc::new(LyingFs { inner, lie, count })
    };
    let workload = Workload::random(seed, Durability::Sync);
    let diary = workload.run(&wrap).map_err(|wrong| format!("{wrong:?}"))?;
    let thoroughness = Thoroughness {
        seeds: 2,
        recoveries: u64::MAX,
    };
    sweep(&diary, thoroughness).map(drop)
}

/// A few workloads are enough to find the lie, and none of them is at fault without it.
fn is_found(lie: Lie) {
    let honest = Lie::Sync {
        ending: "",
        nth: u64::MAX,
        times: 0,
    };
    for seed in 0..4 {
        assert_eq!(verdict(seed, honest), Ok(()), "seed {seed}");
        if verdict(seed, lie).is_err() {
            return;
        }
    }
    panic!("{lie:?} was not found");
}

#[test]
fn one_forgotten_fdatasync_of_the_log_is_found() {
    is_found(Lie::Sync {
        ending: ".wal",
        nth: 4,
        times: 1,
    });
}

#[test]
fn a_log_that_is_never_synced_is_found() {
    is_found(Lie::Sync {
        ending: ".wal",
        nth: 0,
        times: u64::MAX,
    });
}

#[test]
fn a_manifest_that_is_not_synced_before_its_rename_is_found() {
    is_found(Lie::Sync {
        ending: "MANIFEST",
        nth: 0,
        times: u64::MAX,
    });
}

#[test]
fn a_checkpoint_that_is_not_synced_is_found() {
    is_found(Lie::Sync {
        ending: ".checkpoint",
        nth: 0,
        times: u64::MAX,
    });
}

#[test]
fn a_sealed_file_that_is_not_synced_is_found() {
    is_found(Lie::Sync {
        ending: ".sealed",
        nth: 0,
        times: u64::MAX,
    });
}

#[test]
fn a_write_of_a_sealed_file_that_is_a_byte_short_is_found() {
    is_found(Lie::ShortWrite { ending: ".sealed" });
}

#[test]
fn a_directory_that_is_never_synced_is_found() {
    is_found(Lie::SyncDir { nth: 0 });
}

#[test]
fn a_directory_that_is_synced_once_only_is_found() {
    is_found(Lie::SyncDir { nth: 1 });
}

#[test]
fn a_write_that_is_a_byte_short_is_found() {
    is_found(Lie::ShortWrite { ending: ".wal" });
}
