//! Locks of directories: of a file that says who holds it, and of the directory itself, which nobody removes by hand.

use std::any::Any;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use super::{full, parent};

/// Longest holder text read back from a lock file.
const HOLDER_BYTES: u64 = 1024;

/// Both of them, held as long as they are open.
struct Locks {
    _file: Option<File>,
    _dir: Option<File>,
}

/// See [`Fs::lock`](crate::fs::Fs::lock).
pub(super) fn exclusive(path: &Path, holder: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(full)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held(file)?),
        Err(TryLockError::Error(e)) => return Err(e),
    }
    let dir = directory(path, File::try_lock)?;
    file.set_len(0)?;
    file.write_all(holder.as_bytes()).map_err(full)?;
    Ok(Box::new(Locks {
        _file: Some(file),
        _dir: dir,
    }))
}

/// See [`Fs::lock_shared`](crate::fs::Fs::lock_shared).
pub(super) fn shared(path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        opened => Some(opened?),
    };
    if let Some(file) = &file {
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(file.try_clone()?)?),
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
    let dir = directory(path, File::try_lock_shared)?;
    if file.is_none() && dir.is_none() {
        return Ok(None);
    }
    Ok(Some(Box::new(Locks {
        _file: file,
        _dir: dir,
    })))
}

/// Locks the directory of a lock file; `None` on file systems that lock files only.
fn directory(path: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<File>> {
    let dir = File::open(parent(path)).map_err(full)?;
    match lock(&dir) {
        Ok(()) => Ok(Some(dir)),
        Err(TryLockError::WouldBlock) => {
            let found = std::fs::read_to_string(path).unwrap_or_default();
            let found = found.trim();
            let says = if found.is_empty() {
                "its LOCK file was removed or replaced, so its name is not known".to_owned()
            } else {
                format!("its LOCK file was replaced by one that says \"{found}\"")
            };
            let text = format!("a process that has the directory open; {says}");
            Err(io::Error::new(io::ErrorKind::WouldBlock, text))
        }
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// The refusal that displays as what the holder of a lock wrote into its file.
fn held(file: File) -> io::Result<io::Error> {
    let mut bytes = Vec::new();
    file.take(HOLDER_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let text = if text.is_empty() {
        "another process".to_owned()
    } else {
        text
    };
    Ok(io::Error::new(io::ErrorKind::WouldBlock, text))
}
