//! Verified reads from the body of a sealed file.

use std::ops::Range;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::error::{During, ReadError};
use crate::sealed::extent::Extent;
use crate::sealed::file::SealedFile;
use crate::sealed::layout::{BLOCK, HEADER, block_crc};
use crate::sealed::marks::Source;

/// Bytes read, then verified, at once; a multiple of a block.
const STEP: u64 = 4 * BLOCK;

impl SealedFile {
    /// The `len` bytes at offset `at` of the body, read at once; blocks that were not verified before are.
    ///
    /// Memory is bounded by the file: nothing beyond its body is asked for.
    pub(crate) fn read(&self, at: u64, len: u64) -> Result<Bytes, ReadError> {
        let Some(end) = at.checked_add(len).filter(|end| *end <= self.body()) else {
            return Err(self.senseless(at, "read beyond the end of the body"));
        };
        if len == 0 {
            return Ok(Bytes::new());
        }
        let (first, last) = (at / BLOCK, (end - 1) / BLOCK);
        // A block can be verified only as a whole, so those at the ends may take a little more.
        let from = if self.is_verified(first) {
            at
        } else {
            first * BLOCK
        };
        let to = if self.is_verified(last) {
            end
        } else {
            ((last + 1) * BLOCK).min(self.body())
        };
        let mut bytes = Vec::with_capacity((to - from) as usize);
        // In steps, so that what is verified is still in the processor's cache.
        let mut begun = from;
        while begun < to {
            let behind = ((begun / STEP + 1) * STEP).min(to);
            bytes.resize((behind - from) as usize, 0);
            self.file
                .read_exact_at(&mut bytes[(begun - from) as usize..], HEADER + begun)
                .during("read", self.path())?;
            for index in begun / BLOCK..=(behind - 1) / BLOCK {
                self.verify_block(index, from, &bytes, at..end)?;
            }
            begun = behind;
        }
        let wanted = (at - from) as usize..(end - from) as usize;
        Ok(if bytes.len() > 2 * wanted.len() {
            // A small piece does not hold on to the blocks around it.
            Bytes::copy_from_slice(&bytes[wanted])
        } else {
            Bytes::from(bytes).slice(wanted)
        })
    }

    /// Verifies a block unless it was before; `bytes` are what was read from `from` on, because of the `wanted` ones.
    fn verify_block(
        &self,
        index: u64,
        from: u64,
        bytes: &[u8],
        wanted: Range<u64>,
    ) -> Result<(), ReadError> {
        if self.is_verified(index) {
            return Ok(());
        }
        let begins = index * BLOCK;
        let ends = (begins + BLOCK).min(self.body());
        // Between two verified ends every block is whole; an end that is not verified was made so.
        let block = begins
            .checked_sub(from)
            .and_then(|begins| bytes.get(begins as usize..(ends - from) as usize));
        let crc = block.map(|block| block_crc(self.entry().number, index, block));
        if crc.is_none() || crc.as_ref() != self.crcs.get(index as usize) {
            let (begins, ends) = (wanted.start.max(begins), wanted.end.min(ends));
            return Err(self.damaged_block(index, begins, ends - begins));
        }
        self.note_verified(index);
        Ok(())
    }

    /// Has the disk begin with what will be read of an extent between two positions, and of its marks, if that was not
    /// read before.
    pub(super) fn will_need(&self, extent: &Extent, from: u64, to: u64) {
        let at = extent.data_at + (from - extent.start);
        let end = at + to.saturating_sub(from);
        if end - at <= STEP || self.is_verified(at / BLOCK) {
            return;
        }
        let marks = extent.marks_at / BLOCK;
        if !extent.is_single() && !self.is_verified(marks) {
            self.file.will_need(HEADER + marks * BLOCK, BLOCK);
        }
        // Whole blocks, as they are verified.
        let at = at / BLOCK * BLOCK;
        let end = end.next_multiple_of(BLOCK).min(self.body());
        self.file.will_need(HEADER + at, end - at);
    }

    /// Whether every block between two offsets of the body was verified.
    pub(super) fn are_verified(&self, from: u64, to: u64) -> bool {
        to <= self.body() && (from / BLOCK..to.div_ceil(BLOCK)).all(|block| self.is_verified(block))
    }

    fn is_verified(&self, block: u64) -> bool {
        let word = self.verified.get((block / 64) as usize);
        // What the bit says was found by reading the medium; it publishes nothing else.
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (block % 64) & 1 == 1)
    }

    fn note_verified(&self, block: u64) {
        if let Some(word) = self.verified.get((block / 64) as usize) {
            let bit = 1 << (block % 64);
            if word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
                self.blocks_verified.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A piece of a body in memory, which moves to wherever is looked next.
pub(crate) struct BodyWindow<'f> {
    file: &'f SealedFile,
    span: usize,
    buffer: Bytes,
    at: u64,
}

impl<'f> BodyWindow<'f> {
    /// Reads `span` bytes at once.
    pub(crate) fn new(file: &'f SealedFile, span: usize) -> Self {
        Self {
            file,
            span,
            buffer: Bytes::new(),
            at: 0,
        }
    }

    /// The `len` bytes at `at`, shared.
    fn bytes(&mut self, at: u64, len: usize) -> Result<Range<usize>, ReadError> {
        let buffered = self.at + self.buffer.len() as u64;
        if at < self.at || at.saturating_add(len as u64) > buffered {
            let ahead = (self.span as u64).min(self.file.body().saturating_sub(at));
            let ahead = ahead.max(len as u64);
            // What lies ahead may be damaged without concerning what was asked for; the blocks of that are read anyway.
            let body = self.file.body();
            let end = at.saturating_add(len as u64).min(body);
            let needed = end.next_multiple_of(BLOCK).min(body).saturating_sub(at);
            let needed = needed.max(len as u64);
            self.buffer = match self.file.read(at, ahead) {
                Err(ReadError::Damaged { .. }) if ahead > needed => self.file.read(at, needed)?,
                read => read?,
            };
            self.at = at;
        }
        let from = (at - self.at) as usize;
        Ok(from..from + len)
    }

    /// What is in memory from `at` on, at most `max` bytes and at least one when `max` is not 0.
    pub(crate) fn some(&mut self, at: u64, max: u64) -> Result<&[u8], ReadError> {
        let one = usize::from(max > 0);
        let range = self.bytes(at, one)?;
        let rest = &self.buffer[range.start..];
        Ok(&rest[..max.min(rest.len() as u64) as usize])
    }
}

impl Source for BodyWindow<'_> {
    fn get(&mut self, at: u64, len: usize) -> Result<&[u8], ReadError> {
        let range = self.bytes(at, len)?;
        Ok(&self.buffer[range])
    }

    fn senseless(&self, at: u64, detail: &str) -> ReadError {
        self.file.senseless(at, detail)
    }
}
