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

const MAGIC: &[u8; 8] = b"DSmanif\n";
/// Format version of manifests, and of the directory as a whole.
pub(crate) const VERSION: u32 = 1;
const HEAD: usize = 80;
const ENTRY: usize = 32;
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

/// The newest checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckpointEntry {
    pub(crate) number: u64,
    pub(crate) lsn: Lsn,
    /// Length of the file.
    pub(crate) bytes: u64,
}

/// Which files make up the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The next file's number; numbers are never reused.
    pub(crate) next_number: u64,
    /// Everything below was synced when this was written.
    pub(crate) synced: Lsn,
    /// The store was closed and `synced` is the end of the log.
    pub(crate) clean: bool,
    pub(crate) checkpoint: Option<CheckpointEntry>,
    /// In the order of their use.
    pub(crate) segments: Vec<SegmentEntry>,
}

impl Manifest {
    /// Takes the next file number.
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD + self.segments.len() * ENTRY];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.next_number.to_le_bytes());
        put(&mut bytes, 24, &self.synced.to_le_bytes());
        let marks = u32::from(self.clean) | u32::from(self.checkpoint.is_some()) << 1;
        put(&mut bytes, 32, &marks.to_le_bytes());
        put(&mut bytes, 36, &(self.segments.len() as u32).to_le_bytes());
        if let Some(checkpoint) = self.checkpoint {
            put(&mut bytes, 40, &checkpoint.number.to_le_bytes());
            put(&mut bytes, 48, &checkpoint.lsn.to_le_bytes());
            put(&mut bytes, 56, &checkpoint.bytes.to_le_bytes());
        }
        for (index, segment) in self.segments.iter().enumerate() {
            let at = HEAD + index * ENTRY;
            put(&mut bytes, at, &segment.number.to_le_bytes());
            put(&mut bytes, at + 8, &segment.salt.to_le_bytes());
            put(&mut bytes, at + 16, &segment.bytes.to_le_bytes());
            put(
                &mut bytes,
                at + 24,
                &segment.base.unwrap_or(NO_BASE).to_le_bytes(),
            );
        }
        let crc = crc32c::crc32c(&bytes[16..]);
        put(&mut bytes, 12, &crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        if bytes.len() < HEAD {
            return Err(Undecodable::at(
                bytes.len() as u64,
                "the manifest is cut short",
            ));
        }
        if &bytes[..8] != MAGIC {
            return Err(Undecodable::at(0, "this is no manifest"));
        }
        if u32_at(bytes, 8) != VERSION {
            return Err(Undecodable::Version(u32_at(bytes, 8)));
        }
        if crc32c::crc32c(&bytes[16..]) != u32_at(bytes, 12) {
            return Err(Undecodable::at(12, "the manifest's CRC does not match"));
        }
        let (marks, count) = (u32_at(bytes, 32), u32_at(bytes, 36) as usize);
        if count != (bytes.len() - HEAD) / ENTRY || !(bytes.len() - HEAD).is_multiple_of(ENTRY) {
            return Err(Undecodable::at(
                36,
                "the manifest's length and count differ",
            ));
        }
        if marks > 3 {
            return Err(Undecodable::at(32, "the manifest has unknown marks"));
        }
        let checkpoint = (marks & 2 != 0).then(|| CheckpointEntry {
            number: u64_at(bytes, 40),
            lsn: u64_at(bytes, 48),
            bytes: u64_at(bytes, 56),
        });
        let segments = bytes[HEAD..].chunks_exact(ENTRY).map(|entry| SegmentEntry {
            number: u64_at(entry, 0),
            salt: u64_at(entry, 8),
            bytes: u64_at(entry, 16),
            base: Some(u64_at(entry, 24)).filter(|base| *base != NO_BASE),
        });
        Ok(Self {
            next_number: u64_at(bytes, 16),
            synced: u64_at(bytes, 24),
            clean: marks & 1 != 0,
            checkpoint,
            segments: segments.collect(),
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

/// The manifest in force, and how it changes.
pub(crate) struct ManifestFile {
    home: Home,
    current: Mutex<Manifest>,
    synced: AtomicU64,
}

impl ManifestFile {
    pub(crate) fn new(home: Home, current: Manifest) -> Self {
        let synced = AtomicU64::new(current.synced);
        Self {
            home,
            current: Mutex::new(current),
            synced,
        }
    }

    /// Everything below is synced.
    pub(crate) fn synced(&self) -> Lsn {
        self.synced.load(Ordering::Acquire)
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
        let written = self.write_next(&self.home.path(MANIFEST_NEXT), &next.encode());
        if let Err(trouble) = written {
            self.home.remove(&self.home.path(MANIFEST_NEXT)).ok();
            return Err(trouble.into());
        }
        self.home.sync_dir().map_err(Trouble::Broken)?;
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
        let segment = (
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            prop::option::of(0..u64::MAX),
        )
            .prop_map(|(number, salt, bytes, base)| SegmentEntry {
                number,
                salt,
                bytes,
                base,
            });
        let checkpoint = (any::<u64>(), any::<u64>(), any::<u64>())
            .prop_map(|(number, lsn, bytes)| CheckpointEntry { number, lsn, bytes });
        (
            any::<(u64, u64, bool)>(),
            prop::option::of(checkpoint),
            prop::collection::vec(segment, 0..6),
        )
            .prop_map(
                |((next_number, synced, clean), checkpoint, segments)| Manifest {
                    next_number,
                    synced,
                    clean,
                    checkpoint,
                    segments,
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
