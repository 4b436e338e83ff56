//! `durability=` and the limits of `LogEngine`.

use std::time::Duration;

use durastream_engine::Options;
use durastream_engine::storage::Durability;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::input;

/// Options from keyword arguments; the defaults are the engine's.
pub(crate) fn options(durability: &str, limits: Option<&Bound<'_, PyDict>>) -> PyResult<Options> {
    let mut options = Options::default();
    options.store.durability = parse_durability(durability)?;
    let Some(limits) = limits else {
        return Ok(options);
    };
    for (name, value) in limits {
        let name: String = name.extract()?;
        match name.as_str() {
            "segment_bytes" => options.store.segment_bytes = positive(&name, &value)?,
            "hot_bytes" => options.store.hot_bytes = value.extract()?,
            "pending_bytes" => options.store.pending_bytes = size(&name, &value)?,
            "frame_bytes" => options.store.frame_bytes = size(&name, &value)?,
            "seal_backlog" => options.store.seal_backlog = positive(&name, &value)?,
            "compaction_bytes_per_second" => {
                options.store.compaction_bytes_per_second = positive(&name, &value)?;
            }
            "max_append_bytes" => options.max_append_bytes = size(&name, &value)?,
            "max_json_depth" => options.max_json_depth = size(&name, &value)?,
            "max_producers_per_stream" => options.max_producers_per_stream = size(&name, &value)?,
            "max_streams" => options.max_streams = size(&name, &value)?,
            "max_fork_depth" => options.max_fork_depth = size(&name, &value)?,
            "max_producer_id_bytes" => options.max_producer_id_bytes = size(&name, &value)?,
            "max_stream_seq_bytes" => options.max_stream_seq_bytes = size(&name, &value)?,
            "max_content_type_bytes" => options.max_content_type_bytes = size(&name, &value)?,
            "checkpoint_bytes" => options.checkpoint_bytes = positive(&name, &value)?,
            "reap_interval" => options.reap_interval = input::duration(&value)?,
            _ => {
                return Err(PyTypeError::new_err(format!(
                    "{name:?} is not a limit of LogEngine"
                )));
            }
        }
    }
    Ok(options)
}

fn positive(name: &str, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    match value.extract::<u64>() {
        Ok(0) => Err(PyValueError::new_err(format!("{name} is at least 1"))),
        other => other,
    }
}

fn size(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    usize::try_from(positive(name, value)?)
        .map_err(|_| PyValueError::new_err(format!("{name} is larger than memory can be")))
}

fn parse_durability(text: &str) -> PyResult<Durability> {
    match text {
        "sync" => Ok(Durability::Sync),
        "none" => Ok(Durability::None),
        _ => text
            .strip_prefix("interval=")
            .and_then(|millis| millis.parse().ok())
            .filter(|millis| *millis > 0)
            .map(|millis| Durability::Interval(Duration::from_millis(millis)))
            .ok_or_else(|| {
                PyValueError::new_err(format!(
                    "durability is \"sync\", \"none\" or \"interval=MS\" (milliseconds, at least 1), \
                     not {text:?}"
                ))
            }),
    }
}
