//! The log in files: a chain of segments, each beginning where the one before was left.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::Lsn;
use crate::backup::HeldSegments;
use crate::bell::Bell;
use crate::cold;
use crate::error::{During, Failure, OpenError, ReadError, Trouble};
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
use crate::window::Window;

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
}

impl FileWal {
    /// A log over what was found; `replay` comes next, then `start`.
    pub(crate) fn new(
        home: Home,
        manifest: Arc<ManifestFile>,
        segment_bytes: u64,
        survey: Survey,
    ) -> Self {
        let reserves = Reserves::new(
            home.clone(),
            Arc::clone(&manifest),
            segment_bytes,
            survey.reserves,
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
            }),
            manifest,
            filled: Arc::default(),
            rolled: AtomicU64::new(0),
            sync_failed: Mutex::new(false),
            bytes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            sync_times: Histogram::new(SYNC_TIMES_FROM),
        }
    }

    /// Makes ready to append behind what was replayed: the session begins in the manifest, and there
    /// is a reserve.
    ///
    /// Segments that hold nothing are given up, so that no two begin at the same LSN.
    pub(crate) fn start(&self, found: &Replayed) -> Result<(), OpenError> {
        let end = found.end;
        self.write_again(found.proven, end)?;
        self.tail.lock().end = end;
        self.manifest.note_synced(end);
        let empty: Vec<u64> = {
            let mut segments = self.segments.write();
            let empty = segments.extract_if(.., |segment| segment.base >= end);
            empty.map(|segment| segment.birth.number).collect()
        };
        let begun = self.manifest.change(|manifest| {
            manifest.clean = false;
            manifest
                .segments
                .retain(|entry| !empty.contains(&entry.number));
            self.note_bases(manifest);
        });
        match begun {
            Ok(()) => {}
            // Nothing to be given up: the old manifest will do until there is space.
            Err(Trouble::Full(failure)) if empty.is_empty() => {
                tracing::warn!(%failure, "no space left; reads go on");
                return Ok(());
            }
            Err(trouble) => return Err(trouble.into()),
        }
        self.adopt_orphans()?;
        // The small one first: it is what a nearly full disk needs most.
        let prepared = self.reserves.prepare_small(|_| {});
        match prepared.and_then(|()| self.reserves.prepare(0, |_| {})) {
            Err(Trouble::Full(failure)) => {
                tracing::warn!(%failure, "no space left; appends are refused until there is");
                Ok(())
            }
            prepared => Ok(prepared?),
        }
    }

    /// Writes the last bytes of the log again, as they are, and syncs them.
    ///
    /// A sync that failed leaves pages that can be read, but that no later sync writes: what was
    /// replayed from them would be lost with the power. Writing makes them dirty again.
    fn write_again(&self, from: Lsn, end: Lsn) -> Result<(), OpenError> {
        let Some(segment) = self.segments.read().last().map(Arc::clone) else {
            return Ok(());
        };
        let mut at = from.max(segment.base);
        if at >= end {
            return Ok(());
        }
        let mut window = Window::new(&segment);
        while at < end {
            let span = (1 << 20).min(end - at) as usize;
            let Some(bytes) = window.get(segment.offset(at), span)? else {
                break;
            };
            segment.write(&mut [IoSlice::new(bytes)], at)?;
            at += span as u64;
        }
        Ok(segment
            .file
            .sync_data()
            .during("fdatasync", &segment.path)?)
    }

    /// What is rung when a segment is full.
    pub(crate) fn filled(&self) -> Arc<Bell> {
        Arc::clone(&self.filled)
    }

    /// The segment that begins at `base`, when it is full, and where it ends. It is synced.
    pub(crate) fn full(&self, base: Lsn) -> Option<(Arc<Segment>, Lsn)> {
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

    /// Reuses or removes files that the manifest in force does not list.
    fn adopt_orphans(&self) -> Result<(), OpenError> {
        let listing = self.home.list()?;
        let left = listing.unlisted(&self.home, &self.manifest.snapshot());
        self.reserves.adopt(left.segments);
        let old = left.checkpoints.into_iter().chain(left.sealed);
        for path in old.chain(left.left_over) {
            self.home.remove(&path)?;
        }
        Ok(())
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

    /// Syncs `segment`, which makes everything below `end` synced.
    ///
    /// IMPORTANT: one at a time, and none after one that failed. The kernel tells of a failure once:
    /// of two syncs the other would succeed, and prove nothing.
    fn sync_segment(&self, segment: &Segment, end: Lsn) -> Result<(), Failure> {
        let mut failed = self.sync_failed.lock();
        if *failed {
            return Err(Failure {
                file: segment.path.clone(),
                operation: "fdatasync",
                source: std::io::Error::other("an earlier sync failed"),
            });
        }
        if self.manifest.synced() >= end {
            return Ok(());
        }
        let begun = Instant::now();
        let synced = segment.file.sync_data();
        *failed = synced.is_err();
        synced.during("fdatasync", &segment.path)?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_times.record(begun.elapsed().as_nanos() as u64);
        self.manifest.note_synced(end);
        Ok(())
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
        segment.write(&mut slices, group.start)?;
        tail.end = group.end;
        self.bytes
            .fetch_add(group.end - group.start, Ordering::Relaxed);
        if sync {
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

    fn drop_up_to(&self, lsn: Lsn) -> Result<(), Trouble> {
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
        // One that is still being read from is not reused, only unlinked.
        self.reserves.recycle(dropped.into_iter().map(|segment| {
            let path = segment.path.clone();
            (path, Arc::into_inner(segment).map(|segment| segment.file))
        }));
        Ok(())
    }

    fn export(&self, end: Lsn) -> Box<dyn Export> {
        let segments = self.segments.read().clone();
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
