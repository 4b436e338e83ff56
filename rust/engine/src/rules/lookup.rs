//! What stands at a path.

use durastream_storage::Lsn;

use crate::StreamPath;
use crate::errors::LookupError;
use crate::state::State;
use crate::stream::{Phase, Stream};

/// The live stream at a path. A refusal comes with the LSN it depends on, if a stream is the cause.
///
/// Expired streams are deleted by an event before anything is looked up, so they are no case here.
pub(crate) fn lookup<'a>(
    state: &'a State,
    path: &StreamPath,
) -> Result<&'a Stream, (Option<Lsn>, LookupError)> {
    match state.at(path) {
        Some(stream) if stream.phase == Phase::Live => Ok(stream),
        Some(stream) => Err((
            Some(stream.last_end),
            LookupError::SoftDeleted { path: path.clone() },
        )),
        None => Err((None, LookupError::NotFound { path: path.clone() })),
    }
}
