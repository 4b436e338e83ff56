//! What was damaged in the log before it was sealed is refused to the stream and to its forks, as long as one of them
//! has it; nothing else is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
#[path = "support/warnings.rs"]
mod warnings;

use std::io::IoSlice;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use durastream_engine::storage::ReadError;
use durastream_engine::storage::fs::{Fs, Open, SimFs};
use durastream_engine::{
    ChangeError, Create, CreateError, Engine, From, Limit, Offset, Options, PageError, Reconfigure,
    Retention,
};
use support::*;

const EVENT: u64 = 100;

fn event(number: u64) -> String {
    format!("event {number};").repeat(20)[..EVENT as usize].to_owned()
}

/// Overwrites a text wherever the log has it.
fn damage(fs: &SimFs, text: &str) {
    let mut found = 0;
    for name in fs.list(Path::new("data")).unwrap() {
        let path = Path::new("data").join(name);
        if path.extension().is_none_or(|it| it != "wal") {
            continue;
        }
        let file = fs.open(&path, Open::Write).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let places = bytes.windows(text.len()).enumerate();
        for (at, _) in places.filter(|(_, it)| *it == text.as_bytes()) {
            file.write_all_at(&mut [IoSlice::new(b"?")], at as u64 + 9)
                .unwrap();
            found += 1;
        }
    }
    assert_eq!(found, 1);
}

/// Which of so many events of a stream are refused; the others are as they were.
fn refused(engine: &Engine, at: &str, events: u64) -> Vec<u64> {
    let reader = told(engine, engine.reader(&path(at))).unwrap();
    let incarnation = reader.info().unwrap().tail.incarnation;
    let read = |number: u64| {
        let position = number * EVENT;
        let from = From::At(Offset {
            incarnation,
            position,
        });
        match reader.page(from, 1) {
            Ok(page) => {
                assert_eq!(page.chunks.concat(), event(number).as_bytes());
                true
            }
            Err(PageError::Read(ReadError::Damaged { detail, .. })) => {
                assert!(detail.contains(&format!("stream '{at}'")), "{detail}");
                false
            }
            Err(other) => panic!("{other}"),
        }
    };
    (0..events).filter(|number| !read(*number)).collect()
}

/// Nothing stays in memory, so that what is sealed is only read from there; and nothing is sealed before it is damaged.
fn cold() -> Options {
    let mut cold = options();
    cold.store.hot_bytes = 0;
    cold.store.segment_bytes = 64 << 10;
    cold
}

fn floor(engine: &Engine, at: &str) -> u64 {
    let info = told(engine, engine.head(&path(at))).unwrap();
    info.floor.position
}

fn offset(engine: &Engine, at: &str, position: u64) -> Offset {
    let tail = told(engine, engine.head(&path(at))).unwrap().tail;
    Offset { position, ..tail }
}

#[test]
fn forks_are_refused_what_their_source_has_lost_and_nothing_else() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open_with(&fs, &clock, cold());
    created(&engine, "source", text(&event(0)));
    for number in 1..5 {
        appended(&engine, "source", body(&event(number)));
    }
    created(&engine, "early", fork("source", None));
    for number in 5..10 {
        appended(&engine, "source", body(&event(number)));
    }
    created(&engine, "late", fork("source", None));
    appended(&engine, "late", body(&event(10)));
    damage(&fs, &event(3));
    damage(&fs, &event(7));
    for round in 0..3 {
        // A checkpoint is made for it when there is none.
        engine.compact().unwrap();
        assert_eq!(engine.stats().store.lost_bytes, 2 * EVENT, "round {round}");
        assert_eq!(refused(&engine, "source", 10), [3, 7]);
        assert_eq!(refused(&engine, "late", 11), [3, 7]);
        assert_eq!(refused(&engine, "early", 5), [3]);
        appended(&engine, "late", body("more"));
    }
    engine.close().unwrap();
    drop(engine);
    let engine = open_with(&fs, &clock, cold());
    let behind = offset(&engine, "source", 8 * EVENT);
    created(&engine, "behind", fork("source", Some(behind)));
    assert_eq!(refused(&engine, "behind", 8), [3, 7]);

    for gone in ["source", "late", "behind"] {
        told(&engine, engine.delete(&path(gone))).unwrap();
    }
    engine.compact().unwrap();
    assert_eq!(refused(&engine, "early", 5), [3]);
    assert!(engine.stats().store.lost_bytes >= EVENT);
    told(&engine, engine.delete(&path("early"))).unwrap();
    engine.compact().unwrap();
    assert_eq!(engine.stats().store.lost_bytes, 0);
}

/// A stream of so many events, of which those from the 19th to the 21st (counted from 0) are lost.
fn holed(engine: &Engine, fs: &SimFs, retention: Retention, mut before: impl FnMut(u64)) {
    let create = Create {
        retention: Some(retention),
        ..text("")
    };
    created(engine, "it", create);
    for number in 0..60 {
        before(number);
        appended(engine, "it", body(&event(number)));
    }
    for number in 19..22 {
        damage(fs, &event(number));
    }
    engine.compact().unwrap();
    assert_eq!(engine.stats().store.lost_bytes, 3 * EVENT);
}

