//! Recovery without a start: does the directory make sense, and does everything in it read back?

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durastream_storage::fs::Fs;
use durastream_storage::inspect::{Inspection, Scanned, SealedFacts, Seen, SegmentFacts};
use durastream_storage::{Frame, Lsn, OpenError, Placed};

use super::holdings::Holdings;
use super::{Fault, FaultKind};
use crate::checkpoint;
use crate::event::Event;
use crate::rules::apply;
use crate::state::{Effect, State};

/// How much of a directory is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What a start reads: manifest, checkpoint, the log after it.
    Recovery,
    /// Every byte that counts.
    Everything,
}

/// What is in a directory, and what is wrong with it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Examined {
    /// Who has the directory open; then what is seen may be of different moments.
    pub holder: Option<String>,
    /// Segments in use, in LSN order.
    pub segments: Vec<SegmentFacts>,
    /// Segments prepared for use.
    pub reserves: usize,
    /// Everything below this LSN is in sealed files, or was dead.
    pub sealed: Lsn,
    /// The sealed files that can be read, in LSN order.
    pub sealed_files: Vec<SealedFacts>,
    /// The checkpoint's LSN, when there is one.
    pub checkpoint: Option<Lsn>,
    /// Bytes of the checkpoint.
    pub checkpoint_bytes: u64,
    /// LSN of the oldest group that is kept.
    pub oldest: Lsn,
    /// Everything below was synced, as the manifest says.
    pub synced: Lsn,
    /// Where the log ends.
    pub end: Lsn,
    /// Whether the last session closed the log.
    pub clean: bool,
    /// Frames looked at.
    pub frames: u64,
    /// Bytes of a torn tail.
    pub torn_bytes: u64,
    /// Streams, soft-deleted ones included.
    pub streams: u64,
    /// Events that can be read, and their bytes.
    pub events: u64,
    /// Payload bytes of these events.
    pub payload_bytes: u64,
    /// How long the part took that a start takes too.
    pub recovery: Duration,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

impl Examined {
    /// Whether anything acknowledged is hurt, or a start would be refused.
    pub fn is_damaged(&self) -> bool {
        self.faults.iter().any(|fault| !fault.kind.is_harmless())
    }
}

/// Looks at `dir` without changing a byte.
///
/// [`OpenError::Io`] when it cannot be read or has no log in it, [`OpenError::Version`] when it is of
/// another format version.
pub fn examine(fs: Arc<dyn Fs>, dir: &Path, depth: Depth) -> Result<Examined, OpenError> {
    let begun = Instant::now();
    let inspection = Inspection::open(fs, dir)?;
    let mut examined = examined(&inspection, depth)?;
    if depth == Depth::Recovery {
        examined.recovery = begun.elapsed();
    }
    Ok(examined)
}

pub(super) fn examined(inspection: &Inspection, depth: Depth) -> Result<Examined, OpenError> {
    let begun = Instant::now();
    let mut replay = Replay::begin(inspection);
    let from = match depth {
        Depth::Recovery => inspection.replay_from(),
        Depth::Everything => inspection.oldest().unwrap_or(0),
    };
    let scanned = inspection.scan(from, &mut |seen| {
        match seen {
            Seen::Frame {
                frame,
                file,
                offset,
            } => replay.frame(&frame, file, offset),
            Seen::Finding(finding) => replay.damaged(finding),
        }
        Ok(())
    })?;
    let recovery = begun.elapsed();
    let Replay {
        mut state,
        mut faults,
        whole,
        ..
    } = replay;
    state.recovered();
    let holdings = if whole {
        Holdings::of(&state, inspection.sealed())
    } else {
        Holdings::default()
    };
    holdings.find_missing(inspection, &state, &mut faults);
    if depth == Depth::Everything {
        holdings.read_back(inspection, &state, &mut faults);
        holdings.verify_history(inspection, &state, &mut faults)?;
    }
    Ok(Examined {
        recovery,
        streams: state.paths().len() as u64,
        events: holdings.events(inspection),
        payload_bytes: holdings.payload_bytes(),
        ..facts(inspection, scanned, faults)
    })
}

