//! What belongs to the process that made it.
//!
//! After `fork()` the child has the engine's memory but none of its threads, and any of its locks
//! may be held for ever. So the child may neither use nor drop what it inherited.

use std::mem;

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
