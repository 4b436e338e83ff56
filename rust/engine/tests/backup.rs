//! A backup is a log like any other; one that fails leaves nothing; a repair says what it costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use durastream_engine::storage::BackupError;
use durastream_engine::storage::fs::sim::{Fault, FaultKind, OpClass};
use durastream_engine::storage::fs::{Fs, Open, SimFs};
use durastream_engine::tools::{Depth, FaultKind as Kind, examine, repair};
use durastream_engine::{Engine, Options};
use support::{ManualClock, appended, body, content, created, fork, open, options, text};

fn data() -> &'static Path {
    Path::new("data")
}

fn shared(fs: &SimFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn filled(fs: &SimFs, clock: &Arc<ManualClock>) -> Engine {
    let engine = open(fs, clock);
    created(&engine, "a", text("one"));
    created(&engine, "f", fork("a", None));
    appended(&engine, "a", body("two"));
    appended(&engine, "f", body("fork"));
    engine
}

fn backed_up(fs: &SimFs) -> Engine {
    let options: Options = options();
    let clock = ManualClock::new();
    Engine::open_with(shared(fs), Path::new("backup"), options, clock).unwrap()
}

#[test]
fn a_backup_has_every_stream_and_is_sound() {
    let (fs, dest, clock) = (SimFs::new(), SimFs::new(), ManualClock::new());
    let engine = filled(&fs, &clock);
    let report = engine
        .backup_to(&shared(&dest), Path::new("backup"))
        .unwrap();
    appended(&engine, "a", body("later"));
    let found = examine(shared(&dest), Path::new("backup"), Depth::Everything).unwrap();
    assert_eq!((found.faults.len(), found.streams, found.events), (0, 2, 3));
    assert_eq!(found.end, report.end);
    let copy = backed_up(&dest);
    assert_eq!(
        (content(&copy, "a"), content(&copy, "f")),
        ("onetwo".into(), "onefork".into())
    );
    appended(&copy, "f", body("!"));
    assert_eq!(content(&copy, "f"), "onefork!");
    assert_eq!(content(&engine, "a"), "onetwolater");
}

#[test]
fn a_backup_that_fails_leaves_nothing_and_harms_nobody() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = filled(&fs, &clock);
    let mut failed = 0;
    for class in [OpClass::Write, OpClass::Sync] {
        for after in 0..12 {
            let dest = SimFs::new();
            dest.inject(Fault {
                class,
                after,
                times: 1,
                kind: FaultKind::Io,
            });
            match engine.backup_to(&shared(&dest), Path::new("backup")) {
                Ok(_) => continue,
                Err(BackupError::Io { .. }) => failed += 1,
                Err(other) => panic!("{other}"),
            }
            dest.heal();
            let left = dest.list(Path::new("backup")).unwrap_or_default();
            assert!(left.is_empty(), "{left:?}");
            engine
                .backup_to(&shared(&dest), Path::new("backup"))
                .unwrap();
        }
    }
    assert!(failed > 5, "only {failed} backups failed");
    appended(&engine, "a", body("!"));
    assert_eq!(content(&engine, "a"), "onetwo!");
}

/// The file and offset of the first frame that holds `needle`.
fn place(fs: &SimFs, needle: &[u8]) -> (PathBuf, u64) {
    for name in fs.list(data()).unwrap() {
        let path = data().join(name);
        let file = fs.open(&path, Open::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let found = bytes
            .windows(needle.len())
            .position(|window| window == needle);
        if let Some(at) = found.filter(|_| path.extension().is_some_and(|it| it == "wal")) {
            return (path, at as u64);
        }
    }
    panic!("not there");
}

#[test]
fn a_repair_keeps_what_was_before_the_damage_and_names_what_was_behind() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = filled(&fs, &clock);
    engine.checkpoint().unwrap();
    appended(&engine, "a", body("kept"));
    appended(&engine, "a", body("hurt-here"));
    created(&engine, "new", text("born"));
    appended(&engine, "f", body("gone"));
    let fs = fs.kill();
    let (file, at) = place(&fs, b"hurt-here");
    let opened = fs.open(&file, Open::Write).unwrap();
    opened.write_all_at(&mut [IoSlice::new(b"?")], at).unwrap();
    let found = examine(shared(&fs), data(), Depth::Everything).unwrap();
    assert!(found.is_damaged());
    assert_eq!(found.faults[0].kind, Kind::Damage);
    assert_eq!(found.faults[0].path.as_ref().unwrap().as_str(), "a");
    let planned = repair(shared(&fs), data(), true).unwrap();
    let done = repair(shared(&fs), data(), false).unwrap();
    assert_eq!(
        (done.cut, &done.losses, done.unknown),
        (planned.cut, &planned.losses, 1)
    );
    let lost: Vec<_> = done
        .losses
        .iter()
        .map(|it| (it.path.clone().unwrap(), it.bytes))
        .collect();
    assert_eq!(lost, [(support::path("f"), 4), (support::path("new"), 4)]);
    assert!(done.losses[1].created);
    assert!(!done.after.unwrap().is_damaged());
    let again = open(&fs, &clock);
    assert_eq!(
        (content(&again, "a"), content(&again, "f")),
        ("onetwokept".into(), "onefork".into())
    );
    assert!(!support::exists(&again, "new"));
    again.close().unwrap();
    assert!(repair(shared(&fs), data(), false).unwrap().sound);
}
