//! The engine's refusals as the exceptions of `durastream.errors`. The first argument of each is
//! its message, the others are its facts, in the order of that module.

use durastream_engine::path::PathError;
use durastream_engine::storage::{
    BackupError, CommitError, CompactError, OpenError, PushError, ReadError,
};
use durastream_engine::tools::RepairError;
use durastream_engine::wire::BodyError;
use durastream_engine::{
    AppendError, ChangeError, CreateError, LimitError, LookupError, PageError,
};
use pyo3::PyErr;

use crate::offset::Offset;

pyo3::import_exception!(durastream.errors, BackupFailed);
pyo3::import_exception!(durastream.errors, ContentTypeMismatch);
pyo3::import_exception!(durastream.errors, DataDamaged);
pyo3::import_exception!(durastream.errors, DirectoryInUse);
pyo3::import_exception!(durastream.errors, DirectoryNotEmpty);
pyo3::import_exception!(durastream.errors, EngineClosed);
pyo3::import_exception!(durastream.errors, ForkedProcess);
pyo3::import_exception!(durastream.errors, FormatVersion);
pyo3::import_exception!(durastream.errors, InvalidContentType);
pyo3::import_exception!(durastream.errors, InvalidForkPoint);
pyo3::import_exception!(durastream.errors, InvalidOffset);
pyo3::import_exception!(durastream.errors, InvalidPath);
pyo3::import_exception!(durastream.errors, InvalidPayload);
pyo3::import_exception!(durastream.errors, InvalidProducer);
pyo3::import_exception!(durastream.errors, LimitExceeded);
pyo3::import_exception!(durastream.errors, LogFailed);
pyo3::import_exception!(durastream.errors, OffsetGone);
pyo3::import_exception!(durastream.errors, OpenFailed);
pyo3::import_exception!(durastream.errors, NotRepairable);
pyo3::import_exception!(durastream.errors, Overloaded);
pyo3::import_exception!(durastream.errors, PayloadTooDeep);
pyo3::import_exception!(durastream.errors, ProducerEpochStart);
pyo3::import_exception!(durastream.errors, ProducerFenced);
pyo3::import_exception!(durastream.errors, ProducerGap);
pyo3::import_exception!(durastream.errors, ReadFailed);
pyo3::import_exception!(durastream.errors, SeqConflict);
pyo3::import_exception!(durastream.errors, StorageFull);
pyo3::import_exception!(durastream.errors, StreamClosed);
pyo3::import_exception!(durastream.errors, StreamDeleted);
pyo3::import_exception!(durastream.errors, StreamExists);
pyo3::import_exception!(durastream.errors, StreamNotFound);
pyo3::import_exception!(durastream.errors, TailMoved);

/// Used in a process that did not open it.
pub(crate) fn forked(opened_by: u32) -> PyErr {
    let here = std::process::id();
    ForkedProcess::new_err((
        format!(
            "opened by process {opened_by}, used after fork() in process {here}; \
             open the log after the fork, in one process"
        ),
        opened_by,
        here,
    ))
}

/// Opened in a process that was forked while `opened_by` had a log open.
pub(crate) fn inherited(opened_by: u32) -> PyErr {
    let here = std::process::id();
    ForkedProcess::new_err((
        format!(
            "process {opened_by} had a log open when process {here} was forked, so none can be opened \
             here; close it before the fork, or start processes by spawn or forkserver"
        ),
        opened_by,
        here,
    ))
}

/// Used after `close`.
pub(crate) fn closed() -> PyErr {
    EngineClosed::new_err(("the log is closed",))
}

/// An error of the engine that has an exception of its own.
pub(crate) trait Raise {
    /// The exception, with its facts.
    fn raise(&self) -> PyErr;
}

impl Raise for PathError {
    fn raise(&self) -> PyErr {
        InvalidPath::new_err((self.to_string(),))
    }
}

impl Raise for LookupError {
    fn raise(&self) -> PyErr {
        let text = self.to_string();
        match self {
            Self::SoftDeleted { path } => StreamDeleted::new_err((text, path.to_string())),
            Self::NotFound { path } => StreamNotFound::new_err((text, path.to_string())),
            _ => LogFailed::new_err((text.clone(), text)),
        }
    }
}

impl Raise for ReadError {
    fn raise(&self) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Damaged { file, offset, .. } => {
                DataDamaged::new_err((text, file.display().to_string(), *offset))
            }
            Self::Io { file, .. } => ReadFailed::new_err((text, file.display().to_string())),
            _ => LogFailed::new_err((text.clone(), text)),
        }
    }
}

impl Raise for PageError {
    fn raise(&self) -> PyErr {
        match self {
            Self::Lookup(error) => error.raise(),
            Self::Read(error) => error.raise(),
            Self::Gone {
                asked,
                earliest,
                tail,
                ..
            } => OffsetGone::new_err((
                self.to_string(),
                Offset(*asked),
                Offset(*earliest),
                Offset(*tail),
            )),
            _ => unknown(self),
        }
    }
}

impl Raise for BodyError {
    fn raise(&self) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Json { at, .. } | Self::Utf8 { at } => InvalidPayload::new_err((text, *at)),
            Self::Depth { at, limit, value } => {
                PayloadTooDeep::new_err((text, *at, *limit, *value))
            }
            _ => InvalidPayload::new_err((text, None::<usize>)),
        }
    }
}

