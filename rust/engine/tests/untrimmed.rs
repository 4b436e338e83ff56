//! Streams that cannot be trimmed to their retention are tried again, and told of once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
#[path = "support/warnings.rs"]
mod warnings;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use durastream_engine::storage::fs::{Fs, FsFile, Open, SimFs};
use durastream_engine::{Create, Engine, Limit, Reconfigure, Retention};
use support::*;

const STREAMS: u64 = 8;
const EVENT: u64 = 100;

fn floors(engine: &Engine, kin: char) -> Vec<u64> {
    let floor = |stream| {
        told(engine, engine.head(&path(&format!("{kin}{stream}"))))
            .unwrap()
            .floor
    };
    (0..STREAMS)
        .map(|stream| floor(stream).position / EVENT)
        .collect()
}

fn until_floors(engine: &Engine, kin: char, wanted: u64) {
    let begun = Instant::now();
    while floors(engine, kin) != [wanted; STREAMS as usize] {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            floors(engine, kin)
        );
        thread::sleep(Duration::from_millis(1));
    }
}

/// Streams of thirty appends, all in one sealed file.
fn seal_streams(engine: &Engine, kin: char) {
    for stream in 0..STREAMS {
        let retention = Some(Retention {
            max_events: Some(60),
            ..Retention::default()
        });
        let create = Create {
            retention,
            ..text("")
        };
        created(engine, &format!("{kin}{stream}"), create);
        for _ in 0..30 {
            appended(
                engine,
                &format!("{kin}{stream}"),
                body(&"x".repeat(EVENT as usize)),
            );
        }
    }
    engine.compact().unwrap();
}

/// Has more limits enforced, of which the one by bytes needs a look into the file.
fn tighten(engine: &Engine, kin: char) {
    for stream in 0..STREAMS {
        // By number the floor is behind ten appends, by bytes behind sixteen.
        let change = Reconfigure {
            max_bytes: Limit::Set(15 * EVENT - 10),
            max_events: Limit::Set(20),
            ..Reconfigure::default()
        };
        told(
            engine,
            engine.configure(&path(&format!("{kin}{stream}")), change),
        )
        .unwrap();
    }
}

fn sealed(fs: &SimFs) -> Vec<PathBuf> {
    let mut names = fs.list(Path::new("data")).unwrap();
    names.retain(|name| name.extension().is_some_and(|it| it == "sealed"));
    names
}

/// Cuts all but the header off; gives what is needed to make it whole.
fn cut(fs: &SimFs, name: &Path) -> (Arc<dyn FsFile>, Vec<u8>) {
    let file = fs.open(&Path::new("data").join(name), Open::Write).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    file.set_len(4096).unwrap();
    (file, bytes)
}

#[test]
fn what_cannot_be_read_is_told_once_and_keeps_no_other_limit_from_being_enforced() {
    warnings::count();
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let mut quick = options();
    quick.store.hot_bytes = 0;
    // One file each time, and nothing is merged.
    quick.store.segment_bytes = 1 << 20;
    quick.store.sealed_file_bytes = 1;
    quick.reap_interval = Duration::from_millis(1);
    let engine = open_with(&fs, &clock, quick);
    seal_streams(&engine, 's');
    let first = sealed(&fs);
    seal_streams(&engine, 'u');
    let mut second = sealed(&fs);
    second.retain(|name| !first.contains(name));
    assert_eq!((first.len(), second.len()), (1, 1));

    let mut hurt = vec![cut(&fs, &first[0])];
    tighten(&engine, 's');
    until_floors(&engine, 's', 10);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(floors(&engine, 's'), [10; STREAMS as usize]);
    assert_eq!(warnings::counted(), 1);

    // Another cause is told, too, while the first one lasts.
    hurt.push(cut(&fs, &second[0]));
    tighten(&engine, 'u');
    until_floors(&engine, 'u', 10);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(floors(&engine, 'u'), [10; STREAMS as usize]);
    assert_eq!(warnings::counted(), 2);

    for (file, bytes) in &hurt {
        file.write_all_at(&mut [IoSlice::new(bytes)], 0).unwrap();
    }
    until_floors(&engine, 's', 16);
    until_floors(&engine, 'u', 16);
    assert_eq!(warnings::counted(), 2);
}
