//! A segment file seen through a buffer that moves over it.

use std::io;

use rustix::io::Errno;

use crate::error::{During, Failure};
use crate::segment::Segment;

/// Bytes read at once.
const SPAN: usize = 1 << 20;
/// Bytes that are given up together when the medium cannot read them.
const SECTOR: usize = 4096;

/// Reads a segment front to back in large pieces, without copying what lies within one.
pub(crate) struct Window<'s> {
    segment: &'s Segment,
    buffer: Vec<u8>,
    /// File offset of the buffer's first byte.
    at: u64,
    /// What the medium cannot read is zeros, which never verify.
    past_errors: bool,
}

impl<'s> Window<'s> {
    pub(crate) fn new(segment: &'s Segment) -> Self {
        Self {
            segment,
            buffer: Vec::new(),
            at: 0,
            past_errors: false,
        }
    }

    /// The same, with zeros for what the medium cannot read.
    pub(crate) fn past_errors(segment: &'s Segment) -> Self {
        Self {
            past_errors: true,
            ..Self::new(segment)
        }
    }

    /// Another one on the same segment, for what lies elsewhere.
    pub(crate) fn another(&self) -> Self {
        Self {
            buffer: Vec::new(),
            at: 0,
            ..*self
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
            if let Err(source) = self.fill() {
                self.buffer.clear();
                return Err(source).during("read", &self.segment.path);
            }
        }
        let from = (offset - self.at) as usize;
        Ok(self.buffer.get(from..from + len))
    }

    fn fill(&mut self) -> io::Result<()> {
        let file = &*self.segment.file;
        match file.read_exact_at(&mut self.buffer, self.at) {
            Err(error) if self.past_errors && is_unreadable(&error) => {}
            read => return read,
        }
        for (offset, part) in (self.at..)
            .step_by(SECTOR)
            .zip(self.buffer.chunks_mut(SECTOR))
        {
            match file.read_exact_at(part, offset) {
                Err(error) if is_unreadable(&error) => part.fill(0),
                read => read?,
            }
        }
        Ok(())
    }
}

/// Whether it is the medium that has lost the bytes.
fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}