fn facts(inspection: &Inspection, scanned: Scanned, faults: Vec<Fault>) -> Examined {
    let segments = inspection.segments();
    Examined {
        holder: inspection.holder().map(str::to_owned),
        oldest: segments.first().map_or(0, |segment| segment.base),
        segments,
        reserves: inspection.reserves(),
        sealed: inspection.sealed(),
        sealed_files: inspection.sealed_files(),
        checkpoint: inspection.checkpoint_lsn(),
        checkpoint_bytes: inspection.checkpoint().map_or(0, |it| it.len() as u64),
        synced: inspection.synced(),
        end: scanned.end,
        clean: inspection.closed_cleanly(),
        frames: scanned.frames,
        torn_bytes: scanned.torn_bytes,
        streams: 0,
        events: 0,
        payload_bytes: 0,
        recovery: Duration::ZERO,
        faults,
    }
}

/// A state that follows the log as recovery does, until that makes no sense any more.
pub(super) struct Replay {
    pub(super) state: State,
    pub(super) faults: Vec<Fault>,
    /// The first LSN that recovery would not get over.
    pub(super) stopped: Option<Lsn>,
    /// Whether the state began with all that there was.
    pub(super) whole: bool,
    from: Lsn,
    effects: VecDeque<Effect>,
}

impl Replay {
    /// Begins with the checkpoint; without one that can be read, with nothing, when the log has all.
    pub(super) fn begin(inspection: &Inspection) -> Self {
        let findings = inspection.findings().iter().cloned();
        let mut replay = Self {
            state: State::default(),
            faults: findings.map(|finding| Fault::of(finding, None)).collect(),
            stopped: None,
            whole: true,
            from: inspection.replay_from(),
            effects: VecDeque::new(),
        };
        match inspection
            .checkpoint()
            .map(|bytes| checkpoint::decode(&bytes))
        {
            Some(Ok(state)) => replay.state = state,
            Some(Err(malformed)) => {
                replay.from = 0;
                replay.faults.push(Fault {
                    kind: FaultKind::Impossible,
                    file: inspection.checkpoint_file().unwrap_or_default(),
                    offset: 64,
                    lsn: inspection.checkpoint_lsn(),
                    stream: None,
                    path: None,
                    position: None,
                    end: None,
                    acknowledged: true,
                    detail: format!("checkpoint {malformed}"),
                });
            }
            None => replay.from = 0,
        }
        // Without a checkpoint everything has to be in the log.
        replay.whole = replay.from > 0 || inspection.oldest().unwrap_or(0) == 0;
        replay
    }

    /// Where replay begins.
    pub(super) fn from(&self) -> Lsn {
        self.from
    }

    pub(super) fn frame(&mut self, frame: &Frame<'_>, file: &Path, offset: u64) {
        if frame.lsn < self.from || self.stopped.is_some() || !self.whole {
            return;
        }
        if let Err(detail) = self.apply(frame) {
            self.stopped = Some(frame.lsn);
            let stream = self.state.stream(frame.head.stream);
            self.faults.push(Fault {
                kind: FaultKind::Impossible,
                file: file.to_owned(),
                offset,
                lsn: Some(frame.lsn),
                stream: Some(frame.head.stream),
                path: stream.map(|stream| stream.path.clone()),
                position: Some(frame.head.position),
                end: None,
                acknowledged: true,
                detail,
            });
        }
    }

    fn apply(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        let event = Event::decode(&frame.head).map_err(|malformed| malformed.to_string())?;
        let placed = Placed {
            lsn: frame.lsn,
            end: frame.end,
        };
        let (state, effects) = (&mut self.state, &mut self.effects);
        apply(state, &event, frame.payload.len(), placed, effects)
            .map_err(|impossible| impossible.to_string())?;
        for effect in effects.drain(..) {
            state.settle(&effect);
        }
        Ok(())
    }

    pub(super) fn damaged(&mut self, finding: durastream_storage::inspect::Finding) {
        let stream = finding.stream.and_then(|id| self.state.stream(id));
        let path = stream.map(|stream| stream.path.clone());
        let lsn = finding.lsn;
        let fault = Fault::of(finding, path);
        if !fault.kind.is_harmless() && lsn.is_some_and(|lsn| lsn >= self.from) {
            self.stopped = self.stopped.or(lsn);
        }
        self.faults.push(fault);
    }
}
