//! Disks that fail or are full.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use durastream_storage::fs::SimFs;
use durastream_storage::fs::sim::{Fault, FaultKind, OpClass};
use durastream_storage::{CommitError, FrameRef, Placed, PushError, Store};
use support::{Opened, append, head, open_with, payload, reference, small};

const DIR: &str = "/data";

fn start(fs: &SimFs) -> Opened {
    open_with(Arc::new(fs.clone()), Path::new(DIR), small()).unwrap()
}

fn once(class: OpClass, after: u64, kind: FaultKind) -> Fault {
    Fault {
        class,
        after,
        times: 1,
        kind,
    }
}

#[test]
fn the_first_failed_write_or_sync_poisons_for_good() {
    for class in [OpClass::Write, OpClass::Sync] {
        for kind in [FaultKind::Io, FaultKind::NoSpace, FaultKind::ShortWrite] {
            let fs = SimFs::new();
            let opened = start(&fs);
            let store = &opened.store;
            let kept = append(store, &head(1, 0), &payload(1, 10));
            fs.inject(once(class, 0, kind));
            let lost = store.push(&head(1, 10), &payload(2, 10)).unwrap();
            let first = store.wait(lost.end, None).unwrap_err();
            assert!(
                matches!(&first, CommitError::Poisoned { cause } if cause.contains(DIR)),
                "{first}"
            );
            assert_eq!(fs.heal(), 0);
            let first = first.to_string();
            assert_eq!(store.wait(lost.end, None).unwrap_err().to_string(), first);
            let refused = store.push(&head(1, 20), &payload(3, 10)).unwrap_err();
            assert!(matches!(refused, PushError::Commit(_)));
            assert_eq!(refused.to_string(), first);
            assert_eq!(store.poisoned().unwrap().to_string(), first);
            assert_eq!(
                store
                    .write_checkpoint(kept.end, &[])
                    .unwrap_err()
                    .to_string(),
                first
            );
            assert_eq!(store.drop_up_to(kept.end).unwrap_err().to_string(), first);
            // What was acknowledged before is still acknowledged and can be read.
            assert!(store.wait(kept.end, None).unwrap());
            assert_eq!(store.durable(), kept.end);
            assert!(
                store
                    .read(&[reference(kept, &head(1, 0), &payload(1, 10))])
                    .is_ok()
            );
            assert_eq!(store.close().unwrap_err().to_string(), first);
            let told = opened.log.poisoned.lock();
            assert_eq!(
                told.iter().map(ToString::to_string).collect::<Vec<_>>(),
                [first]
            );
            assert_eq!(*opened.log.committed.lock(), [kept.end]);
            drop(told);
            drop(opened);
            let again = start(&fs);
            assert_eq!(again.seen[0].lsn, kept.lsn);
            append(&again.store, &head(1, 10), &payload(4, 10));
        }
    }
}

#[test]
fn every_waiter_hears_of_a_failure() {
    let fs = SimFs::new();
    let opened = start(&fs);
    fs.inject(once(OpClass::Sync, 20, FaultKind::Io));
    thread::scope(|scope| {
        for stream in 0..8 {
            let store = &opened.store;
            scope.spawn(move || {
                loop {
                    let Ok(placed) = store.push(&head(stream, 0), &payload(1, 10)) else {
                        break;
                    };
                    if stream % 2 == 0 {
                        store.kick();
                    }
                    if store.wait(placed.end, None).is_err() {
                        break;
                    }
                }
            });
        }
    });
    let deadline = Instant::now() + Duration::from_secs(5);
    while opened.log.poisoned.lock().is_empty() {
        assert!(Instant::now() < deadline, "the observer was not told");
        thread::yield_now();
    }
    assert_eq!(opened.log.poisoned.lock().len(), 1);
}

/// Appends, checkpoints, drops and closes; gives what was acknowledged and still must be there.
fn work(store: &Store) -> Vec<(FrameRef, u64)> {
    let mut kept = Vec::new();
    for turn in 0..40 {
        let (head, payload) = (head(turn % 3, turn), payload(turn, 900));
        let pushed: Result<Placed, ()> = store.push(&head, &payload).map_err(|_| ());
        let Ok(placed) = pushed else { continue };
        if store.wait(placed.end, None).is_ok() {
            kept.push((reference(placed, &head, &payload), turn));
        }
        if turn % 15 == 14
            && store
                .write_checkpoint(placed.end, &[head.position.to_le_bytes().to_vec().into()])
                .is_ok()
        {
            kept.retain(|(frame, _)| frame.lsn >= placed.end);
            store.drop_up_to(placed.end).ok();
        }
    }
    store.close().ok();
    kept
}

