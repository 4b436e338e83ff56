//! Damage to what was acknowledged is refused; what was never acknowledged is cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use durastream_storage::fs::sim::{Fault, FaultKind, OpClass};
use durastream_storage::fs::{Fs, Open, SimFs};
use durastream_storage::{OpenError, Recovering, Store};
use support::{Seen, append, full_head, head, open_with, payload, small};

fn dir() -> PathBuf {
    PathBuf::from("/data")
}

/// A directory with a checkpoint, two segments and a few frames; gives what replay must show.
fn disk(close: bool) -> (SimFs, Vec<Seen>) {
    let fs = SimFs::new();
    let opened = open_with(Arc::new(fs.clone()), &dir(), small()).unwrap();
    let first = append(&opened.store, &head(1, 0), &payload(1, 30));
    opened
        .store
        .write_checkpoint(first.end, &[payload(2, 50)])
        .unwrap();
    append(&opened.store, &full_head(2, 0), &payload(3, 11_000));
    // Too large for what is left.
    append(&opened.store, &head(1, 30), &payload(4, 5_000));
    opened
        .store
        .push(&head(1, 5_030), &payload(5, 100))
        .unwrap();
    let last = opened
        .store
        .push(&head(2, 11_000), &payload(6, 77))
        .unwrap();
    opened.store.wait(last.end, None).unwrap();
    // A disk stopped amid sealing holds files that the manifest does not name, and nobody misses what is cut off those.
    settle(&opened.store);
    if close {
        opened.store.close().unwrap();
    }
    let fs = fs.kill();
    let seen = replay(&fs).unwrap();
    assert_eq!(seen.len(), 4);
    (fs, seen)
}

/// Waits until the full segment has been sealed.
fn settle(store: &Store) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.sealed() == 0 {
        assert!(Instant::now() < deadline, "the full segment is not sealed");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Only recovers, so that the directory stays as it is; gives the frames behind the checkpoint.
///
/// When the checkpoint is damaged, that is said, and the log stands in for it.
fn replay(fs: &SimFs) -> Result<Vec<Seen>, OpenError> {
    let mut recovering = Recovering::open(Arc::new(fs.clone()), &dir(), small(), "a test")?;
    let checkpoint = recovering.checkpoint();
    let mut seen = Vec::new();
    let report = recovering.replay(&mut |frame| {
        seen.push(Seen::of(&frame));
        Ok(())
    })?;
    if report.checkpoint_damage.is_some() {
        assert_eq!((checkpoint, report.replay_from), (None, 0));
        assert_eq!(seen.remove(0).payload, payload(1, 30));
    } else {
        assert_eq!(checkpoint, Some(payload(2, 50)));
    }
    Ok(seen)
}

fn is_checkpoint(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "checkpoint")
}

fn files(fs: &SimFs) -> Vec<PathBuf> {
    let names = fs.list(&dir()).unwrap();
    names
        .iter()
        // Nothing depends on what these hold.
        .filter(|name| !["LOCK", "BALLAST"].map(Path::new).contains(&name.as_path()))
        .map(|name| dir().join(name))
        .collect()
}

fn read(fs: &SimFs, path: &Path) -> Vec<u8> {
    let file = fs.open(path, Open::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn write(fs: &SimFs, path: &Path, bytes: &[u8], at: u64) {
    let file = fs.open(path, Open::Write).unwrap();
    file.write_all_at(&mut [IoSlice::new(bytes)], at).unwrap();
}

#[test]
fn any_flipped_bit_keeps_every_acknowledged_frame_or_is_refused() {
    for close in [true, false] {
        let (fs, wanted) = disk(close);
        let mut refused = 0;
        for path in files(&fs) {
            let bytes = read(&fs, &path);
            for (at, byte) in bytes.iter().enumerate() {
                let flipped = byte ^ 1 << (at % 8);
                write(&fs, &path, &[flipped], at as u64);
                match replay(&fs) {
                    Ok(seen) => assert_eq!(seen, wanted, "{} at {at}", path.display()),
                    Err(OpenError::Damaged { .. } | OpenError::Version { .. }) => refused += 1,
                    Err(other) => panic!("{} at {at}: {other}", path.display()),
                }
                write(&fs, &path, &[*byte], at as u64);
            }
        }
        assert!(refused > 16_000, "only {refused} flips were refused");
    }
}

#[test]
fn any_truncation_but_of_a_checkpoint_is_refused() {
    for close in [true, false] {
        let (fs, wanted) = disk(close);
        for path in files(&fs) {
            let bytes = read(&fs, &path);
            let file = fs.open(&path, Open::Write).unwrap();
            for len in (0..bytes.len()).rev() {
                file.set_len(len as u64).unwrap();
                let replayed = replay(&fs);
                if is_checkpoint(&path) {
                    assert_eq!(replayed.unwrap(), wanted);
                    continue;
                }
                let refused = replayed.unwrap_err();
                assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
            }
            write(&fs, &path, &bytes, 0);
        }
        assert_eq!(replay(&fs).unwrap(), wanted);
    }
}

#[test]
fn a_missing_file_is_refused_unless_the_log_stands_in_for_it() {
    let (fs, wanted) = disk(false);
    for path in files(&fs) {
        let aside = dir().join("aside");
        fs.rename(&path, &aside).unwrap();
        match replay(&fs) {
            Ok(seen) if is_checkpoint(&path) => assert_eq!(seen, wanted),
            Err(OpenError::Damaged { .. }) => {}
            other => panic!("{}: {other:?}", path.display()),
        }
        fs.rename(&aside, &path).unwrap();
    }
    replay(&fs).unwrap();
}

#[test]
fn damage_is_named_by_file_offset_and_stream() {
    let (fs, wanted) = disk(true);
    let path = files(&fs)
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with("2.wal"))
        .unwrap();
    // The second frame's payload; the first segment, behind the small reserve, begins at LSN 0.
    let offset = 4096 + wanted[0].lsn;
    write(&fs, &path, b"!!!!", offset + 200);
    let refused = replay(&fs).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Damaged { file, offset: at, detail }
            if *file == path && *at == offset && detail.contains("stream 2")),
        "{refused}"
    );
}

