//! `durastream.Offset`.

use durastream_engine as core;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors;

/// A position in a stream: immutable, hashable, ordered like its text.
#[pyclass(frozen, eq, ord, hash, from_py_object, module = "durastream._native")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Offset(pub(crate) core::Offset);

impl From<core::Offset> for Offset {
    fn from(offset: core::Offset) -> Self {
        Self(offset)
    }
}

#[pymethods]
impl Offset {
    /// The start of whatever stream it is used on.
    #[classattr]
    const START: Offset = Offset(core::Offset::START);

    #[new]
    #[pyo3(signature = (text, /))]
    fn parse(text: &Bound<'_, PyAny>) -> PyResult<Self> {
        offset(text)
    }

    /// The never-reused number of the stream, or of the root of its fork tree.
    #[getter]
    fn incarnation(&self) -> u64 {
        self.0.incarnation
    }

    /// Wire bytes before this position.
    #[getter]
    fn position(&self) -> u64 {
        self.0.position
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Offset('{}')", self.0)
    }

    fn __getnewargs__(&self) -> (String,) {
        (self.0.to_string(),)
    }
}

/// An offset given as an `Offset` or as text.
pub(crate) fn offset(given: &Bound<'_, PyAny>) -> PyResult<Offset> {
    if let Ok(offset) = given.cast::<Offset>() {
        return Ok(*offset.get());
    }
    let text = given
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err("an offset is a durastream.Offset or its text, a str"))?;
    let text = text.to_cow()?;
    text.parse()
        .map(Offset)
        .map_err(|error: core::offset::OffsetError| {
            errors::InvalidOffset::new_err((format!("{text:?}: {error}"), text.into_owned()))
        })
}

/// Where to begin to read: an offset, `-1` or `now`.
pub(crate) fn start(given: &Bound<'_, PyAny>) -> PyResult<core::From> {
    if let Ok(text) = given.cast::<PyString>() {
        match text.to_cow()?.as_ref() {
            "-1" => return Ok(core::From::Start),
            "now" => return Ok(core::From::Now),
            _ => {}
        }
    }
    offset(given).map(|offset| core::From::At(offset.0))
}
