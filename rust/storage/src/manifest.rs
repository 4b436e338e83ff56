//! The manifest: which files make up the store. Swapped as a whole, never changed in place.

use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::Lsn;
use crate::codec::{Undecodable, put, u32_at, u64_at};
use crate::error::{During, Failure, OpenError, Trouble};
use crate::fs::Open;
use crate::home::{Home, MANIFEST, MANIFEST_NEXT};
use crate::sealed::SealedEntry;

const MAGIC: &[u8; 8] = b"DSmanif\n";
/// Format version of manifests, and of the directory as a whole. Version 1 can still be read.
pub(crate) const VERSION: u32 = 2;
const HEAD_V1: usize = 80;
const HEAD: usize = 128;
const ENTRY: usize = 32;
const CLEAN: u32 = 1;
const CHECKPOINT: u32 = 2;
const PREVIOUS: u32 = 4;
const NO_BASE: u64 = u64::MAX;
/// No manifest is larger; read nothing that says so.
const LARGEST: u64 = 64 << 20;

/// A segment as the manifest knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) number: u64,
    pub(crate) salt: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// LSN of its first group; `None` when it was not in use yet.
    pub(crate) base: Option<Lsn>,
}

/// A checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointEntry {
    pub(crate) number: u64,
    pub(crate) lsn: Lsn,
    /// Length of the file.
    pub(crate) bytes: u64,
}

/// Which files make up the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The format version that it was read as; written as [`VERSION`].
    pub(crate) version: u32,
    /// The next file's number; numbers are never reused.
    pub(crate) next_number: u64,
    /// Everything below was synced when this was written.
    pub(crate) synced: Lsn,
    /// The store was closed and `synced` is the end of the log.
    pub(crate) clean: bool,
    /// The newest checkpoint.
    pub(crate) checkpoint: Option<CheckpointEntry>,
    /// The one before it, in its place should it turn out to be damaged.
    pub(crate) previous: Option<CheckpointEntry>,
    /// Everything below is in sealed files, or was dead; the base of a segment, or the end of the log.
    pub(crate) sealed: Lsn,
    /// In the order of their use.
    pub(crate) segments: Vec<SegmentEntry>,
    /// In the order of their making.
    pub(crate) files: Vec<SealedEntry>,
}

impl Manifest {
    /// Of a directory in which nothing was ever written.
    pub(crate) fn new() -> Self {
        Self {
            version: VERSION,
            next_number: 1,
            synced: 0,
            clean: false,
            checkpoint: None,
            previous: None,
            sealed: 0,
            segments: Vec::new(),
            files: Vec::new(),
        }
    }

    /// The LSN from which on the log must be kept for recovery, even from the older checkpoint.
    pub(crate) fn replayable(&self) -> Lsn {
        self.previous.map_or(0, |entry| entry.lsn)
    }

    /// Completes what was read from a manifest of version 1, given where the log of its directory begins: what lay
    /// below was dead, and is as good as sealed.
    pub(crate) fn upgrade(&mut self, oldest: Option<Lsn>) {
        if self.version == 1 {
            let checkpoint = self.checkpoint.map_or(0, |entry| entry.lsn);
            self.sealed = oldest.unwrap_or(checkpoint);
            self.version = VERSION;
        }
    }

