//! Streams that cannot be trimmed to their retention are tried again, and told of once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
#[path = "support/warnings.rs"]
mod warnings;

use std::io::IoSlice;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use durastream_engine::storage::fs::{Fs, Open, SimFs};
use durastream_engine::{Create, Engine, Limit, Reconfigure, Retention};
use support::*;

const STREAMS: u64 = 8;
const EVENT: u64 = 100;

fn floors(engine: &Engine) -> Vec<u64> {
    let floor = |stream| {
        told(engine, engine.head(&path(&format!("s{stream}"))))
            .unwrap()
            .floor
    };
    (0..STREAMS)
        .map(|stream| floor(stream).position / EVENT)
        .collect()
}

fn until_floors(engine: &Engine, wanted: u64) {
    let begun = Instant::now();
    while floors(engine) != [wanted; STREAMS as usize] {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            floors(engine)
        );
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_cannot_be_read_is_told_once_and_keeps_no_other_limit_from_being_enforced() {
    warnings::count();
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let mut quick = options();
    quick.store.hot_bytes = 0;
    quick.reap_interval = Duration::from_millis(1);
    let engine = open_with(&fs, &clock, quick);
    for stream in 0..STREAMS {
        let retention = Some(Retention {
            max_events: Some(60),
            ..Retention::default()
        });
        let create = Create {
            retention,
            ..text("")
        };
        created(&engine, &format!("s{stream}"), create);
        for _ in 0..30 {
            appended(
                &engine,
                &format!("s{stream}"),
                body(&"x".repeat(EVENT as usize)),
            );
        }
    }
    engine.compact().unwrap();
    let names = fs.list(Path::new("data")).unwrap();
    let sealed = names
        .iter()
        .filter(|name| name.extension().is_some_and(|it| it == "sealed"));
    let files: Vec<_> = sealed
        .map(|name| fs.open(&Path::new("data").join(name), Open::Write).unwrap())
        .collect();
    let whole: Vec<Vec<u8>> = files
        .iter()
        .map(|file| {
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            file.set_len(4096).unwrap();
            bytes
        })
        .collect();
    for stream in 0..STREAMS {
        // By number the floor is behind ten appends, by bytes behind sixteen.
        let change = Reconfigure {
            max_bytes: Limit::Set(15 * EVENT - 10),
            max_events: Limit::Set(20),
            ..Reconfigure::default()
        };
        told(
            &engine,
            engine.configure(&path(&format!("s{stream}")), change),
        )
        .unwrap();
    }
    until_floors(&engine, 10);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(floors(&engine), [10; STREAMS as usize]);
    for (file, bytes) in files.iter().zip(&whole) {
        file.write_all_at(&mut [IoSlice::new(bytes)], 0).unwrap();
    }
    until_floors(&engine, 16);
    assert_eq!(warnings::counted(), 1);
}
