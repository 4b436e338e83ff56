//! Checkpoints, and segments that are given up and used again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use durastream_storage::Durability;
use support::{append, head, open, open_with, os, payload, reference, small};

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
        append(&opened.store, &head(1, turn), &payload(turn, 1000));
    }
    let end = opened.store.end();
    opened.store.write_checkpoint(end, &[]).unwrap();
    opened.store.drop_up_to(end).unwrap();
    opened.store.close().unwrap();
    drop(opened);
    for _ in 0..3 {
        let again = open(dir.path()).unwrap();
        assert_eq!((again.report.frames, again.report.end), (0, end));
        assert_eq!(again.checkpoint.as_deref(), Some(&[][..]));
    }
    let again = open(dir.path()).unwrap();
    let next = append(&again.store, &head(1, 50), &payload(50, 10));
    assert!(next.lsn > end);
    drop(again);
    assert_eq!(open(dir.path()).unwrap().seen[0].lsn, next.lsn);
}

#[test]
fn dropped_segments_are_used_again_and_their_old_frames_never_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small();
    options.hot_bytes = 0;
    let mut kept = Vec::new();
    for session in 0..4_u64 {
        let opened = open_with(os(), dir.path(), options.clone()).unwrap();
        let seen: Vec<_> = opened.seen.iter().map(|seen| seen.reference()).collect();
        assert_eq!(seen, kept);
        assert_eq!(opened.report.torn_bytes, 0);
        let mut before = None;
        for turn in 0..200 {
            let (head, payload) = (head(session, turn * 1000), payload(turn, 1000));
            let placed = append(&opened.store, &head, &payload);
            let frame = reference(placed, &head, &payload);
            assert_eq!(opened.store.read(&[frame]).unwrap(), [payload.clone()]);
            kept.push(frame);
            if turn % 20 == 19 {
                opened.store.write_checkpoint(placed.lsn, &[]).unwrap();
                opened.store.drop_up_to(placed.lsn).unwrap();
                if let Some((gone, payload)) = before.replace((frame, payload)) {
                    // Wherever it is by now, sealed or not.
                    assert_eq!(opened.store.read(&[gone]).unwrap(), [payload]);
                }
                kept = vec![frame];
            }
        }
        opened.store.compact().unwrap();
        let stats = opened.store.stats();
        assert!(stats.recycled >= 8, "{} recycled", stats.recycled);
        assert!(stats.segments <= 6, "{} segments", stats.segments);
        assert_eq!(stats.checkpoints, 10);
        if session == 2 {
            opened.store.close().unwrap();
        }
    }
    let files = std::fs::read_dir(dir.path()).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let segments = paths.filter(|path| path.extension().is_some_and(|it| it == "wal"));
    assert!(segments.count() < 10);
}

#[test]
fn without_a_checkpoint_nothing_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).unwrap();
    for turn in 0..50 {
        append(&opened.store, &head(1, turn), &payload(turn, 1000));
    }
    opened.store.drop_up_to(opened.store.end()).unwrap();
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
fn damage_newest(dir: &std::path::Path) -> std::path::PathBuf {
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
    // Large enough to be sealed by nobody, so that the whole log stays.
    let mut options = small();
    options.segment_bytes = 1 << 20;
    let opened = open_with(os(), dir.path(), options).unwrap();
    let mut ends = Vec::new();
    for turn in 0..60 {
        let placed = append(&opened.store, &head(1, turn * 1000), &payload(turn, 1000));
        ends.push(placed.end);
        if turn % 20 == 19 {
            let state = payload(turn, 100);
            opened.store.write_checkpoint(placed.end, &[state]).unwrap();
        }
    }
    drop(opened);
    for (previous, damaged) in [(Some(39), 59), (None, 39)] {
        let newest = damage_newest(dir.path());
        let again = open(dir.path()).unwrap();
        let told = again.report.checkpoint_damage.clone().unwrap();
        assert!(told.contains(newest.to_str().unwrap()), "{told}");
        let expected = previous.map(|turn| payload(turn, 100));
        assert_eq!(again.checkpoint, expected, "not {damaged}");
        let from = previous.map_or(0, |turn| ends[turn as usize]);
        assert_eq!(again.report.replay_from, from);
        assert_eq!(again.seen.last().unwrap().end, ends[59]);
        drop(again);
        // It is out of the way, but not gone; and what stands in is told once.
        assert!(newest.with_extension("checkpoint.damaged").exists());
        assert_eq!(open(dir.path()).unwrap().report.checkpoint_damage, None);
    }
    let again = open(dir.path()).unwrap();
    assert_eq!(again.seen.len(), 60);
}
