//! Who waits is woken: once, in batches, and also when it ends badly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use durastream_engine::storage::fs::SimFs;
use durastream_engine::storage::fs::sim::{Fault, FaultKind, OpClass};
use durastream_engine::storage::{CommitError, PushError};
use durastream_engine::{Append, AppendError, Engine, From, Offset, WatchFor};
use support::*;

#[test]
fn a_reader_at_the_tail_is_woken_when_there_is_more() {
    let engine = Engine::in_memory(options()).unwrap();
    let tail = created(&engine, "s", text("a"));
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    let (seen, sink) = Sink::new();
    reader.watch(WatchFor::Readable(tail), &sink, 7);
    let ticket = engine.append(&path("s"), body("b"));
    assert!(seen.wakes().is_empty(), "woken before it is durable");
    told(&engine, ticket).unwrap();
    assert_eq!(seen.wakes(), [(7, true)]);
    appended(&engine, "s", body("c"));
    assert_eq!(seen.wakes().len(), 1);
    // There is something already: at once.
    reader.watch(WatchFor::Readable(tail), &sink, 8);
    assert_eq!(seen.wakes().last(), Some(&(8, true)));
    assert_eq!(engine.stats().watches, 0);
}

#[test]
fn closure_deletion_and_softening_wake_readers() {
    let engine = Engine::in_memory(options()).unwrap();
    let (seen, sink) = Sink::new();
    for (token, at) in [(1, "closed"), (2, "deleted"), (3, "softened")] {
        let tail = created(&engine, at, text("a"));
        let reader = told(&engine, engine.reader(&path(at))).unwrap();
        reader.watch(WatchFor::Readable(tail), &sink, token);
    }
    appended(&engine, "closed", close());
    told(&engine, engine.delete(&path("deleted"))).unwrap();
    created(&engine, "f", fork("softened", None));
    assert_eq!(seen.wakes().len(), 2);
    told(&engine, engine.delete(&path("softened"))).unwrap();
    assert_eq!(seen.wakes(), [(1, true), (2, true), (3, true)]);
}

#[test]
fn a_fork_is_not_woken_by_its_source() {
    let engine = Engine::in_memory(options()).unwrap();
    created(&engine, "src", text("a"));
    let tail = created(&engine, "f", fork("src", None));
    let reader = told(&engine, engine.reader(&path("f"))).unwrap();
    let (seen, sink) = Sink::new();
    reader.watch(WatchFor::Readable(tail), &sink, 1);
    appended(&engine, "src", body("b"));
    assert!(seen.wakes().is_empty());
    appended(&engine, "f", body("c"));
    assert_eq!(seen.wakes(), [(1, true)]);
}

#[test]
fn a_decision_wakes_before_it_is_durable() {
    let engine = Engine::in_memory(options()).unwrap();
    created(&engine, "s", text("a"));
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    let (seen, sink) = Sink::new();
    reader.watch(WatchFor::Decided(engine.stats().store.end_lsn), &sink, 1);
    let ticket = engine.append(&path("s"), body("b"));
    assert_eq!(seen.wakes(), [(1, true)]);
    assert!(!engine.is_durable(ticket.lsn));
}

#[test]
fn a_decision_before_the_watch_is_not_missed() {
    let engine = Engine::in_memory(options()).unwrap();
    created(&engine, "s", text(""));
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    let early = engine.append(&path("s"), by(body("b"), "p", 0, 1));
    assert!(matches!(early.outcome, Err(AppendError::Gap { .. })));
    assert!(
        engine
            .append(&path("s"), by(body("a"), "p", 0, 0))
            .outcome
            .is_ok()
    );
    let (seen, sink) = Sink::new();
    reader.watch(WatchFor::Decided(early.lsn), &sink, 1);
    assert_eq!(seen.wakes(), [(1, true)]);
    assert_eq!(engine.stats().watches, 0);
}

#[test]
fn a_withdrawn_watch_does_not_wake() {
    let engine = Engine::in_memory(options()).unwrap();
    let tail = created(&engine, "s", text("a"));
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    let (seen, sink) = Sink::new();
    let ids = [1, 2, 3].map(|token| reader.watch(WatchFor::Readable(tail), &sink, token));
    let decided = reader.watch(WatchFor::Decided(engine.stats().store.end_lsn), &sink, 4);
    reader.unwatch(ids[1]);
    reader.unwatch(decided);
    assert_eq!(engine.stats().watches, 2);
    appended(&engine, "s", body("b"));
    let mut tokens: Vec<_> = seen.wakes().into_iter().map(|(token, _)| token).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, [1, 3]);
}

#[test]
fn a_group_comes_in_one_batch_per_sink() {
    let engine = Engine::in_memory(options()).unwrap();
    let (seen, sink) = Sink::new();
    for number in 0..50 {
        let at = format!("s{number}");
        let tail = created(&engine, &at, text(""));
        let reader = told(&engine, engine.reader(&path(&at))).unwrap();
        reader.watch(WatchFor::Readable(tail), &sink, number);
    }
    let batch = (0..50).map(|number| (path(&format!("s{number}")), body("x")));
    let tickets = engine.append_many(batch.collect());
    engine.wait(tickets[49].lsn, None).unwrap();
    assert_eq!((seen.wakes().len(), seen.batches()), (50, 1));
}

