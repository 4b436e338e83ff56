//! The completion queue: how the engine's threads reach an event loop.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use durastream_engine::storage::CommitError;
use durastream_engine::{CompletionSink, Wake};
use parking_lot::Mutex;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use rustix::event::{EventfdFlags, eventfd};

use crate::errors::Raise;
use crate::process::PerProcess;

/// Why something waited for will never be durable.
#[pyclass(frozen, module = "durastream._native")]
pub(crate) struct CommitFailure(pub(crate) CommitError);

#[pymethods]
impl CommitFailure {
    /// `full`, `poisoned` or `closed`.
    #[getter]
    fn kind(&self) -> &'static str {
        match self.0 {
            CommitError::StorageFull { .. } => "full",
            CommitError::Closed => "closed",
            _ => "poisoned",
        }
    }

    /// The exception to raise for it.
    fn exception<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.0.raise().into_value(py).into_bound(py).into_any()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<CommitFailure {}: {}>", self.kind(), self.0)
    }
}

/// What the engine sees of a queue.
struct Sink(Mutex<Finished>);

struct Finished {
    /// Gone once the queue is closed; later wakes are dropped.
    event: Option<OwnedFd>,
    tokens: Vec<(u64, Wake)>,
}

impl CompletionSink for Sink {
    fn complete(&self, batch: &mut Vec<(u64, Wake)>) {
        let mut finished = self.0.lock();
        let Some(event) = &finished.event else {
            batch.clear();
            return;
        };
        // One write makes the descriptor readable until the next drain, so only the first batch
        // writes. It can only fail with EAGAIN, when the counter is full: then it is readable anyway.
        if finished.tokens.is_empty() && !batch.is_empty() {
            let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
        }
        finished.tokens.append(batch);
    }
}

/// Finished tokens of one event loop: a list that the engine fills and a descriptor to wait on.
#[pyclass(frozen, module = "durastream._native")]
pub(crate) struct CompletionQueue {
    sink: PerProcess<(Arc<Sink>, Arc<dyn CompletionSink>)>,
}

impl CompletionQueue {
    /// The queue as the engine wants it.
    pub(crate) fn sink(&self) -> PyResult<&Arc<dyn CompletionSink>> {
        self.sink.get().map(|(_, sink)| sink)
    }
}

#[pymethods]
impl CompletionQueue {
    #[new]
    fn open() -> PyResult<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| PyOSError::new_err((error.raw_os_error(), error.to_string())))?;
        let sink = Arc::new(Sink(Mutex::new(Finished {
            event: Some(event),
            tokens: Vec::new(),
        })));
        Ok(Self {
            sink: PerProcess::new((Arc::clone(&sink), sink)),
        })
    }

    /// The descriptor that is readable while tokens wait to be drained.
    fn fileno(&self) -> PyResult<RawFd> {
        let finished = self.sink.get()?.0.0.lock();
        match &finished.event {
            Some(event) => Ok(event.as_raw_fd()),
            None => Err(PyValueError::new_err("the completion queue is closed")),
        }
    }

    /// Takes every finished token and makes the descriptor unreadable.
    fn drain(&self) -> PyResult<Vec<(u64, Option<CommitFailure>)>> {
        let mut finished = self.sink.get()?.0.0.lock();
        if let Some(event) = &finished.event {
            // EAGAIN when nothing was written.
            let _ = rustix::io::read(event, &mut [0_u8; 8]);
        }
        let tokens = std::mem::take(&mut finished.tokens);
        drop(finished);
        Ok(tokens
            .into_iter()
            .map(|(token, wake)| match wake {
                Wake::Ready => (token, None),
                Wake::Failed(cause) => (token, Some(CommitFailure(cause))),
            })
            .collect())
    }

    /// Closes the descriptor; wakes that still arrive are dropped. Idempotent.
    fn close(&self) -> PyResult<()> {
        let mut finished = self.sink.get()?.0.0.lock();
        finished.event = None;
        finished.tokens.clear();
        Ok(())
    }
}
