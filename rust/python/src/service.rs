//! The protocol layer, for the ASGI listener.

use std::time::Duration;

use durastream_protocol as core;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator};

use crate::engine::Engine;
use crate::exchange::{Exchange, Headers, header_list};
use crate::process::PerProcess;
use crate::{buffer, input};

/// The Durable Streams protocol over an engine.
#[pyclass(frozen, module = "durastream._native")]
pub(crate) struct Service(PerProcess<core::Service>);

impl Service {
    /// The protocol, for the native listener.
    pub(crate) fn core(&self) -> PyResult<&core::Service> {
        self.0.get()
    }
}

#[pymethods]
impl Service {
    #[new]
    #[pyo3(signature = (
        engine, *, base_paths=None, long_poll_timeout=None, sse_max=None, sse_heartbeat=None,
        page_bytes=None, sending_bytes=None, cors_origins=None, hold_time=None, hold_count=None, hold_bytes=None,
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword-only settings, each with a default"
    )]
    fn new(
        engine: &Engine,
        base_paths: Option<Vec<String>>,
        long_poll_timeout: Option<f64>,
        sse_max: Option<f64>,
        sse_heartbeat: Option<f64>,
        page_bytes: Option<usize>,
        sending_bytes: Option<usize>,
        cors_origins: Option<Vec<String>>,
        hold_time: Option<f64>,
        hold_count: Option<usize>,
        hold_bytes: Option<usize>,
    ) -> PyResult<Self> {
        let mut config = core::Config::default();
        set(&mut config.base_paths, base_paths);
        set(&mut config.cors_origins, cors_origins);
        set(&mut config.page_bytes, page_bytes);
        set(&mut config.sending_bytes, sending_bytes);
        set(&mut config.hold_count, hold_count);
        set(&mut config.hold_bytes, hold_bytes);
        set(&mut config.long_poll_timeout, seconds(long_poll_timeout)?);
        set(&mut config.sse_max, seconds(sse_max)?);
        set(&mut config.sse_heartbeat, seconds(sse_heartbeat)?);
        set(&mut config.hold_time, seconds(hold_time)?);
        let service = core::Service::new(engine.core()?.clone(), config)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self(PerProcess::new(service)))
    }

    /// Whether a raw path is a stream's or a control API's.
    fn routes(&self, path: &[u8]) -> PyResult<bool> {
        Ok(self.0.get()?.routes(path))
    }

    /// The base path that a raw path is below, without a slash at its end.
    fn base_path(&self, path: &[u8]) -> PyResult<Option<&str>> {
        Ok(self.0.get()?.base_path(path))
    }

    /// Begins to answer a request. Never blocks.
    #[expect(clippy::too_many_arguments, reason = "the head of a request")]
    fn begin(
        &self,
        method: &str,
        path: &[u8],
        query: &[u8],
        headers: &Bound<'_, PyAny>,
        scheme: &str,
        authority: &str,
        prefix: &str,
    ) -> PyResult<Exchange> {
        let service = self.0.get()?;
        let fields = header_fields(headers)?;
        let headers: Vec<(&[u8], &[u8])> = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        let exchange = service.begin(&core::RequestHead {
            method,
            path,
            query,
            headers: &headers,
            scheme,
            authority,
            prefix,
        });
        Ok(Exchange::new(exchange))
    }

    /// A problem+json response for a fault that the listener itself found.
    fn problem<'py>(
        &self,
        py: Python<'py>,
        status: u16,
        title: &str,
        detail: &str,
    ) -> PyResult<(u16, Headers<'py>, Bound<'py, PyBytes>)> {
        let response = self.0.get()?.problem(status, title, detail);
        let headers = header_list(py, &response.headers);
        Ok((
            response.status,
            headers,
            PyBytes::new(py, &buffer::join(&response.body)),
        ))
    }

    /// Ends long-polls and SSE responses at their next step.
    fn shut_down(&self) -> PyResult<()> {
        self.0.get()?.shut_down();
        Ok(())
    }
}

fn set<T>(target: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *target = given;
    }
}

fn seconds(given: Option<f64>) -> PyResult<Option<Duration>> {
    given.map(input::seconds).transpose()
}

/// Name and value of each field; ASGI servers give tuples or lists.
fn header_fields<'py>(
    headers: &Bound<'py, PyAny>,
) -> PyResult<Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
    PyIterator::from_object(headers)?
        .map(|field| {
            let field = field?;
            match field.extract() {
                Ok(pair) => Ok(pair),
                Err(_) => Ok((
                    field.get_item(0)?.cast_into()?,
                    field.get_item(1)?.cast_into()?,
                )),
            }
        })
        .collect()
}
