//! The native listener, started and stopped from Python.

use std::path::PathBuf;
use std::time::Duration;

use durastream_server::{Address, Limits, Listener, StartError, TlsFiles, Upstream};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::input;
use crate::process::PerProcess;
use crate::service::Service;
use crate::stats::ListenerStats;

/// An HTTP/1.1 and HTTP/2 listener on threads of its own.
#[pyclass(frozen, module = "durastream._native")]
pub(crate) struct NativeListener(PerProcess<Listener>);

#[pymethods]
impl NativeListener {
    #[new]
    #[pyo3(signature = (
        service, host, port, *, unix=None, tls=None, upstream=None, own_paths=Vec::new(), loops=None,
        max_connections=None, max_header_bytes=None, max_upload_bytes=None,
        max_streams_per_connection=None, keep_alive=None, stall=None, min_body_rate=None, access_log=0, trace_ratio=0.0,
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword-only limits, each with a default"
    )]
    fn start(
        service: &Service,
        host: String,
        port: u16,
        unix: Option<PathBuf>,
        tls: Option<(PathBuf, PathBuf)>,
        upstream: Option<PathBuf>,
        own_paths: Vec<String>,
        loops: Option<usize>,
        max_connections: Option<usize>,
        max_header_bytes: Option<usize>,
        max_upload_bytes: Option<usize>,
        max_streams_per_connection: Option<usize>,
        keep_alive: Option<f64>,
        stall: Option<f64>,
        min_body_rate: Option<u32>,
        access_log: u32,
        trace_ratio: f64,
    ) -> PyResult<Self> {
        let seconds = |given: Option<f64>| given.map(input::seconds).transpose();
        let mut limits = Limits::default();
        limits.loops = loops.unwrap_or(limits.loops);
        limits.max_connections = max_connections.unwrap_or(limits.max_connections);
        limits.max_header_bytes = max_header_bytes.unwrap_or(limits.max_header_bytes);
        limits.max_upload_bytes = max_upload_bytes.unwrap_or(limits.max_upload_bytes);
        limits.max_streams_per_connection =
            max_streams_per_connection.unwrap_or(limits.max_streams_per_connection);
        limits.keep_alive = seconds(keep_alive)?.unwrap_or(limits.keep_alive);
        limits.access_log = access_log;
        limits.trace_ratio = trace_ratio;
        limits.min_body_rate = min_body_rate.unwrap_or(limits.min_body_rate);
        limits.stall = seconds(stall)?.unwrap_or(limits.stall);
        let at = Address {
            host,
            port,
            unix,
            tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
        };
        let upstream = Upstream {
            socket: upstream,
            own_paths,
        };
        let listener = Listener::start(service.core()?.clone(), &at, upstream, limits)
            .map_err(|error| cannot_start(&error))?;
        Ok(Self(PerProcess::new(listener)))
    }

    /// Reads the certificate again, for connections to come. Raises ValueError when it cannot be used; the
    /// one before is served then.
    fn reload_certificate(&self) -> PyResult<()> {
        let reloaded = self.0.get()?.reload_certificate();
        reloaded.map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// The port it listens on.
    #[getter]
    fn port(&self) -> PyResult<u16> {
        Ok(self.0.get()?.address().port())
    }

    /// Connections open now.
    #[getter]
    fn connections(&self) -> PyResult<usize> {
        Ok(self.0.get()?.connections())
    }

    /// Counts now.
    fn stats(&self) -> PyResult<ListenerStats> {
        Ok(self.0.get()?.stats().into())
    }

    /// Finishes what is in flight within `grace` seconds, then closes everything and returns.
    fn stop(&self, py: Python<'_>, grace: f64) -> PyResult<()> {
        let grace = if grace > 0.0 {
            input::seconds(grace)?
        } else {
            Duration::ZERO
        };
        let listener = self.0.get()?;
        py.detach(|| listener.stop(grace));
        Ok(())
    }
}

fn cannot_start(error: &StartError) -> PyErr {
    let source = match error {
        StartError::Bind { source, .. } | StartError::System(source) => source,
        StartError::Unix { path, source } => {
            let number = source.raw_os_error();
            return PyOSError::new_err((number, source.to_string(), path.clone()));
        }
        // Of the certificate.
        error => return PyValueError::new_err(error.to_string()),
    };
    match source.raw_os_error() {
        Some(number) => PyOSError::new_err((number, source.to_string())),
        None => PyOSError::new_err(error.to_string()),
    }
}
