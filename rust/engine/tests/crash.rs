//! Power cuts at every operation of the disk: what was told survives, and nothing else appears.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use durastream_engine::storage::fs::SimFs;
use durastream_engine::storage::fs::sim::Policy;
use durastream_engine::{Append, Create, Engine, Expiry, From, Offset, PageError};
use support::*;

const PATHS: [&str; 4] = ["a", "b", "c", "d"];

/// What clients know of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Life {
    id: u64,
    appends: Vec<String>,
    closed: bool,
    /// Next sequence number of the only producer.
    seq: u64,
    /// Where the retained appends begin, in appends.
    floor: usize,
}

impl Life {
    fn content(&self) -> String {
        self.appends[self.floor..].concat()
    }
}

type World = BTreeMap<&'static str, Life>;

/// A numbered step of the workload: one operation, told before the next.
struct Script {
    /// The world after each step that was told.
    worlds: Vec<World>,
    /// How many disk operations had happened by then.
    ops: Vec<usize>,
    /// Tokens of earlier lives.
    old: Vec<Vec<(&'static str, Offset)>>,
}

/// A small generator, so that a seed names a workload.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn play(fs: &SimFs, clock: &Arc<ManualClock>, seed: u64, steps: usize) -> Script {
    let mut dice = Dice(seed);
    let mut small = options();
    small.store.segment_bytes = 16 << 10;
    let mut engine = open_with(fs, clock, small.clone());
    let mut world = World::new();
    let mut old = Vec::new();
    let mut script = Script {
        worlds: vec![world.clone()],
        ops: vec![fs.op_count()],
        old: vec![Vec::new()],
    };
    for step in 0..steps {
        let at = PATHS[dice.roll(4) as usize];
        match (dice.roll(16), world.get_mut(at)) {
            (0, _) => {
                engine.checkpoint().unwrap();
            }
            (1, _) => {
                engine.close().unwrap();
                drop(engine);
                engine = open_with(fs, clock, small.clone());
            }
            (2 | 3, Some(life)) => {
                let tail = told(&engine, engine.head(&path(at))).unwrap().tail;
                told(&engine, engine.delete(&path(at))).unwrap();
                assert!(life.id > 0);
                old.push((at, tail));
                world.remove(at);
            }
            (4, Some(life)) if life.appends.len() > life.floor => {
                let cut = life.floor + dice.roll((life.appends.len() - life.floor) as u64) as usize;
                let position = life.appends[..cut]
                    .iter()
                    .map(|text| text.len() as u64)
                    .sum();
                let before = Offset {
                    incarnation: 0,
                    position,
                };
                told(&engine, engine.trim(&path(at), before)).unwrap();
                life.floor = cut;
            }
            (5, Some(life)) if !life.closed => {
                let text = format!("<end {step}>");
                let append = Append {
                    close: true,
                    ..body(&text)
                };
                appended(&engine, at, by(append, "p", 0, life.seq));
                life.appends.push(text);
                life.seq += 1;
                life.closed = true;
            }
            (_, Some(life)) if !life.closed => {
                let size = if dice.roll(4) == 0 { 3000 } else { 3 };
                let text = format!("<{step}{}>", "x".repeat(size));
                appended(&engine, at, by(body(&text), "p", 0, life.seq));
                life.appends.push(text);
                life.seq += 1;
            }
            (_, Some(_)) => {}
            (_, None) => {
                let text = format!("<new {step}>");
                let created = told(&engine, engine.create(&path(at), support::text(&text)));
                let life = Life {
                    id: created.unwrap().info.id,
                    appends: vec![text],
                    ..Life::default()
                };
                world.insert(at, life);
            }
        }
        script.worlds.push(world.clone());
        script.ops.push(fs.op_count());
        script.old.push(old.clone());
    }
    script
}

/// What a reopened engine shows, in the terms of `Life`; producers are asked, not trusted.
fn agrees(engine: &Engine, world: &World) -> bool {
    PATHS.iter().all(|at| {
        let info = told(engine, engine.head(&path(at)));
        match (world.get(at), info) {
            (None, Err(_)) => true,
            (Some(life), Ok(info)) => {
                info.id == life.id
                    && info.closed == life.closed
                    && content(engine, at) == life.content()
            }
            _ => false,
        }
    })
}

