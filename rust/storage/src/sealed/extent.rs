//! An extent: one run of a stream's payload bytes in one sealed file.

use crate::codec::{put, u64_at};

/// Bytes of an encoded extent.
pub(crate) const EXTENT: usize = 40;
/// `marks_at` of an extent that is a single event.
pub(crate) const NO_MARKS: u64 = u64::MAX;

/// One contiguous run of a stream's payload bytes. Offsets count from the start of the file's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) stream: u64,
    /// Position of the first byte.
    pub(crate) start: u64,
    /// Position behind the last byte.
    pub(crate) end: u64,
    /// Where the first byte lies.
    pub(crate) data_at: u64,
    /// Where its events' boundaries are told, or [`NO_MARKS`].
    pub(crate) marks_at: u64,
}

impl Extent {
    pub(crate) fn encode(&self) -> [u8; EXTENT] {
        let mut bytes = [0; EXTENT];
        put(&mut bytes, 0, &self.stream.to_le_bytes());
        put(&mut bytes, 8, &self.start.to_le_bytes());
        put(&mut bytes, 16, &self.end.to_le_bytes());
        put(&mut bytes, 24, &self.data_at.to_le_bytes());
        put(&mut bytes, 32, &self.marks_at.to_le_bytes());
        bytes
    }

    /// Reads the first [`EXTENT`] bytes; what they say is checked against the others by the footer's decoder.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        Self {
            stream: u64_at(bytes, 0),
            start: u64_at(bytes, 8),
            end: u64_at(bytes, 16),
            data_at: u64_at(bytes, 24),
            marks_at: u64_at(bytes, 32),
        }
    }

    /// Payload bytes.
    pub(crate) fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds the byte at `position`.
    pub(crate) fn holds(&self, position: u64) -> bool {
        self.start <= position && position < self.end
    }

    /// Whether it is a single event.
    pub(crate) fn is_single(&self) -> bool {
        self.marks_at == NO_MARKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_round_trips() {
        let extent = Extent {
            stream: 1,
            start: 2,
            end: 3,
            data_at: 4,
            marks_at: 5,
        };
        assert_eq!(Extent::decode(&extent.encode()), extent);
    }
}
