//! A simulated disk with somebody between it and the store.
#![allow(dead_code, unreachable_pub, reason = "suites of two crates share it")]

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use durastream_storage::fs::{Fs, FsFile, Open, SimFs};

/// Somebody who does some operations otherwise. What is not said here goes to the disk as it is.
pub trait Meddler: Clone + Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, disk: &SimFs, path: &Path, how: Open) -> io::Result<Arc<dyn FsFile>> {
        disk.open(path, how)
    }

    /// Syncs a directory.
    fn sync_dir(&self, disk: &SimFs, dir: &Path) -> io::Result<()> {
        disk.sync_dir(dir)
    }

    /// Writes to a file.
    fn write(&self, file: &Through<Self>, slices: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        file.inner.write_all_at(slices, at)
    }

    /// Reads from a file.
    fn read(&self, file: &Through<Self>, buf: &mut [u8], at: u64) -> io::Result<()> {
        file.inner.read_exact_at(buf, at)
    }

    /// Writes to a file and syncs what was written.
    fn write_through(
        &self,
        file: &Through<Self>,
        slices: &mut [IoSlice<'_>],
        at: u64,
    ) -> Option<io::Result<()>> {
        file.inner.write_through(slices, at)
    }

    /// Syncs a file.
    fn sync(&self, file: &Through<Self>) -> io::Result<()> {
        file.inner.sync_data()
    }
}

/// The disk as the store sees it.
#[derive(Clone)]
pub struct Meddled<M> {
    disk: SimFs,
    pub meddler: M,
}

/// An open file of it.
pub struct Through<M> {
    pub inner: Arc<dyn FsFile>,
    path: PathBuf,
    meddler: M,
}

impl<M> Meddled<M> {
    pub fn new(disk: SimFs, meddler: M) -> Self {
        Self { disk, meddler }
    }
}

impl<M> Through<M> {
    /// Whether its name, at the time it was opened, has this in it.
    pub fn is_called(&self, part: &str) -> bool {
        self.path.to_str().is_some_and(|path| path.contains(part))
    }
}

impl<M: Meddler> Fs for Meddled<M> {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(Through {
            inner: self.meddler.open(&self.disk, path, how)?,
            path: path.to_owned(),
            meddler: self.meddler.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.meddler.sync_dir(&self.disk, dir)
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.disk.lock(path, holder)
    }
}

impl<M: Meddler> FsFile for Through<M> {
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.meddler.write(self, slices, offset)
    }

    fn write_through(&self, slices: &mut [IoSlice<'_>], offset: u64) -> Option<io::Result<()>> {
        self.meddler.write_through(self, slices, offset)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.meddler.read(self, buf, offset)
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
        self.meddler.sync(self)
    }
}
