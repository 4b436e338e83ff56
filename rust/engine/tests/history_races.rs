//! Reads while what they read is sealed, forgotten, compacted, trimmed and deleted: the right bytes or a refusal, never
//! wrong ones and never an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use durastream_engine::storage::fs::SimFs;
use durastream_engine::{
    Append, ChangeError, Create, CreateError, Engine, ForkSpec, From, LookupError, Offset,
    PageError, Retention,
};
use support::*;

/// Streams that are written, and for each one that forks it.
const SOURCES: [&str; 3] = ["kept", "by-bytes", "by-events"];
const TIME: Duration = Duration::from_secs(4);

/// What lies at a position that is a multiple of 8, in every life of a family of streams that share an incarnation.
fn word(at: Offset) -> [u8; 8] {
    (at.incarnation << 40 | at.position).to_le_bytes()
}

fn words(at: Offset, count: u64) -> Bytes {
    let offset = |nth| Offset {
        position: at.position + 8 * nth,
        ..at
    };
    (0..count).flat_map(|nth| word(offset(nth))).collect()
}

/// A small generator, one for each thread.
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

struct Arena {
    engine: Engine,
    over: AtomicBool,
    pages: AtomicU64,
    cold: AtomicU64,
    forks: AtomicU64,
}

impl Arena {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// One page from somewhere, or nothing when that is gone. Gives where to go on.
    fn read(&self, at: &str, from: From, max: usize) -> Option<Offset> {
        let reader = match told(&self.engine, self.engine.reader(&path(at))) {
            Ok(reader) => reader,
            Err(LookupError::NotFound { .. } | LookupError::SoftDeleted { .. }) => return None,
            Err(error) => panic!("{at}: {error}"),
        };
        if !reader.is_hot(from, max) {
            self.cold.fetch_add(1, Ordering::Relaxed);
        }
        let page = match reader.page(from, max) {
            Ok(page) => page,
            Err(PageError::Gone { .. } | PageError::Lookup(_)) => return None,
            Err(error) => panic!("{at} from {from:?}: {error}"),
        };
        self.pages.fetch_add(1, Ordering::Relaxed);
        let bytes = page.chunks.concat();
        let len = page.next.position - page.start.position;
        assert_eq!(bytes.len() as u64, len, "{at} from {from:?}");
        assert_eq!(bytes, words(page.start, len / 8), "{at} from {from:?}");
        if let From::At(asked) = from {
            assert!(page.start <= asked || bytes.is_empty(), "{at}");
            assert!(page.next > asked || page.up_to_date, "{at} {asked}");
        }
        Some(page.next)
    }

    fn readers(&self, seed: u64) {
        let mut dice = Dice(seed);
        while self.goes_on() {
            let source = SOURCES[dice.roll(3) as usize];
            let fork = format!("{source}/fork");
            let at = if dice.roll(3) == 0 { &fork } else { source };
            let max = [1, 500, 20_000, usize::MAX][dice.roll(4) as usize];
            let mut next = match dice.roll(2) {
                0 => self.read(at, From::Start, max),
                _ => {
                    let head = told(&self.engine, self.engine.head(&path(at)));
                    head.ok().and_then(|info| {
                        let span = info.tail.position - info.floor.position;
                        let position = info.floor.position + dice.roll(span + 1);
                        let asked = Offset {
                            position,
                            ..info.tail
                        };
                        self.read(at, From::At(asked), max)
                    })
                }
            };
            for _ in 0..dice.roll(20) {
                let Some(asked) = next else { break };
                next = self.read(at, From::At(asked), max);
            }
        }
    }

    fn writer(&self, at: &str) {
        let mut dice = Dice(7);
        while self.goes_on() {
            let tail = told(&self.engine, self.engine.head(&path(at)))
                .unwrap()
                .tail;
            let append = Append {
                body: words(tail, 1 + dice.roll(200)),
                ..Append::default()
            };
            told(&self.engine, self.engine.append(&path(at), append)).unwrap();
        }
    }

