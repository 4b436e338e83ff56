//! What forks, trims and deletions leave of streams: the disk holds what somebody can read, and no more. Against a model
//! that knows who reads what.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use durastream_engine::storage::fs::SimFs;
use durastream_engine::{
    Append, Create, CreateError, Engine, ForkSpec, Offset, Options, Retention,
};
use proptest::prelude::*;
use support::*;

const PATHS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Something done. Numbers that name a place are taken modulo what there is.
#[derive(Debug, Clone)]
enum Op {
    Create(usize),
    /// So many appends of so many bytes.
    Append(usize, usize, usize),
    /// Path, source, one of the source's boundaries, bytes beyond.
    Fork(usize, usize, usize, u64),
    Trim(usize, usize),
    Delete(usize),
    /// Everything is sealed and merged, and counted.
    Compact,
    Checkpoint,
    Close,
    Kill,
}

fn op() -> impl Strategy<Value = Op> {
    let at = || 0..PATHS.len();
    let size = prop_oneof![1usize..100, 1usize..5000];
    prop_oneof![
        3 => at().prop_map(Op::Create),
        8 => (at(), 1usize..9, size).prop_map(|(at, appends, size)| Op::Append(at, appends, size)),
        6 => (at(), at(), any::<usize>(), 0u64..4)
            .prop_map(|(at, source, edge, sub)| Op::Fork(at, source, edge, sub)),
        6 => (at(), any::<usize>()).prop_map(|(at, edge)| Op::Trim(at, edge)),
        3 => at().prop_map(Op::Delete),
        5 => Just(Op::Compact),
        2 => Just(Op::Checkpoint),
        1 => Just(Op::Close),
        2 => Just(Op::Kill),
    ]
}

/// An append of some stream, or what a fork has of it.
#[derive(Debug, Clone, Copy)]
struct Held {
    owner: u64,
    start: u64,
    end: u64,
}

#[derive(Debug, Clone, Default)]
struct Reader {
    id: u64,
    appends: Vec<Held>,
    floor: u64,
}

impl Reader {
    fn tail(&self) -> u64 {
        self.appends.last().map_or(0, |append| append.end)
    }

    fn edge(&self, number: usize) -> u64 {
        let number = number % (self.appends.len() + 1);
        let append = self.appends.get(number);
        append.map_or(self.tail(), |append| append.start)
    }

    fn kept(&self) -> impl Iterator<Item = &Held> {
        self.appends.iter().filter(|append| append.end > self.floor)
    }
}

