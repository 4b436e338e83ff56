//! Disks that refuse: at every operation, with `EIO` and `ENOSPC`, once and for good.

use std::sync::Arc;

use durastream_engine::Engine;
use durastream_engine::storage::fs::SimFs;
use durastream_engine::storage::fs::sim::{Fault, FaultKind, OpClass, Policy};

use crate::player::{Act, Came, Dice, Manners, act, call, pass};
use crate::support::*;
use crate::sweep::{find, small, try_open};
use crate::world::World;
use crate::{first_seed, rounds};

const KINDS: [FaultKind; 4] = [
    FaultKind::Io,
    FaultKind::NoSpace,
    FaultKind::ShortWrite,
    FaultKind::ShortNoSpace,
];

/// How workloads on a failing disk went.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    refused_open: u64,
    refused: u64,
    poisoned: u64,
    unharmed: u64,
}

/// A user whose disk fails, who goes on as well as can be.
struct Run<'t> {
    tally: &'t mut Tally,
    fs: SimFs,
    clock: Arc<ManualClock>,
    engine: Option<Engine>,
    /// What was told, then what may have happened beyond, call by call.
    worlds: Vec<(usize, World)>,
}

impl Run<'_> {
    /// Tells whether the fault struck at all.
    fn go(&mut self, seed: u64, steps: usize, fault: Fault) -> Result<bool, String> {
        self.tally.runs += 1;
        let mut dice = Dice(seed);
        self.fs.inject(fault);
        let (mut harmed, mut poisoned) = (false, false);
        for number in 0..steps {
            if self.engine.is_none() && self.open().is_err() {
                self.tally.refused_open += 1;
                harmed = true;
                continue;
            }
            let act = act(&mut dice);
            let calm = self.act(act, &mut dice, number)?;
            harmed |= !calm;
            let Some(engine) = &self.engine else {
                continue;
            };
            if engine.poisoned().is_some() {
                (harmed, poisoned) = (true, true);
                self.reads_go_on()?;
                self.die();
            }
        }
        self.tally.poisoned += u64::from(poisoned);
        self.tally.unharmed += u64::from(!harmed);
        // Whatever happened, what was told survives a power cut now ...
        let op = self.fs.op_count();
        for policy in [
            Policy::NothingUnsynced,
            Policy::Everything,
            Policy::Torn { sector: 512 },
        ] {
            let image = self.fs.crash_image(op, policy, seed);
            let engine = try_open(Arc::new(image), &self.clock, small())?;
            find(&engine, &self.clock, &self.worlds)
                .map_err(|e| format!("after a power cut, {policy:?}: {e}"))?;
        }
        // ... and the death of the process, when the disk is well again.
        self.die();
        let struck = self.fs.heal() < fault.times;
        self.open()?;
        let (_, world) = &mut self.worlds[0];
        let Some(engine) = self.engine.take() else {
            return Err("it did not open".to_owned());
        };
        world.writers_go_on(&engine)?;
        world.is_shown(&engine)?;
        Ok(struck)
    }

    /// Opens the engine; what it shows is what there is from now on.
    fn open(&mut self) -> Result<(), String> {
        self.die();
        let engine = try_open(Arc::new(self.fs.clone()), &self.clock, small())?;
        let now = self.worlds.last().map_or(0, |(_, world)| world.now);
        let (_, mut world) = match find(&engine, &self.clock, &self.worlds) {
            Ok(found) => found,
            Err(_) if engine.poisoned().is_some() => {
                return Err("poisoned while one looked".to_owned());
            }
            Err(wrong) => panic!("it opened, but {wrong}"),
        };
        world.now = now;
        self.clock.set(now);
        self.worlds = vec![(0, world)];
        self.engine = Some(engine);
        Ok(())
    }

    fn die(&mut self) {
        let next = self.fs.kill();
        self.engine = None;
        self.fs = next;
    }

    /// Does a step; tells whether all went well.
    fn act(&mut self, act: Act, dice: &mut Dice, number: usize) -> Result<bool, String> {
        let Some(engine) = &self.engine else {
            return Err("there is no engine".to_owned());
        };
        let world = self.worlds[self.worlds.len() - 1].1.clone();
        let calm = match act {
            Act::Call => match call(engine, dice, &world, number, Manners::Waits) {
                Came::Told(next) => {
                    self.worlds = vec![(0, next)];
                    true
                }
                Came::Refused => {
                    self.tally.refused += 1;
                    engine.poisoned().is_none()
                }
                Came::Unknown(next) => {
                    self.worlds.push((0, next));
                    false
                }
            },
            Act::Checkpoint => engine.checkpoint().is_ok(),
            Act::Compact => engine.compact().is_ok(),
            // What a fault does to compaction, `Compact` shows.
            Act::Tidy => true,
            Act::Close => {
                let closed = engine.close().is_ok();
                self.die();
                closed
            }
            Act::Kill => {
                self.die();
                true
            }
            Act::Pass(millis) => {
                for (_, world) in &mut self.worlds {
                    pass(world, millis);
                }
                self.clock.set(world.now + millis);
                true
            }
        };
        Ok(calm)
    }

    /// A poisoned engine shows what it showed before of every stream that the failed calls did not concern.
    fn reads_go_on(&self) -> Result<(), String> {
        let (Some(engine), [(_, told), maybe @ ..]) = (&self.engine, &self.worlds[..]) else {
            return Ok(());
        };
        for (at, life) in &told.lives {
            if maybe
                .iter()
                .all(|(_, world)| world.lives.get(at) == Some(life))
            {
                life.is_shown(engine, at)
                    .map_err(|e| format!("poisoned: {e}"))?;
            }
        }
        Ok(())
    }
}

/// Fails every change in turn, until there are no more.
fn fail_all(workloads: u64, times: u64) -> Tally {
    let mut tally = Tally::default();
    let seeds = (0..workloads * rounds()).map(|seed| first_seed() + seed);
    for (seed, kind) in seeds.flat_map(|seed| KINDS.map(|kind| (seed, kind))) {
        for after in 0.. {
            let fault = Fault {
                class: OpClass::Change,
                after,
                times,
                kind,
            };
            let clock = ManualClock::new();
            let now = clock.millis();
            let mut run = Run {
                tally: &mut tally,
                fs: SimFs::recording(),
                clock,
                engine: None,
                worlds: vec![(
                    0,
                    World {
                        now,
                        ..World::default()
                    },
                )],
            };
            match run.go(seed, 24, fault) {
                Ok(true) => {}
                Ok(false) => break,
                Err(wrong) => panic!("workload {seed}, {fault:?}: {wrong}"),
            }
        }
    }
    tally
}

#[test]
fn one_failed_change_loses_nothing_that_was_told() {
    let tally = fail_all(1, 1);
    assert!(tally.runs > 150, "{tally:?}");
    let met = [
        tally.refused_open,
        tally.refused,
        tally.poisoned,
        tally.unharmed,
    ];
    assert!(met.iter().all(|count| *count > 0), "{tally:?}");
}

#[test]
fn a_disk_that_takes_no_more_changes_loses_nothing_that_was_told() {
    let tally = fail_all(1, u64::MAX);
    let met = [tally.refused_open, tally.refused, tally.poisoned];
    assert!(met.iter().all(|count| *count > 0), "{tally:?}");
}