#[test]
fn notices_come_when_durable_and_at_once_when_they_are() {
    let engine = Engine::in_memory(options()).unwrap();
    let (seen, sink) = Sink::new();
    let ticket = engine.create(&path("s"), text("a"));
    engine.notify(ticket.lsn, &sink, 1);
    assert_eq!(seen.wait_for(1), [(1, true)]);
    assert!(engine.is_durable(ticket.lsn));
    engine.notify(ticket.lsn, &sink, 2);
    engine.notify(0, &sink, 3);
    assert_eq!(seen.wakes(), [(1, true), (2, true), (3, true)]);
}

#[test]
fn blocked_readers_wake_for_news_or_time_out() {
    let engine = Engine::in_memory(options()).unwrap();
    let tail = created(&engine, "s", text("a"));
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    let begun = Instant::now();
    assert!(
        !reader
            .wait_readable(tail, Duration::from_millis(30))
            .unwrap()
    );
    assert!(begun.elapsed() >= Duration::from_millis(30));
    assert_eq!(engine.stats().watches, 0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| reader.wait_readable(tail, Duration::from_secs(10)));
        while engine.stats().watches == 0 {
            std::thread::yield_now();
        }
        appended(&engine, "s", body("b"));
        assert!(waiting.join().unwrap().unwrap());
    });
    assert!(
        reader
            .wait_readable(Offset::START, Duration::from_secs(10))
            .unwrap()
    );
}

#[test]
fn the_end_fails_whoever_waits() {
    let engine = Engine::in_memory(options()).unwrap();
    let tail = created(&engine, "s", text("a"));
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    let (seen, sink) = Sink::new();
    reader.watch(WatchFor::Readable(tail), &sink, 1);
    reader.watch(WatchFor::Decided(engine.stats().store.end_lsn), &sink, 2);
    engine.close().unwrap();
    engine.close().unwrap();
    assert_eq!(seen.wakes(), [(1, false), (2, false)]);
    reader.watch(WatchFor::Readable(tail), &sink, 3);
    reader.watch(WatchFor::Decided(engine.stats().store.end_lsn), &sink, 4);
    assert_eq!(seen.wakes()[2..], [(3, false), (4, false)]);
    assert!(reader.wait_readable(tail, Duration::from_secs(10)).is_err());
    assert!(matches!(
        engine.append(&path("s"), body("b")).outcome,
        Err(AppendError::Push(_))
    ));
    engine.notify(u64::MAX, &sink, 5);
    assert_eq!(seen.wakes()[4], (5, false));
}

#[test]
fn a_failed_sync_fails_whoever_waits_and_reads_go_on() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open(&fs, &clock);
    created(&engine, "s", text("a"));
    fs.inject(Fault {
        class: OpClass::Sync,
        after: 0,
        times: 1,
        kind: FaultKind::Io,
    });
    let (seen, sink) = Sink::new();
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    let tail = reader.info().unwrap().tail;
    let (live, live_sink) = Sink::new();
    reader.watch(WatchFor::Readable(tail), &live_sink, 1);
    let ticket = engine.append(
        &path("s"),
        Append {
            close: true,
            ..body("b")
        },
    );
    engine.notify(ticket.lsn, &sink, 1);
    assert_eq!(seen.wait_for(1), [(1, false)]);
    assert_eq!(live.wait_for(1), [(1, false)]);
    reader.watch(WatchFor::Readable(tail), &live_sink, 2);
    assert_eq!(live.wakes()[1], (2, false));
    assert!(reader.wait_readable(tail, Duration::from_secs(10)).is_err());
    reader.watch(WatchFor::Readable(Offset::START), &live_sink, 3);
    assert_eq!(live.wakes()[2], (3, true), "there is something to read");
    assert!(matches!(
        engine.poisoned(),
        Some(CommitError::Poisoned { .. })
    ));
    assert!(engine.wait(ticket.lsn, None).is_err());
    engine.notify(ticket.lsn, &sink, 2);
    assert_eq!(seen.wakes()[1], (2, false));
    assert!(engine.create(&path("t"), text("")).outcome.is_err());
    let reader = engine.reader(&path("s")).outcome.unwrap();
    let page = reader.page(From::Start, 99).unwrap();
    assert_eq!(page.chunks.concat(), b"a");
    assert!(!page.closed);
    assert!(engine.close().is_err());
}

#[test]
fn a_full_disk_refuses_appends_takes_deletions_and_recovers() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open(&fs, &clock);
    created(&engine, "s", text(""));
    created(&engine, "t", text("t"));
    fs.set_capacity(Some(1 << 20));
    let large = body(&"x".repeat(10_000));
    let mut taken = 0;
    let refusal = loop {
        let ticket = engine.append(&path("s"), large.clone());
        match ticket.outcome {
            Ok(_) => assert!(engine.wait(ticket.lsn, None).unwrap()),
            Err(error) => break error,
        }
        taken += 1;
        assert!(taken < 1000, "never full");
    };
    assert!(matches!(
        refusal,
        AppendError::Push(PushError::Commit(CommitError::StorageFull { .. }))
    ));
    assert_eq!(engine.poisoned().map(|cause| cause.to_string()), None);
    told(&engine, engine.delete(&path("t"))).unwrap();
    assert_eq!(content(&engine, "s").len(), taken * 10_000);
    fs.set_capacity(None);
    let deadline = Instant::now() + Duration::from_secs(10);
    while engine.append(&path("s"), body("y")).outcome.is_err() {
        assert!(Instant::now() < deadline, "still full");
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.close().unwrap();
    let engine = open(&fs.kill(), &clock);
    assert_eq!(content(&engine, "s").len(), taken * 10_000 + 1);
    assert!(!exists(&engine, "t"));
}
