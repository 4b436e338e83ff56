//! A disk that says it did what it did not: faults planted beneath a suite that must find them, or it proves nothing.
#![allow(dead_code, unreachable_pub, reason = "every suite plants some of them")]

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use durastream_storage::fs::{Fs, FsFile, Open, SimFs};

/// What is wrong.
#[derive(Debug, Clone, Copy)]
pub enum Lie {
    /// Nothing.
    None,
    /// `fdatasync` of files with this in their name is forgotten, from the `nth` on, so many times.
    Sync {
        ending: &'static str,
        nth: u64,
        times: u64,
    },
    /// `fdatasync` of files with this in their name says it is done, and is, when the next one is asked for: what
    /// waits for it is told before it is durable.
    Late { ending: &'static str },
    /// Every `fsync` of a directory is forgotten from the `nth` on.
    SyncDir { nth: u64 },
    /// The last byte of every write to files with this in their name is left out.
    ShortWrite { ending: &'static str },
}

/// A file system that lies.
#[derive(Clone)]
pub struct LyingFs {
    inner: SimFs,
    lie: Lie,
    count: Arc<AtomicU64>,
    late: Arc<Mutex<Option<Arc<dyn FsFile>>>>,
}

struct LyingFile {
    inner: Arc<dyn FsFile>,
    fs: LyingFs,
    path: PathBuf,
}

impl LyingFs {
    pub fn new(inner: SimFs, lie: Lie) -> Self {
        Self {
            inner,
            lie,
            count: Arc::default(),
            late: Arc::default(),
        }
    }

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
    fn has(&self, part: &str) -> bool {
        self.path.to_str().is_some_and(|path| path.contains(part))
    }
}

impl FsFile for LyingFile {
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        match self.fs.lie {
            Lie::ShortWrite { ending } if self.has(ending) => {
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
            Lie::Sync { ending, nth, times } if self.has(ending) && self.fs.forgets(nth, times) => {
                Ok(())
            }
            Lie::Late { ending } if self.has(ending) => {
                let mut late = self.fs.late.lock().unwrap();
                let due = late.replace(Arc::clone(&self.inner));
                due.map_or(Ok(()), |due| due.sync_data())
            }
            _ => self.inner.sync_data(),
        }
    }
}