/// The bytes that a stream wrote from a position on: no two places look alike.
fn payload(owner: u64, start: u64, end: u64) -> Vec<u8> {
    let byte = |at: u64| ((owner << 40 ^ at).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    (start..end).map(byte).collect()
}

fn tiny() -> Options {
    let mut tiny = options();
    tiny.store.hot_bytes = 0;
    tiny
}

struct World {
    fs: SimFs,
    clock: Arc<ManualClock>,
    /// `None` only while it is opened again.
    engine: Option<Engine>,
    readers: BTreeMap<&'static str, Reader>,
    /// Every append there ever was, by owner and start, and where it ends.
    appends: BTreeMap<(u64, u64), u64>,
}

impl World {
    fn new() -> Self {
        let (fs, clock) = (SimFs::new(), ManualClock::new());
        Self {
            engine: Some(open_with(&fs, &clock, tiny())),
            fs,
            clock,
            readers: BTreeMap::new(),
            appends: BTreeMap::new(),
        }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        drop(self.engine.take());
        self.fs = self.fs.kill();
        self.engine = Some(open_with(&self.fs, &self.clock, tiny()));
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Create(at) => self.create(PATHS[at]),
            Op::Append(at, appends, size) => {
                for _ in 0..appends {
                    self.append(PATHS[at], size as u64);
                }
            }
            Op::Fork(at, source, edge, sub) => self.fork(PATHS[at], PATHS[source], edge, sub),
            Op::Trim(at, edge) => self.trim(PATHS[at], edge),
            Op::Delete(at) => {
                let deleted = told(self.engine(), self.engine().delete(&path(PATHS[at])));
                assert_eq!(deleted.is_ok(), self.readers.remove(PATHS[at]).is_some());
            }
            Op::Compact => self.compact(),
            Op::Checkpoint => drop(self.engine().checkpoint().unwrap()),
            Op::Close => {
                self.engine().close().unwrap();
                self.reopen();
            }
            Op::Kill => self.reopen(),
        }
    }

    fn create(&mut self, at: &'static str) {
        if self.readers.contains_key(at) {
            return;
        }
        // A path may be held by a stream that has forks.
        if let Ok(created) = told(self.engine(), self.engine().create(&path(at), text(""))) {
            let id = created.info.id;
            let reader = Reader {
                id,
                ..Reader::default()
            };
            self.readers.insert(at, reader);
        }
    }

    fn append(&mut self, at: &'static str, size: u64) {
        let Some(reader) = self.readers.get_mut(at) else {
            return;
        };
        let (owner, start) = (reader.id, reader.tail());
        let end = start + size;
        reader.appends.push(Held { owner, start, end });
        self.appends.insert((owner, start), end);
        let append = Append {
            body: payload(owner, start, end).into(),
            ..Append::default()
        };
        assert_eq!(appended(self.engine(), at, append).position, end);
    }

    fn fork(&mut self, at: &'static str, source: &'static str, edge: usize, sub: u64) {
        let Some(of) = self.readers.get(source) else {
            return;
        };
        if self.readers.contains_key(at) {
            return;
        }
        let anchor = of.edge(edge);
        let held = of.appends.iter().find(|append| append.start == anchor);
        let sub = sub.min(held.map_or(0, |append| append.end - append.start));
        let create = Create {
            fork: Some(ForkSpec {
                source: path(source),
                offset: Some(Offset {
                    incarnation: 0,
                    position: anchor,
                }),
                sub_offset: sub,
            }),
            ..Create::default()
        };
        match told(self.engine(), self.engine().create(&path(at), create)) {
            Ok(created) => {
                assert!(anchor >= of.floor);
                let point = anchor + sub;
                let inherited = of.appends.iter().filter(|append| append.start < point);
                let clip = |append: &Held| Held {
                    end: append.end.min(point),
                    ..*append
                };
                let reader = Reader {
                    id: created.info.id,
                    appends: inherited.map(clip).collect(),
                    floor: of.floor,
                };
                self.readers.insert(at, reader);
            }
            Err(CreateError::SoftDeleted { .. }) => {}
            Err(CreateError::ForkPoint { .. }) => assert!(anchor < of.floor),
            Err(error) => panic!("{source} at {anchor}: {error}"),
        }
    }

    fn trim(&mut self, at: &'static str, edge: usize) {
        let Some(reader) = self.readers.get(at) else {
            return;
        };
        let before = Offset {
            incarnation: 0,
            position: reader.edge(edge),
        };
        let floor = told(self.engine(), self.engine().trim(&path(at), before));
        let floor = floor.unwrap().position;
        assert_eq!(floor, reader.floor.max(before.position));
        self.readers.get_mut(at).unwrap().floor = floor;
    }

    /// The appends that somebody reads a part of, and how many bytes of them somebody reads.
    fn alive(&self) -> (BTreeSet<(u64, u64)>, u64) {
        let mut ends: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for append in self.readers.values().flat_map(Reader::kept) {
            // Whoever reads of an append begins at its start.
            let end = ends.entry((append.owner, append.start)).or_insert(0);
            *end = append.end.max(*end);
        }
        let bytes = ends.iter().map(|((_, start), end)| end - start).sum();
        (ends.into_keys().collect(), bytes)
    }

    /// Seals and merges everything: what is counted as alive is what somebody reads, and little else is on disk.
    fn compact(&self) {
        self.engine().compact().unwrap();
        let stats = self.engine().stats().store;
        let (appends, bytes) = self.alive();
        assert_eq!(stats.sealed_live_bytes, bytes);
        let whole = |append| self.appends[append] - append.1;
        let kept: u64 = appends.iter().map(whole).sum();
        // Header, trailer, and for each append a boundary and an extent at most.
        let overhead = stats.sealed_files * 4500 + appends.len() as u64 * 60 + kept / 8000;
        assert!(
            stats.sealed_files <= 1 && stats.sealed_bytes <= kept + overhead,
            "{stats:?}"
        );
    }

    /// Everything that somebody reads is there.
    fn check(&self) {
        for (at, reader) in &self.readers {
            let page = page(self.engine(), at, durastream_engine::From::Start).unwrap();
            assert_eq!(page.start.position, reader.floor, "{at}");
            let parts = reader.kept();
            let parts = parts.map(|append| payload(append.owner, append.start, append.end));
            assert!(
                page.chunks.concat() == parts.collect::<Vec<_>>().concat(),
                "{at}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_holds_what_somebody_can_read_and_no_more(
        ops in prop::collection::vec(op(), 1..80)
    ) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        world.check();
        world.compact();
        world.check();
        world.reopen();
        world.check();
        world.compact();
        world.check();
    }
}

fn by_bytes(most: u64) -> Option<Retention> {
    Some(Retention {
        max_bytes: Some(most),
        ..Retention::default()
    })
}

fn fill(engine: &Engine, at: &str, appends: usize) {
    for number in 0..appends {
        let body = Bytes::from(vec![number as u8; 5000]);
        let append = Append {
            body,
            ..Append::default()
        };
        appended(engine, at, append);
    }
}

/// A retention that is enforced at once, in all that is here.
fn trimming() -> Options {
    let mut trimming = tiny();
    trimming.reap_interval = Duration::from_millis(1);
    trimming
}

/// Waits until a stream was trimmed to its retention.
fn trimmed(engine: &Engine, at: &str, most: u64) {
    let begun = Instant::now();
    loop {
        let info = told(engine, engine.head(&path(at))).unwrap();
        if info.tail.position - info.floor.position <= most {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{info:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_fork_of_the_first_bytes_does_not_keep_what_its_source_trims_later() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open_with(&fs, &clock, trimming());
    let limited = Create {
        retention: by_bytes(100_000),
        ..Create::default()
    };
    created(&engine, "src", limited);
    let first = appended(&engine, "src", body(&"x".repeat(1000)));
    let all = Create {
        retention: Some(Retention::default()),
        ..fork("src", Some(first))
    };
    created(&engine, "f", all);
    fill(&engine, "src", 400);
    trimmed(&engine, "src", 102_000);
    engine.compact().unwrap();
    let live = engine.stats().store.sealed_live_bytes;
    assert!((96_000..=103_000).contains(&live), "{live}");
    assert_eq!(content(&engine, "f"), "x".repeat(1000));
    // Forks that come and go, one always there.
    told(&engine, engine.delete(&path("f"))).unwrap();
    created(&engine, "f0", fork("src", None));
    for round in 1..10 {
        fill(&engine, "src", 50);
        trimmed(&engine, "src", 102_000);
        created(&engine, &format!("f{round}"), fork("src", None));
        let last = path(&format!("f{}", round - 1));
        told(&engine, engine.delete(&last)).unwrap();
    }
    engine.compact().unwrap();
    let live = engine.stats().store.sealed_live_bytes;
    assert!((95_000..=103_000).contains(&live), "{live}");
}

#[test]
fn a_deleted_source_gives_back_what_its_fork_does_not_read() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open_with(&fs, &clock, tiny());
    created(&engine, "src", text(&"x".repeat(1000)));
    fill(&engine, "src", 200);
    let first = Offset {
        incarnation: 0,
        position: 1000,
    };
    created(&engine, "f", fork("src", Some(first)));
    told(&engine, engine.delete(&path("src"))).unwrap();
    engine.compact().unwrap();
    let stats = engine.stats().store;
    assert_eq!(stats.sealed_live_bytes, 1000);
    assert!(stats.sealed_bytes < 6000, "{stats:?}");
    drop(engine);
    let engine = open_with(&fs.kill(), &clock, tiny());
    assert_eq!(content(&engine, "f"), "x".repeat(1000));
}

#[test]
fn what_lies_between_living_parts_goes_by_itself() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open_with(&fs, &clock, trimming());
    created(&engine, "src", text(&"x".repeat(1000)));
    created(&engine, "f", fork("src", None));
    fill(&engine, "src", 200);
    let tail = told(&engine, engine.head(&path("src"))).unwrap().tail;
    told(&engine, engine.trim(&path("src"), tail)).unwrap();
    // Segments that are full are sealed, and what is dead in files goes, without anybody asking for it.
    let begun = Instant::now();
    while engine.stats().store.sealed_bytes > 20_000 {
        let stats = engine.stats().store;
        assert!(begun.elapsed() < Duration::from_secs(20), "{stats:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(content(&engine, "f"), "x".repeat(1000));
}
