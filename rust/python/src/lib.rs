//! PyO3 bindings, thin: no rules of any kind live here.
//!
//! Every operation of the engine answers a [`pending::Pending`], which Python either waits for with
//! the GIL released or hands to a completion queue. `durastream/_native.pyi` documents the surface.

use pyo3::prelude::*;

mod buffer;
mod collector;
mod digits;
mod engine;
mod errors;
mod exchange;
mod input;
mod listener;
mod logs;
mod offset;
mod options;
mod page;
mod pending;
mod process;
mod queue;
mod reader;
mod relay;
mod retention;
mod service;
mod stats;
mod tools;
mod traces;
mod values;

/// The native half of `durastream`.
#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::buffer::Buffer;
    #[pymodule_export]
    use crate::digits::has_long_integer;
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::exchange::Exchange;
    #[pymodule_export]
    use crate::listener::NativeListener;
    #[pymodule_export]
    use crate::logs::{flush_logs, log_to_stderr};
    #[pymodule_export]
    use crate::offset::Offset;
    #[pymodule_export]
    use crate::page::Page;
    #[pymodule_export]
    use crate::pending::Pending;
    #[pymodule_export]
    use crate::queue::{CommitFailure, CompletionQueue};
    #[pymodule_export]
    use crate::reader::{Reader, Watch};
    #[pymodule_export]
    use crate::retention::Retention;
    #[pymodule_export]
    use crate::service::Service;
    #[pymodule_export]
    use crate::stats::{Distribution, ListenerStats, Stats};
    #[pymodule_export]
    use crate::tools::{dump, examine, repair, sweep};
    #[pymodule_export]
    use crate::traces::{flush_traces, is_traced, trace_request};
    #[pymodule_export]
    use crate::values::{AppendResult, CreateResult, ListPage, RecoveryReport, StreamInfo};

    /// Adds the types that are derived, and the numbers that [`Exchange::step`] answers with.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("Ready", crate::relay::ready_type(module.py())?)?;
        module.add("Relay", crate::relay::relay_type(module.py())?)?;
        module.add("STEP_NEED_BODY", Exchange::NEED_BODY)?;
        module.add("STEP_RESPOND", Exchange::RESPOND)?;
        module.add("STEP_START", Exchange::START)?;
        module.add("STEP_CHUNK", Exchange::CHUNK)?;
        module.add("STEP_END", Exchange::END)?;
        module.add("STEP_WAIT", Exchange::WAIT)?;
        module.add("STEP_BLOCK", Exchange::BLOCK)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
