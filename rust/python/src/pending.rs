//! An outcome on its way to being durable.

use std::sync::Arc;
use std::time::Duration;

use durastream_engine as core;
use durastream_engine::storage::Lsn;
use durastream_engine::{
    AppendError, Appended, ChangeError, CreateError, Created, LookupError, Offset, Reader,
    StreamInfo, Ticket,
};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::engine::Opened;
use crate::errors::Raise;
use crate::process::PerProcess;
use crate::queue::CompletionQueue;
use crate::values::{AppendResult, CreateResult};
use crate::{offset, reader, values};

/// How long a wait goes on before it looks for signals.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// What an operation came to, not yet to be told.
pub(crate) enum Outcome {
    Create(Result<Created, CreateError>),
    Append(Result<Appended, AppendError>),
    Many(Vec<Result<Appended, AppendError>>),
    Delete(Result<(), ChangeError>),
    Trim(Result<Offset, ChangeError>),
    Configure(Result<core::Retention, ChangeError>),
    Head(Result<StreamInfo, LookupError>),
    Reader(Result<Reader, LookupError>),
}

/// An outcome that may be told once the log is durable up to an LSN.
#[pyclass(frozen, module = "durastream._native")]
pub(crate) struct Pending(PerProcess<Inner>);

struct Inner {
    opened: Arc<Opened>,
    lsn: Lsn,
    outcome: Outcome,
}

impl Pending {
    /// A ticket of the engine, and which outcome it carries.
    pub(crate) fn new<T>(
        opened: &Arc<Opened>,
        ticket: Ticket<T>,
        outcome: impl FnOnce(T) -> Outcome,
    ) -> Self {
        Self(PerProcess::new(Inner {
            opened: Arc::clone(opened),
            lsn: ticket.lsn,
            outcome: outcome(ticket.outcome),
        }))
    }

    /// The tickets of a batch, durable together.
    pub(crate) fn many(
        opened: &Arc<Opened>,
        tickets: Vec<Ticket<Result<Appended, AppendError>>>,
    ) -> Self {
        let lsn = tickets.iter().map(|ticket| ticket.lsn).max().unwrap_or(0);
        let outcomes = tickets.into_iter().map(|ticket| ticket.outcome).collect();
        Self::new(
            opened,
            Ticket {
                lsn,
                outcome: outcomes,
            },
            Outcome::Many,
        )
    }
}

#[pymethods]
impl Pending {
    /// Whether the outcome may be told now.
    #[getter]
    fn ready(&self) -> PyResult<bool> {
        let inner = self.0.get()?;
        Ok(inner.opened.engine.is_durable(inner.lsn))
    }

    /// Tells `queue` when the outcome may be told, or never will be.
    fn register(&self, queue: &CompletionQueue, token: u64) -> PyResult<()> {
        let inner = self.0.get()?;
        inner.opened.engine.notify(inner.lsn, queue.sink()?, token);
        Ok(())
    }

    /// The outcome, which must be ready; raises when it is a refusal.
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.0.get()?;
        if !inner.opened.engine.is_durable(inner.lsn) {
            return Err(PyRuntimeError::new_err("the outcome is not durable yet"));
        }
        inner.tell(py)
    }

    /// The outcome, once it is durable. Releases the GIL and minds signals.
    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.0.get()?;
        if !inner.opened.engine.is_durable(inner.lsn) {
            while !py
                .detach(|| inner.opened.engine.wait(inner.lsn, Some(SLICE)))
                .map_err(|error| error.raise())?
            {
                py.check_signals()?;
            }
        }
        inner.tell(py)
    }
}

impl Inner {
    fn tell<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.outcome {
            Outcome::Create(outcome) => object(py, told::<_, _, CreateResult>(outcome)?),
            Outcome::Append(outcome) => object(py, told::<_, _, AppendResult>(outcome)?),
            Outcome::Many(outcomes) => tell_many(py, outcomes),
            Outcome::Delete(outcome) => match outcome {
                Ok(()) => Ok(py.None().into_bound(py)),
                Err(error) => Err(error.raise()),
            },
            Outcome::Trim(outcome) => match outcome {
                Ok(floor) => object(py, offset::Offset(*floor)),
                Err(error) => Err(error.raise()),
            },
            Outcome::Configure(outcome) => match outcome {
                Ok(_) => Ok(py.None().into_bound(py)),
                Err(error) => Err(error.raise()),
            },
            Outcome::Head(outcome) => object(py, told::<_, _, values::StreamInfo>(outcome)?),
            Outcome::Reader(outcome) => match outcome {
                Ok(found) => object(py, reader::Reader::new(&self.opened, found)),
                Err(error) => Err(error.raise()),
            },
        }
    }
}

fn told<'a, T, E: Raise, V: From<&'a T>>(outcome: &'a Result<T, E>) -> PyResult<V> {
    match outcome {
        Ok(value) => Ok(V::from(value)),
        Err(error) => Err(error.raise()),
    }
}

fn object<T>(py: Python<'_>, value: T) -> PyResult<Bound<'_, PyAny>>
where
    T: Into<PyClassInitializer<T>> + pyo3::PyClass,
{
    Ok(Bound::new(py, value)?.into_any())
}

/// A list of results, or the refusal that ended the batch with what went before it.
fn tell_many<'py>(
    py: Python<'py>,
    outcomes: &[Result<Appended, AppendError>],
) -> PyResult<Bound<'py, PyAny>> {
    let mut results = Vec::with_capacity(outcomes.len());
    for (index, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(appended) => results.push(AppendResult::from(appended)),
            Err(error) => return Err(at_index(py, error.raise(), index, results)?),
        }
    }
    Ok(results.into_pyobject(py)?.into_any())
}

/// Says which item of a batch an error is about, and what had been appended before it.
pub(crate) fn at_index(
    py: Python<'_>,
    error: PyErr,
    index: usize,
    completed: Vec<AppendResult>,
) -> PyResult<PyErr> {
    let value = error.value(py);
    value.setattr("index", index)?;
    value.setattr("completed", completed)?;
    Ok(error)
}
