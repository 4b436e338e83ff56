//! Group commit: order, leaders and followers, limits, the committer thread.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use durastream_storage::fs::SimFs;
use durastream_storage::inspect::Inspection;
use durastream_storage::{
    CommitError, CommitObserver, Durability, Lsn, OpenError, PushError, Recovering, Store,
    StoreOptions,
};
use parking_lot::Mutex;
use support::{append, head, open, open_with, os, payload, reference, small};

/// Fails when calls overlap, go back, or come after a wait that they should have preceded.
#[derive(Default)]
struct Strict {
    inside: Mutex<()>,
    durable: AtomicU64,
}

impl CommitObserver for Strict {
    fn committed(&self, durable: Lsn) {
        let _alone = self.inside.try_lock().expect("two calls at once");
        assert!(
            self.durable.swap(durable, Ordering::SeqCst) < durable,
            "the LSN went back"
        );
    }

    fn poisoned(&self, cause: &CommitError) {
        panic!("{cause}");
    }
}

fn strict(dir: &std::path::Path, options: StoreOptions) -> (Store, Arc<Strict>) {
    let observer = Arc::new(Strict::default());
    let recovering = Recovering::open(os(), dir, options, "a test").unwrap();
    (recovering.start(observer.clone()).unwrap(), observer)
}

#[test]
fn many_threads_commit_together_and_each_finds_its_frames() {
    for durability in [Durability::Sync, Durability::None] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = small();
        options.durability = durability;
        let (store, observer) = strict(dir.path(), options);
        thread::scope(|scope| {
            for stream in 0..16 {
                let (store, observer) = (&store, &observer);
                scope.spawn(move || {
                    for turn in 0..60 {
                        let head = head(stream, turn);
                        let payload = payload(stream * 1000 + turn, 200);
                        let placed = store.push(&head, &payload).unwrap();
                        if turn % 7 == 0 {
                            store.kick();
                        }
                        if turn % 5 == 0 {
                            store
                                .wait(placed.end, Some(Duration::from_micros(50)))
                                .unwrap();
                        }
                        assert!(store.wait(placed.end, None).unwrap());
                        assert!(observer.durable.load(Ordering::SeqCst) >= placed.end);
                        assert_eq!(
                            store.read(&[reference(placed, &head, &payload)]).unwrap(),
                            [payload]
                        );
                    }
                });
            }
        });
        let stats = store.stats();
        assert_eq!(stats.frames, 16 * 60);
        assert!(stats.groups < stats.frames, "{} groups", stats.groups);
        assert_eq!((stats.pending_bytes, stats.durable_lsn), (0, stats.end_lsn));
        drop(store);
        let again = open(dir.path()).unwrap();
        for stream in 0..16 {
            let turns = again.seen.iter().filter(|seen| seen.stream == stream);
            let turns: Vec<u64> = turns.map(|seen| seen.position).collect();
            assert_eq!(turns, (0..60).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_kick_commits_without_anybody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (store, observer) = strict(dir.path(), small());
    for turn in 0..100 {
        let placed = store.push(&head(1, turn), &payload(turn, 300)).unwrap();
        store.kick();
        let deadline = Instant::now() + Duration::from_secs(5);
        while turn % 10 == 0 && observer.durable.load(Ordering::SeqCst) < placed.end {
            assert!(Instant::now() < deadline, "nobody committed");
            thread::yield_now();
        }
    }
    store.close().unwrap();
    assert_eq!(observer.durable.load(Ordering::SeqCst), store.end());
}

#[test]
fn a_wait_beyond_the_end_times_out_or_ends_when_somebody_gets_there() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = strict(dir.path(), small());
    assert!(!store.wait(100, Some(Duration::from_millis(5))).unwrap());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| store.wait(3_000, Some(Duration::from_secs(10))));
        while store.end() < 3_000 {
            store.push(&head(1, 0), &payload(1, 500)).unwrap();
            store.kick();
            thread::sleep(Duration::from_millis(1));
        }
        assert!(waiting.join().unwrap().unwrap());
    });
}

/// Keeps the leader busy while `open` is locked.
#[derive(Default)]
struct Slow {
    inside: AtomicU64,
    open: Mutex<()>,
}

impl CommitObserver for Slow {
    fn committed(&self, _durable: Lsn) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        drop(self.open.lock());
    }

    fn poisoned(&self, cause: &CommitError) {
        panic!("{cause}");
    }
}

