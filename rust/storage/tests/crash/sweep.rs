//! Every power cut of a recording, and the judgement over each.

use std::sync::Arc;

use durastream_storage::fs::SimFs;
use durastream_storage::fs::sim::Policy;
use durastream_storage::{Durability, StoreOptions};

use crate::deeds::Deeds;
use crate::history::{Expected, History};
use crate::session::{Diary, Session, Wrong, recover};
use crate::workload::small;

/// How thorough to be.
#[derive(Debug, Clone, Copy)]
pub struct Thoroughness {
    /// Images for every operation and policy.
    pub seeds: u64,
    /// For one image in so many, the recovery itself is cut at every operation.
    pub recoveries: u64,
    /// The same for images of a disk on which files were being merged.
    pub recoveries_of_compactions: u64,
}

/// What was seen on the way: a sweep that never met a torn write proves little.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub images: u64,
    /// Images with a write that had not finished.
    pub torn: u64,
    /// Images without something that was pushed and not acknowledged.
    pub lost: u64,
    /// Images with something that was not acknowledged.
    pub kept: u64,
    /// Images with sealed files.
    pub sealed: u64,
    /// Images with something that was damaged before it was sealed.
    pub lossy: u64,
    /// Images of a disk on which files were being merged.
    pub compacting: u64,
    /// Those of them of which the recovery was cut at every operation.
    pub recoveries: u64,
    /// How many times files were merged or removed.
    pub compactions: u64,
    /// Sealed files that were unlinked.
    pub unlinked: u64,
    /// Segments that were used again.
    pub recycled: u64,
    /// Groups that were written and synced in one go.
    pub through: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.images += other.images;
        self.torn += other.torn;
        self.lost += other.lost;
        self.kept += other.kept;
        self.sealed += other.sealed;
        self.lossy += other.lossy;
        self.compacting += other.compacting;
        self.recoveries += other.recoveries;
        self.compactions += other.compactions;
        self.unlinked += other.unlinked;
        self.recycled += other.recycled;
        self.through += other.through;
    }
}

/// Builds every image, recovers each and judges it; gives what was seen, or the first that is wrong.
pub fn sweep(diary: &Diary, thoroughness: Thoroughness) -> Result<Tally, String> {
    let mut crash = diary.sim.crash();
    let history = diary.history.lock().clone();
    let deeds = Deeds::of(&diary.sim);
    let mut tally = Tally {
        compactions: deeds.compactions() as u64,
        unlinked: deeds.unlinked as u64,
        recycled: deeds.recycled as u64,
        through: deeds.through as u64,
        ..Tally::default()
    };
    for op in 0..=crash.op_count() {
        crash.advance_to(op);
        let expected = history.at(op);
        let compacting = deeds.is_compacting(op);
        for policy in Policy::ALL {
            let plain = matches!(policy, Policy::NothingUnsynced | Policy::Everything);
            let seeds = if plain || !crash.has_unsynced() {
                1
            } else {
                thoroughness.seeds
            };
            for seed in 0..seeds {
                let image = crash.image(policy, seed);
                let deep = if compacting {
                    tally.compacting % thoroughness.recoveries_of_compactions == 1
                } else {
                    tally.images % thoroughness.recoveries == 1
                };
                tally.compacting += u64::from(compacting);
                tally.recoveries += u64::from(compacting && deep);
                tally += check(&image, &expected, deep).map_err(|wrong| {
                    let last = op.checked_sub(1).map(|last| diary.sim.describe(last));
                    format!("cut at {op}, behind {last:?}, {policy:?}, seed {seed}: {wrong}")
                })?;
                if !crash.has_unsynced() {
                    break;
                }
            }
            if !crash.has_unsynced() {
                break;
            }
        }
    }
    Ok(tally)
}

fn options() -> StoreOptions {
    small(Durability::Sync)
}

/// Recovers an image, uses the store, and pulls the plug again.
fn check(image: &SimFs, expected: &Expected, deep: bool) -> Result<Tally, String> {
    let options = options();
    image.record();
    let history = History::after_power_cut(expected.clone());
    let diary = Diary::new(image, &options, history);
    let mut session = open(image, &diary)?;
    if session.stands_in {
        return Err("a checkpoint that nobody harmed is damaged".to_owned());
    }
    let found = session.frames.clone();
    let end = found.last().map_or(0, |event| event.end);
    let mut tally = Tally {
        images: 1,
        torn: session.torn.into(),
        lost: (found.len() < expected.frames.len()).into(),
        kept: (end > expected.acknowledged).into(),
        sealed: (session.store.stats().sealed_files > 0).into(),
        lossy: (session.store.stats().lost_bytes > 0).into(),
        ..Tally::default()
    };
    let recovered = image.op_count();
    session.read_back()?;
    // Frames larger than a segment and smaller ones, so that left-overs are reused in any order.
    for len in [1, 20_000, 15_000, 15_000] {
        session.push(len).map_err(|e| e.to_string())?;
    }
    session.commit().map_err(|e| e.to_string())?;
    session.read_back()?;
    if deep {
        // Long enough for what was recovered to be dropped and its files to be reused.
        for len in [12_000, 20_000, 12_000, 12_000] {
            session.checkpoint(100).map_err(|e| e.to_string())?;
            session.drop_before(session.frames.len() - 1);
            session.compact().map_err(|e| e.to_string())?;
            session.push(len).map_err(|e| e.to_string())?;
            session.commit().map_err(|e| e.to_string())?;
            session.read_back()?;
        }
    }
    let frames = session.frames.clone();
    let used = image.op_count();
    drop(session);

    // What was recovered or acknowledged since survives the next cut, and the one after that.
    let second = image.crash_image(used, Policy::NothingUnsynced, 0);
    let expected = diary.history.lock().at(used);
    let history = History::after_power_cut(expected);
    second.record();
    let again = Diary::new(&second, &options, history);
    let mut session = open(&second, &again)?;
    if session.frames != frames {
        let (now, before) = (session.frames.last(), frames.last());
        return Err(format!(
            "a second recovery ends with {now:?}, not {before:?}"
        ));
    }
    session.push(10).map_err(|e| e.to_string())?;
    session.commit().map_err(|e| e.to_string())?;
    session.read_back()?;
    drop(session);

    if !deep {
        return Ok(tally);
    }
    // A cut recovery shows the same, or more of what was never acknowledged.
    let mut crash = image.crash();
    let history = diary.history.lock().clone();
    for op in 0..=recovered {
        crash.advance_to(op);
        for (seed, policy) in (0_u64..).zip(Policy::ALL) {
            let image = crash.image(policy, seed + op as u64);
            let what = || format!("recovery cut at {op}, {policy:?}");
            let seen = match recover(Arc::new(image), &options) {
                Ok((_, seen)) => seen,
                Err(e) => return Err(format!("{}: {e}", what())),
            };
            let present = history.at(op).judge(&seen);
            let present = present.map_err(|e| format!("{}: {e}", what()))?;
            if present != found {
                let (now, before) = (present.last(), found.last());
                return Err(format!("{}: ends with {now:?}, not {before:?}", what()));
            }
        }
    }
    tally.images += (recovered as u64 + 1) * Policy::ALL.len() as u64;
    Ok(tally)
}

fn open(sim: &SimFs, diary: &Diary) -> Result<Session, String> {
    Session::open(Arc::new(sim.clone()), diary.clone(), &options()).map_err(|wrong| match wrong {
        Wrong::Open(e) => format!("refused to open: {e}"),
        Wrong::Content(e) => e,
    })
}
