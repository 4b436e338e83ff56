//! Working out what a damaged manifest or segment header said.

use std::io;

use crate::checkpoint;
use crate::codec::Undecodable;
use crate::error::{During, OpenError};
use crate::fs::Open;
use crate::group::{GROUP_HEAD, GroupHead};
use crate::home::{Home, Listing};
use crate::manifest::{Manifest, SegmentEntry};
use crate::sealed::{self, HEADER, Header, SealedEntry, SealedFile};
use crate::segment::{self, BLOCK, Birth, Opening, Segment};

/// A manifest in place of one that cannot be read: the two newest checkpoints, the sealed files, and the segments
/// that can be told by their headers to be the log. What a later version wrote ends it with [`OpenError::Version`].
pub(super) fn manifest(home: &Home, listing: &Listing) -> Result<Manifest, OpenError> {
    let mut manifest = Manifest {
        next_number: 0,
        ..Manifest::new()
    };
    for path in listing.checkpoints.iter().rev() {
        let Some(entry) = checkpoint::entry_of(home, path)? else {
            continue;
        };
        manifest.next_number = manifest.next_number.max(entry.number);
        if manifest.previous.is_some() || checkpoint::read(home, &entry).is_err() {
            continue;
        }
        match manifest.checkpoint {
            None => manifest.checkpoint = Some(entry),
            // Left over from something that did not finish.
            Some(newest) if entry.lsn > newest.lsn => {}
            Some(_) => manifest.previous = Some(entry),
        }
    }
    let mut found = Vec::new();
    for path in &listing.segments {
        let file = home.open(path, Open::Read)?;
        let mut block = vec![0; BLOCK as usize + GROUP_HEAD];
        if file.len().during("stat", path)? < block.len() as u64 {
            continue;
        }
        file.read_exact_at(&mut block, 0).during("read", path)?;
        let (birth, opening) = match Birth::decode(&block) {
            Err(wrong @ Undecodable::Version(_)) => {
                return Err(wrong.into_open(path, segment::VERSION));
            }
            Err(Undecodable::Damaged { .. }) => continue,
            Ok(decoded) => decoded,
        };
        let group = block
            .get(BLOCK as usize..)
            .and_then(|bytes| GroupHead::decode(bytes, birth.salt));
        manifest.next_number = manifest.next_number.max(birth.number);
        let base = match (opening, group) {
            // In use, but empty: nothing is lost without it.
            (_, None) => continue,
            (Opening::Base(base), Some(_)) => base,
            (_, Some(group)) => group.start,
        };
        if home.segment(birth.number) == *path {
            found.push(SegmentEntry {
                number: birth.number,
                salt: birth.salt,
                bytes: birth.bytes,
                base: Some(base),
            });
        }
    }
    found.sort_by_key(|entry| entry.base);
    // Segments that were dropped may still lie about: the log is the chain that ends with the last.
    let mut next: Option<u64> = None;
    for entry in found.into_iter().rev() {
        let base = entry.base.unwrap_or(0);
        let end = base.saturating_add(entry.bytes.saturating_sub(BLOCK));
        if next.is_some_and(|next| next > end || next == base) {
            break;
        }
        next = Some(base);
        manifest.segments.insert(0, entry);
    }
    manifest.files = sealed_files(home, listing)?;
    let numbers = manifest.files.iter().map(|entry| entry.number);
    manifest.next_number = numbers.fold(manifest.next_number, u64::max) + 1;
    // What is sealed was synced, and what the log does not have any more was sealed.
    let oldest = manifest.segments.first().and_then(|entry| entry.base);
    let sealed = manifest.files.iter().map(|entry| entry.to);
    manifest.sealed = sealed.chain(oldest).max().unwrap_or(0);
    let checkpoint = manifest.checkpoint.map_or(0, |entry| entry.lsn);
    let to = manifest.files.iter().map(|entry| entry.to).max();
    manifest.synced = checkpoint.max(to.unwrap_or(0));
    if manifest.segments.is_empty() {
        manifest.sealed = manifest.sealed.max(checkpoint);
    }
    Ok(manifest)
}

/// The sealed files that say what they are, in LSN order. Of those that overlap, the one for the most counts: it was
/// merged from the others.
fn sealed_files(home: &Home, listing: &Listing) -> Result<Vec<SealedEntry>, OpenError> {
    let mut found = Vec::new();
    for path in &listing.sealed {
        let file = home.open(path, Open::Read)?;
        let bytes = file.len().during("stat", path)?;
        if bytes < HEADER {
            continue;
        }
        let mut block = vec![0; HEADER as usize];
        file.read_exact_at(&mut block, 0).during("read", path)?;
        let header = match Header::decode(&block) {
            Err(wrong @ Undecodable::Version(_)) => {
                return Err(wrong.into_open(path, sealed::VERSION));
            }
            Err(Undecodable::Damaged { .. }) => continue,
            Ok(header) => header,
        };
        let entry = SealedEntry {
            number: header.number,
            from: header.from,
            to: header.to,
            bytes,
        };
        if home.sealed(entry.number) == *path && SealedFile::open(home, &entry).is_ok() {
            found.push(entry);
        }
    }
    found.sort_by_key(|entry| (std::cmp::Reverse(entry.to - entry.from), entry.number));
    let mut kept: Vec<SealedEntry> = Vec::new();
    for entry in found {
        if kept
            .iter()
            .all(|it| entry.to <= it.from || it.to <= entry.from)
        {
            kept.push(entry);
        }
    }
    kept.sort_by_key(|entry| entry.from);
    Ok(kept)
}

/// The segment of a file whose header or length is not what it should be: the manifest knows its salt,
/// and its first group its base. `None` when nothing can be read of it, or nothing is in it.
pub(super) fn segment(home: &Home, entry: &SegmentEntry) -> Result<Option<Segment>, OpenError> {
    let path = home.segment(entry.number);
    let file = match home.fs().open(&path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.during("open", &path)?,
    };
    let len = file.len().during("stat", &path)?;
    let bytes = len.min(entry.bytes) / 8 * 8;
    if bytes < BLOCK + GROUP_HEAD as u64 {
        return Ok(None);
    }
    let mut head = [0; GROUP_HEAD];
    file.read_exact_at(&mut head, BLOCK).during("read", &path)?;
    let first = GroupHead::decode(&head, entry.salt).map(|head| head.start);
    Ok(entry.base.or(first).map(|base| Segment {
        birth: Birth {
            number: entry.number,
            salt: entry.salt,
            bytes,
            // Nothing behind its groups counts as torn.
            recycled: true,
        },
        base,
        path,
        file,
    }))
}
