//! `durastream.Retention`.

use std::time::Duration;

use durastream_engine as core;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDelta;

use crate::input;

/// How much of a stream is kept: immutable, hashable.
#[pyclass(frozen, eq, hash, module = "durastream._native")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Retention(pub(crate) core::Retention);

impl Retention {
    /// A stream's; `None` when it keeps everything.
    pub(crate) fn of(retention: core::Retention) -> Option<Self> {
        (!retention.is_unlimited()).then_some(Self(retention))
    }
}

#[pymethods]
impl Retention {
    #[new]
    #[pyo3(signature = (*, max_bytes=None, max_age=None, max_events=None))]
    fn new(
        max_bytes: Option<&Bound<'_, PyAny>>,
        max_age: Option<&Bound<'_, PyAny>>,
        max_events: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        Ok(Self(core::Retention {
            max_bytes: max_bytes
                .map(|given| number("max_bytes", given))
                .transpose()?,
            max_age: max_age.map(age).transpose()?,
            max_events: max_events
                .map(|given| number("max_events", given))
                .transpose()?,
        }))
    }

    /// The newest appends that have at most so many wire bytes together, but at least the last one.
    #[getter]
    fn max_bytes(&self) -> Option<u64> {
        self.0.max_bytes
    }

    /// Appends younger than this, in whole milliseconds (given as seconds or timedelta).
    #[getter]
    fn max_age<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDelta>>> {
        let age = self.0.max_age.map(|age| age.into_pyobject(py));
        age.transpose()
    }

    /// The newest so many appends.
    #[getter]
    fn max_events(&self) -> Option<u64> {
        self.0.max_events
    }

    fn __repr__(&self) -> String {
        let number = |limit: Option<u64>| limit.map_or("None".to_owned(), |n| n.to_string());
        let age = self.0.max_age.map_or("None".to_owned(), |age| {
            format!("timedelta(seconds={})", age.as_secs_f64())
        });
        format!(
            "Retention(max_bytes={}, max_age={age}, max_events={})",
            number(self.0.max_bytes),
            number(self.0.max_events),
        )
    }
}

fn number(what: &str, given: &Bound<'_, PyAny>) -> PyResult<u64> {
    match given.extract::<u64>() {
        Ok(number) if number > 0 => Ok(number),
        Err(error) if error.is_instance_of::<PyTypeError>(given.py()) => Err(error),
        _ => Err(PyValueError::new_err(format!(
            "{what} is an integer from 1 to 2^64-1, or None for no limit, not {given}"
        ))),
    }
}

/// Of whole milliseconds.
fn age(given: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let age = input::duration(given)?;
    if age < Duration::from_millis(1) {
        return Err(PyValueError::new_err(format!(
            "max_age is 1 millisecond or more, or None for no limit, not {given}"
        )));
    }
    Ok(Duration::from_millis(
        u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
    ))
}
