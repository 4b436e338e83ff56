//! What a workload did, and what of it a disk must still show after a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use durastream_storage::{FrameRef, Live, Lsn};

/// A frame as it was pushed, or as a recovery showed it.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    pub lsn: Lsn,
    pub end: Lsn,
    pub stream: u64,
    pub position: u64,
    pub kind: u8,
    pub flags: u8,
    pub producer: Option<(String, u64, u64)>,
    pub stream_seq: Option<Vec<u8>>,
    pub meta: Vec<u8>,
    pub payload: Bytes,
}

impl Event {
    /// What reads it back.
    pub fn reference(&self) -> FrameRef {
        FrameRef {
            lsn: self.lsn,
            stream: self.stream,
            position: self.position,
            len: self.payload.len() as u32,
        }
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (lsn, end, len) = (self.lsn, self.end, self.payload.len());
        write!(f, "{lsn}..{end} stream {} {len} B", self.stream)
    }
}

/// Something that happened when so many operations had been recorded.
#[derive(Debug, Clone)]
pub struct Moment {
    pub op: usize,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    Pushed(Event),
    /// Everything below was acknowledged to somebody, to survive a power cut.
    Acknowledged(Lsn),
    /// Everything below was acknowledged to somebody, to survive the process.
    Written(Lsn),
    /// A checkpoint began to be written; from now on it may be found.
    CheckpointBegun(Lsn, Bytes),
    /// It was written; from now on no earlier one may be found.
    CheckpointDone(Lsn),
    /// No payload below is needed any more.
    Dropped(Lsn),
    /// No payload between these is needed any more.
    Hollowed(Lsn, Lsn),
    /// Streams up to this number are gone for good.
    Gone(u64),
    /// The frame at this LSN is damaged.
    Hurt(Lsn),
    /// A recovery found the log to end here: frames beyond are gone for good.
    Cut(Lsn),
}

/// Everything that happened, in order.
#[derive(Debug, Clone, Default)]
pub struct History {
    start: Expected,
    moments: Vec<Moment>,
}

/// What a recovery may and must show.
#[derive(Debug, Clone)]
pub struct Expected {
    /// All that was pushed, in order: what is found is the beginning of it.
    pub frames: Vec<Event>,
    /// What is found goes at least up to here after a power cut,
    pub acknowledged: Lsn,
    /// and up to here when only the process died.
    pub written: Lsn,
    pub dropped: Lsn,
    /// No payload of frames that begin between these is needed any more.
    pub hollows: Vec<(Lsn, Lsn)>,
    /// Streams up to this number are gone.
    pub gone: u64,
    /// Frames at these LSNs may be damaged.
    pub hurt: BTreeSet<Lsn>,
    /// The oldest that may be found comes first.
    pub checkpoints: Vec<Option<(Lsn, Bytes)>>,
    /// Those before, which may be found when a newer one is damaged.
    pub older: Vec<Option<(Lsn, Bytes)>>,
}

impl Default for Expected {
    fn default() -> Self {
        Expected {
            frames: Vec::new(),
            acknowledged: 0,
            written: 0,
            dropped: 0,
            hollows: Vec::new(),
            gone: 0,
            hurt: BTreeSet::new(),
            checkpoints: vec![None],
            older: Vec::new(),
        }
    }
}

/// What a recovery showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub torn: bool,
    /// The newest checkpoint could not be read, and an older one stands in for it.
    pub stands_in: bool,
    pub checkpoint: Option<Bytes>,
    pub replay_from: Lsn,
    pub end: Lsn,
    pub frames: Vec<Event>,
}

impl History {
    /// Of a disk that is as a power cut left it.
    pub fn after_power_cut(mut expected: Expected) -> Self {
        expected.written = 0;
        History {
            start: expected,
            moments: Vec::new(),
        }
    }

    pub fn note(&mut self, op: usize, what: What) {
        self.moments.push(Moment { op, what });
    }

    /// What counts when the first `op` operations are done.
    pub fn at(&self, op: usize) -> Expected {
        let mut expected = self.start.clone();
        for moment in self.moments.iter().filter(|moment| moment.op <= op) {
            expected.take(&moment.what);
        }
        expected
    }
}

