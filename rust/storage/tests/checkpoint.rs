//! Checkpoints, and segments that are given up and used again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use durastream_storage::{Durability, Held, Live, Lsn, OpenError, ReadError, Recovering, Tenancy};
use support::{Log, append, head, open, open_with, os, payload, reference, small};

#[test]
fn recovery_begins_at_the_newest_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).unwrap();
    assert_eq!(opened.checkpoint, None);
    let first = append(&opened.store, &head(1, 0), &payload(1, 100));
    opened
        .store
        .write_checkpoint(first.end, &[payload(1, 10)])
        .unwrap();
    // In the middle of a group.
    let second = opened.store.push(&head(1, 100), &payload(2, 100)).unwrap();
    let third = append(&opened.store, &head(1, 200), &payload(3, 100));
    let pieces = [
        payload(2, 700_000),
        payload(3, 0),
        payload(4, 400_000),
        payload(5, 1_500_000),
    ];
    opened.store.write_checkpoint(second.end, &pieces).unwrap();
    opened
        .store
        .write_checkpoint(first.end, &[payload(9, 9)])
        .unwrap();
    assert_eq!(opened.store.stats().checkpoint_lsn, second.end);
    drop(opened);
    for _ in 0..2 {
        let again = open(dir.path()).unwrap();
        assert_eq!(again.checkpoint.as_deref(), Some(&pieces.concat()[..]));
        assert_eq!(again.report.replay_from, second.end);
        let lsns: Vec<_> = again.seen.iter().map(|seen| seen.lsn).collect();
        assert_eq!(lsns, [third.lsn]);
    }
}

#[test]
fn a_checkpoint_of_everything_leaves_nothing_to_replay() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).unwrap();
    for turn in 0..50 {
        append(&opened.store, &head(1, turn * 1000), &payload(turn, 1000));
    }
    let end = opened.store.end();
    opened.store.write_checkpoint(end, &[]).unwrap();
    opened.store.compact().unwrap();
    opened.store.close().unwrap();
    drop(opened);
    for _ in 0..3 {
        let again = open(dir.path()).unwrap();
        assert_eq!((again.report.frames, again.report.end), (0, end));
        assert_eq!(again.checkpoint.as_deref(), Some(&[][..]));
    }
    let again = open(dir.path()).unwrap();
    let next = append(&again.store, &head(1, 50_000), &payload(50, 10));
    assert!(next.lsn > end);
    drop(again);
    assert_eq!(open(dir.path()).unwrap().seen[0].lsn, next.lsn);
}

/// Files of a kind.
fn count(dir: &Path, extension: &str) -> usize {
    let files = std::fs::read_dir(dir).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let same = |path: &PathBuf| path.extension().is_some_and(|it| it == extension);
    paths.filter(same).count()
}

#[test]
fn sealed_segments_are_used_again_and_their_old_frames_never_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small();
    options.hot_bytes = 0;
    let mut all = Vec::new();
    let mut kept = Vec::new();
    for session in 0..4_u64 {
        let opened = open_with(os(), dir.path(), options.clone()).unwrap();
        let seen: Vec<_> = opened.seen.iter().map(|seen| seen.reference()).collect();
        assert_eq!(seen, kept);
        assert_eq!(opened.report.torn_bytes, 0);
        for turn in 0..200 {
            let (head, payload) = (head(session, turn * 1000), payload(turn, 1000));
            let placed = append(&opened.store, &head, &payload);
            let frame = reference(placed, &head, &payload);
            kept.push(frame);
            all.push((frame, payload));
            if turn % 20 == 19 {
                opened.store.write_checkpoint(placed.lsn, &[]).unwrap();
                opened.store.compact().unwrap();
                kept = vec![frame];
            }
        }
        let stats = opened.store.stats();
        assert!(stats.recycled >= 8, "{} recycled", stats.recycled);
        assert!(stats.segments <= 6, "{} segments", stats.segments);
        assert_eq!((stats.checkpoints, stats.sealing_backlog), (10, 0));
        let frames: Vec<_> = all.iter().map(|(frame, _)| *frame).collect();
        let payloads = opened.store.read(&frames).unwrap();
        assert!(payloads.iter().eq(all.iter().map(|(_, payload)| payload)));
        if session == 2 {
            opened.store.close().unwrap();
        }
    }
    let files = count(dir.path(), "wal");
    assert!(files < 10, "{files} files");
}

