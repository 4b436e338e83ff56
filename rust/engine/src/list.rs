//! Listings by prefix, in byte-wise order of paths.

use std::ops::Bound;

use crate::core::Inner;
use crate::moment::Millis;
use crate::rules::info;
use crate::stream::Phase;
use crate::types::Listing;

/// Most streams one page of a listing may have.
pub(crate) const MOST: usize = 10_000;

/// Most streams looked at for one page: soft-deleted ones do not count as found.
const MOST_SEEN: usize = 2 * MOST;

/// The durable, live streams whose path begins with `prefix`, after `cursor`.
pub(crate) fn list(
    inner: &Inner,
    now: Millis,
    prefix: &str,
    cursor: Option<&str>,
    limit: usize,
) -> Listing {
    let limit = limit.clamp(1, MOST);
    let from = match cursor {
        Some(cursor) if cursor >= prefix => Bound::Excluded(cursor),
        _ => Bound::Included(prefix),
    };
    let mut streams = Vec::new();
    let mut last = None;
    let range = inner
        .state
        .paths()
        .range::<str, _>((from, Bound::Unbounded));
    let range = range.take_while(|(path, _)| path.as_str().starts_with(prefix));
    for (seen, (path, id)) in range.enumerate() {
        if streams.len() == limit || seen == MOST_SEEN {
            return Listing {
                streams,
                cursor: last.map(|path: &crate::StreamPath| path.as_str().to_owned()),
            };
        }
        last = Some(path);
        let stream = inner.state.stream(*id).filter(|stream| {
            stream.phase == Phase::Live
                && stream.created_end <= inner.durable
                && !stream.is_expired(now)
        });
        streams.extend(stream.map(|stream| info(stream, inner.durable)));
    }
    Listing {
        streams,
        cursor: None,
    }
}
