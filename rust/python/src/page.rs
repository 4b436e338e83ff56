//! A page of a stream, as Python sees it.

use std::ffi::c_int;
use std::sync::OnceLock;

use bytes::Bytes;
use durastream_engine as core;
use durastream_engine::wire::{self, Format};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use crate::buffer::{self, Buffer};
use crate::offset::Offset;

/// Whole appends of a stream, from one position on.
#[pyclass(frozen, module = "durastream._native")]
pub(crate) struct Page {
    /// Stored bytes, one piece per append.
    wire: Vec<Bytes>,
    format: Format,
    content_type: String,
    start: Offset,
    next: Offset,
    up_to_date: bool,
    closed: bool,
    /// The body as one piece, made when first asked for.
    body: OnceLock<Bytes>,
}

impl Page {
    pub(crate) fn new(page: core::Page, content_type: &str) -> Self {
        Self {
            wire: page.chunks,
            format: Format::of(content_type),
            content_type: content_type.to_owned(),
            start: Offset(page.start),
            next: Offset(page.next),
            up_to_date: page.up_to_date,
            closed: page.closed,
            body: OnceLock::new(),
        }
    }

    fn body(&self) -> &Bytes {
        self.body
            .get_or_init(|| buffer::join(&wire::frame(self.format, self.wire.clone())))
    }

    fn json_only(&self, what: &str) -> PyResult<()> {
        match self.format {
            Format::Json => Ok(()),
            Format::Bytes => Err(PyTypeError::new_err(format!(
                "{what} is for JSON streams, this one holds {}; use data",
                self.content_type
            ))),
        }
    }
}

#[pymethods]
impl Page {
    /// The body: for JSON an array. Without a copy when it is one piece.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        view(py, self.body().clone())
    }

    /// The stored bytes in pieces of one append or more, without a copy (JSON: every message followed by a comma).
    #[getter]
    fn chunks<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyMemoryView>>> {
        self.wire
            .iter()
            .map(|bytes| view(py, bytes.clone()))
            .collect()
    }

    /// Where the first append given begins.
    #[getter]
    fn start(&self) -> Offset {
        self.start
    }

    /// Where to read on.
    #[getter]
    fn next_offset(&self) -> Offset {
        self.next
    }

    /// Whether nothing durable lies behind `next_offset`.
    #[getter]
    fn up_to_date(&self) -> bool {
        self.up_to_date
    }

    /// Whether the stream is closed and nothing lies behind `next_offset`.
    #[getter]
    fn closed(&self) -> bool {
        self.closed
    }

    /// The stream's content type.
    #[getter]
    fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The raw bytes of each JSON message.
    fn messages<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.json_only("messages()")?;
        let mut messages = Vec::new();
        for chunk in &self.wire {
            let mut rest: &[u8] = chunk;
            while let Some(end) = wire::after_messages(rest, 1).filter(|end| *end > 0) {
                let (message, behind) = rest.split_at(end);
                messages.push(PyBytes::new(
                    py,
                    message.strip_suffix(b",").unwrap_or(message),
                ));
                rest = behind;
            }
        }
        Ok(messages)
    }

    /// The JSON messages, parsed by the `json` module.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.json_only("json()")?;
        py.import("json")?
            .call_method1("loads", (self.__bytes__(py),))
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.body())
    }

    /// Whether the page holds any event.
    fn __bool__(&self) -> bool {
        self.wire.iter().any(|chunk| !chunk.is_empty())
    }

    fn __repr__(&self) -> String {
        format!(
            "<Page of {} bytes, next_offset='{}', up_to_date={}, closed={}>",
            self.wire.iter().map(Bytes::len).sum::<usize>(),
            self.next.0,
            self.up_to_date,
            self.closed,
        )
    }

    /// PEP 688 before Python 3.12, where the slot below answers it.
    fn __buffer__<'py>(
        slf: &Bound<'py, Self>,
        _flags: c_int,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        PyMemoryView::from(slf.as_any())
    }

    #[expect(unsafe_code, reason = "the buffer protocol hands out raw pointers")]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let bytes = slf.get().body();
        // SAFETY: CPython calls this with a valid `view`; `bytes` is set once in the frozen object
        // that `view` keeps alive.
        unsafe { buffer::fill(view, slf.as_any(), bytes, flags) }
    }
}

fn view(py: Python<'_>, bytes: Bytes) -> PyResult<Bound<'_, PyMemoryView>> {
    PyMemoryView::from(Bound::new(py, Buffer(bytes))?.as_any())
}