#[test]
fn what_a_waiter_gave_up_on_is_committed_all_the_same() {
    let observer = Arc::new(Slow::default());
    let fs = Arc::new(SimFs::new());
    let recovering = Recovering::open(fs, std::path::Path::new("data"), small(), "a test").unwrap();
    let store = recovering.start(observer.clone()).unwrap();
    thread::scope(|scope| {
        let busy = observer.open.lock();
        scope.spawn(|| append(&store, &head(1, 0), &payload(1, 10)));
        while observer.inside.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let left = store.push(&head(1, 10), &payload(2, 10)).unwrap();
        let soon = Duration::from_millis(5);
        assert!(!store.wait(left.end, Some(soon)).unwrap());
        drop(busy);
        let deadline = Instant::now() + Duration::from_secs(5);
        while store.durable() < left.end {
            assert!(Instant::now() < deadline, "nobody committed it");
            thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn a_batch_is_one_group_whoever_leads_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap().store;
    thread::scope(|scope| {
        let batch = store.batch();
        let first = store.push(&head(1, 0), &payload(1, 10)).unwrap();
        store.kick();
        let store = &store;
        let follower = scope.spawn(move || store.wait(first.end, None).unwrap());
        thread::sleep(Duration::from_millis(30));
        assert_eq!(store.stats().groups, 0);
        let last = store.push(&head(1, 10), &payload(2, 10)).unwrap();
        drop(batch);
        assert!(follower.join().unwrap());
        assert!(store.durable() >= last.end);
        assert_eq!(store.stats().groups, 1);
    });
}

#[test]
fn an_interval_beyond_what_a_clock_can_say_is_a_long_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small();
    options.durability = Durability::Interval(Duration::MAX);
    let store = open_with(os(), dir.path(), options).unwrap().store;
    for turn in 0..3 {
        let placed = store.push(&head(1, turn), &payload(1, 1)).unwrap();
        store.kick();
        let deadline = Instant::now() + Duration::from_secs(5);
        while store.durable() < placed.end {
            assert!(Instant::now() < deadline, "the committer thread is gone");
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(2));
    }
    store.close().unwrap();
}

#[test]
fn a_log_that_is_never_idle_is_synced_every_interval() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small();
    options.durability = Durability::Interval(Duration::from_millis(5));
    let store = open_with(os(), dir.path(), options).unwrap().store;
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut turn = 0;
    while store.stats().syncs < 5 {
        assert!(Instant::now() < deadline, "it is not synced");
        store.push(&head(1, turn), &payload(1, 1)).unwrap();
        store.kick();
        turn += 1;
        thread::sleep(Duration::from_micros(200));
    }
    store.close().unwrap();
}

#[test]
fn whoever_has_more_to_do_commits_itself_only_while_the_disk_is_quick() {
    let dir = tempfile::tempdir().unwrap();
    let (store, observer) = strict(dir.path(), small());
    let first = store.push(&head(1, 0), &payload(1, 10)).unwrap();
    assert!(store.commit_if_quick(Duration::from_secs(10)));
    assert_eq!(store.durable(), first.end);
    assert_eq!(observer.durable.load(Ordering::SeqCst), first.end);

    let second = store.push(&head(1, 1), &payload(2, 10)).unwrap();
    assert!(
        !store.commit_if_quick(Duration::ZERO),
        "the first took time"
    );
    assert_eq!(store.durable(), first.end);
    store.kick();
    assert!(
        store
            .wait(second.end, Some(Duration::from_secs(10)))
            .unwrap()
    );
    store.close().unwrap();
    assert!(!store.commit_if_quick(Duration::from_secs(10)));
}

#[test]
fn what_was_not_committed_is_not_there_after_a_drop() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).unwrap();
    append(&opened.store, &head(1, 0), &payload(1, 10));
    opened.store.push(&head(1, 10), &payload(2, 10)).unwrap();
    drop(opened);
    assert_eq!(open(dir.path()).unwrap().seen.len(), 1);
}

#[test]
fn closing_commits_what_is_pending_and_ends_everything_else() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).unwrap();
    let placed = opened.store.push(&head(1, 0), &payload(1, 10)).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| opened.store.wait(1 << 40, None));
        thread::sleep(Duration::from_millis(20));
        opened.store.close().unwrap();
        assert!(matches!(waiting.join().unwrap(), Err(CommitError::Closed)));
    });
    assert!(opened.store.wait(placed.end, None).unwrap());
    let refused = opened
        .store
        .push(&head(1, 10), &payload(1, 10))
        .unwrap_err();
    assert!(matches!(refused, PushError::Commit(CommitError::Closed)));
    assert_eq!(open(dir.path()).unwrap().seen.len(), 1);
}

