//! Streams whose appends are sealed and forgotten while they are written, read, forked, trimmed and deleted: against a
//! model that keeps everything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use durastream_engine::storage::fs::SimFs;
use durastream_engine::{
    Append, Create, CreateError, Engine, ForkSpec, From, Offset, Options, PageError,
};
use proptest::prelude::*;
use support::*;

const PATHS: [&str; 4] = ["a", "b", "c", "d"];

/// Something done. Numbers that name a place are taken modulo what there is.
#[derive(Debug, Clone)]
enum Op {
    Create(usize, bool),
    /// So many appends of so many messages each.
    Append(usize, usize, usize),
    /// Path, source, one of the source's boundaries, how far beside it, messages or bytes beyond.
    Fork(usize, usize, usize, u64, u64),
    /// One of the boundaries, and how far beside it.
    Trim(usize, usize, u64),
    Delete(usize),
    Seal,
    Checkpoint,
    Close,
    Kill,
    /// One of the boundaries, how far beside it, bytes of the page.
    Read(usize, usize, u64, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let at = || 0..PATHS.len();
    let beside = || prop_oneof![3 => Just(0u64), 1 => 1u64..9];
    let page = prop_oneof![1usize..40, 1usize..9000, Just(usize::MAX)];
    prop_oneof![
        2 => (at(), any::<bool>()).prop_map(|(at, is_json)| Op::Create(at, is_json)),
        8 => (at(), 1usize..9, prop_oneof![1usize..4, 1usize..300])
            .prop_map(|(at, appends, messages)| Op::Append(at, appends, messages)),
        3 => (at(), at(), any::<usize>(), beside(), 0u64..4)
            .prop_map(|(at, source, edge, by, sub)| Op::Fork(at, source, edge, by, sub)),
        2 => (at(), any::<usize>(), beside()).prop_map(|(at, edge, by)| Op::Trim(at, edge, by)),
        1 => at().prop_map(Op::Delete),
        4 => Just(Op::Seal),
        2 => Just(Op::Checkpoint),
        1 => Just(Op::Close),
        1 => Just(Op::Kill),
        8 => (at(), any::<usize>(), beside(), page)
            .prop_map(|(at, edge, by, max)| Op::Read(at, edge, by, max)),
    ]
}

/// What one stream holds.
#[derive(Debug, Clone)]
struct Kept {
    is_json: bool,
    incarnation: u64,
    /// Start and wire bytes of every append there was.
    appends: Vec<(u64, String)>,
    floor: u64,
}

/// What a page must be.
#[derive(Debug, PartialEq)]
struct Expected {
    wire: String,
    start: u64,
    next: u64,
    up_to_date: bool,
}

impl Kept {
    fn tail(&self) -> u64 {
        let last = self.appends.last();
        last.map_or(0, |(start, text)| start + text.len() as u64)
    }

    fn edge(&self, number: usize, by: u64) -> u64 {
        let number = number % (self.appends.len() + 1);
        let start = self.appends.get(number).map(|(start, _)| *start);
        start.unwrap_or(self.tail()) + by
    }

    fn offset(&self, position: u64) -> Offset {
        Offset {
            incarnation: self.incarnation,
            position,
        }
    }

    /// Number of the append that holds a position; that of the next one at the tail.
    fn holding(&self, position: u64) -> usize {
        self.appends
            .partition_point(|(start, text)| start + text.len() as u64 <= position)
    }

    fn start_of(&self, number: usize) -> u64 {
        self.edge(number, 0)
    }

    /// `None`: it is gone.
    fn page(&self, position: u64, max: usize) -> Option<Expected> {
        if position < self.floor || position > self.tail() + 1 {
            return None;
        }
        let first = self.holding(position);
        let (mut wire, mut last) = (String::new(), first);
        while let Some((_, text)) = self.appends.get(last)
            && (wire.is_empty() || wire.len() + text.len() <= max)
        {
            wire.push_str(text);
            last += 1;
        }
        let start = self.start_of(first);
        Some(Expected {
            next: start + wire.len() as u64,
            start,
            wire,
            up_to_date: last == self.appends.len(),
        })
    }

    /// How far a fork reaches; `None`: not a fork point.
    fn fork_point(&self, anchor: u64, sub: u64) -> Option<u64> {
        if anchor < self.floor || anchor > self.tail() {
            return None;
        }
        let number = self.holding(anchor);
        if self.start_of(number) != anchor {
            return None;
        }
        if sub == 0 {
            return Some(anchor);
        }
        let (_, text) = self.appends.get(number)?;
        if !self.is_json {
            return (sub <= text.len() as u64).then_some(anchor + sub);
        }
        let mut ends = text.char_indices().filter(|(_, it)| *it == ',');
        ends.nth(sub as usize - 1)
            .map(|(at, _)| anchor + at as u64 + 1)
    }

