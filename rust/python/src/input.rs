//! What Python hands in, checked and made the engine's.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use durastream_engine::{Expiry, Producer, StreamPath};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDelta, PyString, PyTuple};

use crate::buffer::Buffer;
use crate::errors::{self, Raise};

/// The largest producer epoch and sequence number (protocol section 5.2.1).
const MAX_PRODUCER_NUMBER: u64 = (1 << 53) - 1;

/// The bytes of any bytes-like object. Copied, unless they are the engine's own.
pub(crate) fn bytes_like(given: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = given.cast::<PyBytes>() {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    if let Ok(buffer) = given.cast::<Buffer>() {
        return Ok(buffer.get().0.clone());
    }
    Ok(PyBuffer::<u8>::get(given)?.to_vec(given.py())?.into())
}

/// A body that may be missing.
pub(crate) fn body(given: Option<&Bound<'_, PyAny>>) -> PyResult<Bytes> {
    given.map_or_else(|| Ok(Bytes::new()), bytes_like)
}

/// A stream path.
pub(crate) fn path(given: &str) -> PyResult<StreamPath> {
    StreamPath::new(given).map_err(|error| error.raise())
}

/// A producer triple `(id, epoch, seq)`.
pub(crate) fn producer(given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Producer>> {
    let Some(given) = given else { return Ok(None) };
    if given.is_none() {
        return Ok(None);
    }
    let triple = given
        .cast::<PyTuple>()
        .ok()
        .filter(|triple| triple.len() == 3)
        .ok_or_else(|| PyTypeError::new_err("a producer is a tuple (id, epoch, seq)"))?;
    let id: String = triple.get_item(0)?.extract()?;
    if id.is_empty() {
        return Err(invalid_producer("a producer id has at least one character"));
    }
    Ok(Some(Producer {
        id,
        epoch: producer_number("epoch", &triple.get_item(1)?)?,
        seq: producer_number("seq", &triple.get_item(2)?)?,
    }))
}

fn producer_number(what: &str, given: &Bound<'_, PyAny>) -> PyResult<u64> {
    let out_of_range = || {
        invalid_producer(&format!(
            "a producer {what} is an integer from 0 to {MAX_PRODUCER_NUMBER}, this one is {given}"
        ))
    };
    match given.extract::<u64>() {
        Ok(number) if number <= MAX_PRODUCER_NUMBER => Ok(number),
        Ok(_) => Err(out_of_range()),
        Err(error) if error.is_instance_of::<PyTypeError>(given.py()) => Err(error),
        Err(_) => Err(out_of_range()),
    }
}

fn invalid_producer(text: &str) -> PyErr {
    errors::InvalidProducer::new_err((text.to_owned(),))
}

/// A `Stream-Seq`: text or bytes.
pub(crate) fn stream_seq(given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Bytes>> {
    given
        .map(|given| match given.cast::<PyString>() {
            Ok(text) => Ok(Bytes::from(text.to_cow()?.into_owned())),
            Err(_) => bytes_like(given),
        })
        .transpose()
}

/// A time to live (seconds or `timedelta`) or an end (`datetime` with a zone), not both.
pub(crate) fn expiry(
    ttl: Option<&Bound<'_, PyAny>>,
    expires_at: Option<SystemTime>,
) -> PyResult<Option<Expiry>> {
    match (ttl, expires_at) {
        (Some(_), Some(_)) => Err(PyValueError::new_err(
            "give ttl or expires_at, not both: the first slides with every use, the second is fixed",
        )),
        (Some(ttl), None) => Ok(Some(Expiry::Ttl(duration(ttl)?))),
        (None, Some(at)) => Ok(Some(Expiry::At(at))),
        (None, None) => Ok(None),
    }
}

/// A span of time: seconds or a `timedelta`, not negative.
pub(crate) fn duration(given: &Bound<'_, PyAny>) -> PyResult<Duration> {
    if given.is_instance_of::<PyDelta>() {
        return given.extract();
    }
    seconds(given.extract()?)
}

/// A span of time in seconds, not negative.
pub(crate) fn seconds(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        PyValueError::new_err(format!(
            "a duration is a number of seconds that is not negative, this one is {seconds}"
        ))
    })
}

/// A timeout: `None` is for ever.
pub(crate) fn timeout(given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    given.map(duration).transpose()
}
