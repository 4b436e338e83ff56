//! A segment file seen through a buffer that moves over it.

use crate::error::{During, Failure};
use crate::segment::Segment;

/// Bytes read at once.
const SPAN: usize = 1 << 20;

/// Reads a segment front to back in large pieces, without copying what lies within one.
pub(crate) struct Window<'s> {
    segment: &'s Segment,
    buffer: Vec<u8>,
    /// File offset of the buffer's first byte.
    at: u64,
}

impl<'s> Window<'s> {
    pub(crate) fn new(segment: &'s Segment) -> Self {
        Self {
            segment,
            buffer: Vec::new(),
            at: 0,
        }
    }

    /// The `len` bytes at file offset `offset`; `None` beyond the end of the file.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>, Failure> {
        let file_bytes = self.segment.birth.bytes;
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > file_bytes)
        {
            return Ok(None);
        }
        let buffered = self.at + self.buffer.len() as u64;
        if offset < self.at || offset + len as u64 > buffered {
            let span = (len.max(SPAN) as u64).min(file_bytes - offset) as usize;
            self.buffer.resize(span, 0);
            self.at = offset;
            if let Err(source) = self.segment.file.read_exact_at(&mut self.buffer, offset) {
                self.buffer.clear();
                return Err(source).during("read", &self.segment.path);
            }
        }
        let from = (offset - self.at) as usize;
        Ok(self.buffer.get(from..from + len))
    }
}
