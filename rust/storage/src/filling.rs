//! The group that takes frames while the one before is being committed.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::Lsn;
use crate::error::Trouble;
use crate::frame::{self, FrameHead, Placed};
use crate::group::{GROUP_HEAD, Group, Part};
use crate::log::GroupLog;

/// Payloads of this size or more are referenced, not copied.
pub(crate) const REFERENCED: usize = 64 << 10;
/// Memory that groups share; what is left of it serves the next group.
const CHUNK: usize = 256 << 10;

/// Frames that wait to be committed.
pub(crate) struct Filling {
    /// Complete groups, oldest first: the segment they belong to had no more room.
    sealed: VecDeque<Group>,
    open: Group,
    /// The open group's bytes behind its last part.
    piece: BytesMut,
    /// Memory to be used again.
    chunks: Chunks,
    /// What the CRCs of the open group's frames begin with.
    seed: u32,
    /// Bytes promised for the open group and those after it.
    room: u64,
    /// The part of every promise that only frames without payload may use, so that deletions and
    /// the like still go through on a full disk.
    kept_back: u64,
    /// Payloads may use the room.
    payloads: bool,
    /// No more frames are taken.
    pub(crate) closed: bool,
}

impl Filling {
    /// Nothing pending at `end`, and no room promised.
    pub(crate) fn new(end: Lsn, segment_bytes: u64, hot_bytes: usize) -> Self {
        Self {
            sealed: VecDeque::new(),
            open: empty(end),
            piece: BytesMut::new(),
            chunks: Chunks::new(hot_bytes),
            seed: 0,
            room: 0,
            kept_back: (segment_bytes / 64).min(64 << 10),
            payloads: true,
            closed: false,
        }
    }

    /// The LSN behind everything taken.
    pub(crate) fn end(&self) -> Lsn {
        self.open.end
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.open.frames == 0
    }

    /// Whether nothing waits, but something may come.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty() && !self.closed
    }

    /// Takes a frame. `head_bytes` is [`frame::head_bytes`]; `payload_crc` belongs to payloads that
    /// are [`REFERENCED`].
    pub(crate) fn push(
        &mut self,
        log: &dyn GroupLog,
        head: &FrameHead<'_>,
        head_bytes: usize,
        payload: &Bytes,
        payload_crc: u32,
    ) -> Result<Placed, Trouble> {
        let whole = frame::whole_bytes(head_bytes, payload.len());
        self.make_room(log, whole, !payload.is_empty())?;
        if self.open.frames == 0 {
            self.open.end += GROUP_HEAD as u64;
        }
        let lsn = self.open.end;
        let referenced = payload.len() >= REFERENCED;
        let copied = if referenced {
            head_bytes
        } else {
            whole as usize
        };
        self.make_space(copied);
        let padding = whole as usize - head_bytes - payload.len();
        let at = frame::encode_head(&mut self.piece, lsn, whole, head, payload.len());
        if referenced {
            let crc = crc32c::crc32c_append(self.seed, &self.piece[at + 4..]);
            let crc = crc32c::crc32c_combine(crc, payload_crc, payload.len());
            let crc = crc32c::crc32c_append(crc, &[0; 8][..padding]);
            self.piece[at..at + 4].copy_from_slice(&crc.to_le_bytes());
            self.cut_piece(lsn + head_bytes as u64);
            self.open.parts.push(Part {
                lsn: lsn + head_bytes as u64,
                bytes: payload.clone(),
            });
            self.make_space(padding);
        } else {
            self.piece.put_slice(payload);
        }
        self.piece.put_bytes(0, padding);
        if !referenced {
            let crc = crc32c::crc32c_append(self.seed, &self.piece[at + 4..]);
            self.piece[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        }
        self.open.end = lsn + whole;
        self.open.frames += 1;
        Ok(Placed {
            lsn,
            end: self.open.end,
        })
    }

    /// Takes the oldest group out to be committed.
    pub(crate) fn take(&mut self) -> Option<Group> {
        if self.sealed.is_empty() {
            self.seal();
        }
        self.sealed.pop_front()
    }

    /// Sees to it that a frame of `whole` bytes fits, in the room at hand or in another.
    fn make_room(&mut self, log: &dyn GroupLog, whole: u64, payload: bool) -> Result<(), Trouble> {
        let begun = self.open.end - self.open.start;
        let head = if begun == 0 { GROUP_HEAD as u64 } else { 0 };
        let kept_back = if payload { self.kept_back } else { 0 };
        if begun + head + whole + kept_back <= self.room && (self.payloads || !payload) {
            return Ok(());
        }
        let bytes = GROUP_HEAD as u64 + whole + self.kept_back;
        let room = log.make_room(self.open.end, bytes, payload)?;
        self.seal();
        self.seed = room.seed;
        self.room = room.bytes;
        self.payloads = room.payloads;
        Ok(())
    }

    /// Has the log go on in another segment; only when nothing waits or is being written.
    pub(crate) fn roll(&mut self, log: &dyn GroupLog) -> Result<(), Trouble> {
        if !log.wants_roll(self.open.end) {
            return Ok(());
        }
        let room = log.make_room(self.open.end, GROUP_HEAD as u64 + self.kept_back, true)?;
        self.seed = room.seed;
        self.room = room.bytes;
        self.payloads = room.payloads;
        log.roll(self.open.end);
        Ok(())
    }

    /// Ends the open group, if it has frames.
    fn seal(&mut self) {
        if self.open.frames == 0 {
            return;
        }
        self.cut_piece(self.open.end);
        self.room -= self.open.end - self.open.start;
        let next = empty(self.open.end);
        self.sealed
            .push_back(std::mem::replace(&mut self.open, next));
    }

    /// Makes the bytes of the piece, which ends at `end`, a part.
    fn cut_piece(&mut self, end: Lsn) {
        if !self.piece.is_empty() {
            let bytes = self.piece.split().freeze();
            self.open.parts.push(Part {
                lsn: end - bytes.len() as u64,
                bytes,
            });
        }
    }

    /// Makes sure that `bytes` fit behind the piece without moving it.
    fn make_space(&mut self, bytes: usize) {
        if self.piece.capacity() - self.piece.len() < bytes {
            self.cut_piece(self.open.end);
            let full = std::mem::take(&mut self.piece);
            self.piece = self.chunks.swap(full, bytes);
        }
    }
}

