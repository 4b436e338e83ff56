//! Somebody who uses an engine at random, one call after the other, and knows what he was told.

use std::time::{Duration, SystemTime};

use durastream_engine::{
    Append, AppendError, ChangeError, Create, CreateError, Engine, Expiry, Offset, Reconfigure,
    Retention, Ticket,
};

use crate::support::*;
use crate::world::{Life, PATHS, World};

/// A small generator, so that a seed names a workload.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What a step does to the engine as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A call, or nothing.
    Call,
    Checkpoint,
    /// Everything is sealed, merged and given back.
    Compact,
    /// The store's own thread merges files, if it finds some within a moment.
    Tidy,
    Close,
    Kill,
    /// So many milliseconds go by.
    Pass(u64),
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Came {
    /// It was told: the world is this now.
    Told(World),
    /// Nothing was done.
    Refused,
    /// Nobody knows: the world is this, or what it was.
    Unknown(World),
}

/// How a call's answer is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Once what it depends on is durable.
    Waits,
    /// At once, which is wrong.
    Hasty,
}

/// Chooses a step.
pub(crate) fn act(dice: &mut Dice) -> Act {
    match dice.roll(40) {
        0 | 1 => Act::Checkpoint,
        2 => Act::Close,
        3 => Act::Kill,
        4 | 5 => Act::Pass(1000),
        6 => Act::Pass(10_000_000),
        7 => Act::Compact,
        8 => Act::Tidy,
        _ => Act::Call,
    }
}

/// Lets time go by.
pub(crate) fn pass(world: &mut World, millis: u64) {
    world.now += millis;
    let now = world.now;
    world
        .lives
        .retain(|_, life| life.ends.is_none_or(|ends| now < ends));
    for life in world.lives.values_mut() {
        life.settle_retention(now);
    }
}

/// Takes the answer as it is due; `None` when there is none, because the disk failed.
fn answer<T>(engine: &Engine, manners: Manners, ticket: Ticket<T>) -> (T, bool) {
    let told = manners == Manners::Hasty || engine.wait(ticket.lsn, None).is_ok();
    (ticket.outcome, told)
}

fn came(world: World, told: bool) -> Came {
    if told {
        Came::Told(world)
    } else {
        Came::Unknown(world)
    }
}

/// Makes one call.
pub(crate) fn call(
    engine: &Engine,
    dice: &mut Dice,
    world: &World,
    number: usize,
    manners: Manners,
) -> Came {
    let at = PATHS[dice.roll(PATHS.len() as u64) as usize];
    let kind = dice.roll(24);
    let mut next = world.clone();
    match next.lives.get_mut(at) {
        None if kind < 6 => fork_one(engine, dice, world, at, manners),
        None => create_one(engine, dice, world, at, number, manners),
        Some(life) => match kind {
            0 | 1 => {
                let tail = engine.head(&path(at)).outcome.map(|info| info.tail);
                let (outcome, told) = answer(engine, manners, engine.delete(&path(at)));
                let Ok(()) = changed(outcome) else {
                    return Came::Refused;
                };
                next.lives.remove(at);
                // A fork's offsets are those of its source, which may be there still.
                next.old.extend(
                    tail.ok()
                        .filter(|_| !is_forked(world))
                        .map(|tail| (at, tail)),
                );
                came(next, told)
            }
            2 if life.floor < life.appends.len() => {
                let cut = life.floor + dice.roll((life.appends.len() - life.floor) as u64) as usize;
                let position = life.position(cut);
                let before = Offset {
                    incarnation: 0,
                    position,
                };
                let (outcome, told) = answer(engine, manners, engine.trim(&path(at), before));
                let Ok(_) = changed(outcome) else {
                    return Came::Refused;
                };
                // An explicit trim and a retention may meet: what was shown is noted by the player.
                life.floor = life.floor.max(cut);
                life.most = life.most.max(life.floor);
                came(next, told)
            }
            3 => {
                let events = [None, Some(1 + dice.roll(6))][dice.roll(2) as usize];
                let bytes = [None, Some(1 + dice.roll(8000))][dice.roll(2) as usize];
                let age = [None, Some(500 + dice.roll(3000))][dice.roll(2) as usize];
                let change = Reconfigure::from(Retention {
                    max_events: events,
                    max_bytes: bytes,
                    max_age: age.map(Duration::from_millis),
                });
                let (outcome, told) = answer(engine, manners, engine.configure(&path(at), change));
                let Ok(_) = changed(outcome) else {
                    return Came::Refused;
                };
                (life.max_events, life.max_bytes, life.max_age) = (events, bytes, age);
                life.settle_retention(world.now);
                came(next, told)
            }
            4 if !life.closed => {
                let (outcome, told) = answer(engine, manners, engine.append(&path(at), close()));
                let true = accepted(outcome) else {
                    return Came::Refused;
                };
                (life.closed, life.closed_plainly) = (true, true);
                came(next, told)
            }
            _ if !life.closed => {
                let size = if dice.roll(2) == 0 { 3000 } else { 3 };
                let text = format!("<{number}{}>", "x".repeat(size));
                let append = Append {
                    close: kind == 5,
                    ..body(&text)
                };
                let ticket = engine.append(&path(at), by(append, "p", 0, life.seq));
                let (outcome, told) = answer(engine, manners, ticket);
                let true = accepted(outcome) else {
                    return Came::Refused;
                };
                life.push(text, world.now);
                life.seq += 1;
                life.closed = kind == 5;
                came(next, told)
            }
            _ => Came::Refused,
        },
    }
}

