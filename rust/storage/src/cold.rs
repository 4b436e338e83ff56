//! Reads of frames from segment files, verified.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{During, Failure, ReadError};
use crate::frame::{self, FrameRef, Outline};
use crate::group::seed;
use crate::segment::Segment;

/// Neighbours within this many bytes are read at once.
const SPAN: u64 = 1 << 20;
/// Bytes between neighbours that are rather read than skipped.
const GAP: u64 = 64 << 10;
/// What a frame usually has beside its payload, at most.
const USUAL_HEAD: u64 = 256;

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        let detail = format!("{}: {}", failure.operation, failure.source);
        Self::Io {
            file: failure.file,
            detail,
        }
    }
}

/// Payloads of `frames`, each with the segment that holds it, in their order.
pub(crate) fn read(frames: &[(Arc<Segment>, FrameRef)]) -> Result<Vec<Bytes>, ReadError> {
    let mut payloads = Vec::with_capacity(frames.len());
    let mut rest = frames;
    while let Some((segment, first)) = rest.first() {
        let neighbours = neighbours(rest);
        let (run, behind) = rest.split_at(neighbours);
        let last = run.last().map_or(first, |(_, last)| last);
        let bytes = span(segment, first, last)?;
        for (_, wanted) in run {
            payloads.push(payload(segment, wanted, &bytes, first.lsn)?);
        }
        rest = behind;
    }
    Ok(payloads)
}

fn guess(frame: &FrameRef) -> u64 {
    USUAL_HEAD + u64::from(frame.len)
}

/// How many of `frames`, from the first, lie close together in one file.
fn neighbours(frames: &[(Arc<Segment>, FrameRef)]) -> usize {
    let Some((segment, first)) = frames.first() else {
        return 0;
    };
    let mut end = first.lsn + guess(first);
    let more = frames[1..].iter().take_while(|(other, frame)| {
        let near = Arc::ptr_eq(segment, other)
            && frame.lsn > first.lsn
            && frame.lsn <= end + GAP
            && frame.lsn + guess(frame) - first.lsn <= SPAN;
        end = end.max(frame.lsn.saturating_add(guess(frame)));
        near
    });
    1 + more.count()
}

/// The bytes from `first` to about the end of `last`.
fn span(segment: &Segment, first: &FrameRef, last: &FrameRef) -> Result<Bytes, ReadError> {
    let end = (last.lsn + guess(last))
        .max(first.lsn + guess(first))
        .min(segment.limit());
    file_bytes(segment, first.lsn, end.saturating_sub(first.lsn) as usize)
}

fn file_bytes(segment: &Segment, lsn: u64, len: usize) -> Result<Bytes, ReadError> {
    let mut bytes = vec![0; len];
    segment
        .file
        .read_exact_at(&mut bytes, segment.offset(lsn))
        .during("read", &segment.path)?;
    Ok(bytes.into())
}

/// Takes the payload of `wanted` out of `bytes`, which begin at LSN `at`.
fn payload(
    segment: &Segment,
    wanted: &FrameRef,
    bytes: &Bytes,
    at: u64,
) -> Result<Bytes, ReadError> {
    let damaged = |detail: String| ReadError::Damaged {
        file: segment.path.clone(),
        offset: segment.offset(wanted.lsn),
        detail,
    };
    let from = (wanted.lsn - at) as usize;
    let outline = bytes
        .get(from..)
        .ok_or("the frame lies beyond the end of the segment")
        .and_then(Outline::read)
        .map_err(|detail| damaged(format!("{detail} (stream {})", wanted.stream)))?;
    // Checked before its length is believed: it bounds what is allocated.
    outline.is(wanted).map_err(damaged)?;
    let whole = outline.whole();
    let frame = if from + whole <= bytes.len() {
        bytes.slice(from..from + whole)
    } else if wanted.lsn + whole as u64 <= segment.limit() {
        file_bytes(segment, wanted.lsn, whole)?
    } else {
        return Err(damaged(
            "the frame lies beyond the end of the segment".to_owned(),
        ));
    };
    frame::decode(&frame, wanted.lsn, seed(segment.birth.salt))
        .map_err(|detail| damaged(format!("{detail} (stream {})", wanted.stream)))?;
    Ok(frame.slice(outline.payload_range()))
}
