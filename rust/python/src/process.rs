//! What belongs to the process that made it.
//!
//! After `fork()` the child has the engine's memory but none of its threads, and any of its locks
//! may be held for ever. So the child may neither use nor drop what it inherited.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::PyErr;

use crate::errors;

/// A value that a forked child can neither reach nor drop.
pub(crate) struct PerProcess<T> {
    pid: u32,
    value: Option<T>,
}

impl<T> PerProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            pid: std::process::id(),
            value: Some(value),
        }
    }

    /// Whether this process made the value.
    pub(crate) fn is_ours(&self) -> bool {
        self.pid == std::process::id()
    }

    pub(crate) fn get(&self) -> Result<&T, PyErr> {
        match &self.value {
            Some(value) if self.is_ours() => Ok(value),
            _ => Err(errors::forked(self.pid)),
        }
    }

    pub(crate) fn get_mut(&mut self) -> Result<&mut T, PyErr> {
        let ours = self.is_ours();
        match &mut self.value {
            Some(value) if ours => Ok(value),
            _ => Err(errors::forked(self.pid)),
        }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        if !self.is_ours() {
            mem::forget(self.value.take());
        }
    }
}

/// How many logs are open (low half), and in which process (high half).
///
/// A child that was forked while a log was open may not open one of its own: the locks that the log's
/// threads were parked on are linked in a table of the whole process (`parking_lot`'s), and in the
/// child those links lead to stacks that are gone.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// Counts one open log until it is dropped.
pub(crate) struct OpenLog(());

impl OpenLog {
    /// Counts, or refuses because this process inherited open logs.
    pub(crate) fn count() -> Result<Self, PyErr> {
        let here = u64::from(std::process::id()) << 32;
        let counted = OPEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            match open & u64::from(u32::MAX) {
                0 => Some(here | 1),
                _ if open >> 32 == here >> 32 => Some(open + 1),
                _ => None,
            }
        });
        match counted {
            Ok(_) => Ok(Self(())),
            Err(open) => Err(errors::inherited(
                u32::try_from(open >> 32).unwrap_or_default(),
            )),
        }
    }
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}