    /// Takes the next file number.
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let rows = self.segments.len() + self.files.len();
        let mut bytes = vec![0; HEAD + rows * ENTRY];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        let mut marks = if self.clean { CLEAN } else { 0 };
        if let Some(checkpoint) = self.checkpoint {
            marks |= CHECKPOINT;
            put_row(&mut bytes, 40, &checkpoint.row());
        }
        if let Some(previous) = self.previous {
            marks |= PREVIOUS;
            put_row(&mut bytes, 64, &previous.row());
        }
        put_row(&mut bytes, 16, &[self.next_number, self.synced]);
        put(&mut bytes, 32, &marks.to_le_bytes());
        put(&mut bytes, 36, &(self.segments.len() as u32).to_le_bytes());
        put_row(&mut bytes, 88, &[self.sealed, self.files.len() as u64]);
        let segments = self.segments.iter().map(|it| {
            let base = it.base.unwrap_or(NO_BASE);
            [it.number, it.salt, it.bytes, base]
        });
        let files = self.files.iter();
        let files = files.map(|it| [it.number, it.from, it.to, it.bytes]);
        for (index, row) in segments.chain(files).enumerate() {
            put_row(&mut bytes, HEAD + index * ENTRY, &row);
        }
        let crc = crc32c::crc32c(&bytes[16..]);
        put(&mut bytes, 12, &crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        if bytes.len() < HEAD_V1 {
            return Err(Undecodable::at(
                bytes.len() as u64,
                "the manifest is cut short",
            ));
        }
        if &bytes[..8] != MAGIC {
            return Err(Undecodable::at(0, "this is no manifest"));
        }
        let version = u32_at(bytes, 8);
        let (head, known) = match version {
            1 => (HEAD_V1, CLEAN | CHECKPOINT),
            VERSION => (HEAD, CLEAN | CHECKPOINT | PREVIOUS),
            other => return Err(Undecodable::Version(other)),
        };
        if bytes.len() < head || crc32c::crc32c(&bytes[16..]) != u32_at(bytes, 12) {
            return Err(Undecodable::at(12, "the manifest's CRC does not match"));
        }
        let (marks, segments) = (u32_at(bytes, 32), u64::from(u32_at(bytes, 36)));
        // What version 1 does not have is zero.
        let at_v2 = |at| if version == 1 { 0 } else { u64_at(bytes, at) };
        let (sealed, files) = (at_v2(88), at_v2(96));
        let (rows, rest) = bytes[head..].as_chunks::<ENTRY>();
        if segments.checked_add(files) != Some(rows.len() as u64) || !rest.is_empty() {
            return Err(Undecodable::at(
                36,
                "the manifest's length and counts differ",
            ));
        }
        if marks & !known != 0 || (marks & PREVIOUS != 0 && marks & CHECKPOINT == 0) {
            return Err(Undecodable::at(32, "the manifest has unknown marks"));
        }
        let checkpoint = |mark, at| {
            (marks & mark != 0).then(|| CheckpointEntry {
                number: u64_at(bytes, at),
                lsn: u64_at(bytes, at + 8),
                bytes: u64_at(bytes, at + 16),
            })
        };
        let (segments, files) = rows.split_at(segments as usize);
        let segments = segments.iter().map(|row| SegmentEntry {
            number: u64_at(row, 0),
            salt: u64_at(row, 8),
            bytes: u64_at(row, 16),
            base: Some(u64_at(row, 24)).filter(|base| *base != NO_BASE),
        });
        let files = files.iter().map(|row| SealedEntry {
            number: u64_at(row, 0),
            from: u64_at(row, 8),
            to: u64_at(row, 16),
            bytes: u64_at(row, 24),
        });
        let files: Vec<SealedEntry> = files.collect();
        if files.iter().any(|it| it.from >= it.to || it.to > sealed) {
            return Err(Undecodable::at(96, "a sealed file has what was not sealed"));
        }
        Ok(Self {
            version,
            next_number: u64_at(bytes, 16),
            synced: u64_at(bytes, 24),
            clean: marks & CLEAN != 0,
            checkpoint: checkpoint(CHECKPOINT, 40),
            previous: checkpoint(PREVIOUS, 64),
            sealed,
            segments: segments.collect(),
            files,
        })
    }

    /// Reads the manifest of `home`, synced first: what is read here must not be lost later.
    pub(crate) fn load(home: &Home) -> Result<Self, OpenError> {
        let path = home.path(MANIFEST);
        let file = home.open(&path, Open::Write)?;
        file.sync_data().during("fdatasync", &path)?;
        let len = file.len().during("stat", &path)?;
        if len > LARGEST {
            return Err(
                Undecodable::at(LARGEST, "the manifest is too long").into_open(&path, VERSION)
            );
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0).during("read", &path)?;
        Self::decode(&bytes).map_err(|wrong| wrong.into_open(&path, VERSION))
    }
}

impl CheckpointEntry {
    fn row(&self) -> [u64; 3] {
        [self.number, self.lsn, self.bytes]
    }
}

fn put_row(bytes: &mut [u8], at: usize, row: &[u64]) {
    for (index, value) in row.iter().enumerate() {
        put(bytes, at + index * 8, &value.to_le_bytes());
    }
}

/// The manifest in force, and how it changes.
pub(crate) struct ManifestFile {
    home: Home,
    current: Mutex<Manifest>,
    synced: AtomicU64,
    sealed: AtomicU64,
}

