//! A stream held open for reading, and watches on it.

use std::sync::Arc;
use std::time::Instant;

use durastream_engine as core;
use durastream_engine::{WatchFor, WatchId};
use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::engine::Opened;
use crate::errors::Raise;
use crate::offset::{self, Offset};
use crate::page::Page;
use crate::pending::SLICE;
use crate::process::PerProcess;
use crate::queue::CompletionQueue;
use crate::values::StreamInfo;
use crate::{errors, input};

/// A stream found once, then read and watched without its path.
#[pyclass(frozen, module = "durastream._native")]
pub(crate) struct Reader(PerProcess<Inner>);

struct Inner {
    opened: Arc<Opened>,
    reader: core::Reader,
}

impl Reader {
    pub(crate) fn new(opened: &Arc<Opened>, reader: &core::Reader) -> Self {
        Self(PerProcess::new(Inner {
            opened: Arc::clone(opened),
            reader: reader.clone(),
        }))
    }

    /// The reader, unless its log is closed or another process's.
    fn inner(&self) -> PyResult<&Inner> {
        let inner = self.0.get()?;
        if inner.opened.is_closed() {
            return Err(errors::closed());
        }
        Ok(inner)
    }
}

#[pymethods]
impl Reader {
    /// The durable view of the stream.
    fn info(&self) -> PyResult<StreamInfo> {
        let info = self.inner()?.reader.info().map_err(|error| error.raise())?;
        Ok((&info).into())
    }

    /// Whether `page` from here would not touch the disk.
    fn is_hot(&self, from: &Bound<'_, PyAny>, max_bytes: usize) -> PyResult<bool> {
        let from = offset::start(from)?;
        Ok(self.inner()?.reader.is_hot(from, max_bytes))
    }

    /// Every durable append that ends beyond `from`, up to `max_bytes` but at least one.
    fn page(&self, py: Python<'_>, from: &Bound<'_, PyAny>, max_bytes: usize) -> PyResult<Page> {
        let reader = &self.inner()?.reader;
        let from = offset::start(from)?;
        let (page, info) = py.detach(|| (reader.page(from, max_bytes), reader.info()));
        let page = page.map_err(|error| error.raise())?;
        let info = info.map_err(|error| error.raise())?;
        Ok(Page::new(page, &info.content_type))
    }

    /// Waits until a page from `position` would have news; `False` at the timeout. Raises when the log
    /// failed or was closed. Releases the GIL and minds signals.
    fn wait(
        &self,
        py: Python<'_>,
        position: &Offset,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let inner = self.inner()?;
        let deadline =
            input::timeout(timeout)?.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map_or(SLICE, |deadline| {
                deadline
                    .saturating_duration_since(Instant::now())
                    .min(SLICE)
            });
            let woken = py.detach(|| inner.reader.wait_readable(position.0, left));
            if woken.map_err(|error| error.raise())? {
                return Ok(true);
            }
            py.check_signals()?;
            if inner.opened.is_closed() {
                return Err(errors::closed());
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(false);
            }
        }
    }

    /// A watch for news behind `position`, to be registered with a completion queue.
    fn watch(&self, position: &Offset) -> PyResult<Watch> {
        let reader = self.inner()?.reader.clone();
        Ok(Watch(PerProcess::new(Watching {
            reader,
            position: position.0,
            registered: Mutex::new(None),
        })))
    }
}

/// A wake for news on a stream; withdrawn by `close` or when dropped.
#[pyclass(frozen, module = "durastream._native")]
pub(crate) struct Watch(PerProcess<Watching>);

struct Watching {
    reader: core::Reader,
    position: core::Offset,
    registered: Mutex<Option<WatchId>>,
}

impl Watching {
    fn withdraw(&self) {
        if let Some(id) = self.registered.lock().take() {
            self.reader.unwatch(id);
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.withdraw();
    }
}

#[pymethods]
impl Watch {
    /// Tells `queue` once when there is news, at once when there already is.
    fn register(&self, queue: &CompletionQueue, token: u64) -> PyResult<()> {
        let watching = self.0.get()?;
        watching.withdraw();
        let id = watching
            .reader
            .watch(WatchFor::Readable(watching.position), queue.sink()?, token);
        *watching.registered.lock() = Some(id);
        Ok(())
    }

    /// Withdraws the wake. Idempotent.
    fn close(&self) -> PyResult<()> {
        self.0.get()?.withdraw();
        Ok(())
    }
}
