//! The log in files: a chain of segments, each beginning where the one before was left.

mod syncing;

use std::collections::{BTreeSet, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::Lsn;
use crate::backup::HeldSegments;
use crate::ballast::Space;
use crate::bell::Bell;
use crate::cold;
use crate::error::{Failure, OpenError, ReadError, Trouble};
use crate::frame::FrameRef;
use crate::group::{GROUP_HEAD, Group, GroupHead, seed};
use crate::histogram::Histogram;
use crate::home::Home;
use crate::log::{Export, GroupLog, LogFigures, LogRead, Replayed, Room, Visit};
use crate::manifest::{Manifest, ManifestFile};
use crate::replay::replay;
use crate::reserves::Reserves;
use crate::segment::{Reserve, Segment};
use crate::survey::Survey;

mod start;

/// The log as segment files. Lock order: `planned`, then the reserves' locks, then `segments`; and
/// `tail`, then `sync_failed`.
pub(crate) struct FileWal {
    home: Home,
    manifest: Arc<ManifestFile>,
    reserves: Reserves,
    segment_bytes: u64,
    /// In use, in LSN order; every base is different.
    segments: RwLock<Vec<Arc<Segment>>>,
    /// Segments that groups were promised to, with the LSN at which each begins.
    planned: Mutex<VecDeque<(Lsn, Reserve)>>,
    tail: Mutex<Tail>,
    /// Rung when a segment is full.
    filled: Arc<Bell>,
    /// Rung when the disk is full.
    tidy: Arc<Bell>,
    /// A log that ends here goes on in another segment.
    rolled: AtomicU64,
    /// Held during a sync; whether one failed.
    sync_failed: Mutex<bool>,
    bytes: AtomicU64,
    syncs: AtomicU64,
    sync_times: Histogram,
}

/// Syncs of up to 2^14 ns (16 us) are counted together.
const SYNC_TIMES_FROM: u32 = 14;

/// Where the next group goes.
struct Tail {
    /// `None` until this session writes: a recovered segment is never appended to.
    segment: Option<Arc<Segment>>,
    /// LSN behind everything written.
    end: Lsn,
    /// Up to here the file was written before, if only with zeros.
    ahead: Lsn,
}

impl FileWal {
    /// A log over what was found; `replay` comes next, then `start`.
    pub(crate) fn new(
        home: Home,
        manifest: Arc<ManifestFile>,
        segment_bytes: u64,
        survey: Survey,
    ) -> Self {
        let tidy = Arc::default();
        let reserves = Reserves::new(
            home.clone(),
            Arc::clone(&manifest),
            segment_bytes,
            survey.reserves,
            Arc::clone(&tidy),
        );
        Self {
            home,
            reserves,
            segment_bytes,
            segments: RwLock::new(survey.segments),
            planned: Mutex::default(),
            tail: Mutex::new(Tail {
                segment: None,
                end: manifest.synced(),
                ahead: 0,
            }),
            manifest,
            filled: Arc::default(),
            tidy,
            rolled: AtomicU64::new(0),
            sync_failed: Mutex::new(false),
            bytes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            sync_times: Histogram::new(SYNC_TIMES_FROM),
        }
    }

    /// What is rung when a segment is full.
    pub(crate) fn filled(&self) -> Arc<Bell> {
        Arc::clone(&self.filled)
    }

    /// What is rung when there may be something to tidy up: the disk is full, or who else rings it knows.
    pub(crate) fn tidy(&self) -> Arc<Bell> {
        Arc::clone(&self.tidy)
    }

    /// Whether the first segment is kept for want of a checkpoint, or of another one.
    pub(crate) fn waits_for_checkpoint(&self) -> bool {
        let replayable = self.manifest.snapshot().replayable();
        let segments = self.segments.read();
        segments
            .get(1)
            .is_some_and(|second| replayable < second.base)
    }

    /// Whether space was made for somebody who may not have used it yet.
    pub(crate) fn is_space_lent(&self) -> bool {
        self.reserves.is_space_lent()
    }

    /// The segment that begins at `base`, when it is full, and where it ends. It is synced.
    pub(crate) fn full_segment(&self, base: Lsn) -> Option<(Arc<Segment>, Lsn)> {
        let segments = self.segments.read();
        let index = segments.partition_point(|segment| segment.base < base);
        let segment = segments.get(index).filter(|it| it.base == base)?;
        let end = match segments.get(index + 1) {
            // IMPORTANT: an opened segment proves that everything before it is synced.
            Some(next) => next.base,
            None => {
                let end = self.rolled.load(Ordering::Acquire);
                (base < end && end <= self.manifest.synced()).then_some(end)?
            }
        };
        Some((Arc::clone(segment), end))
    }

    /// Writes into `manifest` which of its segments came into use.
    fn note_bases(&self, manifest: &mut Manifest) {
        for segment in self.segments.read().iter() {
            for entry in &mut manifest.segments {
                if entry.number == segment.birth.number {
                    entry.base = Some(segment.base);
                }
            }
        }
    }

    /// The segment that holds `lsn`.
    fn segment_of(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let index = segments
            .partition_point(|segment| segment.base <= lsn)
            .checked_sub(1)?;
        segments.get(index).map(Arc::clone)
    }

    /// The segment for a group at `start`: the next one, when that was planned.
    fn segment_for(&self, tail: &mut Tail, start: Lsn) -> Result<Arc<Segment>, Failure> {
        let next = {
            let mut planned = self.planned.lock();
            if planned.front().is_some_and(|(base, _)| *base == start) {
                planned.pop_front()
            } else {
                None
            }
        };
        let Some((base, reserve)) = next else {
            return tail.segment.clone().ok_or_else(|| no_room(&self.home));
        };
        // IMPORTANT: an opened segment proves that everything before it is synced.
        if let Some(full) = &tail.segment
            && self.manifest.synced() < tail.end
        {
            self.sync_segment(full, tail.end)?;
        }
        let segment = Arc::new(reserve.open_at(base)?);
        self.segments.write().push(Arc::clone(&segment));
        tail.segment = Some(Arc::clone(&segment));
        tail.ahead = if segment.birth.recycled {
            segment.limit()
        } else {
            base
        };
        self.filled.ring();
        Ok(segment)
    }
}

/// Room is planned before a group is made, so this does not happen; it must not panic either.
fn no_room(home: &Home) -> Failure {
    let source = std::io::Error::other("a group came without room for it");
    Failure {
        file: home.dir().to_owned(),
        operation: "append",
        source,
    }
}

impl GroupLog for FileWal {
    fn make_room(&self, at: Lsn, bytes: u64, payload: bool) -> Result<Room, Trouble> {
        let mut planned = self.planned.lock();
        if planned.back().is_some_and(|(base, _)| *base == at)
            && let Some((_, unused)) = planned.pop_back()
        {
            self.reserves.give_back(unused);
        }
        let (reserve, payloads) = loop {
            if let Some(reserve) = self.reserves.take(bytes) {
                break (reserve, true);
            }
            match self
                .reserves
                .prepare(bytes, |manifest| self.note_bases(manifest))
            {
                Err(Trouble::Full(_))
                    if !payload && let Some(small) = self.reserves.take_small(bytes) =>
                {
                    break (small, false);
                }
                prepared => prepared?,
            }
        };
        let room = Room {
            seed: seed(reserve.birth.salt),
            bytes: reserve.room(),
            payloads,
        };
        planned.push_back((at, reserve));
        Ok(room)
    }

    fn prepare(&self) -> Result<(), Trouble> {
        self.reserves
            .prepare_small(|manifest| self.note_bases(manifest))?;
        self.reserves
            .prepare(0, |manifest| self.note_bases(manifest))
    }

    fn wants_preparation(&self) -> bool {
        let tail = self.tail.lock();
        let left = tail
            .segment
            .as_ref()
            .map_or(u64::MAX, |segment| segment.limit() - tail.end);
        left < self.segment_bytes / 2
            && self.planned.lock().is_empty()
            && (self.reserves.count() == 0 || !self.reserves.has_small())
    }

    fn full(&self) -> Option<String> {
        self.reserves.full()
    }

    fn make_space(&self) -> Space {
        self.reserves.make_space()
    }

    fn kept_back(&self) -> u64 {
        self.reserves.kept_back()
    }

    fn append(&self, group: &Group, sync: bool) -> Result<Lsn, Failure> {
        let mut tail = self.tail.lock();
        let segment = self.segment_for(&mut tail, group.start)?;
        if group.start != tail.end || group.end > segment.limit() {
            return Err(no_room(&self.home));
        }
        let head = GroupHead {
            start: group.start,
            synced: self.manifest.synced(),
            len: group.end - group.start,
            frames: group.frames,
        };
        let head = head.encode(segment.birth.salt);
        let mut slices = Vec::with_capacity(1 + group.parts.len());
        slices.push(IoSlice::new(&head));
        slices.extend(group.parts.iter().map(|part| IoSlice::new(&part.bytes)));
        self.bytes
            .fetch_add(group.end - group.start, Ordering::Relaxed);
        if sync && group.end <= tail.ahead && self.write_through(&segment, &mut slices, group)? {
            tail.end = group.end;
            return Ok(group.end);
        }
        segment.write(&mut slices, group.start)?;
        tail.end = group.end;
        if sync {
            if group.end > tail.ahead {
                tail.ahead = segment.write_ahead(group.end)?;
            }
            self.sync_segment(&segment, group.end)?;
        }
        Ok(group.end)
    }

    fn mark(&self) -> Result<(), Failure> {
        let tail = self.tail.lock();
        let Some(segment) = tail
            .segment
            .as_ref()
            .filter(|segment| segment.holds_head_at(tail.end))
        else {
            return Ok(());
        };
        let synced = self.manifest.synced();
        if synced < tail.end {
            return Ok(());
        }
        let mark = GroupHead {
            start: tail.end,
            synced,
            len: GROUP_HEAD as u64,
            frames: 0,
        };
        segment.write(
            &mut [IoSlice::new(&mark.encode(segment.birth.salt))],
            tail.end,
        )
    }

    fn sync(&self) -> Result<Lsn, Failure> {
        let (segment, end) = {
            let tail = self.tail.lock();
            (tail.segment.clone(), tail.end)
        };
        // Segments before this one were synced when it was opened.
        if let Some(segment) = segment
            && self.manifest.synced() < end
        {
            self.sync_segment(&segment, end)?;
        }
        Ok(self.manifest.synced())
    }

    fn wants_roll(&self, end: Lsn) -> bool {
        self.manifest.sealed() < end
    }

    fn roll(&self, end: Lsn) {
        self.rolled.store(end, Ordering::Release);
    }

    fn backlog(&self) -> u64 {
        let sealed = self.manifest.sealed();
        let segments = self.segments.read();
        let done = segments.partition_point(|segment| segment.base < sealed);
        (segments.len() - done).saturating_sub(1) as u64
    }

    fn replay(&self, from: Lsn, visit: &mut Visit<'_>) -> Result<Replayed, OpenError> {
        let segments = self.segments.read().clone();
        replay(&self.home, &segments, from, self.manifest.synced(), visit)
    }

    fn drop_up_to(&self, lsn: Lsn, hurt: &BTreeSet<u64>) -> Result<(), Trouble> {
        let gone: Vec<u64> = {
            let segments = self.segments.read();
            let old = segments.windows(2).take_while(|pair| pair[1].base <= lsn);
            old.map(|pair| pair[0].birth.number).collect()
        };
        if gone.is_empty() {
            return Ok(());
        }
        self.manifest.change(|manifest| {
            manifest
                .segments
                .retain(|entry| !gone.contains(&entry.number));
            self.note_bases(manifest);
        })?;
        let dropped: Vec<Arc<Segment>> = {
            let mut segments = self.segments.write();
            segments
                .extract_if(.., |segment| gone.contains(&segment.birth.number))
                .collect()
        };
        let of_use = |segment: &Arc<Segment>| !self.keep_aside(segment.birth.number, hurt);
        let dropped = dropped.into_iter().filter(of_use).map(|segment| {
            let path = segment.path.clone();
            // One that is still being read from is not reused, only unlinked.
            (path, Arc::into_inner(segment).map(|segment| segment.file))
        });
        self.reserves.recycle(dropped);
        Ok(())
    }

    fn export(&self, from: Lsn, end: Lsn) -> Box<dyn Export> {
        let mut segments = self.segments.read().clone();
        let below = segments.windows(2).take_while(|it| it[1].base <= from);
        segments.drain(..below.count());
        Box::new(HeldSegments { segments, end })
    }

    fn figures(&self) -> LogFigures {
        LogFigures {
            bytes: self.bytes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            sync_times: self.sync_times.snapshot(),
            segments: (self.segments.read().len() + self.reserves.count()) as u64,
            recycled: self.reserves.recycled(),
        }
    }
}

impl LogRead for FileWal {
    fn read(&self, frames: &[FrameRef]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let mut placed = Vec::with_capacity(frames.len());
        let mut kept = Vec::with_capacity(frames.len());
        for frame in frames {
            let segment = self.segment_of(frame.lsn);
            kept.push(segment.is_some());
            let Some(segment) = segment else { continue };
            if frame.lsn >= segment.limit() {
                return Err(ReadError::Damaged {
                    file: segment.path.clone(),
                    offset: segment.birth.bytes,
                    detail: format!("LSN {} is beyond its end", frame.lsn),
                });
            }
            placed.push((segment, *frame));
        }
        let mut payloads = cold::read(&placed)?.into_iter();
        let payloads = kept
            .into_iter()
            .map(|kept| kept.then(|| payloads.next()).flatten());
        Ok(payloads.collect())
    }
}
