//! Bodies on their way in: encoded to wire bytes outside the engine's lock, by the format they are
//! expected to need.

use bytes::Bytes;

use crate::errors::LimitError;
use crate::options::Options;
use crate::wire::{self, BodyError, Format, JsonLimits};

/// A body in the wire bytes of a format, or what is wrong with it there. The fault is told only when
/// nothing outranks it.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) format: Format,
    pub(crate) wire: Result<Bytes, BodyError>,
}

impl Encoded {
    pub(crate) fn new(format: Format, body: &Bytes, options: &Options) -> Self {
        let wire = if body.is_empty() {
            Ok(Bytes::new())
        } else {
            let limits = JsonLimits {
                depth: options.max_json_depth,
                number_bytes: options.max_json_number_bytes,
            };
            wire::encode(format, body, limits)
        };
        Self { format, wire }
    }
}

/// Refuses what is over a limit, naming both values.
pub(crate) fn within(
    what: &'static str,
    flag: &'static str,
    limit: usize,
    value: usize,
) -> Result<(), LimitError> {
    if value > limit {
        return Err(LimitError {
            what,
            flag,
            limit: limit as u64,
            value: value as u64,
        });
    }
    Ok(())
}