impl Expected {
    /// Whether the payload of `event` is needed by anybody.
    pub fn is_needed(&self, event: &Event) -> bool {
        let is_hollow = |(from, to): &(Lsn, Lsn)| (from..to).contains(&&event.lsn);
        event.lsn >= self.dropped && event.stream > self.gone && !self.hollows.iter().any(is_hollow)
    }

    /// What is needed of each stream that is there: of its frames those that are, and all that is to come. The others
    /// are gone, or have nothing yet.
    pub fn lives(&self) -> BTreeMap<u64, Live> {
        let mut needed: BTreeMap<u64, (Vec<Range<u64>>, u64)> = BTreeMap::new();
        for event in self.frames.iter().filter(|event| event.stream > self.gone) {
            let behind = event.position + event.payload.len() as u64;
            let (parts, tail) = needed.entry(event.stream).or_default();
            *tail = behind;
            if self.is_needed(event) {
                parts.push(event.position..behind);
            }
        }
        let live = |(parts, tail)| Live::above(tail).and(parts);
        needed
            .into_iter()
            .map(|(stream, it)| (stream, live(it)))
            .collect()
    }

    fn take(&mut self, what: &What) {
        match what {
            What::Pushed(event) => self.frames.push(event.clone()),
            What::Acknowledged(lsn) => self.acknowledged = self.acknowledged.max(*lsn),
            What::Written(lsn) => self.written = self.written.max(*lsn),
            What::CheckpointBegun(lsn, payload) => {
                self.checkpoints.push(Some((*lsn, payload.clone())));
            }
            What::CheckpointDone(lsn) => {
                let done = |c: &Option<(Lsn, Bytes)>| c.as_ref().is_some_and(|(l, _)| l == lsn);
                let newest = self.checkpoints.iter().rposition(done).expect("begun");
                self.older.extend(self.checkpoints.drain(..newest));
            }
            What::Dropped(lsn) => self.dropped = self.dropped.max(*lsn),
            What::Hollowed(from, to) => self.hollows.push((*from, *to)),
            What::Gone(stream) => self.gone = self.gone.max(*stream),
            What::Hurt(lsn) => _ = self.hurt.insert(*lsn),
            What::Cut(end) => self.frames.retain(|event| event.end <= *end),
        }
    }

    /// Judges what a recovery showed; gives the frames that are there from now on.
    pub fn judge(&self, seen: &Seen) -> Result<Vec<Event>, String> {
        let older = self.older.iter().filter(|_| seen.stands_in);
        let known = self
            .checkpoints
            .iter()
            .chain(older)
            .find(|known| match known {
                None => seen.checkpoint.is_none(),
                Some((_, payload)) => seen.checkpoint.as_ref() == Some(payload),
            });
        let Some(known) = known else {
            return Err(format!(
                "found a checkpoint from {} that cannot be, of {:?}",
                seen.replay_from,
                self.checkpoints
                    .iter()
                    .map(|c| c.as_ref().map(|c| c.0))
                    .collect::<Vec<_>>()
            ));
        };
        let from = known.as_ref().map_or(0, |(lsn, _)| *lsn);
        if from != seen.replay_from && known.is_some() {
            return Err(format!(
                "replayed from {}, the checkpoint is of {from}",
                seen.replay_from
            ));
        }
        let before = self.frames.iter().filter(|event| event.lsn < from).count();
        let pushed = &self.frames[before..];
        let odd = seen
            .frames
            .iter()
            .zip(pushed)
            .find(|(seen, pushed)| seen != pushed);
        if let Some((seen, pushed)) = odd {
            return Err(format!("found {seen:?} where {pushed:?} was pushed"));
        }
        if let Some(extra) = seen.frames.get(pushed.len()) {
            return Err(format!("found {extra:?}, which was never pushed"));
        }
        if let Some(lost) = pushed.get(seen.frames.len())
            && lost.end <= self.acknowledged
        {
            return Err(format!(
                "lost {lost:?}, acknowledged up to {}",
                self.acknowledged
            ));
        }
        let present = &self.frames[..before + seen.frames.len()];
        let end = present.last().map_or(0, |event| event.end);
        if seen.end < end {
            return Err(format!(
                "the log ends at {}, its last frame at {end}",
                seen.end
            ));
        }
        Ok(present.to_vec())
    }
}
