//! What was damaged in the log before it was sealed is refused to the stream and to its forks, as long as one of them
//! has it; nothing else is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::IoSlice;
use std::path::Path;

use durastream_engine::storage::ReadError;
use durastream_engine::storage::fs::{Fs, Open, SimFs};
use durastream_engine::{Engine, From, Offset, PageError};
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

#[test]
fn forks_are_refused_what_their_source_has_lost_and_nothing_else() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let mut small = options();
    small.store.hot_bytes = 0;
    let engine = open_with(&fs, &clock, small.clone());
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
    let engine = open_with(&fs, &clock, small);
    // A new fork would have to look into what is lost to begin there, but not behind it.
    let at = |position| {
        let incarnation = told(&engine, engine.head(&path("source")))
            .unwrap()
            .tail
            .incarnation;
        Offset {
            incarnation,
            position,
        }
    };
    created(&engine, "behind", fork("source", Some(at(8 * EVENT))));
    assert_eq!(refused(&engine, "behind", 8), [3, 7]);
    assert!(
        told(
            &engine,
            engine.create(&path("in"), fork("source", Some(at(7 * EVENT + 5))))
        )
        .is_err()
    );

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