/// Chunks whose bytes may still be read. Touching memory for the first time costs more than filling it, so one that
/// nobody reads any more is filled again.
struct Chunks {
    /// The empty rests of full chunks, oldest first, as the groups in them are let go.
    full: VecDeque<BytesMut>,
    limit: usize,
}

impl Chunks {
    /// While groups of `hot_bytes` are kept for readers.
    fn new(hot_bytes: usize) -> Self {
        Self {
            full: VecDeque::new(),
            limit: hot_bytes / CHUNK + 2,
        }
    }

    /// Takes a full one, gives an empty one with space for `bytes`.
    fn swap(&mut self, full: BytesMut, bytes: usize) -> BytesMut {
        self.full.push_back(full);
        if bytes <= CHUNK
            && let Some(oldest) = self.full.front_mut()
            && oldest.try_reclaim(CHUNK)
            && let Some(empty) = self.full.pop_front()
        {
            return empty;
        }
        // A slow reader may hold the oldest for long: that one is freed when it is done.
        while self.full.len() > self.limit {
            self.full.pop_front();
        }
        BytesMut::with_capacity(bytes.max(CHUNK))
    }
}

fn empty(at: Lsn) -> Group {
    Group {
        start: at,
        end: at,
        frames: 0,
        parts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(chunks: &mut Chunks, chunk: BytesMut) -> (Bytes, BytesMut) {
        let mut chunk = chunk;
        chunk.resize(CHUNK, 7);
        let read = chunk.split().freeze();
        (read, chunks.swap(chunk, 100))
    }

    #[test]
    fn a_chunk_is_filled_again_once_nobody_reads_it_and_never_before() {
        let mut chunks = Chunks::new(4 * CHUNK);
        let first = BytesMut::with_capacity(CHUNK);
        let place = first.as_ptr();
        let (read, second) = filled(&mut chunks, first);
        assert_ne!(second.as_ptr(), place);
        drop(read.slice(5..9));
        let (other, third) = filled(&mut chunks, second);
        assert_ne!(third.as_ptr(), place, "it is read");
        assert!(read.iter().all(|byte| *byte == 7));
        drop(read);
        let (_, again) = filled(&mut chunks, third);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(again.capacity() >= CHUNK && other.len() == CHUNK);
    }

    #[test]
    fn what_slow_readers_hold_is_not_waited_for() {
        let mut chunks = Chunks::new(0);
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let mut held = Vec::new();
        for _ in 0..20 {
            let (read, next) = filled(&mut chunks, chunk);
            held.push(read);
            chunk = next;
        }
        assert!(chunks.full.len() <= 2);
    }
}
