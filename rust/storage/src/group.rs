//! A commit group: frames that are written and synced together.

use bytes::Bytes;

use crate::Lsn;
use crate::codec::{put, u32_at, u64_at};

/// Bytes of a group's header.
pub(crate) const GROUP_HEAD: usize = 48;
/// How a group begins.
pub(crate) const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"DSgr");

/// The first bytes of a group. One without frames is a mark: it only carries `synced`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHead {
    /// LSN of the header's first byte.
    pub(crate) start: Lsn,
    /// Everything below was synced when this was written.
    pub(crate) synced: Lsn,
    /// Bytes of the group, this header included.
    pub(crate) len: u64,
    /// Frames in it.
    pub(crate) frames: u32,
}

impl GroupHead {
    pub(crate) fn encode(&self, salt: u64) -> [u8; GROUP_HEAD] {
        let mut bytes = [0; GROUP_HEAD];
        put(&mut bytes, 0, &GROUP_MAGIC.to_le_bytes());
        put(&mut bytes, 8, &salt.to_le_bytes());
        put(&mut bytes, 16, &self.start.to_le_bytes());
        put(&mut bytes, 24, &self.synced.to_le_bytes());
        put(&mut bytes, 32, &self.len.to_le_bytes());
        put(&mut bytes, 40, &self.frames.to_le_bytes());
        let crc = crc32c::crc32c_append(seed(salt), &bytes[8..]);
        put(&mut bytes, 4, &crc.to_le_bytes());
        bytes
    }

    /// `None` unless these are the first bytes of a group written under `salt`.
    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let bytes = bytes.get(..GROUP_HEAD)?;
        if u32_at(bytes, 0) != GROUP_MAGIC
            || u64_at(bytes, 8) != salt
            || crc32c::crc32c_append(seed(salt), &bytes[8..]) != u32_at(bytes, 4)
        {
            return None;
        }
        let head = Self {
            start: u64_at(bytes, 16),
            synced: u64_at(bytes, 24),
            len: u64_at(bytes, 32),
            frames: u32_at(bytes, 40),
        };
        (head.len >= GROUP_HEAD as u64 && head.len.is_multiple_of(8) && u32_at(bytes, 44) == 0)
            .then_some(head)
    }

    /// Whether this is no group but the end of the log, left by a session that had nothing to commit.
    pub(crate) fn is_mark(&self) -> bool {
        self.frames == 0
    }
}

/// What every CRC in a segment begins with, so that bytes of the file's earlier life never verify.
pub(crate) fn seed(salt: u64) -> u32 {
    salt as u32
}

/// A contiguous run of the log.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// LSN of its first byte.
    pub(crate) lsn: Lsn,
    /// The bytes.
    pub(crate) bytes: Bytes,
}

/// Frames to be committed together; the header is made when they are written.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// LSN of the header's first byte.
    pub(crate) start: Lsn,
    /// LSN behind the last frame.
    pub(crate) end: Lsn,
    /// How many frames.
    pub(crate) frames: u32,
    /// The frames' bytes, contiguous from behind the header to `end`. A frame's head is never split,
    /// its payload is either in the same part or a part of its own.
    pub(crate) parts: Vec<Part>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_round_trips_and_no_flipped_bit_goes_unseen(
            start: u64, synced: u64, len in 6u64..1 << 40, frames: u32, salt: u64,
            bit in 0..GROUP_HEAD * 8,
        ) {
            let head = GroupHead { start, synced, len: len * 8, frames };
            let mut bytes = head.encode(salt);
            prop_assert_eq!(GroupHead::decode(&bytes, salt), Some(head));
            prop_assert_eq!(GroupHead::decode(&bytes, salt ^ 1), None);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(GroupHead::decode(&bytes, salt), None);
        }

        #[test]
        fn random_bytes_are_no_header(bytes in prop::collection::vec(any::<u8>(), 0..64), salt: u64) {
            prop_assert_eq!(GroupHead::decode(&bytes, salt), None);
        }
    }
}
