//! The last segment's end: a torn tail, which is cut, or damage, which is refused.

use std::io::IoSlice;
use std::path::Path;

use crate::Lsn;
use crate::error::{During, Failure, OpenError};
use crate::group::{GROUP_HEAD, GROUP_MAGIC, GroupHead};
use crate::home::{Home, TORN};
use crate::segment::Segment;
use crate::walk::{Hole, stream_at};
use crate::window::Window;

/// Torn tails that are kept for people: those of the last starts that found one.
const MOST_COPIES: usize = 16;
/// Bytes looked at or copied at once.
const SPAN: usize = 1 << 20;

/// The error for a hole where there must be none.
pub(crate) fn damaged(segment: &Segment, hole: &Hole, proof: &str) -> OpenError {
    let stream = stream_at(segment, hole.lsn).map_or_else(String::new, |stream| {
        format!(", in a frame that says stream {stream}")
    });
    OpenError::Damaged {
        file: segment.path.clone(),
        offset: segment.offset(hole.lsn),
        detail: format!("{}{stream}, but {proof}", hole.detail),
    }
}

/// LSN of a group behind `hole` that says that the hole's bytes had been synced.
///
/// Such a group cannot have been written before the hole's bytes were durable, so they were
/// acknowledged and are damaged. A torn tail has no such group: what was in flight when the machine
/// stopped knew nothing of its own durability.
pub(crate) fn proof_behind(segment: &Segment, hole: Lsn) -> Result<Option<Lsn>, Failure> {
    let mut window = Window::new(segment);
    let end = segment.birth.bytes;
    let mut offset = segment.offset(hole);
    let magic = GROUP_MAGIC.to_le_bytes();
    while offset + (GROUP_HEAD as u64) <= end {
        // Spans overlap by a header, so that none is missed between two.
        let span = (SPAN as u64).min(end - offset) as usize;
        let Some(bytes) = window.get(offset, span)? else {
            break;
        };
        for at in (0..=span - GROUP_HEAD).step_by(8) {
            let bytes = &bytes[at..];
            if !bytes.starts_with(&magic) {
                continue;
            }
            let head = GroupHead::decode(bytes, segment.birth.salt);
            let lsn = hole + (offset - segment.offset(hole)) + at as u64;
            if head.is_some_and(|head| head.start == lsn && head.synced > hole) {
                return Ok(Some(lsn));
            }
        }
        offset += ((span - GROUP_HEAD) / 8 * 8 + 8) as u64;
    }
    Ok(None)
}

/// How many bytes at `hole` look like a write that did not finish.
pub(crate) fn torn_bytes(segment: &Segment, hole: &Hole) -> Result<u64, Failure> {
    let start = segment.offset(hole.lsn);
    if let Some(end) = hole.group_end {
        return Ok(end.min(segment.limit()) - hole.lsn);
    }
    if segment.birth.recycled {
        // Whatever lies behind may be of the file's earlier life.
        return Ok(0);
    }
    let behind_mark = if hole.marked { GROUP_HEAD as u64 } else { 0 };
    let mut window = Window::new(segment);
    let mut torn = 0;
    let mut offset = start + behind_mark;
    while offset < segment.birth.bytes {
        let span = (SPAN as u64).min(segment.birth.bytes - offset) as usize;
        let Some(bytes) = window.get(offset, span)? else {
            break;
        };
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            torn = offset + last as u64 + 1 - start;
        }
        offset += span as u64;
    }
    Ok(torn)
}

/// Copies a torn tail aside, durably; gives its length.
///
/// The tail itself stays: the next segment's base is what cuts it. So this can be done again, and
/// on a full disk the copy is done without.
pub(crate) fn set_aside(home: &Home, segment: &Segment, hole: &Hole) -> Result<u64, Failure> {
    let torn = torn_bytes(segment, hole)?;
    if torn == 0 {
        return Ok(0);
    }
    let path = home
        .path(TORN)
        .join(format!("{:016}-{:016}", segment.birth.number, hole.lsn));
    match copy(home, segment, hole.lsn, torn, &path) {
        Err(failure) if failure.is_full() => {
            tracing::warn!(%failure, torn, "no space to keep a torn tail");
            home.fs().remove(&path).ok();
        }
        copied => copied?,
    }
    prune(home);
    Ok(torn)
}

/// Removes the oldest copies when there are too many. Best effort.
fn prune(home: &Home) {
    let dir = home.path(TORN);
    // Their names are sorted as they came.
    let names = home.fs().list(&dir).unwrap_or_default();
    for name in names.iter().rev().skip(MOST_COPIES) {
        home.fs().remove(&dir.join(name)).ok();
    }
}

fn copy(home: &Home, segment: &Segment, from: Lsn, len: u64, path: &Path) -> Result<(), Failure> {
    let dir = home.path(TORN);
    home.fs().create_dir_all(&dir).during("create", &dir)?;
    let copy = home.create(path)?;
    let mut window = Window::new(segment);
    let mut done = 0;
    while done < len {
        let span = (SPAN as u64).min(len - done) as usize;
        let Some(bytes) = window.get(segment.offset(from) + done, span)? else {
            break;
        };
        copy.write_all_at(&mut [IoSlice::new(bytes)], done)
            .during("write", path)?;
        done += span as u64;
    }
    copy.sync_data().during("fdatasync", path)?;
    home.fs().sync_dir(&dir).during("fsync", &dir)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::fs::SimFs;
    use crate::sealed::model::home_on;

    #[test]
    fn torn_tails_of_the_last_starts_are_kept_and_no_more() {
        let home = home_on(SimFs::new());
        let dir = home.path(TORN);
        home.fs().create_dir_all(&dir).unwrap();
        let name = |number: u64| format!("{number:016}-{:016}", 8 * number);
        for number in 1..=20 {
            home.create(&dir.join(name(number))).unwrap();
            prune(&home);
        }
        let left = home.fs().list(&dir).unwrap();
        let newest: Vec<PathBuf> = (5..=20).map(|number| name(number).into()).collect();
        assert_eq!(left, newest);
    }
}
