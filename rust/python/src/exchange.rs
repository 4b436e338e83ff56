//! One request being answered, step by step.

use std::time::Instant;

use bytes::Bytes;
use durastream_protocol as core;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::process::PerProcess;
use crate::queue::{CommitFailure, CompletionQueue};
use crate::{buffer, input};

/// A body from this size on is handled without the GIL: validation takes a while.
const DETACH_FROM: usize = 16 << 10;

/// Header fields as ASGI wants them.
pub(crate) type Headers<'py> = Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>;

/// One request being answered.
#[pyclass(frozen, module = "durastream._native")]
pub(crate) struct Exchange(Mutex<Slot>);

#[expect(
    clippy::large_enum_variant,
    reason = "idle is what it nearly always is"
)]
enum Slot {
    Idle(PerProcess<Active>),
    /// A thread has it; `closed` says that nobody wants it back.
    Away {
        closed: bool,
    },
    Closed,
}

struct Active {
    exchange: core::Exchange,
    /// The next step may have a large body to validate.
    heavy: bool,
}

impl Exchange {
    pub(crate) fn new(exchange: core::Exchange) -> Self {
        Self(Mutex::new(Slot::Idle(PerProcess::new(Active {
            exchange,
            heavy: false,
        }))))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Active) -> T) -> PyResult<T> {
        match &mut *self.0.lock() {
            Slot::Idle(active) => active.get_mut().map(act),
            Slot::Away { .. } => Err(away()),
            Slot::Closed => Err(closed()),
        }
    }

    /// Takes the exchange out, to be put back or dropped by the taker.
    fn take(&self) -> PyResult<PerProcess<Active>> {
        let mut slot = self.0.lock();
        match std::mem::replace(&mut *slot, Slot::Away { closed: false }) {
            Slot::Idle(active) => Ok(active),
            other => {
                let gone = matches!(other, Slot::Closed);
                *slot = other;
                Err(if gone { closed() } else { away() })
            }
        }
    }

    /// Acts without the GIL. The slot is not locked meanwhile: whoever holds the GIL may ask for it.
    fn without_gil<T: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Active) -> T + Send,
    ) -> PyResult<T> {
        let mut active = self.take()?;
        let outcome = active.get_mut().map(|active| py.detach(|| act(active)));
        let mut slot = self.0.lock();
        *slot = match *slot {
            Slot::Away { closed: false } => Slot::Idle(active),
            _ => Slot::Closed,
        };
        outcome
    }
}

#[pymethods]
impl Exchange {
    /// Read the request body: `(NEED_BODY, limit)`.
    #[classattr]
    pub(crate) const NEED_BODY: u8 = 0;
    /// Send a whole response: `(RESPOND, status, headers, body)`.
    #[classattr]
    pub(crate) const RESPOND: u8 = 1;
    /// Send a head and keep the response open: `(START, status, headers)`.
    #[classattr]
    pub(crate) const START: u8 = 2;
    /// Send a piece of the body: `(CHUNK, data)`.
    #[classattr]
    pub(crate) const CHUNK: u8 = 3;
    /// End the response: `(END,)`.
    #[classattr]
    pub(crate) const END: u8 = 4;
    /// Register and wait: `(WAIT, seconds or None)`.
    #[classattr]
    pub(crate) const WAIT: u8 = 5;
    /// Call `block` in a thread: `(BLOCK,)`.
    #[classattr]
    pub(crate) const BLOCK: u8 = 6;

    /// What to do next. Never blocks.
    fn step<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let now = Instant::now();
        let heavy = self.with(|active| std::mem::take(&mut active.heavy))?;
        let step = if heavy {
            self.without_gil(py, |active| active.exchange.step(now))?
        } else {
            self.with(|active| active.exchange.step(now))?
        };
        match step {
            core::Step::NeedBody { limit } => (Self::NEED_BODY, limit).into_pyobject(py),
            core::Step::Respond(response) => {
                let headers = header_list(py, &response.headers);
                let body = buffer::pieces(py, response.body)?;
                (Self::RESPOND, response.status, headers, body).into_pyobject(py)
            }
            core::Step::Start(response) => {
                let headers = header_list(py, &response.headers);
                (Self::START, response.status, headers).into_pyobject(py)
            }
            core::Step::Chunk(bytes) => (Self::CHUNK, buffer::piece(py, bytes)?).into_pyobject(py),
            core::Step::End => (Self::END,).into_pyobject(py),
            core::Step::Wait { until } => {
                let seconds = until.map(|until| until.saturating_duration_since(now).as_secs_f64());
                (Self::WAIT, seconds).into_pyobject(py)
            }
            core::Step::Block => (Self::BLOCK,).into_pyobject(py),
            _ => Err(PyRuntimeError::new_err(
                "a step that this binding does not know",
            )),
        }
    }

    /// Hands over the request body.
    fn body(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let body = input::bytes_like(data)?;
        if body.len() < DETACH_FROM {
            return self.with(|active| active.exchange.body(body));
        }
        self.without_gil(py, |active| {
            active.heavy = true;
            active.exchange.body(body);
        })
    }

    /// Says that the body is larger than the limit; `size` when a length was declared.
    fn body_too_large(&self, size: Option<u64>) -> PyResult<()> {
        self.with(|active| active.exchange.body_too_large(size))
    }

    /// Arranges the wake that the last `WAIT` is about.
    fn register(&self, queue: &CompletionQueue, token: u64) -> PyResult<()> {
        let sink = queue.sink()?;
        self.with(|active| active.exchange.register(sink, token))
    }

    /// Tells that the wake was a failure.
    fn fail(&self, failure: &CommitFailure) -> PyResult<()> {
        self.with(|active| active.exchange.fail(&failure.0))
    }

    /// Does the blocking part, without the GIL.
    fn block(&self, py: Python<'_>) -> PyResult<()> {
        self.without_gil(py, |active| active.exchange.block())
    }

    /// Ends the exchange and withdraws its watches. Idempotent.
    fn close(&self) {
        let mut slot = self.0.lock();
        let before = std::mem::replace(&mut *slot, Slot::Closed);
        if matches!(before, Slot::Away { .. }) {
            *slot = Slot::Away { closed: true };
        }
        drop(slot);
        drop(before);
    }
}

fn away() -> PyErr {
    PyRuntimeError::new_err("another thread is at the exchange")
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("the exchange is closed")
}

/// Header fields as pairs of `bytes`.
pub(crate) fn header_list<'py>(py: Python<'py>, headers: &[(&'static str, Bytes)]) -> Headers<'py> {
    headers
        .iter()
        .map(|(name, value)| (PyBytes::new(py, name.as_bytes()), PyBytes::new(py, value)))
        .collect()
}