fn check_writers(engine: &Engine, world: &World) {
    for (at, life) in world {
        // What was accepted last is known, and what comes next is accepted.
        if let Some(last) = life.seq.checked_sub(1) {
            let again = told(
                engine,
                engine.append(&path(at), by(body("?"), "p", 0, last)),
            );
            assert!(again.unwrap().duplicate, "{at}");
        }
        if !life.closed {
            let next = told(
                engine,
                engine.append(&path(at), by(body("!"), "p", 0, life.seq)),
            );
            assert!(!next.unwrap().duplicate, "{at}");
        }
    }
}

#[test]
fn what_was_told_survives_a_power_cut_at_any_operation() {
    for seed in 0..3 {
        let (fs, clock) = (SimFs::recording(), ManualClock::new());
        let script = play(&fs, &clock, seed, 60);
        let mut crash = fs.crash();
        for op in 0..=crash.op_count() {
            crash.advance_to(op);
            // Told by then, and at most one step beyond: the one under way.
            let known = script.ops.iter().rposition(|at| *at <= op);
            let policies = if op % 5 == 0 {
                &Policy::ALL[..]
            } else {
                &Policy::ALL[..1]
            };
            for policy in policies {
                let image = crash.image(*policy, op as u64);
                let engine = open(&image, &clock);
                let known = known.unwrap_or(0);
                let world = script.worlds[known..]
                    .iter()
                    .take(2)
                    .find(|world| agrees(&engine, world));
                let Some(world) = world else {
                    panic!(
                        "seed {seed} op {op} ({}) {policy:?}: not {:?}",
                        fs.describe(op),
                        script.worlds[known]
                    );
                };
                for (at, token) in &script.old[known] {
                    let read = page(&engine, at, From::At(*token));
                    assert!(
                        matches!(read, Err(PageError::Gone { .. } | PageError::Lookup(_))),
                        "seed {seed} op {op} {policy:?}: {token} of {at} was served"
                    );
                }
                check_writers(&engine, world);
                drop(engine);
                // Recovery again gives the same, and what was told since.
                let engine = open(&image.kill(), &clock);
                for at in PATHS {
                    assert_eq!(exists(&engine, at), world.contains_key(at));
                }
            }
        }
    }
}

#[test]
fn a_fork_tree_survives_a_power_cut_at_any_operation() {
    let (fs, clock) = (SimFs::recording(), ManualClock::new());
    let engine = open(&fs, &clock);
    created(&engine, "src", text("abc"));
    created(&engine, "f", fork("src", None));
    let forked = fs.op_count();
    appended(&engine, "f", body("def"));
    created(
        &engine,
        "g",
        Create {
            expiry: Some(Expiry::Ttl(std::time::Duration::from_secs(1000))),
            ..fork("f", None)
        },
    );
    told(&engine, engine.delete(&path("src"))).unwrap();
    let softened = fs.op_count();
    engine.checkpoint().unwrap();
    told(&engine, engine.delete(&path("f"))).unwrap();
    let last = fs.op_count();
    told(&engine, engine.delete(&path("g"))).unwrap();
    let done = fs.op_count();
    let mut crash = fs.crash();
    for op in forked..=crash.op_count() {
        crash.advance_to(op);
        for policy in Policy::ALL {
            let engine = open(&crash.image(policy, op as u64), &clock);
            let here = |at: &str| told(&engine, engine.head(&path(at))).is_ok();
            if op >= softened {
                assert!(!here("src"));
            }
            if op <= softened {
                assert!(
                    content(&engine, "f").starts_with("abc"),
                    "op {op} {policy:?}"
                );
            }
            if (softened..=last).contains(&op) {
                assert_eq!(content(&engine, "g"), "abcdef", "op {op} {policy:?}");
            }
            if op >= done {
                assert_eq!(engine.stats().streams, 0);
            }
        }
    }
}
