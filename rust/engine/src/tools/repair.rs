//! Making a damaged directory open again, and saying what is lost.
//!
//! The log is cut at the first place that recovery cannot get over. What lies behind is not kept, even
//! where it verifies: whether it still means what it meant cannot be known. It is copied aside first.
//! Damage below the checkpoint is left where it is: it keeps no start from succeeding, reads of it are refused, and
//! what runs seals what is around it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use durastream_storage::fs::Fs;
use durastream_storage::inspect::{Inspection, Mending, Seen};
use durastream_storage::{Frame, Lsn, OpenError};

use super::examine::{Depth, Replay, examined};
use super::holdings::Holdings;
use super::{Examined, Fault};
use crate::StreamPath;
use crate::event::Event;
use crate::moment::millis;
use crate::state::State;
use crate::stream::Stream;

/// What is lost of one stream: events behind a cut, payload of sealed files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The stream.
    pub stream: u64,
    /// Its path, when that is known.
    pub path: Option<StreamPath>,
    /// Events lost behind a cut: appends, creations, closes, trims, deletions.
    pub events: u64,
    /// Payload bytes lost.
    pub bytes: u64,
    /// Position of the first payload byte lost, and behind the last.
    pub positions: Option<(u64, u64)>,
    /// The stream's creation is lost: there is no such stream any more.
    pub created: bool,
    /// Its deletion is lost: it is there again.
    pub deleted: bool,
}

/// What a repair did, or would do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Repaired {
    /// Nothing was changed.
    pub dry_run: bool,
    /// There was nothing to be done.
    pub sound: bool,
    /// What was wrong.
    pub faults: Vec<Fault>,
    /// Where the log was cut.
    pub cut: Option<Lsn>,
    /// What could still be read behind the cut, and is lost; and what is lost of the sealed files.
    pub losses: Vec<Loss>,
    /// Places behind the cut where not even that can be told.
    pub unknown: u64,
    /// The checkpoint is not used any more; the next start replays all of the log.
    pub checkpoint_dropped: bool,
    /// Where copies of everything that was changed or removed are.
    pub aside: Option<PathBuf>,
    /// Files changed.
    pub changed: Vec<PathBuf>,
    /// Files removed.
    pub removed: Vec<PathBuf>,
    /// The directory afterwards.
    pub after: Option<Examined>,
}

/// Why a directory was not repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// It is in use, cannot be read, or is of another format version.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Too little is left.
    #[error(
        "{dir} cannot be repaired: {detail}; restore a backup, `durable-streams dump` shows what can be read"
    )]
    Hopeless {
        /// The directory.
        dir: PathBuf,
        /// What is missing.
        detail: String,
    },
}

/// Repairs `dir`, or only says what that would do. [`OpenError::Locked`] when it is in use.
pub fn repair(fs: Arc<dyn Fs>, dir: &Path, dry_run: bool) -> Result<Repaired, RepairError> {
    if dry_run {
        let inspection = Inspection::open(fs, dir)?;
        if let Some(holder) = inspection.holder() {
            return Err(RepairError::Open(OpenError::Locked {
                dir: dir.to_owned(),
                holder: holder.to_owned(),
            }));
        }
        return Ok(plan(&inspection)?.0);
    }
    let holder = format!("a repair, process {}", std::process::id());
    let mending = Mending::open(fs, dir, &holder)?;
    let (mut repaired, state) = plan(mending.inspection())?;
    repaired.dry_run = false;
    if !repaired.sound {
        let label = format!("{:016}", millis(SystemTime::now()));
        let keep_checkpoint = !repaired.checkpoint_dropped;
        let tails = |id: u64| state.stream(id).map(Stream::tail);
        let mended = mending.carry_out(repaired.cut, keep_checkpoint, &tails, &label)?;
        repaired.aside = mended.aside;
        repaired.changed = mended.changed;
        repaired.removed = mended.removed;
    }
    repaired.after = Some(examined(&mending.again()?, Depth::Everything)?);
    Ok(repaired)
}

/// Removes files of `dir` that do not count, such as segments that were dropped and wait for their reuse.
/// [`OpenError::Locked`] when it is in use; nothing is removed from a directory that is damaged.
pub fn sweep(fs: Arc<dyn Fs>, dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let holder = format!("a compaction, process {}", std::process::id());
    let mending = Mending::open(fs, dir, &holder)?;
    let examined = examined(mending.inspection(), Depth::Recovery)?;
    if examined.is_damaged() {
        return Ok(Vec::new());
    }
    mending.sweep()
}

