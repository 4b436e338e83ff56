//! Why something failed, one type per kind of operation.

use std::io;
use std::path::{Path, PathBuf};

use crate::Lsn;
use crate::codec::Undecodable;

/// Why a frame was not taken.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// An earlier write or sync failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Too much is waiting to be committed.
    #[error("{value} bytes wait to be committed, the limit is {limit}; slow down and try again")]
    Overloaded {
        /// The limit in bytes.
        limit: usize,
        /// What would have been waiting, in bytes.
        value: usize,
    },
    /// The payload is larger than a frame may be.
    #[error("a frame's payload may have {limit} bytes, this one has {value}")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
        /// The size in bytes.
        value: usize,
    },
}

/// Why a commit failed. Cloned to every waiter.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// No space for another segment; nothing was lost, the same append may succeed later.
    #[error("no space left for the log in {dir}: {detail}")]
    StorageFull {
        /// The data directory.
        dir: PathBuf,
        /// The operating system's words.
        detail: String,
    },
    /// A write or sync failed; only reopening recovers.
    #[error("the log failed and takes no more writes until it is reopened: {cause}")]
    Poisoned {
        /// The first cause.
        cause: String,
    },
    /// The store was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a payload could not be read back.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The stored bytes are not what was written.
    #[error("damaged data in {file} at byte {offset}: {detail}; run `durable-streams check`")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Byte offset in it.
        offset: u64,
        /// What was wrong.
        detail: String,
    },
    /// The operating system refused.
    #[error("cannot read {file}: {detail}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The operating system's words.
        detail: String,
    },
}

/// Why history was not compacted. What was done until then stands.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// The log failed, is closed, or there is no space.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What was to be moved cannot be read.
    #[error(transparent)]
    Damaged(ReadError),
}

/// Why a backup was not made. Nothing of it is left.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There are files where it should go.
    #[error("{dir} is not empty; give a directory that does not exist, or an empty one")]
    Occupied {
        /// The directory.
        dir: PathBuf,
    },
    /// The log failed, or is closed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What was copied does not verify: the log itself is damaged there, or the copy.
    #[error(
        "the backup does not verify: {file} at byte {offset}: {detail}; run `durable-streams check` on the log"
    )]
    Damaged {
        /// The file in the backup.
        file: PathBuf,
        /// Byte offset in it.
        offset: u64,
        /// What was wrong.
        detail: String,
    },
    /// No space left for it.
    #[error("no space left for the backup: {file}: {detail}")]
    StorageFull {
        /// The file.
        file: PathBuf,
        /// The operating system's words.
        detail: String,
    },
    /// The operating system refused.
    #[error("cannot make the backup: {file}: {detail}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The operating system's words.
        detail: String,
    },
}

impl From<Failure> for BackupError {
    fn from(failure: Failure) -> Self {
        let full = failure.is_full();
        let detail = format!("{}: {}", failure.operation, failure.source);
        let file = failure.file;
        if full {
            Self::StorageFull { file, detail }
        } else {
            Self::Io { file, detail }
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the directory open.
    #[error("{dir} is in use by {holder}")]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// Who holds it, as the holder wrote it.
        holder: String,
    },
    /// Acknowledged data is damaged: refusing to open.
    #[error(
        "acknowledged data is damaged in {file} at byte {offset}: {detail}; run `durable-streams check`"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Byte offset in it.
        offset: u64,
        /// What was wrong, and the streams concerned when known.
        detail: String,
    },
    /// Written by a version that this one does not know.
    #[error("{file} has format version {found}, this program knows up to {known}")]
    Version {
        /// The file.
        file: PathBuf,
        /// The version found.
        found: u32,
        /// The highest known.
        known: u32,
    },
    /// The engine refused a replayed frame.
    #[error("the log replays to an impossible state at LSN {lsn}: {detail}")]
    Replay {
        /// The frame's LSN.
        lsn: Lsn,
        /// What was wrong.
        detail: String,
    },
    /// The operating system refused.
    #[error("cannot open {file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl From<OpenError> for BackupError {
    fn from(refusal: OpenError) -> Self {
        match refusal {
            OpenError::Damaged {
                file,
                offset,
                detail,
            } => Self::Damaged {
                file,
                offset,
                detail,
            },
            OpenError::Io { file, source } => Self::Io {
                file,
                detail: source.to_string(),
            },
            other => Self::Io {
                file: PathBuf::new(),
                detail: other.to_string(),
            },
        }
    }
}

/// A failed operation on a file.
#[derive(Debug, thiserror::Error)]
#[error("{operation} of {file}: {source}")]
pub(crate) struct Failure {
    pub(crate) file: PathBuf,
    pub(crate) operation: &'static str,
    pub(crate) source: io::Error,
}

impl Failure {
    /// Whether there was no space: harmless as long as nothing that was promised depends on it.
    pub(crate) fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        let detail = format!("{}: {}", failure.operation, failure.source);
        Self::Io {
            file: failure.file,
            source: io::Error::new(failure.source.kind(), detail),
        }
    }
}

/// A failure beside the log, sorted by whether the store may go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// No space; nothing changed.
    #[error(transparent)]
    Full(Failure),
    /// Anything else: poison.
    #[error(transparent)]
    Broken(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        if failure.is_full() {
            Self::Full(failure)
        } else {
            Self::Broken(failure)
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Full(failure) | Trouble::Broken(failure) => failure,
        }
    }
}

impl From<Trouble> for OpenError {
    fn from(trouble: Trouble) -> Self {
        Failure::from(trouble).into()
    }
}

/// Names operation and file of an I/O error.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str, file: &Path) -> Result<T, Failure>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, operation: &'static str, file: &Path) -> Result<T, Failure> {
        self.map_err(|source| Failure {
            file: file.to_owned(),
            operation,
            source,
        })
    }
}

impl Undecodable {
    /// Says which file could not be decoded, `known` being the format version of this program.
    pub(crate) fn into_open(self, file: &Path, known: u32) -> OpenError {
        let file = file.to_owned();
        match self {
            Self::Version(found) => OpenError::Version { file, found, known },
            Self::Damaged { offset, detail } => OpenError::Damaged {
                file,
                offset,
                detail,
            },
        }
    }
}