/// Whether any two streams may share offsets.
fn is_forked(world: &World) -> bool {
    let first = |life: &Life| life.appends.first().cloned();
    let mut firsts: Vec<_> = world.lives.values().map(first).collect();
    let all = firsts.len();
    firsts.sort();
    firsts.dedup();
    firsts.len() < all
}

fn create_one(
    engine: &Engine,
    dice: &mut Dice,
    world: &World,
    at: &'static str,
    number: usize,
    manners: Manners,
) -> Came {
    let body = format!("<new {number}>");
    let ends = match dice.roll(6) {
        0 => Some(world.now + 1000 * (1 + dice.roll(3))),
        _ => None,
    };
    let max_events = (dice.roll(4) == 0).then(|| 1 + dice.roll(6));
    let max_age = (dice.roll(6) == 0).then(|| 500 + dice.roll(3000));
    let retention = Retention {
        max_events,
        max_age: max_age.map(Duration::from_millis),
        ..Retention::default()
    };
    let create = Create {
        expiry: ends.map(|ends| Expiry::At(SystemTime::UNIX_EPOCH + Duration::from_millis(ends))),
        retention: Some(retention).filter(|retention| !retention.is_unlimited()),
        ..text(&body)
    };
    let life = Life {
        appends: vec![body],
        times: vec![world.now],
        max_events,
        max_age,
        ends,
        ..Life::default()
    };
    place(engine, world, at, create, life, manners)
}

/// Forks a stream that there is, at one of its appends or at its tail.
fn fork_one(
    engine: &Engine,
    dice: &mut Dice,
    world: &World,
    at: &'static str,
    manners: Manners,
) -> Came {
    let sources: Vec<_> = world.lives.iter().collect();
    let Some((source, of)) = sources.get(dice.roll(5) as usize) else {
        return Came::Refused;
    };
    let count = of.floor + dice.roll((of.appends.len() - of.floor + 1) as u64) as usize;
    let Ok(info) = engine.head(&path(source)).outcome else {
        return Came::Refused;
    };
    let point = Offset {
        position: of.position(count),
        ..info.tail
    };
    let life = Life {
        appends: of.appends[..count].to_vec(),
        times: of.times[..count].to_vec(),
        floor: of.floor,
        most: of.most.min(count).max(of.floor),
        max_events: of.max_events,
        max_bytes: of.max_bytes,
        max_age: of.max_age,
        ends: of.ends,
        ..Life::default()
    };
    place(engine, world, at, fork(source, Some(point)), life, manners)
}

fn place(
    engine: &Engine,
    world: &World,
    at: &'static str,
    create: Create,
    mut life: Life,
    manners: Manners,
) -> Came {
    let (outcome, told) = answer(engine, manners, engine.create(&path(at), create));
    match outcome {
        Ok(created) => {
            assert!(created.created, "{at} was there");
            life.id = created.info.id;
            life.settle_retention(world.now);
            let mut next = world.clone();
            next.lives.insert(at, life);
            came(next, told)
        }
        // Held by forks, trimmed meanwhile, or the disk is full or failed.
        Err(
            CreateError::SoftDeleted { .. } | CreateError::ForkPoint { .. } | CreateError::Push(_),
        ) => Came::Refused,
        Err(e) => panic!("{at}: {e}"),
    }
}

fn accepted(outcome: Result<durastream_engine::Appended, AppendError>) -> bool {
    match outcome {
        Ok(appended) => {
            assert!(!appended.duplicate, "{appended:?}");
            true
        }
        Err(AppendError::Push(_)) => false,
        Err(e) => panic!("{e}"),
    }
}

fn changed<T>(outcome: Result<T, ChangeError>) -> Result<T, ()> {
    match outcome {
        Ok(done) => Ok(done),
        // The reaper may have been ahead.
        Err(ChangeError::Push(_) | ChangeError::Offset { .. }) => Err(()),
        Err(e) => panic!("{e}"),
    }
}

/// What readers were shown of floors never goes back.
pub(crate) fn note_floors(engine: &Engine, world: &mut World) {
    for (at, life) in &mut world.lives {
        let Ok(info) = told(engine, engine.head(&path(at))) else {
            panic!("{at} is not there")
        };
        let floor = life.count_at(info.floor.position);
        let floor = floor.unwrap_or_else(|| panic!("{at} begins inside an append: {info:?}"));
        assert!(
            (life.floor..=life.most).contains(&floor),
            "{at}: {info:?}, {life:?}"
        );
        life.floor = floor;
    }
}
