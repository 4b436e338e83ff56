//! A segment file: one header block, then contiguous groups.

use std::fmt;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Lsn;
use crate::codec::{Undecodable, put, u32_at, u64_at};
use crate::error::{During, Failure};
use crate::fs::FsFile;
use crate::group::{GROUP_HEAD, seed};

/// Bytes of the header block: the first group begins behind it.
pub(crate) const BLOCK: u64 = 4096;
/// Format version of segments.
pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"DSsegmt\n";
const BIRTH: usize = 64;
/// Where the opening lies in the block: in a sector of its own, because it is written later.
const OPENING_AT: usize = 512;
const OPENING: usize = 32;
const OPENING_MAGIC: &[u8; 8] = b"DSopen!\n";
const RECYCLED: u64 = 1;
/// Bytes that a fresh file is written ahead.
const AHEAD: u64 = 256 << 10;

/// What a segment file is from its preparation on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Birth {
    pub(crate) number: u64,
    /// Random; every CRC in the segment is seeded with it.
    pub(crate) salt: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Whether the file had an earlier life, whose bytes may still be there.
    pub(crate) recycled: bool,
}

/// Whether a segment is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Prepared, never used.
    Unused,
    /// Its first group begins at this LSN, and everything below it was synced before.
    Base(Lsn),
    /// Neither: torn while it was being written, or damaged.
    Unreadable,
}

impl Birth {
    /// The header block of a segment in use from `base` on.
    pub(crate) fn encode_opened(&self, base: Lsn) -> Vec<u8> {
        let mut block = self.encode();
        put(&mut block, OPENING_AT, &Opening::encode(base, self.salt));
        block
    }

    /// The header block of a segment that is not in use yet.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK as usize];
        put(&mut block, 0, MAGIC);
        put(&mut block, 8, &VERSION.to_le_bytes());
        put(&mut block, 16, &self.number.to_le_bytes());
        put(&mut block, 24, &self.salt.to_le_bytes());
        put(&mut block, 32, &self.bytes.to_le_bytes());
        put(
            &mut block,
            40,
            &if self.recycled { RECYCLED } else { 0 }.to_le_bytes(),
        );
        let crc = crc32c::crc32c(&block[16..BIRTH]);
        put(&mut block, 12, &crc.to_le_bytes());
        block
    }

    /// Decodes a header block.
    pub(crate) fn decode(block: &[u8]) -> Result<(Self, Opening), Undecodable> {
        if block.len() < BLOCK as usize {
            return Err(Undecodable::at(
                block.len() as u64,
                "the segment's header is cut short",
            ));
        }
        if &block[..8] != MAGIC {
            return Err(Undecodable::at(0, "this is no segment"));
        }
        if u32_at(block, 8) != VERSION {
            return Err(Undecodable::Version(u32_at(block, 8)));
        }
        if crc32c::crc32c(&block[16..BIRTH]) != u32_at(block, 12) {
            return Err(Undecodable::at(
                12,
                "the segment header's CRC does not match",
            ));
        }
        let birth = Self {
            number: u64_at(block, 16),
            salt: u64_at(block, 24),
            bytes: u64_at(block, 32),
            recycled: u64_at(block, 40) & RECYCLED != 0,
        };
        Ok((
            birth,
            Opening::decode(&block[OPENING_AT..OPENING_AT + OPENING], birth.salt),
        ))
    }
}

impl Opening {
    fn encode(base: Lsn, salt: u64) -> [u8; OPENING] {
        let mut bytes = [0; OPENING];
        put(&mut bytes, 0, OPENING_MAGIC);
        put(&mut bytes, 16, &base.to_le_bytes());
        let crc = crc32c::crc32c_append(seed(salt), &bytes[16..]);
        put(&mut bytes, 8, &crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], salt: u64) -> Self {
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::Unused;
        }
        let base = u64_at(bytes, 16);
        if bytes == Self::encode(base, salt) && base.is_multiple_of(8) {
            Self::Base(base)
        } else {
            Self::Unreadable
        }
    }
}

/// A prepared segment: header written, synced and listed in the manifest, not in use.
pub(crate) struct Reserve {
    pub(crate) birth: Birth,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn FsFile>,
}