#[test]
fn an_unknown_version_is_told() {
    let (fs, _) = disk(true);
    for path in files(&fs) {
        let version = read(&fs, &path)[8];
        write(&fs, &path, &[9], 8);
        let refused = replay(&fs).unwrap_err();
        assert!(
            matches!(&refused, OpenError::Version { file, found: 9, known }
                if *file == path && *known >= u32::from(version)),
            "{refused}"
        );
        write(&fs, &path, &[version], 8);
    }
}

#[test]
fn a_torn_group_is_set_aside_and_its_whole_frames_are_kept() {
    let fs = SimFs::new();
    let opened = open_with(Arc::new(fs.clone()), &dir(), small()).unwrap();
    let before = append(&opened.store, &head(1, 0), &payload(1, 100));
    fs.inject(Fault {
        class: OpClass::Write,
        after: 0,
        times: 1,
        kind: FaultKind::ShortWrite,
    });
    opened.store.push(&head(1, 100), &payload(2, 100)).unwrap();
    let torn = opened.store.push(&head(1, 200), &payload(3, 1000)).unwrap();
    opened.store.wait(torn.end, None).unwrap_err();
    let fs = fs.kill();
    for _ in 0..2 {
        // Twice: recovery that is broken off changes nothing.
        assert_eq!(replay_of(&fs).len(), 2);
    }
    let again = open_with(Arc::new(fs.clone()), &dir(), small()).unwrap();
    let lsns: Vec<_> = again.seen.iter().map(|seen| seen.lsn).collect();
    assert_eq!(lsns, [before.lsn, before.end + 48]);
    assert_eq!(again.report.end, torn.lsn);
    assert_eq!(again.report.torn_bytes, torn.end - torn.lsn);
    let aside = dir().join("torn");
    let copies = fs.list(&aside).unwrap();
    assert_eq!(copies.len(), 1);
    assert_eq!(
        read(&fs, &aside.join(&copies[0])).len() as u64,
        again.report.torn_bytes
    );
    let next = append(&again.store, &head(1, 200), &payload(4, 10));
    assert_eq!(next.lsn, torn.lsn + 48);
    let fs = fs.kill();
    let last = open_with(Arc::new(fs), &dir(), small()).unwrap();
    assert_eq!(last.seen.len(), 3);
    assert_eq!(last.report.torn_bytes, 0);
}

fn replay_of(fs: &SimFs) -> Vec<Seen> {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut recovering = Recovering::open(fs, &dir(), small(), "a test").unwrap();
    let mut seen = Vec::new();
    recovering
        .replay(&mut |frame| {
            seen.push(Seen::of(&frame));
            Ok(())
        })
        .unwrap();
    seen
}

#[test]
fn a_frame_that_the_engine_refuses_ends_recovery() {
    let (fs, wanted) = disk(true);
    let mut recovering = Recovering::open(Arc::new(fs), &dir(), small(), "a test").unwrap();
    let refused = recovering
        .replay(&mut |_| Err("impossible".to_owned()))
        .unwrap_err();
    assert!(matches!(refused, OpenError::Replay { lsn, .. } if lsn == wanted[0].lsn));
}