/// Nobody needs anything of odd streams, nor what lies before this of the others.
struct Even(u64);

impl Tenancy for Even {
    fn live(&self, streams: &[u64], out: &mut Vec<Live>) {
        let live = |it: &u64| match it % 2 {
            0 => Live::above(self.0),
            _ => Live::NOTHING,
        };
        out.extend(streams.iter().map(live));
    }

    fn within(&self, _from: Lsn, _to: Lsn, _out: &mut Vec<Held>) {}
}

#[test]
fn what_nobody_needs_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut recovering = Recovering::open(os(), dir.path(), small(), "a test").unwrap();
    recovering.set_tenancy(Arc::new(Even(7_000)));
    let store = recovering.start(Arc::new(Log::default())).unwrap();
    let mut frames = Vec::new();
    for turn in 0..20 {
        for stream in 1..=3 {
            let (head, payload) = (head(stream, turn * 1000), payload(turn, 1000));
            frames.push(reference(append(&store, &head, &payload), &head, &payload));
        }
    }
    store.compact().unwrap();
    for _ in 0..2 {
        store.write_checkpoint(store.end(), &[]).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let store = open(dir.path()).unwrap().store;
    assert_eq!(store.sealed(), store.end());
    for frame in frames {
        let kept = frame.stream == 2 && frame.position >= 7_000;
        match store.read(&[frame]) {
            // The last segment is there until another one begins.
            Ok(payloads) => assert_eq!(payloads[0].len(), 1000),
            Err(refused) => assert!(!kept && matches!(refused, ReadError::Io { .. })),
        }
    }
    let history = store.history(2, 7_500, u64::MAX, 3_000).unwrap();
    assert_eq!((history.start, history.end), (7_000, 10_000));
    assert_eq!(store.history_events(2, 0, u64::MAX).unwrap(), 13);
    for stream in [1, 3] {
        assert_eq!(store.history_events(stream, 0, u64::MAX).unwrap(), 0);
    }
}

#[test]
fn without_a_checkpoint_nothing_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).unwrap();
    for turn in 0..50 {
        append(&opened.store, &head(1, turn * 1000), &payload(turn, 1000));
    }
    opened.store.compact().unwrap();
    drop(opened);
    assert_eq!(open(dir.path()).unwrap().seen.len(), 50);
}

#[test]
fn a_checkpoint_is_never_ahead_of_what_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small();
    options.durability = Durability::None;
    let opened = open_with(os(), dir.path(), options).unwrap();
    let placed = opened.store.push(&head(1, 0), &payload(1, 10)).unwrap();
    assert_eq!(opened.store.stats().syncs, 0);
    opened.store.write_checkpoint(placed.end, &[]).unwrap();
    assert_eq!(opened.store.stats().syncs, 1);
    assert_eq!(opened.store.durable(), placed.end);
}

/// Damages the file of the newest checkpoint.
fn damage_newest(dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(dir).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let newest = paths
        .filter(|path| path.extension().is_some_and(|it| it == "checkpoint"))
        .max()
        .unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    newest
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_it_stands_in() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).unwrap();
    let mut ends = Vec::new();
    for turn in 0..60 {
        let placed = append(&opened.store, &head(1, turn * 1000), &payload(turn, 1000));
        ends.push(placed.end);
        if turn % 20 == 19 {
            let state = payload(turn, 100);
            opened.store.write_checkpoint(placed.end, &[state]).unwrap();
        }
    }
    opened.store.compact().unwrap();
    drop(opened);
    let newest = damage_newest(dir.path());
    let again = open(dir.path()).unwrap();
    let told = again.report.checkpoint_damage.clone().unwrap();
    assert!(told.contains(newest.to_str().unwrap()), "{told}");
    assert_eq!(again.checkpoint, Some(payload(39, 100)));
    assert_eq!(again.report.replay_from, ends[39]);
    assert_eq!(again.seen.len(), 20);
    drop(again);
    // It is out of the way, but not gone; and what stands in for it is told once.
    assert!(newest.with_extension("checkpoint.damaged").exists());
    let again = open(dir.path()).unwrap();
    assert_eq!(again.report.checkpoint_damage, None);
    assert_eq!(again.checkpoint, Some(payload(39, 100)));
    drop(again);
    // The log does not begin early enough to do without any.
    damage_newest(dir.path());
    let refused = open(dir.path()).map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}
