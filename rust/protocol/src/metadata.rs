//! HEAD and DELETE (protocol sections 5.4 and 5.5).

use bytes::Bytes;
use durastream_engine::{ChangeError, Expiry, LookupError, StreamInfo};

use crate::refusal::{self, offset_value};
use crate::response::Answer;
use crate::retention;
use crate::values;

/// The answer to HEAD: metadata, never cached.
pub(crate) fn head(outcome: Result<StreamInfo, LookupError>) -> Answer {
    let info = match outcome {
        Ok(info) => info,
        Err(error) => return refusal::lookup(&error).answer(),
    };
    let answer = Answer::new(200)
        .header(
            "content-type",
            Bytes::copy_from_slice(info.content_type.as_bytes()),
        )
        .header("stream-next-offset", offset_value(info.tail))
        .flag("stream-closed", info.closed)
        .header("cache-control", Bytes::from_static(b"no-store"));
    let answer = retention::told(answer, &info.retention);
    match info.expiry {
        None => answer,
        Some(Expiry::Ttl(ttl)) => {
            let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
            answer.header("stream-ttl", seconds.to_string())
        }
        Some(Expiry::At(time)) => answer.maybe("stream-expires-at", values::rfc3339(time)),
    }
}

/// The answer to DELETE.
pub(crate) fn delete(outcome: Result<(), ChangeError>) -> Answer {
    match outcome {
        Ok(()) => Answer::new(204),
        Err(error) => refusal::change(error).answer(),
    }
}
