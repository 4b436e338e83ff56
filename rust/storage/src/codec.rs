//! Little-endian integers in byte slices, and what a decoder may find wrong.

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Undecodable {
    /// A format version that this program does not know.
    Version(u32),
    /// Anything else.
    Damaged {
        /// Byte offset of the trouble within what was decoded.
        offset: u64,
        /// What was wrong.
        detail: String,
    },
}

impl Undecodable {
    pub(crate) fn at(offset: u64, detail: impl Into<String>) -> Self {
        Self::Damaged {
            offset,
            detail: detail.into(),
        }
    }
}

/// The `N` bytes at `at`, or zeros beyond the end: callers check the length first, so that no
/// decoder can panic.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    at.checked_add(N)
        .and_then(|end| bytes.get(at..end))
        .and_then(|slice| slice.try_into().ok())
        .unwrap_or([0; N])
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// Writes `value` at `at`; bytes beyond the end are left out.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(slot) = bytes.get_mut(at..at + value.len()) {
        slot.copy_from_slice(value);
    }
}

/// `value` rounded up to the alignment of every LSN.
pub(crate) fn aligned(value: u64) -> u64 {
    value.next_multiple_of(8)
}
