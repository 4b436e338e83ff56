//! What is known to be damaged of a sealed file, and whether that keeps it from being merged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::error::ReadError;
use crate::sealed::extent::Extent;
use crate::sealed::file::SealedFile;
use crate::sealed::layout::{BLOCK, HEADER};
use crate::sealed::liveness::Lives;
use crate::tenancy::{Live, Tenancy};

/// Streams that an error names at most.
const NAMED: usize = 8;

/// What did not verify since the file was opened.
///
/// A file that holds something damaged which is alive is left as it is: rewriting it would lose the evidence, and what
/// can still be made of it. Once all that is dead, the file is merged like any other.
#[derive(Debug, Default)]
pub(super) struct Damage {
    blocks: Mutex<BTreeSet<u64>>,
    /// It verifies but contradicts itself or other files: nobody knows whom that concerns.
    hopeless: AtomicBool,
    /// Something damaged is alive, as far as is known.
    in_use: AtomicBool,
    /// What was said of the first of it.
    first: Mutex<Option<ReadError>>,
}

impl Damage {
    fn note(&self, why: &ReadError) {
        self.first.lock().get_or_insert_with(|| why.clone());
    }
}

impl SealedFile {
    /// Whether something in it did not verify.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damage.hopeless.load(Ordering::Relaxed) || !self.damage.blocks.lock().is_empty()
    }

    /// Whether damage keeps it from being merged.
    pub(crate) fn is_blocked(&self) -> bool {
        let Damage {
            hopeless, in_use, ..
        } = &self.damage;
        hopeless.load(Ordering::Relaxed) || in_use.load(Ordering::Relaxed)
    }

    /// The damage that keeps it from being merged.
    pub(crate) fn hindrance(&self) -> Option<ReadError> {
        let first = self.damage.first.lock();
        first.clone().filter(|_| self.is_blocked())
    }

    /// Has it be left alone for good: it was merged as far as its damage is known, and could not be.
    pub(crate) fn give_up(&self, why: &ReadError) {
        self.damage.note(why);
        self.damage.hopeless.store(true, Ordering::Relaxed);
    }

    /// Finds out whether anything that is damaged is alive still.
    pub(super) fn weigh_damage(&self, tenancy: &dyn Tenancy) {
        let blocks = self.damage.blocks.lock().clone();
        if blocks.is_empty() {
            return;
        }
        let needed = |index: &u64| {
            let at = index * BLOCK;
            let lost = self.tenants(at, BLOCK.min(self.body() - at));
            let lives = Lives::ask(tenancy, lost.iter().map(|(stream, ..)| *stream));
            let mut parts = lost.into_iter();
            parts.any(|(stream, from, to)| self.needs(stream, from, to, lives.of(stream)))
        };
        let in_use = blocks.iter().any(needed);
        self.damage.in_use.store(in_use, Ordering::Relaxed);
    }

    /// Whether a merge would have to read what lies from `from` up to `to` of a stream's data, or its marks: of an
    /// event that is alive in part it takes all.
    fn needs(&self, stream: u64, from: u64, to: u64, live: &Live) -> bool {
        if live.bytes(from, to) > 0 {
            return true;
        }
        let extent = self.extents().behind(stream, from).next();
        let alive = |extent: &Extent| live.bytes(extent.start, extent.end) > 0;
        let Some(extent) = extent.filter(alive) else {
            return false;
        };
        let (first, last) = (
            self.event(&extent, from),
            self.event(&extent, to.saturating_sub(1)),
        );
        let events = first.and_then(|first| Ok(first.start..last?.end));
        // What cannot be found out is needed.
        events.map_or(true, |events| live.bytes(events.start, events.end) > 0)
    }

    /// Bytes that verify but make no sense.
    pub(super) fn senseless(&self, at: u64, detail: &str) -> ReadError {
        let damaged = ReadError::Damaged {
            file: self.path().to_owned(),
            offset: HEADER.saturating_add(at),
            detail: detail.to_owned(),
        };
        self.give_up(&damaged);
        damaged
    }

    /// Says of block `index`, which does not verify, where it lies, and whose the `len` bytes at `at` are that were
    /// to be read.
    pub(super) fn damaged_block(&self, index: u64, at: u64, len: u64) -> ReadError {
        let lost = self.tenants(at, len);
        let mut streams: Vec<String> = lost.iter().map(|(stream, ..)| stream.to_string()).collect();
        streams.dedup();
        let more = if streams.len() > NAMED {
            " and more"
        } else {
            ""
        };
        streams.truncate(NAMED);
        let damaged = ReadError::Damaged {
            file: self.path().to_owned(),
            offset: HEADER + index * BLOCK,
            detail: format!(
                "block {index} does not match its CRC (stream {}{more})",
                streams.join(", ")
            ),
        };
        if self.damage.blocks.lock().insert(index) {
            self.damage.note(&damaged);
            self.damage.in_use.store(true, Ordering::Relaxed);
        }
        damaged
    }
}
