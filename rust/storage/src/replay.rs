//! Reading the log from an LSN to its end, across segments.

use std::sync::Arc;

use crate::Lsn;
use crate::error::OpenError;
use crate::home::{Home, MANIFEST};
use crate::log::{Replayed, Visit};
use crate::segment::Segment;
use crate::tail;
use crate::walk::{Stop, walk};

/// Shows every frame from `from` on and finds the end, given that everything below `synced` was
/// synced once.
///
/// A hole is damage when anything says that its bytes had been synced: a later segment, the
/// manifest, or a group behind it. Otherwise it is the end, and what lies behind is set aside.
pub(crate) fn replay(
    home: &Home,
    segments: &[Arc<Segment>],
    from: Lsn,
    synced: Lsn,
    visit: &mut Visit<'_>,
) -> Result<Replayed, OpenError> {
    let missing = |lsn: Lsn| OpenError::Damaged {
        file: home.path(MANIFEST),
        offset: 24,
        detail: format!("the log has nothing at LSN {lsn}, but it was synced up to {synced}"),
    };
    if segments.first().is_some_and(|first| first.base > from) {
        return Err(missing(from));
    }
    let mut found = Replayed {
        end: from,
        proven: synced,
        ..Replayed::default()
    };
    for (index, segment) in segments.iter().enumerate() {
        let limit = segments.get(index + 1).map(|next| next.base);
        if segment.limit() < from || limit.is_some_and(|limit| limit <= from) {
            continue;
        }
        let walked = walk(segment, from.max(segment.base), limit, visit)?;
        found.end = walked.end;
        found.frames += walked.frames;
        // An opening proves as much as a group's header does.
        found.proven = found.proven.max(walked.proven).max(segment.base);
        let Stop::Hole(hole) = walked.stop else {
            continue;
        };
        if limit.is_some() {
            return Err(tail::damaged(
                segment,
                &hole,
                "the log goes on in another segment",
            ));
        }
        if synced > hole.lsn {
            let proof = format!("the log was synced up to LSN {synced}");
            return Err(tail::damaged(segment, &hole, &proof));
        }
        if let Some(proof) = tail::proof_behind(segment, hole.lsn)? {
            let proof = format!("a group at LSN {proof} says that it was synced");
            return Err(tail::damaged(segment, &hole, &proof));
        }
        found.torn_bytes = tail::set_aside(home, segment, &hole)?;
    }
    if found.end < synced {
        return Err(missing(found.end));
    }
    Ok(found)
}
