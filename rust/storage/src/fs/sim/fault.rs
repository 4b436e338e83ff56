//! Faults that a simulated disk is told to have.

use std::io;

use rustix::io::Errno;

/// What kind of operation a fault waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpClass {
    /// Every operation.
    Any,
    /// Every operation that changes the disk or makes a change durable.
    Change,
    /// Opening a file that exists.
    Open,
    /// Reading bytes.
    Read,
    /// Listing a directory.
    List,
    /// Taking a lock.
    Lock,
    /// Creating a directory.
    CreateDir,
    /// Creating a file.
    Create,
    /// Writing bytes.
    Write,
    /// Setting a length.
    SetLen,
    /// Reserving space.
    Allocate,
    /// Renaming a file.
    Rename,
    /// Giving a file a second name.
    Link,
    /// Removing a file.
    Remove,
    /// Making a file's content durable.
    Sync,
    /// Making a directory's entries durable.
    SyncDir,
}

impl OpClass {
    /// Whether an operation of class `op` is one of this class.
    fn covers(self, op: OpClass) -> bool {
        match self {
            OpClass::Any => true,
            OpClass::Change => !matches!(
                op,
                OpClass::Open | OpClass::Read | OpClass::List | OpClass::Lock
            ),
            class => class == op,
        }
    }
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// `EIO`, nothing done. A failed sync also drops, silently, what it should have made durable,
    /// as Linux does.
    Io,
    /// `ENOSPC`, nothing done.
    NoSpace,
    /// A write ends half way, with `EIO`; anything else is as `Io`.
    ShortWrite,
    /// A write ends half way, with `ENOSPC`; anything else is as `NoSpace`.
    ShortNoSpace,
}

impl FaultKind {
    pub(super) fn error(self) -> io::Error {
        match self {
            FaultKind::Io | FaultKind::ShortWrite => Errno::IO.into(),
            FaultKind::NoSpace | FaultKind::ShortNoSpace => Errno::NOSPC.into(),
        }
    }

    pub(super) fn is_short(self) -> bool {
        matches!(self, FaultKind::ShortWrite | FaultKind::ShortNoSpace)
    }
}

/// A fault to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which operations count.
    pub class: OpClass,
    /// How many of them pass unharmed first.
    pub after: u64,
    /// How many then fail.
    pub times: u64,
    /// How they fail.
    pub kind: FaultKind,
}

impl Fault {
    /// Counts an operation; tells whether it is to fail, and how.
    pub(super) fn strike(&mut self, op: OpClass) -> Option<FaultKind> {
        if !self.class.covers(op) {
            return None;
        }
        if self.after > 0 {
            self.after -= 1;
            return None;
        }
        if self.times > 0 {
            self.times -= 1;
            return Some(self.kind);
        }
        None
    }
}