    /// Forks at boundaries and within appends, writes to the fork, and deletes it.
    fn forker(&self, source: &str) {
        let mut dice = Dice(8);
        let at = path(&format!("{source}/fork"));
        while self.goes_on() {
            let Ok(info) = told(&self.engine, self.engine.head(&path(source))) else {
                continue;
            };
            let span = info.tail.position - info.floor.position;
            let position = info.floor.position + dice.roll(span + 1);
            let reader = told(&self.engine, self.engine.reader(&path(source))).unwrap();
            let asked = Offset {
                position,
                ..info.tail
            };
            // Where the append begins that holds the position.
            let Ok(page) = reader.page(From::At(asked), 1) else {
                continue;
            };
            let len = page.next.position - page.start.position;
            let create = Create {
                fork: Some(ForkSpec {
                    source: path(source),
                    offset: Some(page.start),
                    sub_offset: if len == 0 { 0 } else { dice.roll(len / 8) * 8 },
                }),
                ..Create::default()
            };
            match told(&self.engine, self.engine.create(&at, create)) {
                Ok(made) => {
                    let append = Append {
                        body: words(made.info.tail, 1 + dice.roll(50)),
                        ..Append::default()
                    };
                    told(&self.engine, self.engine.append(&at, append)).unwrap();
                    self.forks.fetch_add(1, Ordering::Relaxed);
                }
                // Trimmed meanwhile.
                Err(CreateError::ForkPoint { .. }) => continue,
                Err(error) => panic!("{error}"),
            }
            thread::sleep(Duration::from_millis(dice.roll(20)));
            match told(&self.engine, self.engine.delete(&at)) {
                Ok(()) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Trims anywhere, boundary or not.
    fn trimmer(&self) {
        let mut dice = Dice(9);
        while self.goes_on() {
            let at = SOURCES[dice.roll(3) as usize];
            let info = told(&self.engine, self.engine.head(&path(at))).unwrap();
            let span = info.tail.position - info.floor.position;
            let position = info.floor.position + dice.roll(span / 2 + 1);
            let before = Offset {
                position,
                ..info.tail
            };
            match told(&self.engine, self.engine.trim(&path(at), before)) {
                Ok(floor) => assert!(floor <= before || floor >= info.floor),
                Err(error @ (ChangeError::Lookup(_) | ChangeError::Offset { .. })) => {
                    panic!("{error}")
                }
                Err(error) => panic!("{error}"),
            }
            thread::sleep(Duration::from_millis(dice.roll(8)));
        }
    }

    fn compactor(&self) {
        let mut dice = Dice(10);
        while self.goes_on() {
            self.engine.compact().unwrap();
            if dice.roll(4) == 0 {
                self.engine.checkpoint().unwrap();
            }
            thread::sleep(Duration::from_millis(dice.roll(4)));
        }
    }
}

#[test]
fn reads_racing_with_everything_give_the_right_bytes_or_say_that_they_are_gone() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let mut tiny = options();
    tiny.store.segment_bytes = 16 << 10;
    tiny.store.hot_bytes = 8 << 10;
    tiny.reap_interval = Duration::from_millis(2);
    tiny.checkpoint_bytes = 256 << 10;
    let engine = open_with(&fs, &clock, tiny.clone());
    for at in SOURCES {
        let retention = match at {
            "by-bytes" => Some(Retention {
                max_bytes: Some(100_000),
                ..Retention::default()
            }),
            "by-events" => Some(Retention {
                max_events: Some(300),
                ..Retention::default()
            }),
            _ => None,
        };
        let create = Create {
            retention,
            ..Create::default()
        };
        created(&engine, at, create);
    }
    let arena = Arena {
        engine,
        over: AtomicBool::new(false),
        pages: AtomicU64::new(0),
        cold: AtomicU64::new(0),
        forks: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        let arena = &arena;
        let mut threads = Vec::new();
        for at in SOURCES {
            threads.push(scope.spawn(move || arena.writer(at)));
            threads.push(scope.spawn(move || arena.forker(at)));
        }
        for seed in 0..3 {
            threads.push(scope.spawn(move || arena.readers(seed)));
        }
        threads.push(scope.spawn(|| arena.trimmer()));
        threads.push(scope.spawn(|| arena.compactor()));
        let began = Instant::now();
        // A thread that ends early has panicked.
        while began.elapsed() < TIME && threads.iter().all(|it| !it.is_finished()) {
            thread::sleep(Duration::from_millis(20));
        }
        arena.over.store(true, Ordering::Relaxed);
    });
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    assert!(count(&arena.pages) > 100 && count(&arena.cold) > 50 && count(&arena.forks) > 5);
    for at in SOURCES {
        arena.read(at, From::Start, usize::MAX).unwrap();
    }
    drop(arena);
    // What is left reads the same after a crash.
    let engine = open_with(&fs.kill(), &clock, tiny);
    let arena = Arena {
        engine,
        over: AtomicBool::new(true),
        pages: AtomicU64::new(0),
        cold: AtomicU64::new(0),
        forks: AtomicU64::new(0),
    };
    for at in SOURCES {
        arena.read(at, From::Start, usize::MAX).unwrap();
    }
}
