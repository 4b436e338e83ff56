//! A file system of which nothing is changed, so that the code of recovery can look at a directory
//! without touching it.

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Fs, FsFile, Open};

/// Another file system, read only: syncs do nothing, changes are refused.
pub(crate) struct ReadOnly(pub(crate) Arc<dyn Fs>);

struct ReadOnlyFile(Arc<dyn FsFile>);

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(
        io::ErrorKind::ReadOnlyFilesystem,
        "an inspection changes nothing",
    ))
}

impl Fs for ReadOnly {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        refused()
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn FsFile>> {
        match how {
            Open::Read | Open::Write => Ok(Arc::new(ReadOnlyFile(self.0.open(path, Open::Read)?))),
            Open::CreateNew => refused(),
        }
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        refused()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(dir)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path, _holder: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        refused()
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.0.lock_shared(path)
    }
}

impl FsFile for ReadOnlyFile {
    fn write_all_at(&self, _slices: &mut [IoSlice<'_>], _offset: u64) -> io::Result<()> {
        refused()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        refused()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        refused()
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