impl Reserve {
    /// Bytes of log that fit in.
    pub(crate) fn room(&self) -> u64 {
        self.birth.bytes - BLOCK
    }

    /// Opens the segment for groups from `base` on. Synced before any group is written, so that a
    /// group in a segment whose opening cannot be read proves damage.
    pub(crate) fn open_at(self, base: Lsn) -> Result<Segment, Failure> {
        let opening = Opening::encode(base, self.birth.salt);
        self.file
            .write_all_at(&mut [IoSlice::new(&opening)], OPENING_AT as u64)
            .during("write", &self.path)?;
        self.file.sync_data().during("fdatasync", &self.path)?;
        Ok(Segment {
            birth: self.birth,
            base,
            path: self.path,
            file: self.file,
        })
    }
}

/// A segment in use.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) birth: Birth,
    /// LSN of its first group.
    pub(crate) base: Lsn,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn FsFile>,
}

impl Segment {
    /// Where `lsn` lies in the file.
    pub(crate) fn offset(&self, lsn: Lsn) -> u64 {
        BLOCK + (lsn - self.base)
    }

    /// The LSN behind the last byte of the file.
    pub(crate) fn limit(&self) -> Lsn {
        self.base + (self.birth.bytes - BLOCK)
    }

    /// Whether `lsn` lies in the file and a group's header fits in behind it.
    pub(crate) fn holds_head_at(&self, lsn: Lsn) -> bool {
        lsn >= self.base && lsn + GROUP_HEAD as u64 <= self.limit()
    }

    /// Writes zeros behind `end`; gives the LSN up to which the file is written.
    ///
    /// Space that was only reserved is taken from the file system's books block by block, with a commit of its journal
    /// in each sync. Done for many groups at once that costs next to nothing.
    pub(crate) fn write_ahead(&self, end: Lsn) -> Result<Lsn, Failure> {
        let from = self.offset(end).next_multiple_of(BLOCK);
        let to = (from + AHEAD).min(self.birth.bytes);
        if from < to {
            let zeros = vec![0; (to - from) as usize];
            self.file
                .write_all_at(&mut [IoSlice::new(&zeros)], from)
                .during("write", &self.path)?;
        }
        Ok(self.base + (to - BLOCK))
    }

    /// Writes `slices` at `lsn` and makes that durable in one go; `None`, with nothing done, where that cannot be.
    pub(crate) fn write_through(
        &self,
        slices: &mut [IoSlice<'_>],
        lsn: Lsn,
    ) -> Option<Result<(), Failure>> {
        let written = self.file.write_through(slices, self.offset(lsn))?;
        Some(written.during("write", &self.path))
    }

    /// Writes `slices`, one after the other, at `lsn`.
    pub(crate) fn write(&self, slices: &mut [IoSlice<'_>], lsn: Lsn) -> Result<(), Failure> {
        self.file
            .write_all_at(slices, self.offset(lsn))
            .during("write", &self.path)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Segment")
            .field("birth", &self.birth)
            .field("base", &self.base)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_round_trips_and_no_flipped_bit_changes_it(
            number: u64, salt: u64, bytes: u64, recycled: bool, base in 0..u64::MAX / 8,
            bit in 0..BLOCK as usize * 8,
        ) {
            let birth = Birth { number, salt, bytes, recycled };
            let mut block = birth.encode();
            prop_assert_eq!(Birth::decode(&block), Ok((birth, Opening::Unused)));
            let opening = Opening::encode(base * 8, salt);
            block[OPENING_AT..OPENING_AT + OPENING].copy_from_slice(&opening);
            let whole = Ok((birth, Opening::Base(base * 8)));
            prop_assert_eq!(Birth::decode(&block), whole.clone());
            block[bit / 8] ^= 1 << (bit % 8);
            let flipped = Birth::decode(&block);
            let at = bit / 8;
            if at < BIRTH {
                prop_assert!(flipped.is_err());
            } else if (OPENING_AT..OPENING_AT + OPENING).contains(&at) {
                prop_assert_eq!(flipped, Ok((birth, Opening::Unreadable)));
            } else {
                prop_assert_eq!(flipped, whole);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert!(Birth::decode(&bytes).is_err());
        }
    }
}