/// Waits until the reaper has come round with this result.
fn assert_floor(engine: &Engine, wanted: u64) {
    let begun = Instant::now();
    while floor(engine, "it") != wanted && begun.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(20));
    assert_eq!(floor(engine, "it"), wanted);
}

fn reaping() -> Options {
    let mut reaping = cold();
    reaping.reap_interval = Duration::from_millis(2);
    reaping
}

#[test]
fn a_retention_by_bytes_keeps_a_lost_part_that_it_cuts_and_goes_on_behind_it() {
    warnings::count();
    let (start, end) = (19 * EVENT, 22 * EVENT);
    for (cut, kept_from) in [
        // An append that can be read goes as a whole, as ever.
        (start - 1, start),
        (start, start),
        (start + 10, start),
        (start + EVENT, start),
        (end - 1, start),
        (end, end),
        (end + 1, end + EVENT),
    ] {
        let (fs, clock) = (SimFs::new(), ManualClock::new());
        let engine = open_with(&fs, &clock, reaping());
        holed(&engine, &fs, Retention::default(), |_| ());
        let change = Reconfigure {
            max_bytes: Limit::Set(60 * EVENT - cut),
            ..Reconfigure::default()
        };
        told(&engine, engine.configure(&path("it"), change)).unwrap();
        assert_floor(&engine, kept_from);
        // It holds for a start, too, and what comes later moves the cut out of the part.
        engine.close().unwrap();
        drop(engine);
        let engine = open_with(&fs, &clock, reaping());
        assert_floor(&engine, kept_from);
        for number in 60..70 {
            appended(&engine, "it", body(&event(number)));
        }
        assert_floor(&engine, (cut + 10 * EVENT).next_multiple_of(EVENT));
    }
    assert_eq!(warnings::counted(), 0);
}

#[test]
fn retentions_by_number_and_age_keep_to_appends_that_are_lost() {
    warnings::count();
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open_with(&fs, &clock, reaping());
    let retention = Retention {
        max_events: Some(60),
        ..Retention::default()
    };
    holed(&engine, &fs, retention, |_| ());
    let change = Reconfigure {
        max_events: Limit::Set(40),
        // It cuts the part before that.
        max_bytes: Limit::Set(41 * EVENT - 10),
        ..Reconfigure::default()
    };
    told(&engine, engine.configure(&path("it"), change)).unwrap();
    assert_floor(&engine, 20 * EVENT);
    // A floor is where an append begins, whatever can be read there.
    let at = offset(&engine, "it", 20 * EVENT);
    created(&engine, "fork", fork("it", Some(at)));
    assert_eq!(floor(&engine, "fork"), 20 * EVENT);

    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open_with(&fs, &clock, reaping());
    let retention = Retention {
        max_age: Some(Duration::from_secs(100)),
        ..Retention::default()
    };
    holed(&engine, &fs, retention, |number| {
        if number == 21 {
            clock.pass(Duration::from_secs(50));
        }
    });
    clock.pass(Duration::from_secs(60));
    assert_floor(&engine, 21 * EVENT);
    assert_eq!(warnings::counted(), 0);
}

#[test]
fn a_stream_can_be_trimmed_and_forked_where_a_lost_part_begins_and_ends_but_not_within() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open_with(&fs, &clock, cold());
    holed(&engine, &fs, Retention::default(), |_| ());
    let (start, end) = (19 * EVENT, 22 * EVENT);
    let forked = |name: &str, position, sub_offset| {
        let mut create = fork("it", Some(offset(&engine, "it", position)));
        create.fork.as_mut().unwrap().sub_offset = sub_offset;
        told(&engine, engine.create(&path(name), create))
    };
    let trimmed = |position| {
        let before = offset(&engine, "it", position);
        told(&engine, engine.trim(&path("it"), before))
    };
    let within = [(start + 1, 0), (start + EVENT, 0), (end - 1, 0), (start, 1)];
    for (position, sub_offset) in within {
        let refusal = forked("within", position, sub_offset);
        assert!(
            matches!(refusal, Err(CreateError::Read(ReadError::Damaged { .. }))),
            "{position} {sub_offset}: {refusal:?}"
        );
        if sub_offset == 0 {
            let refusal = trimmed(position);
            assert!(matches!(
                refusal,
                Err(ChangeError::Read(ReadError::Damaged { .. }))
            ));
        }
    }
    forked("front", start, 0).unwrap();
    forked("whole", end, 0).unwrap();
    assert!(refused(&engine, "front", 19).is_empty());
    assert_eq!(refused(&engine, "whole", 22), [19, 20, 21]);
    assert_eq!(trimmed(start).unwrap().position, start);
    assert_eq!(floor(&engine, "it"), start);
    assert_eq!(trimmed(end).unwrap().position, end);
    assert_eq!(floor(&engine, "it"), end);
}
