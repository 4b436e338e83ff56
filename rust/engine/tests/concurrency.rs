//! Many threads at once: every append once and in its writer's order, for every reader.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use durastream_engine::storage::fs::SimFs;
use durastream_engine::{AppendError, Engine, From, Offset, PageError};
use support::*;

const WRITERS: u64 = 4;
const APPENDS: u64 = 150;

/// Follows a stream to its end, like a live reader.
fn follow(engine: &Engine, at: &str) -> String {
    let reader = told(engine, engine.reader(&path(at))).unwrap();
    let mut next = Offset::START;
    let mut text = String::new();
    loop {
        let page = reader.page(From::At(next), 64).unwrap();
        assert!(page.next >= next);
        assert!(page.chunks.is_empty() || page.start == next || next == Offset::START);
        text.push_str(std::str::from_utf8(&page.chunks.concat()).unwrap());
        next = page.next;
        if page.closed {
            return text;
        }
        if page.up_to_date {
            assert!(
                reader.wait_readable(next, Duration::from_secs(20)).unwrap(),
                "no end"
            );
        }
    }
}

fn check(text: &str) {
    let mut next = [0; WRITERS as usize];
    for line in text.lines() {
        let (writer, seq) = line.split_once(':').unwrap();
        let writer: usize = writer.parse().unwrap();
        assert_eq!(seq.parse::<u64>().unwrap(), next[writer], "writer {writer}");
        next[writer] += 1;
    }
    assert_eq!(next, [APPENDS; WRITERS as usize]);
}

#[test]
fn writers_readers_checkpoints_and_restarts_do_not_disturb_each_other() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open(&fs, &clock);
    created(&engine, "s", text(""));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let followers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| follow(&engine, "s")))
            .collect();
        let checkpoints = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                engine.checkpoint().unwrap();
                std::thread::yield_now();
            }
        });
        // A neighbour that comes and goes.
        let churn = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                created(&engine, "other", text("x"));
                created(&engine, "fork", fork("other", None));
                told(&engine, engine.delete(&path("other"))).unwrap();
                match page(&engine, "fork", From::Start) {
                    Ok(page) => assert_eq!(page.chunks.concat(), b"x"),
                    Err(error) => panic!("{error}"),
                }
                told(&engine, engine.delete(&path("fork"))).unwrap();
            }
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let engine = &engine;
                scope.spawn(move || {
                    for seq in 0..APPENDS {
                        let line = format!("{writer}:{seq}\n");
                        let append = by(body(&line), &writer.to_string(), 0, seq);
                        // Every other one is sent twice, the second time perhaps before the first is durable.
                        let first = engine.append(&path("s"), append.clone());
                        if seq % 2 == 0 {
                            let again = engine.append(&path("s"), append);
                            assert!(again.lsn >= first.lsn);
                            assert!(told(engine, again).unwrap().duplicate);
                        }
                        let next = told(engine, first).unwrap().next;
                        let reader = told(engine, engine.reader(&path("s"))).unwrap();
                        assert!(reader.info().unwrap().tail >= next, "told but not shown");
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        appended(&engine, "s", close());
        done.store(true, Ordering::Relaxed);
        churn.join().unwrap();
        checkpoints.join().unwrap();
        for follower in followers {
            check(&follower.join().unwrap());
        }
    });
    drop(engine);
    check(&content(&open(&fs.kill(), &clock), "s"));
}

#[test]
fn cold_pages_are_whole_or_gone_while_the_log_is_trimmed_beneath_them() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let mut cold = options();
    cold.store.segment_bytes = 16 << 10;
    cold.store.hot_bytes = 1;
    let engine = open_with(&fs, &clock, cold);
    created(&engine, "s", text(""));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let reader = told(&engine, engine.reader(&path("s"))).unwrap();
            let mut pages = 0;
            while !stop.load(Ordering::Relaxed) {
                match reader.page(From::Start, 8 << 10) {
                    Ok(page) => {
                        for chunk in &page.chunks {
                            assert!(chunk.iter().all(|byte| *byte == chunk[0]), "torn");
                        }
                        pages += 1;
                    }
                    Err(PageError::Gone { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            pages
        });
        let end = Instant::now() + Duration::from_millis(800);
        let mut tail = Offset::START;
        let mut letter = 0;
        while Instant::now() < end {
            for _ in 0..20 {
                letter = (letter + 1) % 26;
                let text = char::from(b'a' + letter).to_string().repeat(1000);
                tail = appended(&engine, "s", body(&text));
            }
            told(&engine, engine.trim(&path("s"), tail)).unwrap();
            engine.checkpoint().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(reading.join().unwrap() > 0);
        assert!(
            engine.stats().store.recycled > 0,
            "nothing was dropped: {:?}",
            engine.stats()
        );
        assert!(tail.position > 0);
    });
}

#[test]
fn only_one_of_many_rivals_appends_at_a_tail() {
    let engine = Engine::in_memory(options()).unwrap();
    let mut tail = created(&engine, "s", text(""));
    for _ in 0..50 {
        let won = std::thread::scope(|scope| {
            let rivals: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let append = durastream_engine::Append {
                            if_tail: Some(tail),
                            ..body("x")
                        };
                        match told(&engine, engine.append(&path("s"), append)) {
                            Ok(_) => 1,
                            Err(AppendError::TailMoved { .. }) => 0,
                            Err(error) => panic!("{error}"),
                        }
                    })
                })
                .collect();
            rivals
                .into_iter()
                .map(|rival| rival.join().unwrap())
                .sum::<i32>()
        });
        assert_eq!(won, 1);
        tail = told(&engine, engine.head(&path("s"))).unwrap().tail;
    }
    assert_eq!(tail.position, 50);
}

#[test]
fn closing_twice_at_once_still_makes_the_last_checkpoint() {
    for _ in 0..3 {
        let (fs, clock) = (SimFs::new(), ManualClock::new());
        let engine = open(&fs, &clock);
        for number in 0..3000 {
            created(&engine, &format!("stream/{number}"), text("content"));
        }
        std::thread::scope(|scope| {
            for wait in 0..4 {
                let engine = &engine;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(wait * 200));
                    engine.close().unwrap();
                });
            }
        });
        drop(engine);
        let engine = open(&fs, &clock);
        let report = engine.recovery();
        assert_eq!((report.clean, report.frames), (true, 0), "{report:?}");
    }
}
