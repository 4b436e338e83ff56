//! `durastream._native.Engine`: the engine, one call per operation.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use durastream_engine as core;
use durastream_engine::{Append, Create, ForkSpec, StreamPath};
use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::errors::{self, Raise};
use crate::pending::{Outcome, Pending, at_index};
use crate::process::{OpenLog, PerProcess};
use crate::retention::Retention;
use crate::stats::Stats;
use crate::tools::Backup;
use crate::values::{ListPage, RecoveryReport};
use crate::{input, offset, options};

/// From this body size on, an append is decided without the GIL: validation takes a while.
const DETACH_FROM: usize = 16 << 10;

/// An engine and whether it was closed, shared with what was made from it.
pub(crate) struct Opened {
    pub(crate) engine: core::Engine,
    closed: AtomicBool,
    /// Given back when the log's threads are gone.
    counted: Mutex<Option<OpenLog>>,
}

impl Opened {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// An open log.
#[pyclass(frozen, module = "durastream._native")]
pub(crate) struct Engine(PerProcess<Arc<Opened>>);

impl Engine {
    /// The engine, unless it is closed or another process's.
    fn opened(&self) -> PyResult<&Arc<Opened>> {
        let opened = self.0.get()?;
        if opened.is_closed() {
            return Err(errors::closed());
        }
        Ok(opened)
    }

    /// The same without its wrapping.
    pub(crate) fn core(&self) -> PyResult<&core::Engine> {
        self.opened().map(|opened| &opened.engine)
    }
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (path, durability, limits=None))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        durability: &str,
        limits: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let options = options::options(durability, limits)?;
        let counted = OpenLog::count()?;
        let engine = py
            .detach(|| {
                if path.as_os_str() == ":memory:" {
                    core::Engine::in_memory(options)
                } else {
                    core::Engine::open(&path, options)
                }
            })
            .map_err(|error| error.raise())?;
        Ok(Self(PerProcess::new(Arc::new(Opened {
            engine,
            closed: AtomicBool::new(false),
            counted: Mutex::new(Some(counted)),
        }))))
    }

    /// Whether `close` was called.
    #[getter]
    fn closed(&self) -> PyResult<bool> {
        self.0.get().map(|opened| opened.is_closed())
    }

    /// Whether this process opened the log.
    #[getter]
    fn is_ours(&self) -> bool {
        self.0.is_ours()
    }

    /// What recovery found.
    fn recovery(&self) -> PyResult<RecoveryReport> {
        Ok(self.core()?.recovery().into())
    }

    #[pyo3(signature = (path, content_type, ttl, expires_at, closed, body, retention=None))]
    #[expect(clippy::too_many_arguments, reason = "a creation's settings")]
    fn create(
        &self,
        py: Python<'_>,
        path: &str,
        content_type: Option<String>,
        ttl: Option<&Bound<'_, PyAny>>,
        expires_at: Option<SystemTime>,
        closed: bool,
        body: Option<&Bound<'_, PyAny>>,
        retention: Option<PyRef<'_, Retention>>,
    ) -> PyResult<Pending> {
        let create = Create {
            content_type,
            expiry: input::expiry(ttl, expires_at)?,
            closed,
            body: input::body(body)?,
            fork: None,
            retention: retention.map(|retention| retention.0),
        };
        self.make(py, path, create)
    }

    #[pyo3(signature = (source, target, at, sub_offset, content_type, ttl, expires_at, closed, body, retention=None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "a fork takes what a creation takes, and its point"
    )]
    fn fork(
        &self,
        py: Python<'_>,
        source: &str,
        target: &str,
        at: Option<&Bound<'_, PyAny>>,
        sub_offset: u64,
        content_type: Option<String>,
        ttl: Option<&Bound<'_, PyAny>>,
        expires_at: Option<SystemTime>,
        closed: bool,
        body: Option<&Bound<'_, PyAny>>,
        retention: Option<PyRef<'_, Retention>>,
    ) -> PyResult<Pending> {
        let at = at.map(offset::offset).transpose()?;
        let create = Create {
            content_type,
            expiry: input::expiry(ttl, expires_at)?,
            closed,
            body: input::body(body)?,
            fork: Some(ForkSpec {
                source: input::path(source)?,
                offset: at.map(|at| at.0),
                sub_offset,
            }),
            retention: retention.map(|retention| retention.0),
        };
        self.make(py, target, create)
    }

    #[pyo3(signature = (path, data, producer, stream_seq, close, if_tail, content_type))]
    #[expect(
        clippy::too_many_arguments,
        reason = "one native call per append is what makes it cheap"
    )]
    fn append(
        &self,
        py: Python<'_>,
        path: &str,
        data: Option<&Bound<'_, PyAny>>,
        producer: Option<&Bound<'_, PyAny>>,
        stream_seq: Option<&Bound<'_, PyAny>>,
        close: bool,
        if_tail: Option<&Bound<'_, PyAny>>,
        content_type: Option<String>,
    ) -> PyResult<Pending> {
        let opened = self.opened()?;
        let path = input::path(path)?;
        let append = Append {
            content_type,
            body: input::body(data)?,
            close,
            producer: input::producer(producer)?,
            stream_seq: input::stream_seq(stream_seq)?,
            if_tail: if_tail.map(offset::offset).transpose()?.map(|at| at.0),
        };
        let ticket = if append.body.len() < DETACH_FROM {
            opened.engine.append(&path, append)
        } else {
            py.detach(|| opened.engine.append(&path, append))
        };
        Ok(Pending::new(opened, ticket, Outcome::Append))
    }

    fn append_many(&self, py: Python<'_>, appends: &Bound<'_, PyAny>) -> PyResult<Pending> {
        let opened = self.opened()?;
        let appends = batch(py, appends)?;
        let tickets = py.detach(|| opened.engine.append_many(appends));
        Ok(Pending::many(opened, tickets))
    }

    fn delete(&self, path: &str) -> PyResult<Pending> {
        let opened = self.opened()?;
        let ticket = opened.engine.delete(&input::path(path)?);
        Ok(Pending::new(opened, ticket, Outcome::Delete))
    }

    fn trim(&self, py: Python<'_>, path: &str, before: &Bound<'_, PyAny>) -> PyResult<Pending> {
        let opened = self.opened()?;
        let (path, before) = (input::path(path)?, offset::offset(before)?.0);
        // The append there may have to be read.
        let ticket = py.detach(|| opened.engine.trim(&path, before));
        Ok(Pending::new(opened, ticket, Outcome::Trim))
    }

    #[pyo3(signature = (path, retention))]
    fn configure(&self, path: &str, retention: Option<PyRef<'_, Retention>>) -> PyResult<Pending> {
        let opened = self.opened()?;
        let retention = retention.map(|retention| retention.0).unwrap_or_default();
        let ticket = opened
            .engine
            .configure(&input::path(path)?, retention.into());
        Ok(Pending::new(opened, ticket, Outcome::Configure))
    }

    fn head(&self, path: &str) -> PyResult<Pending> {
        let opened = self.opened()?;
        let ticket = opened.engine.head(&input::path(path)?);
        Ok(Pending::new(opened, ticket, Outcome::Head))
    }

    fn reader(&self, path: &str) -> PyResult<Pending> {
        let opened = self.opened()?;
        let ticket = opened.engine.reader(&input::path(path)?);
        Ok(Pending::new(opened, ticket, Outcome::Reader))
    }

    fn list(
        &self,
        py: Python<'_>,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> PyResult<ListPage> {
        let engine = self.core()?;
        Ok(py.detach(|| engine.list(prefix, cursor, limit)).into())
    }

    fn stats(&self) -> PyResult<Stats> {
        Ok(self.core()?.stats().into())
    }

    fn poisoned(&self) -> PyResult<Option<String>> {
        Ok(self.core()?.poisoned().map(|cause| cause.to_string()))
    }

    fn full(&self) -> PyResult<Option<String>> {
        Ok(self.core()?.full())
    }

    fn compact(&self, py: Python<'_>) -> PyResult<()> {
        let engine = self.core()?;
        py.detach(|| engine.compact())
            .map_err(|error| error.raise())
    }

    fn checkpoint(&self, py: Python<'_>) -> PyResult<u64> {
        let engine = self.core()?;
        py.detach(|| engine.checkpoint())
            .map_err(|error| error.raise())
    }

    fn backup(&self, py: Python<'_>, dest: PathBuf) -> PyResult<Backup> {
        let engine = self.core()?;
        py.detach(|| engine.backup(&dest))
            .map(Into::into)
            .map_err(|error| error.raise())
    }

    /// Closes the log. Idempotent.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let opened = self.0.get()?;
        opened.closed.store(true, Ordering::Relaxed);
        let outcome = py.detach(|| opened.engine.close());
        opened.counted.lock().take();
        outcome.map_err(|error| error.raise())
    }
}