impl ManifestFile {
    pub(crate) fn new(home: Home, current: Manifest) -> Self {
        let synced = AtomicU64::new(current.synced);
        let sealed = AtomicU64::new(current.sealed);
        Self {
            home,
            sealed,
            current: Mutex::new(current),
            synced,
        }
    }

    /// Everything below is synced.
    pub(crate) fn synced(&self) -> Lsn {
        self.synced.load(Ordering::Acquire)
    }

    /// Everything below is sealed, as the manifest in force says.
    pub(crate) fn sealed(&self) -> Lsn {
        self.sealed.load(Ordering::Acquire)
    }

    /// LSN of the newest checkpoint; 0 without one.
    pub(crate) fn checkpointed(&self) -> Lsn {
        self.current.lock().checkpoint.map_or(0, |entry| entry.lsn)
    }

    /// Notes that everything below `lsn` is synced; written down with the next change.
    pub(crate) fn note_synced(&self, lsn: Lsn) {
        self.synced.fetch_max(lsn, Ordering::AcqRel);
    }

    pub(crate) fn snapshot(&self) -> Manifest {
        self.current.lock().clone()
    }

    /// Takes a file number that nobody else gets. A crash may give it again, when no file has it then.
    pub(crate) fn number(&self) -> u64 {
        self.current.lock().number()
    }

    /// Changes the manifest, durably: after `Ok` the new one counts, after `Full` the old one.
    /// After `Broken` it is not known which, so nothing may depend on either.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Manifest)) -> Result<(), Trouble> {
        let mut current = self.current.lock();
        let mut next = current.clone();
        change(&mut next);
        next.synced = self.synced();
        let sync_dir = self.home.will_sync_dir()?;
        let written = self.write_next(&self.home.path(MANIFEST_NEXT), &next.encode());
        if let Err(trouble) = written {
            self.home.remove(&self.home.path(MANIFEST_NEXT)).ok();
            return Err(trouble.into());
        }
        sync_dir()
            .during("fsync", self.home.dir())
            .map_err(Trouble::Broken)?;
        self.sealed.store(next.sealed, Ordering::Release);
        *current = next;
        Ok(())
    }

    fn write_next(&self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let file = self.home.create(path)?;
        file.write_all_at(&mut [IoSlice::new(bytes)], 0)
            .during("write", path)?;
        file.sync_data().during("fdatasync", path)?;
        self.home.rename(path, &self.home.path(MANIFEST))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifests() -> impl Strategy<Value = Manifest> {
        let segment = (any::<[u64; 3]>(), prop::option::of(0..u64::MAX)).prop_map(
            |([number, salt, bytes], base)| SegmentEntry {
                number,
                salt,
                bytes,
                base,
            },
        );
        let checkpoint = any::<[u64; 3]>().prop_map(|[number, lsn, bytes]| CheckpointEntry {
            number,
            lsn,
            bytes,
        });
        let file = any::<[u64; 2]>().prop_flat_map(|[number, bytes]| {
            (0..1_u64 << 40, 1..1_u64 << 40).prop_map(move |(from, len)| SealedEntry {
                number,
                from,
                to: from + len,
                bytes,
            })
        });
        (
            any::<(u64, u64, bool)>(),
            prop::option::of((checkpoint.clone(), prop::option::of(checkpoint))),
            prop::collection::vec(segment, 0..6),
            (1_u64 << 41..u64::MAX, prop::collection::vec(file, 0..6)),
        )
            .prop_map(
                |((next_number, synced, clean), checkpoints, segments, (sealed, files))| Manifest {
                    version: VERSION,
                    next_number,
                    synced,
                    clean,
                    checkpoint: checkpoints.map(|(newest, _)| newest),
                    previous: checkpoints.and_then(|(_, previous)| previous),
                    sealed,
                    segments,
                    files,
                },
            )
    }

    proptest! {
        #[test]
        fn a_manifest_round_trips(manifest in manifests()) {
            prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        }

        #[test]
        fn no_flipped_bit_and_no_cut_goes_unseen(manifest in manifests(), at: prop::sample::Index) {
            let mut bytes = manifest.encode();
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Manifest::decode(&bytes).is_err());
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes.truncate(bit / 8);
            prop_assert!(Manifest::decode(&bytes).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Manifest::decode(&bytes).is_err());
        }
    }
}
