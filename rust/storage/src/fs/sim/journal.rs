//! What was done to a simulated disk, in order.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;

use super::content::Content;

/// Names a file, whatever it is called at the moment.
pub(super) type FileId = u64;

/// One operation that changed the disk or made changes durable.
#[derive(Clone)]
pub(super) enum Op {
    Create {
        path: PathBuf,
        file: FileId,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        file: FileId,
    },
    Link {
        path: PathBuf,
        file: FileId,
    },
    Remove {
        path: PathBuf,
    },
    SyncDir {
        dir: PathBuf,
    },
    Write {
        file: FileId,
        offset: u64,
        data: Bytes,
    },
    SetLen {
        file: FileId,
        len: u64,
    },
    Allocate {
        file: FileId,
        len: u64,
    },
    Sync {
        file: FileId,
    },
    /// One write, by its place among all operations.
    SyncWrite {
        file: FileId,
        write: usize,
    },
    SyncFailed {
        file: FileId,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Create { path, file } => write!(f, "create {} as #{file}", path.display()),
            Op::Rename { from, to, file } => {
                write!(f, "rename #{file} {} to {}", from.display(), to.display())
            }
            Op::Link { path, file } => write!(f, "link #{file} as {}", path.display()),
            Op::Remove { path } => write!(f, "remove {}", path.display()),
            Op::SyncDir { dir } => write!(f, "sync directory {}", dir.display()),
            Op::Write { file, offset, data } => {
                write!(f, "write #{file} {} bytes at {offset}", data.len())
            }
            Op::SetLen { file, len } => write!(f, "set length of #{file} to {len}"),
            Op::Allocate { file, len } => write!(f, "allocate {len} for #{file}"),
            Op::Sync { file } => write!(f, "sync #{file}"),
            Op::SyncWrite { file, write } => write!(f, "sync of #{file} operation {write} alone"),
            Op::SyncFailed { file } => write!(f, "sync #{file}, which failed"),
        }
    }
}

/// The disk when recording began, all of it durable, and everything since.
#[derive(Clone, Default)]
pub(super) struct Journal {
    pub(super) names: BTreeMap<PathBuf, FileId>,
    pub(super) files: BTreeMap<FileId, Content>,
    pub(super) ops: Vec<Op>,
}
