//! A workload as it was played, every power cut of its recording, and the judgement over each.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durastream_engine::storage::fs::sim::{Crash, Policy};
use durastream_engine::storage::fs::{Fs, SimFs};
use durastream_engine::{Clock, Engine, Options};

use crate::deeds::Deeds;
use crate::player::{Act, Came, Dice, Manners, act, call, note_floors, pass};
use crate::support::*;
use crate::world::World;

/// The store's own thread looks for files to be merged more often than this, when there are new ones.
const MOMENT: Duration = Duration::from_millis(60);

/// How an engine sees the disk.
pub(crate) type Wrap<'w> = &'w dyn Fn(SimFs) -> Arc<dyn Fs>;

/// Small segments, so that rolling, sealing and recycling are common, small files, so that some are merged and others
/// too large for it, little memory, so that reads are cold, and a reaper that is always there.
pub(crate) fn small() -> Options {
    let mut small = options();
    small.store.segment_bytes = 16 << 10;
    small.store.hot_bytes = 4 << 10;
    small.store.sealed_file_bytes = 64 << 10;
    small.reap_interval = Duration::from_millis(2);
    small
}

/// The same, but nothing happens by itself.
fn quiet() -> Options {
    let mut quiet = small();
    quiet.reap_interval = Duration::from_secs(3600);
    quiet
}

pub(crate) fn try_open(
    fs: Arc<dyn Fs>,
    clock: &Arc<ManualClock>,
    options: Options,
) -> Result<Engine, String> {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    Engine::open_with(fs, Path::new("data"), options, clock)
        .map_err(|e| format!("refused to open: {e}"))
}

fn reopen(fs: &SimFs, clock: &Arc<ManualClock>) -> Result<Engine, String> {
    try_open(Arc::new(fs.clone()), clock, quiet())
}

/// What was told, and how many disk operations had happened by then.
pub(crate) struct Script {
    fs: SimFs,
    worlds: Vec<(usize, World)>,
}

impl Script {
    /// Plays a random workload; its operations are recorded by `fs`.
    pub(crate) fn play(
        fs: SimFs,
        wrap: Wrap<'_>,
        seed: u64,
        steps: usize,
        manners: Manners,
    ) -> Self {
        Self::play_acts(fs, wrap, seed, steps, manners, &|_, dice| act(dice))
    }

    /// The same with each step chosen by `act`, which is told its number.
    pub(crate) fn play_acts(
        fs: SimFs,
        wrap: Wrap<'_>,
        seed: u64,
        steps: usize,
        manners: Manners,
        act: &dyn Fn(usize, &mut Dice) -> Act,
    ) -> Self {
        let clock = ManualClock::new();
        let mut dice = Dice(seed);
        let mut fs = fs;
        // Groups of the log are written and synced in one go where the disk can, so every other disk can.
        fs.set_write_through(seed.is_multiple_of(2));
        let mut world = World {
            now: clock.millis(),
            ..World::default()
        };
        let open = |fs: &SimFs| try_open(wrap(fs.clone()), &clock, small()).unwrap();
        let mut engine = open(&fs);
        let mut worlds = vec![(fs.op_count(), world.clone())];
        for number in 0..steps {
            match act(number, &mut dice) {
                Act::Call => {
                    if let Came::Told(next) = call(&engine, &mut dice, &world, number, manners) {
                        world = next;
                    }
                }
                Act::Checkpoint => drop(engine.checkpoint().unwrap()),
                Act::Compact => engine.compact().unwrap(),
                Act::Tidy => tidy(&engine),
                Act::Close => {
                    engine.close().unwrap();
                    drop(engine);
                    engine = open(&fs);
                }
                // Whoever does not wait for what he is told loses it here.
                Act::Kill if manners == Manners::Hasty => {}
                Act::Kill => {
                    let next = fs.kill();
                    drop(engine);
                    fs = next;
                    engine = open(&fs);
                }
                Act::Pass(millis) => {
                    pass(&mut world, millis);
                    clock.set(world.now);
                }
            }
            if manners == Manners::Waits {
                note_floors(&engine, &mut world);
            }
            worlds.push((fs.op_count(), world.clone()));
        }
        Self { fs, worlds }
    }
}