/// What is to be done, and the state that is left.
fn plan(inspection: &Inspection) -> Result<(Repaired, State), RepairError> {
    let mut replay = Replay::begin(inspection);
    if !replay.whole {
        return Err(RepairError::Hopeless {
            dir: inspection.dir().to_owned(),
            detail: "the checkpoint cannot be read, and the log before it was dropped".to_owned(),
        });
    }
    let from = replay.from();
    let mut lost: BTreeMap<u64, Loss> = BTreeMap::new();
    let mut unknown = 0;
    // Also what no start reads: somebody may.
    inspection.scan(inspection.oldest().unwrap_or(0), &mut |seen| {
        match seen {
            Seen::Frame {
                frame,
                file,
                offset,
            } => {
                replay.frame(&frame, file, offset);
                if replay.stopped.is_some() {
                    lose(&mut lost, &replay, &frame);
                }
            }
            Seen::Finding(finding) => {
                let before = replay.faults.len();
                replay.damaged(finding);
                let behind_cut = |it: &&Fault| !it.kind.is_harmless() && it.lsn >= Some(from);
                unknown += replay.faults[before..].iter().filter(behind_cut).count() as u64;
            }
        }
        Ok(())
    })?;
    let checkpoint_dropped = inspection.checkpoint_lsn().is_some() && from == 0;
    lose_history(inspection, &mut replay, &mut lost)?;
    let sound = !replay.faults.iter().any(|fault| !fault.kind.is_harmless());
    let repaired = Repaired {
        dry_run: true,
        sound,
        cut: replay.stopped,
        losses: lost.into_values().collect(),
        unknown,
        checkpoint_dropped,
        faults: replay.faults,
        aside: None,
        changed: Vec::new(),
        removed: Vec::new(),
        after: None,
    };
    Ok((repaired, replay.state))
}

/// Notes what is lost of the sealed files and of the log below the checkpoint, and can still be reached.
fn lose_history(
    inspection: &Inspection,
    replay: &mut Replay,
    lost: &mut BTreeMap<u64, Loss>,
) -> Result<(), OpenError> {
    let holdings = Holdings::of(&replay.state, inspection.sealed());
    let mut hurt = Vec::new();
    holdings.find_missing(inspection, &replay.state, &mut hurt);
    holdings.read_back(inspection, &replay.state, &mut hurt);
    holdings.verify_history(inspection, &replay.state, &mut hurt)?;
    for fault in &hurt {
        let (Some(id), Some((from, to))) = (fault.stream, fault.positions()) else {
            continue;
        };
        let loss = lost
            .entry(id)
            .or_insert_with(|| Loss::of(id, fault.path.clone()));
        loss.bytes += to - from;
        // In the log each fault is one event.
        loss.events += u64::from(fault.lsn.is_some());
        let (first, end) = loss.positions.unwrap_or((from, to));
        loss.positions = Some((first.min(from), end.max(to)));
    }
    replay.faults.extend(hurt);
    Ok(())
}

impl Loss {
    fn of(stream: u64, path: Option<StreamPath>) -> Self {
        Self {
            stream,
            path,
            events: 0,
            bytes: 0,
            positions: None,
            created: false,
            deleted: false,
        }
    }
}

/// Notes that a frame is lost.
fn lose(lost: &mut BTreeMap<u64, Loss>, replay: &Replay, frame: &Frame<'_>) {
    let id = frame.head.stream;
    let path = || replay.state.stream(id).map(|stream| stream.path.clone());
    let loss = lost.entry(id).or_insert_with(|| Loss::of(id, path()));
    loss.events += 1;
    let len = frame.payload.len() as u64;
    loss.bytes += len;
    if len > 0 {
        let first = loss
            .positions
            .map_or(frame.head.position, |(first, _)| first);
        loss.positions = Some((first, frame.head.position + len));
    }
    match Event::decode(&frame.head) {
        Ok(Event::Create(creation)) => {
            loss.created = true;
            loss.path = Some(creation.path);
        }
        Ok(Event::Delete { .. }) => loss.deleted = true,
        _ => {}
    }
}