#[test]
fn nothing_acknowledged_is_lost_whichever_operation_fails() {
    for kind in [
        FaultKind::Io,
        FaultKind::NoSpace,
        FaultKind::ShortWrite,
        FaultKind::ShortNoSpace,
    ] {
        for nth in 0.. {
            let fs = SimFs::new();
            fs.inject(once(OpClass::Any, nth, kind));
            let kept = open_with(Arc::new(fs.clone()), Path::new(DIR), small())
                .map_or_else(|_| Vec::new(), |opened| work(&opened.store));
            let struck = fs.heal() == 0;
            let again = start(&fs.kill());
            // A checkpoint whose swap failed half way may count all the same.
            let replayed = |frame: &FrameRef| frame.lsn >= again.report.replay_from;
            for (frame, turn) in kept.iter().filter(|(frame, _)| replayed(frame)) {
                let seen = again.seen.iter().find(|seen| seen.reference() == *frame);
                let seen = seen.unwrap_or_else(|| panic!("{kind:?} at {nth}: turn {turn} is lost"));
                assert_eq!(seen.payload, payload(*turn, 900));
            }
            append(&again.store, &head(1, 0), &payload(1, 10));
            if !struck {
                assert!(nth > 100, "only {nth} operations");
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let fs = SimFs::new();
    let opened = start(&fs);
    let store = &opened.store;
    append(store, &head(1, 0), &payload(1, 100));
    // Room for a manifest, not for a segment.
    fs.set_capacity(Some((16 << 10) + 8_000));
    let mut taken = 1;
    let refused = loop {
        match store.push(&head(1, 0), &payload(1, 1_000)) {
            Ok(placed) => {
                store.wait(placed.end, None).unwrap();
                taken += 1;
            }
            Err(refused) => break refused,
        }
    };
    assert!(
        matches!(&refused, PushError::Commit(CommitError::StorageFull { dir, .. }) if dir == Path::new(DIR)),
        "{refused}"
    );
    assert!(taken > 8, "only {taken} were taken");
    assert!(store.poisoned().is_none());
    // Frames without payload have room of their own: deletions go through.
    append(store, &head(2, 0), &payload(1, 0));
    assert!(store.push(&head(1, 0), &payload(1, 1_000)).is_err());
    fs.set_capacity(None);
    let deadline = Instant::now() + Duration::from_secs(5);
    while store.push(&head(1, 0), &payload(1, 1_000)).is_err() {
        assert!(Instant::now() < deadline, "it does not recover");
        thread::sleep(Duration::from_millis(1));
    }
    store.wait(store.end(), None).unwrap();
    drop(opened);
    assert_eq!(start(&fs.kill()).seen.len(), taken + 2);
}

#[test]
fn a_full_disk_can_be_opened_and_read() {
    let fs = SimFs::new();
    let opened = start(&fs);
    let placed = append(&opened.store, &head(1, 0), &payload(1, 100));
    fs.set_capacity(Some(1));
    let fs = fs.kill();
    let again = start(&fs);
    let frame = reference(placed, &head(1, 0), &payload(1, 100));
    assert_eq!(again.store.read(&[frame]).unwrap(), [payload(1, 100)]);
    again.store.push(&head(1, 0), &payload(1, 100)).unwrap_err();
    again.store.close().unwrap();
}

#[test]
fn a_full_disk_keeps_the_checkpoint_before() {
    let fs = SimFs::new();
    let opened = start(&fs);
    let placed = append(&opened.store, &head(1, 0), &payload(1, 100));
    opened
        .store
        .write_checkpoint(placed.end, &[payload(1, 500)])
        .unwrap();
    fs.set_capacity(Some((16 << 10) + 1_000));
    let refused = opened
        .store
        .write_checkpoint(placed.end, &[payload(2, 50_000)])
        .unwrap_err();
    assert!(
        matches!(refused, CommitError::StorageFull { .. }),
        "{refused}"
    );
    assert!(opened.store.poisoned().is_none());
    drop(opened);
    assert_eq!(start(&fs.kill()).checkpoint, Some(payload(1, 500)));
}

#[test]
fn a_full_disk_with_a_torn_tail_can_be_opened() {
    let fs = SimFs::new();
    let opened = start(&fs);
    append(&opened.store, &head(1, 0), &payload(1, 100));
    fs.inject(once(OpClass::Write, 0, FaultKind::ShortWrite));
    let torn = opened
        .store
        .push(&head(1, 100), &payload(2, 1_000))
        .unwrap();
    opened.store.wait(torn.end, None).unwrap_err();
    fs.set_capacity(Some(1));
    let fs = fs.kill();
    let again = start(&fs);
    assert_eq!(again.seen.len(), 1);
    assert!(again.report.torn_bytes >= 1_000);
}

#[test]
fn a_closed_store_leaves_the_directory_alone() {
    let fs = SimFs::new();
    let opened = start(&fs);
    let placed = append(&opened.store, &head(1, 0), &payload(1, 100));
    opened.store.close().unwrap();
    let refused = opened.store.write_checkpoint(placed.end, &[]).unwrap_err();
    assert!(matches!(refused, CommitError::Closed), "{refused}");
    let refused = opened.store.drop_up_to(placed.end).unwrap_err();
    assert!(matches!(refused, CommitError::Closed), "{refused}");
}
