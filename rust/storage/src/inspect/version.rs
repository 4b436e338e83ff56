//! Telling what a later version wrote from a damaged version number.

use std::io;

use crate::Lsn;
use crate::codec::{Undecodable, put};
use crate::error::{During, Failure, OpenError};
use crate::fs::Open;
use crate::home::Home;
use crate::manifest::SegmentEntry;
use crate::sealed::{self, HEADER, Header, SealedEntry, TRAILER, Trailer};
use crate::segment::{self, BLOCK, Birth, Segment};
use crate::walk::walk;

/// Whether a segment that names another version is one of ours: its header would verify with our version, and so
/// does its first frame. One without a frame has nothing to lose, and nothing to prove it with.
pub(super) fn segment_is_ours(
    home: &Home,
    entry: &SegmentEntry,
    salvaged: Option<&Segment>,
) -> Result<bool, OpenError> {
    let Some(segment) = salvaged else {
        return Ok(false);
    };
    let path = home.segment(entry.number);
    let mut block = vec![0; BLOCK as usize];
    segment
        .file
        .read_exact_at(&mut block, 0)
        .during("read", &path)?;
    put(&mut block, 8, &segment::VERSION.to_le_bytes());
    let expected = (entry.number, entry.salt, entry.bytes);
    let is_header = Birth::decode(&block)
        .is_ok_and(|(birth, _)| (birth.number, birth.salt, birth.bytes) == expected);
    Ok(is_header && has_frame(segment, segment.base)?)
}

fn has_frame(segment: &Segment, from: Lsn) -> Result<bool, OpenError> {
    // The first one ends the walk.
    let walked = walk(segment, from, None, &mut |_| Err(String::new()));
    match walked {
        Err(OpenError::Replay { .. }) => Ok(true),
        Err(OpenError::Io { file, source }) => Err(OpenError::Io { file, source }),
        _ => Ok(false),
    }
}

/// The refusal of a sealed file that cannot be read without its header and names another version, at its start or its
/// end; `None` when the other one of the two is ours, so that the number is damaged.
pub(super) fn of_sealed(home: &Home, entry: &SealedEntry) -> Result<Option<OpenError>, OpenError> {
    let path = home.sealed(entry.number);
    let file = match home.fs().open(&path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.during("open", &path)?,
    };
    let len = file.len().during("stat", &path)?;
    if len < HEADER + TRAILER {
        return Ok(None);
    }
    let read = |at: u64, len: u64| -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, at).during("read", &path)?;
        Ok(bytes)
    };
    let (head, tail) = (read(0, HEADER)?, read(len - TRAILER, TRAILER)?);
    let (header, trailer) = (Header::decode(&head), Trailer::decode(&tail));
    let is_ours = header
        .is_ok_and(|it| (it.number, it.from, it.to) == (entry.number, entry.from, entry.to))
        || trailer
            .as_ref()
            .is_ok_and(|it| it.number == entry.number && it.places(len).is_some());
    let named = [Header::decode(&head).err(), trailer.err()];
    let version = named
        .into_iter()
        .flatten()
        .find(|wrong| matches!(wrong, Undecodable::Version(_)));
    Ok(version
        .filter(|_| !is_ours)
        .map(|version| version.into_open(&path, sealed::VERSION)))
}