/// Waits until the store's own thread has merged files, or a moment without.
fn tidy(engine: &Engine) {
    let compactions = || engine.stats().store.compactions;
    let (before, begun) = (compactions(), Instant::now());
    while compactions() == before && begun.elapsed() < MOMENT {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// What was seen on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) images: usize,
    /// Images with something that was not told yet.
    pub(crate) ahead: usize,
    /// Images with sealed files.
    pub(crate) sealed: usize,
    /// Recoveries that were cut at every operation.
    pub(crate) recoveries: usize,
    /// Images of a disk on which sealed files were being merged.
    pub(crate) compacting: usize,
    /// Recoveries of those that were cut at every operation.
    pub(crate) recoveries_of_compactions: usize,
    /// How many times files were merged or removed.
    pub(crate) compactions: usize,
    /// Sealed files that were unlinked.
    pub(crate) unlinked: usize,
    /// Segments of the log that were used again.
    pub(crate) recycled: usize,
    /// Checkpoints that were removed behind two newer ones.
    pub(crate) checkpoints: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.images += other.images;
        self.ahead += other.ahead;
        self.sealed += other.sealed;
        self.recoveries += other.recoveries;
        self.compacting += other.compacting;
        self.recoveries_of_compactions += other.recoveries_of_compactions;
        self.compactions += other.compactions;
        self.unlinked += other.unlinked;
        self.recycled += other.recycled;
        self.checkpoints += other.checkpoints;
    }
}

/// Builds every image, recovers each and judges it; for one in `deep` the recovery itself is cut at every operation, and
/// for four times as many of those that a compaction was under way on.
pub(crate) fn sweep(script: &Script, deep: usize) -> Result<Tally, String> {
    let mut crash = script.fs.crash();
    let deeds = Deeds::of(&script.fs);
    let mut tally = Tally {
        compactions: deeds.compactions(),
        unlinked: deeds.unlinked,
        recycled: deeds.recycled,
        checkpoints: deeds.checkpoints,
        ..Tally::default()
    };
    for op in 0..=crash.op_count() {
        crash.advance_to(op);
        let compacting = deeds.is_compacting(op);
        // Told by then, and at most one step beyond: the one under way.
        let known = script.worlds.iter().rposition(|(at, _)| *at <= op);
        let candidates = match known {
            Some(known) => &script.worlds[known..script.worlds.len().min(known + 2)],
            None => &script.worlds[..1],
        };
        for policy in policies(&crash) {
            let image = crash.image(*policy, op as u64);
            let is_deep = match compacting {
                true => tally.compacting % (deep / 4) == 1,
                false => tally.images % deep == 1,
            };
            tally.compacting += usize::from(compacting);
            tally.recoveries_of_compactions += usize::from(compacting && is_deep);
            tally += check(&image, candidates, is_deep).map_err(|wrong| {
                let last = op.checked_sub(1).map(|last| script.fs.describe(last));
                format!("cut at {op}, behind {last:?}, {policy:?}: {wrong}")
            })?;
        }
    }
    Ok(tally)
}

/// Where nothing is unsynced, all are the same.
fn policies(crash: &Crash) -> &'static [Policy] {
    const ALL: [Policy; 6] = Policy::ALL;
    if crash.has_unsynced() {
        &ALL
    } else {
        &ALL[..1]
    }
}

/// The first of the worlds that the engine shows, at its time.
pub(crate) fn find(
    engine: &Engine,
    clock: &ManualClock,
    candidates: &[(usize, World)],
) -> Result<(usize, World), String> {
    let mut why = String::new();
    let floors = candidates.first().map(|(_, first)| first.lives.clone());
    for (index, (_, world)) in candidates.iter().enumerate() {
        let mut world = world.clone();
        // What was shown of floors only after it does not count yet.
        for (at, life) in &mut world.lives {
            let before = floors.as_ref().and_then(|lives| lives.get(at));
            let before = before.filter(|before| before.id == life.id);
            life.floor = before.map_or(0, |before| before.floor.min(life.floor));
        }
        clock.set(world.now);
        match world.is_shown(engine) {
            Ok(()) => return Ok((index, world)),
            Err(wrong) => why += &format!("\nnot world {index}, for {wrong}: {world:?}"),
        }
    }
    Err(why)
}

fn check(image: &SimFs, candidates: &[(usize, World)], deep: bool) -> Result<Tally, String> {
    let clock = ManualClock::new();
    image.record();
    let engine = reopen(image, &clock)?;
    let (ahead, found) = find(&engine, &clock, candidates)?;
    let recovered = image.op_count();
    let mut tally = Tally {
        images: 1,
        ahead: ahead.min(1),
        sealed: (engine.stats().store.sealed_files > 0).into(),
        recoveries: deep.into(),
        ..Tally::default()
    };
    let mut next = found.clone();
    next.writers_go_on(&engine)?;
    let dead = image.kill();
    drop(engine);
    // Recovery again gives the same, and what was told since.
    let engine = reopen(&dead, &clock)?;
    next.is_shown(&engine)
        .map_err(|e| format!("the second time: {e}"))?;
    drop(engine);
    if deep {
        let mut crash = image.crash();
        for op in 0..=recovered {
            crash.advance_to(op);
            for policy in policies(&crash) {
                let again = crash.image(*policy, op as u64);
                let engine = reopen(&again, &clock).and_then(|engine| found.is_shown(&engine));
                engine.map_err(|e| format!("recovery cut at {op}, {policy:?}: {e}"))?;
                tally.images += 1;
            }
        }
    }
    Ok(tally)
}
