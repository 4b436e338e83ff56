//! What was acknowledged is there again, and can be read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use bytes::Bytes;
use durastream_storage::{Durability, FrameRef, ReadError};
use support::{append, full_head, head, open, open_with, os, payload, reference, small};

/// Appends frames of many sizes; gives what a reader must find.
fn fill(store: &durastream_storage::Store) -> Vec<(FrameRef, Bytes)> {
    let sizes = [0, 1, 7, 8, 100, 5000, 20_000, 70_000, 3, 65_536, 9];
    let mut wanted = Vec::new();
    for (index, size) in sizes.into_iter().enumerate() {
        let payload = payload(index as u64, size);
        let head = if index % 2 == 0 {
            head(index as u64, 10)
        } else {
            full_head(index as u64, 20)
        };
        wanted.push((
            reference(append(store, &head, &payload), &head, &payload),
            payload,
        ));
    }
    wanted
}

#[test]
fn every_acknowledged_frame_is_replayed_as_it_was_pushed() {
    for close in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).unwrap();
        assert_eq!(first.report.frames, 0);
        let wanted = fill(&first.store);
        let end = first.store.end();
        if close {
            first.store.close().unwrap();
            first.store.close().unwrap();
        }
        drop(first);
        for _ in 0..3 {
            let again = open(dir.path()).unwrap();
            assert_eq!(again.report.end, end);
            assert_eq!(again.report.torn_bytes, 0);
            let seen: Vec<_> = again.seen.iter().map(|seen| seen.reference()).collect();
            assert_eq!(
                seen,
                wanted.iter().map(|(frame, _)| *frame).collect::<Vec<_>>()
            );
            for (seen, (_, payload)) in again.seen.iter().zip(&wanted) {
                assert_eq!(&seen.payload[..], &payload[..]);
            }
            assert_eq!(
                again.seen[1].producer,
                Some(("producer-ä".to_owned(), 3, 4))
            );
            assert_eq!(again.seen[1].stream_seq.as_deref(), Some(&b"seq-9"[..]));
            assert_eq!(again.seen[1].meta, b"configuration");
            assert_eq!((again.seen[1].kind, again.seen[1].flags), (7, 5));
        }
    }
}

#[test]
fn a_closed_store_says_that_it_was_closed_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    append(&first.store, &head(1, 0), &payload(1, 10));
    first.store.close().unwrap();
    drop(first);
    let second = open(dir.path()).unwrap();
    assert!(second.report.clean);
    drop(second);
    let third = open(dir.path()).unwrap();
    assert!(!third.report.clean);
    append(&third.store, &head(1, 10), &payload(1, 10));
    drop(third);
    assert!(!open(dir.path()).unwrap().report.clean);
}

#[test]
fn hot_and_cold_reads_give_the_same_bytes_in_the_order_asked() {
    let dir = tempfile::tempdir().unwrap();
    let hot = open(dir.path()).unwrap();
    let mut wanted = fill(&hot.store);
    let frames: Vec<FrameRef> = wanted.iter().map(|(frame, _)| *frame).collect();
    let payloads: Vec<Bytes> = wanted.iter().map(|(_, payload)| payload.clone()).collect();
    assert!(hot.store.is_hot(&frames));
    assert_eq!(hot.store.read(&frames).unwrap(), payloads);
    hot.store.close().unwrap();
    drop(hot);
    let mut options = small();
    options.hot_bytes = 30_000;
    let cold = open_with(os(), dir.path(), options).unwrap();
    assert!(!cold.store.is_hot(&frames[..1]));
    assert_eq!(cold.store.read(&frames).unwrap(), payloads);
    wanted.extend(fill(&cold.store));
    assert!(cold.store.stats().hot_bytes <= 30_000);
    wanted.reverse();
    let frames: Vec<FrameRef> = wanted.iter().map(|(frame, _)| *frame).collect();
    let payloads: Vec<Bytes> = wanted.iter().map(|(_, payload)| payload.clone()).collect();
    assert!(!cold.store.is_hot(&frames));
    assert_eq!(cold.store.read(&frames).unwrap(), payloads);
}

#[test]
fn a_frame_that_is_not_the_one_asked_for_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).unwrap();
    let right = fill(&opened.store)[5].0;
    for wrong in [
        FrameRef {
            stream: 99,
            ..right
        },
        FrameRef {
            position: 21,
            ..right
        },
        FrameRef {
            len: right.len - 1,
            ..right
        },
        FrameRef {
            lsn: right.lsn + 8,
            ..right
        },
    ] {
        let error = opened.store.read(&[right, wrong]).unwrap_err();
        assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    }
    assert!(opened.store.read(&[right]).is_ok());
}

#[test]
fn a_prepared_segment_that_is_longer_than_segments_are_to_be_is_given_up_at_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = || {
        let files = std::fs::read_dir(dir.path()).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let segments = files.filter(|path| path.extension().is_some_and(|it| it == "wal"));
        let mut sizes: Vec<u64> = segments.map(|it| it.metadata().unwrap().len()).collect();
        sizes.sort_unstable();
        sizes
    };
    let mut large = small();
    large.segment_bytes = 1 << 20;
    open_with(os(), dir.path(), large)
        .unwrap()
        .store
        .close()
        .unwrap();
    // The small one is for a full disk.
    assert_eq!(sizes(), [256 << 10, 1 << 20]);
    let mut tiny = small();
    tiny.segment_bytes = 64 << 10;
    let again = open_with(os(), dir.path(), tiny.clone()).unwrap();
    assert_eq!(sizes(), [32 << 10, 64 << 10]);
    let wanted = fill(&again.store).len();
    again.store.close().unwrap();
    drop(again);
    assert_eq!(
        open_with(os(), dir.path(), tiny).unwrap().seen.len(),
        wanted
    );
}

#[test]
fn every_durability_survives_the_death_of_the_process() {
    for durability in [
        Durability::Sync,
        Durability::Interval(std::time::Duration::from_millis(5)),
        Durability::None,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = small();
        options.durability = durability;
        let first = open_with(os(), dir.path(), options.clone()).unwrap();
        let wanted = fill(&first.store).len();
        if let Durability::Interval(_) = durability {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
            let before = first.store.stats().syncs;
            append(&first.store, &head(1, 0), &payload(1, 1));
            while first.store.stats().syncs <= before {
                assert!(std::time::Instant::now() < deadline, "nothing was synced");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        drop(first);
        assert!(open_with(os(), dir.path(), options).unwrap().seen.len() >= wanted);
    }
}