#[test]
fn a_second_opener_is_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let refused = open(dir.path()).err().unwrap();
    assert!(
        matches!(&refused, OpenError::Locked { dir: at, holder } if at == dir.path() && holder == "a test"),
        "{refused}"
    );
    first.store.close().unwrap();
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_lock_file_that_is_removed_or_replaced_lets_nobody_else_in() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let lock = dir.path().join("LOCK");
    for text in [None, Some(""), Some("somebody")] {
        std::fs::remove_file(&lock).ok();
        if let Some(text) = text {
            std::fs::write(&lock, text).unwrap();
        }
        let refused = open(dir.path()).err().unwrap();
        let OpenError::Locked { holder, .. } = &refused else {
            panic!("{refused}");
        };
        assert!(holder.contains("LOCK file was"), "{holder}");
        assert!(text.is_none_or(|text| holder.contains(text)), "{holder}");
        let inspection = Inspection::open(os(), dir.path()).unwrap();
        assert_eq!(inspection.holder(), Some(&**holder));
    }
    append(&first.store, &head(1, 0), &payload(1, 10));
    first.store.close().unwrap();
    let inspection = Inspection::open(os(), dir.path()).unwrap();
    assert_eq!(inspection.holder(), None);
    assert!(open(dir.path()).is_err(), "not while it is looked at");
    drop(inspection);
    open(dir.path()).unwrap();
}

#[test]
fn limits_refuse_with_the_limit_and_the_value() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small();
    options.pending_bytes = 10_000;
    options.frame_bytes = 4_000;
    let opened = open_with(os(), dir.path(), options).unwrap();
    let refused = opened
        .store
        .push(&head(1, 0), &payload(1, 4_001))
        .unwrap_err();
    assert!(matches!(
        refused,
        PushError::TooLarge {
            limit: 4_000,
            value: 4_001
        }
    ));
    let mut long = head(1, 0);
    let sequence = [7; 70_000];
    long.stream_seq = Some(&sequence);
    let refused = opened.store.push(&long, &payload(1, 1)).unwrap_err();
    assert!(matches!(
        refused,
        PushError::TooLarge {
            limit: 65_535,
            value: 70_000
        }
    ));
    for _ in 0..2 {
        opened.store.push(&head(1, 0), &payload(1, 4_000)).unwrap();
    }
    let refused = opened
        .store
        .push(&head(1, 0), &payload(1, 4_000))
        .unwrap_err();
    assert!(matches!(refused, PushError::Overloaded { limit: 10_000, value } if value > 12_000));
    opened.store.wait(opened.store.end(), None).unwrap();
    append(&opened.store, &head(1, 0), &payload(1, 4_000));
}

#[test]
fn a_burst_larger_than_every_segment_is_taken() {
    let fs = Arc::new(SimFs::new());
    let dir = std::path::Path::new("/data");
    let opened = open_with(fs.clone(), dir, small()).unwrap();
    let sizes = (0..300).map(|turn| if turn % 50 == 7 { 100_000 } else { turn * 7 });
    let mut wanted = Vec::new();
    for (turn, size) in sizes.enumerate() {
        let (head, payload) = (head(turn as u64, 3), payload(turn as u64, size));
        let placed = opened.store.push(&head, &payload).unwrap();
        wanted.push((reference(placed, &head, &payload), payload));
    }
    opened.store.wait(opened.store.end(), None).unwrap();
    drop(opened);
    let again = open_with(Arc::new(fs.kill()), dir, small()).unwrap();
    assert_eq!(again.seen.len(), wanted.len());
    let frames: Vec<_> = wanted.iter().map(|(frame, _)| *frame).collect();
    let payloads: Vec<_> = wanted.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(again.store.read(&frames).unwrap(), payloads);
}

#[test]
fn large_payloads_are_shared_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).unwrap();
    let large = payload(1, 64 << 10);
    let placed = append(&opened.store, &head(1, 0), &large);
    let read = opened
        .store
        .read(&[reference(placed, &head(1, 0), &large)])
        .unwrap();
    assert_eq!(read[0].as_ptr(), large.as_ptr());
}