impl Raise for LimitError {
    fn raise(&self) -> PyErr {
        LimitExceeded::new_err((self.to_string(), self.limit, self.value, self.flag))
    }
}

impl Raise for PushError {
    fn raise(&self) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Commit(error) => error.raise(),
            Self::Overloaded { limit, value } => Overloaded::new_err((text, *limit, *value)),
            Self::TooLarge { limit, value } => {
                LimitExceeded::new_err((text, *limit, *value, "frame_bytes"))
            }
            _ => unknown(self),
        }
    }
}

impl Raise for CommitError {
    fn raise(&self) -> PyErr {
        let text = self.to_string();
        match self {
            Self::StorageFull { dir, .. } => {
                StorageFull::new_err((text, dir.display().to_string()))
            }
            Self::Poisoned { cause } => LogFailed::new_err((text, cause.clone())),
            Self::Closed => closed(),
            _ => unknown(self),
        }
    }
}

impl Raise for AppendError {
    fn raise(&self) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Lookup(error) => error.raise(),
            Self::Body(error) => error.raise(),
            Self::Limit(error) => error.raise(),
            Self::Push(error) => error.raise(),
            Self::Empty => InvalidPayload::new_err((text, None::<usize>)),
            Self::Fenced { got, current } => ProducerFenced::new_err((text, *got, *current)),
            Self::EpochStart { got } => ProducerEpochStart::new_err((text, *got)),
            Self::Gap { expected, got } => ProducerGap::new_err((text, *expected, *got)),
            Self::Closed { tail } => StreamClosed::new_err((text, Offset(*tail))),
            Self::ContentType { expected, got } => {
                ContentTypeMismatch::new_err((text, expected.to_string(), got.clone()))
            }
            Self::StreamSeq { got, last } => {
                SeqConflict::new_err((text, last.to_vec(), got.to_vec()))
            }
            Self::TailMoved { expected, tail } => {
                TailMoved::new_err((text, Offset(*expected), Offset(*tail)))
            }
            _ => unknown(self),
        }
    }
}

impl Raise for CreateError {
    fn raise(&self) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Exists { path, differs } => {
                StreamExists::new_err((text, path.to_string(), *differs))
            }
            Self::SoftDeleted { path } | Self::SourceDeleted { path } => {
                StreamDeleted::new_err((text, path.to_string()))
            }
            Self::SourceNotFound { path } => StreamNotFound::new_err((text, path.to_string())),
            Self::ForkPoint { .. } => InvalidForkPoint::new_err((text,)),
            Self::ForkContentType { expected, got } => {
                ContentTypeMismatch::new_err((text, expected.to_string(), got.clone()))
            }
            Self::ContentType { got } => InvalidContentType::new_err((text, got.clone())),
            Self::Body(error) => error.raise(),
            Self::Limit(error) => error.raise(),
            Self::Read(error) => error.raise(),
            Self::Push(error) => error.raise(),
            _ => unknown(self),
        }
    }
}

impl Raise for ChangeError {
    fn raise(&self) -> PyErr {
        match self {
            Self::Lookup(error) => error.raise(),
            Self::Push(error) => error.raise(),
            Self::Read(error) => error.raise(),
            Self::Offset { asked, .. } => {
                InvalidOffset::new_err((self.to_string(), asked.to_string()))
            }
            _ => unknown(self),
        }
    }
}

impl Raise for OpenError {
    fn raise(&self) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Locked { dir, holder } => {
                DirectoryInUse::new_err((text, dir.display().to_string(), holder.clone()))
            }
            Self::Damaged { file, offset, .. } => {
                DataDamaged::new_err((text, file.display().to_string(), *offset))
            }
            Self::Version { file, found, known } => {
                FormatVersion::new_err((text, file.display().to_string(), *found, *known))
            }
            Self::Replay { lsn, .. } => DataDamaged::new_err((text, None::<String>, *lsn)),
            Self::Io { file, source } => {
                OpenFailed::new_err((text, file.display().to_string(), source.raw_os_error()))
            }
            _ => unknown(self),
        }
    }
}

impl Raise for CompactError {
    fn raise(&self) -> PyErr {
        match self {
            Self::Commit(error) => error.raise(),
            Self::Damaged(error) => error.raise(),
            _ => unknown(self),
        }
    }
}

impl Raise for BackupError {
    fn raise(&self) -> PyErr {
        let text = self.to_string();
        match self {
            Self::Occupied { dir } => DirectoryNotEmpty::new_err((text, dir.display().to_string())),
            Self::Commit(error) => error.raise(),
            Self::Damaged { file, offset, .. } => {
                DataDamaged::new_err((text, file.display().to_string(), *offset))
            }
            Self::StorageFull { file, .. } => {
                StorageFull::new_err((text, file.display().to_string()))
            }
            Self::Io { file, .. } => BackupFailed::new_err((text, file.display().to_string())),
            _ => unknown(self),
        }
    }
}

impl Raise for RepairError {
    fn raise(&self) -> PyErr {
        match self {
            Self::Open(error) => error.raise(),
            Self::Hopeless { dir, .. } => {
                NotRepairable::new_err((self.to_string(), dir.display().to_string()))
            }
            _ => unknown(self),
        }
    }
}

/// The enums are non-exhaustive: a variant of a newer engine still says what it has to say.
fn unknown(error: &dyn std::error::Error) -> PyErr {
    let text = error.to_string();
    LogFailed::new_err((text.clone(), text))
}
