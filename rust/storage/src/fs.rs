//! The file-system seam: everything the store does to a disk goes through here, so that a
//! simulated disk can take its place.

use std::any::Any;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod os;
pub(crate) mod readonly;
pub mod sim;

pub use os::OsFs;
pub use sim::SimFs;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must exist; for reading.
    Read,
    /// It must exist; for reading and writing.
    Write,
    /// It must not exist; for reading and writing.
    CreateNew,
}

/// What makes the changes of a directory durable when called.
pub type DirSync<'a> = Box<dyn FnOnce() -> io::Result<()> + 'a>;

/// A file system.
///
/// A full disk answers [`io::ErrorKind::StorageFull`] wherever space is taken; so does a system that has no more
/// descriptors or memory for an open file: nothing is done, and the same may succeed later.
pub trait Fs: Send + Sync + 'static {
    /// Creates a directory and its parents, durably; one that exists is fine.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn FsFile>>;
    /// Renames a file, replacing what was there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name, which must not be taken. `Unsupported` or `CrossesDevices` when that cannot be.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// What is the same for two values that see the same files under the same names.
    fn identity(&self) -> Option<usize> {
        None
    }
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Names (without the directory) of the files in a directory, sorted; no subdirectories.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The same, to be done later, with everything taken beforehand that the system may have no more of by then.
    fn will_sync_dir<'a>(&'a self, dir: &'a Path) -> io::Result<DirSync<'a>> {
        Ok(Box::new(move || self.sync_dir(dir)))
    }
    /// Takes an exclusive lock named by a file, writing `holder` into it; the lock is released when
    /// the value is dropped, or its process dies; the file stays. `Err(WouldBlock)` displays as the
    /// present holder's text.
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// Keeps others from taking the lock while the value lives, changing nothing; several may do so at
    /// once. `None` when there is no such file, or nothing to keep anybody from. Refused like `lock`.
    fn lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let _ = path;
        Ok(None)
    }
}

/// An open file. Positions are byte offsets from its start.
pub trait FsFile: Send + Sync {
    /// Writes all slices at `offset`, one after the other. After an error any part may be written.
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// The same, and makes what it wrote durable, in one go; `None`, with nothing done, where that is no less work
    /// than [`FsFile::write_all_at`] and [`FsFile::sync_data`].
    fn write_through(&self, slices: &mut [IoSlice<'_>], offset: u64) -> Option<io::Result<()>> {
        let _ = (slices, offset);
        None
    }
    /// Fills `buf` from `offset`; `UnexpectedEof` when the file is shorter.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Says that these bytes are about to be read. Only speed depends on it.
    fn will_need(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    /// Has the disk begin with bytes that were just written. They are as little durable as before: only when the disk
    /// is busy depends on it.
    fn start_writing(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    /// Whether these bytes can be had without waiting for a disk, as far as a few of them tell. Only speed depends on it.
    fn is_cached(&self, offset: u64, len: u64) -> bool {
        let _ = (offset, len);
        true
    }
    /// The system's own file, where there is one that a socket can be filled from.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reserves space for `len` bytes, and makes the file that long if it is shorter, or
    /// `StorageFull`. Bytes never written read as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Sets the length.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the content (and what is needed to read it) durable.
    fn sync_data(&self) -> io::Result<()>;
}