    fn fork(&self, point: u64) -> Vec<(u64, String)> {
        let inherited = self.appends.iter().filter(|(start, _)| *start < point);
        let clip = |(start, text): &(u64, String)| {
            let len = text.len().min((point - start) as usize);
            (*start, text[..len].to_owned())
        };
        inherited.map(clip).collect()
    }
}

fn tiny() -> Options {
    let mut tiny = options();
    tiny.store.segment_bytes = 16 << 10;
    // Nothing is kept in memory that is sealed.
    tiny.store.hot_bytes = 0;
    tiny
}

struct World {
    fs: SimFs,
    clock: Arc<ManualClock>,
    /// `None` only while it is opened again.
    engine: Option<Engine>,
    streams: BTreeMap<&'static str, Kept>,
    written: usize,
}

impl World {
    fn new() -> Self {
        let (fs, clock) = (SimFs::new(), ManualClock::new());
        Self {
            engine: Some(open_with(&fs, &clock, tiny())),
            fs,
            clock,
            streams: BTreeMap::new(),
            written: 0,
        }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// The next message, and as it is stored.
    fn message(&mut self, is_json: bool) -> (String, String) {
        self.written += 1;
        let text = format!("{}", self.written * 7919);
        let stored = if is_json {
            format!("{text},")
        } else {
            format!("<{text}>")
        };
        (text, stored)
    }

    /// A body of so many messages, and its wire bytes.
    fn body(&mut self, is_json: bool, messages: usize) -> (String, String) {
        let (sent, stored): (Vec<_>, Vec<_>) = (0..messages).map(|_| self.message(is_json)).unzip();
        let wire = stored.concat();
        if is_json {
            (format!("[{}]", sent.join(",")), wire)
        } else {
            (wire.clone(), wire)
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Create(at, is_json) => self.create(PATHS[at], is_json),
            Op::Append(at, appends, messages) => {
                for _ in 0..appends {
                    self.append(PATHS[at], messages);
                }
            }
            Op::Fork(at, source, edge, by, sub) => {
                self.fork(PATHS[at], PATHS[source], edge, by, sub)
            }
            Op::Trim(at, edge, by) => self.trim(PATHS[at], edge, by),
            Op::Delete(at) => {
                let at = PATHS[at];
                let deleted = told(self.engine(), self.engine().delete(&path(at)));
                assert_eq!(deleted.is_ok(), self.streams.remove(at).is_some(), "{at}");
            }
            Op::Seal => {
                let end = self.engine().stats().store.durable_lsn;
                self.engine().compact().unwrap();
                assert!(self.engine().stats().store.sealed_lsn >= end);
            }
            Op::Checkpoint => {
                self.engine().checkpoint().unwrap();
            }
            Op::Close => {
                self.engine().close().unwrap();
                self.reopen();
            }
            Op::Kill => self.reopen(),
            Op::Read(at, edge, by, max) => self.read(PATHS[at], edge, by, max),
        }
    }

    fn reopen(&mut self) {
        // Its threads are gone before the next one looks at the files.
        drop(self.engine.take());
        self.fs = self.fs.kill();
        self.engine = Some(open_with(&self.fs, &self.clock, tiny()));
    }

    fn create(&mut self, at: &'static str, is_json: bool) {
        if self.streams.contains_key(at) {
            return;
        }
        let json = Create {
            content_type: Some("application/json".to_owned()),
            ..Create::default()
        };
        let create = if is_json { json } else { text("") };
        // A path may be held by a stream that has forks.
        if let Ok(created) = told(self.engine(), self.engine().create(&path(at), create)) {
            let kept = Kept {
                is_json,
                incarnation: created.info.id,
                appends: Vec::new(),
                floor: 0,
            };
            self.streams.insert(at, kept);
        }
    }

    fn append(&mut self, at: &'static str, messages: usize) {
        let Some(is_json) = self.streams.get(at).map(|kept| kept.is_json) else {
            return;
        };
        let (sent, stored) = self.body(is_json, messages);
        let append = Append {
            body: sent.into_bytes().into(),
            ..Append::default()
        };
        let next = appended(self.engine(), at, append);
        let kept = self.streams.get_mut(at).unwrap();
        kept.appends.push((kept.tail(), stored));
        assert_eq!(next, kept.offset(kept.tail()));
    }

    fn fork(&mut self, at: &'static str, source: &'static str, edge: usize, by: u64, sub: u64) {
        let Some(kept) = self.streams.get(source) else {
            return;
        };
        if self.streams.contains_key(at) {
            return;
        }
        let anchor = kept.edge(edge, by);
        let create = Create {
            fork: Some(ForkSpec {
                source: path(source),
                offset: Some(kept.offset(anchor)),
                sub_offset: sub,
            }),
            ..Create::default()
        };
        let made = told(self.engine(), self.engine().create(&path(at), create));
        match (kept.fork_point(anchor, sub), made) {
            (_, Err(CreateError::SoftDeleted { .. })) => {}
            (None, Err(CreateError::ForkPoint { .. })) => {}
            (Some(point), Ok(created)) => {
                assert_eq!(created.info.tail, kept.offset(point));
                let kept = Kept {
                    appends: kept.fork(point),
                    ..kept.clone()
                };
                self.streams.insert(at, kept);
            }
            (expected, made) => panic!("{source} at {anchor}+{sub}: {expected:?}, but {made:?}"),
        }
    }

    fn trim(&mut self, at: &'static str, edge: usize, by: u64) {
        let Some(kept) = self.streams.get(at) else {
            return;
        };
        let before = kept.edge(edge, by);
        let trim = self.engine().trim(&path(at), kept.offset(before));
        let trimmed = told(self.engine(), trim);
        if before > kept.tail() {
            assert!(trimmed.is_err());
            return;
        }
        let floor = kept.floor.max(kept.start_of(kept.holding(before)));
        assert_eq!(trimmed.unwrap(), kept.offset(floor));
        self.streams.get_mut(at).unwrap().floor = floor;
    }

    fn read(&self, at: &'static str, edge: usize, by: u64, max: usize) {
        let Some(kept) = self.streams.get(at) else {
            return;
        };
        self.check(at, kept, kept.edge(edge, by), max);
    }

    /// One page; gives where it ends.
    fn check(&self, at: &str, kept: &Kept, position: u64, max: usize) -> Option<u64> {
        let reader = told(self.engine(), self.engine().reader(&path(at))).unwrap();
        let from = From::At(kept.offset(position));
        // Asked first, as a server does.
        reader.is_hot(from, max);
        match (kept.page(position, max), reader.page(from, max)) {
            (None, Err(PageError::Gone { earliest, .. })) => {
                assert_eq!(earliest, kept.offset(kept.floor));
                None
            }
            (Some(expected), Ok(page)) => {
                let got = Expected {
                    wire: String::from_utf8(page.chunks.concat()).unwrap(),
                    start: page.start.position,
                    next: page.next.position,
                    up_to_date: page.up_to_date,
                };
                assert_eq!(got, expected, "{at} from {position}, {max} bytes");
                Some(got.next)
            }
            (expected, got) => panic!("{at} from {position}: {expected:?}, but {got:?}"),
        }
    }

    /// Every stream from its start, whole and in pages.
    fn check_all(&self) {
        let listed = self.engine().list("", None, 100).streams;
        assert_eq!(listed.len(), self.streams.len());
        for (at, kept) in &self.streams {
            self.check(at, kept, kept.floor, usize::MAX);
            let mut position = kept.floor;
            while position < kept.tail() {
                position = self.check(at, kept, position, 3000).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_and_forgotten_is_read_as_if_it_were_not(
        ops in prop::collection::vec(op(), 1..70)
    ) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        world.check_all();
        world.reopen();
        world.check_all();
    }
}

#[test]
fn a_restart_from_the_older_checkpoint_finds_what_was_sealed_since() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), tiny()).unwrap();
    let fill = |at: &str, first: usize| {
        for number in first..first + 60 {
            appended(&engine, at, body(&format!("<{number:0>500}>")));
        }
    };
    for at in ["trimmed", "deleted", "kept"] {
        created(&engine, at, text(""));
        fill(at, 0);
    }
    engine.compact().unwrap();
    engine.checkpoint().unwrap();
    let at = |position| Offset {
        position,
        ..Offset::START
    };
    told(&engine, engine.trim(&path("trimmed"), at(5 * 502 + 7))).unwrap();
    created(&engine, "fork", fork("trimmed", Some(at(20 * 502))));
    fill("fork", 100);
    created(&engine, "orphan", fork("deleted", Some(at(3 * 502))));
    told(&engine, engine.delete(&path("deleted"))).unwrap();
    told(&engine, engine.trim(&path("trimmed"), at(40 * 502))).unwrap();
    engine.compact().unwrap();
    engine.checkpoint().unwrap();
    fill("kept", 60);
    engine.compact().unwrap();
    let names = ["trimmed", "kept", "fork", "orphan"];
    let before: Vec<_> = names.iter().map(|at| content(&engine, at)).collect();
    assert_eq!(before[2].len(), 75 * 502);
    drop(engine);
    let files = std::fs::read_dir(dir.path()).unwrap();
    let checkpoints = files.map(|file| file.unwrap().path());
    let newest = checkpoints
        .filter(|file| file.extension().is_some_and(|it| it == "checkpoint"))
        .max()
        .unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    for damaged in [true, false] {
        let engine = Engine::open(dir.path(), tiny()).unwrap();
        assert_eq!(engine.recovery().checkpoint_damage.is_some(), damaged);
        for (at, before) in names.iter().zip(&before) {
            assert_eq!(&content(&engine, at), before, "{at}");
        }
        assert!(!exists(&engine, "deleted"));
        engine.close().unwrap();
    }
}