impl Engine {
    fn make(&self, py: Python<'_>, path: &str, create: Create) -> PyResult<Pending> {
        let opened = self.opened()?;
        let path = input::path(path)?;
        let ticket = py.detach(|| opened.engine.create(&path, create));
        Ok(Pending::new(opened, ticket, Outcome::Create))
    }
}

/// Parses a batch as a whole, so that malformed input appends nothing.
fn batch(py: Python<'_>, appends: &Bound<'_, PyAny>) -> PyResult<Vec<(StreamPath, Append)>> {
    let mut parsed: Vec<(StreamPath, Append)> =
        Vec::with_capacity(appends.len().unwrap_or_default());
    let mut add = |item: &Bound<'_, PyAny>| {
        let entry = entry(item, parsed.last().map(|(path, _)| path));
        match entry {
            Ok(entry) => parsed.push(entry),
            Err(error) => return Err(at_index(py, error, parsed.len(), Vec::new())?),
        }
        Ok(())
    };
    if let Ok(list) = appends.cast::<PyList>() {
        for item in list {
            add(&item)?;
        }
    } else {
        for item in appends.try_iter()? {
            add(&item?)?;
        }
    }
    Ok(parsed)
}

/// `(path, data)` or `(path, data, producer)`. Neighbours often share a path, then it is checked once.
fn entry(item: &Bound<'_, PyAny>, previous: Option<&StreamPath>) -> PyResult<(StreamPath, Append)> {
    let tuple = item
        .cast::<PyTuple>()
        .ok()
        .filter(|tuple| matches!(tuple.len(), 2 | 3))
        .ok_or_else(|| {
            PyTypeError::new_err("append_many takes tuples (path, data) or (path, data, producer)")
        })?;
    let path = tuple.get_item(0)?;
    let path = path
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err("a stream path is a str"))?
        .to_cow()?;
    let path = match previous {
        Some(previous) if previous.as_str() == path => previous.clone(),
        _ => input::path(&path)?,
    };
    let body: Bytes = input::bytes_like(&tuple.get_item(1)?)?;
    let producer = match tuple.len() {
        3 => input::producer(Some(&tuple.get_item(2)?))?,
        _ => None,
    };
    let append = Append {
        body,
        producer,
        ..Append::default()
    };
    Ok((path, append))
}
