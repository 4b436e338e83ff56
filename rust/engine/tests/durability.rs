//! What was told is there after a restart; what is not durable is told to nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use durastream_engine::storage::fs::SimFs;
use durastream_engine::storage::fs::sim::{Fault, FaultKind, OpClass};
use durastream_engine::{
    Append, AppendError, Create, Engine, Expiry, From, LookupError, Offset, Options, PageError,
};
use support::*;

#[test]
fn everything_comes_back_after_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), options()).unwrap();
    created(&engine, "a", text("one"));
    appended(&engine, "a", by(body("two"), "p", 1, 0));
    created(
        &engine,
        "b",
        Create {
            closed: true,
            ..text("x")
        },
    );
    created(&engine, "f", fork("a", None));
    appended(&engine, "f", body("own"));
    created(&engine, "gone", text(""));
    told(&engine, engine.delete(&path("gone"))).unwrap();
    told(&engine, engine.delete(&path("a"))).unwrap();
    let before = engine.list("", None, 100).streams;
    engine.close().unwrap();
    drop(engine);
    for clean in [true, false] {
        let engine = Engine::open(dir.path(), options()).unwrap();
        assert_eq!(engine.recovery().clean, clean);
        assert_eq!(engine.list("", None, 100).streams, before);
        assert_eq!(content(&engine, "f"), "onetwoown");
        assert!(told(&engine, engine.head(&path("b"))).unwrap().closed);
        assert!(!exists(&engine, "gone"));
        assert!(matches!(
            told(&engine, engine.head(&path("a"))),
            Err(LookupError::SoftDeleted { .. })
        ));
        if !clean {
            engine.close().unwrap();
        }
    }
}

#[test]
fn producers_and_stream_seq_come_back_from_log_and_checkpoint() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let mut engine = open(&fs, &clock);
    created(&engine, "s", text(""));
    let first = Append {
        stream_seq: Some("5".into()),
        ..by(body("a"), "p", 2, 0)
    };
    appended(&engine, "s", first.clone());
    for checkpoint in [false, true] {
        if checkpoint {
            engine.checkpoint().unwrap();
        }
        drop(engine);
        engine = open(&fs.kill(), &clock);
        assert!(
            told(&engine, engine.append(&path("s"), first.clone()))
                .unwrap()
                .duplicate
        );
        let stale = told(&engine, engine.append(&path("s"), by(body("x"), "p", 1, 0)));
        assert!(matches!(stale, Err(AppendError::Fenced { current: 2, .. })));
        let stale = Append {
            stream_seq: Some("5".into()),
            ..body("x")
        };
        assert!(told(&engine, engine.append(&path("s"), stale)).is_err());
        assert_eq!(content(&engine, "s"), "a");
        engine.close().unwrap();
        drop(engine);
        engine = open(&fs.kill(), &clock);
    }
}

#[test]
fn readers_see_nothing_that_is_not_durable() {
    let engine = Engine::in_memory(options()).unwrap();
    created(&engine, "s", text("a"));
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    let ticket = engine.append(
        &path("s"),
        Append {
            close: true,
            ..body("b")
        },
    );
    assert!(ticket.outcome.is_ok());
    let before = reader.page(From::Start, usize::MAX).unwrap();
    assert_eq!(before.chunks.concat(), b"a");
    assert!(before.up_to_date && !before.closed);
    assert!(!reader.info().unwrap().closed);
    // Between the durable and the reserved tail there is nothing yet, but nothing is gone.
    let end = ticket.outcome.as_ref().unwrap().next;
    let ahead = reader.page(From::At(end), usize::MAX).unwrap();
    assert_eq!((ahead.chunks.len(), ahead.next), (0, before.next));
    told(&engine, ticket).unwrap();
    let after = reader.page(From::Start, usize::MAX).unwrap();
    assert_eq!(after.chunks.concat(), b"ab");
    assert!(after.closed);
}

#[test]
fn what_depends_on_an_event_waits_for_it() {
    let engine = Engine::in_memory(options()).unwrap();
    let (s, t) = (path("s"), path("t"));
    let creation = engine.create(&s, text("x"));
    assert!(!engine.is_durable(creation.lsn));
    assert!(engine.head(&s).lsn >= creation.lsn);
    assert!(engine.reader(&s).lsn >= creation.lsn);
    assert!(engine.create(&s, text("x")).lsn >= creation.lsn);
    let head = engine.head(&s).outcome.unwrap();
    assert_eq!(head.tail.position, 1);
    let original = engine.append(&s, by(body("y"), "p", 0, 0));
    let duplicate = engine.append(&s, by(body("y"), "p", 0, 0));
    assert!(duplicate.outcome.unwrap().duplicate);
    assert!(duplicate.lsn >= original.lsn);
    let closing = engine.append(&s, close());
    let refusal = engine.append(&s, body("z"));
    assert!(matches!(refusal.outcome, Err(AppendError::Closed { .. })));
    assert!(refusal.lsn >= closing.lsn);
    let deletion = engine.delete(&s);
    let absence = engine.head(&s);
    assert!(absence.outcome.is_err() && absence.lsn >= deletion.lsn);
    assert!(engine.append(&s, body("z")).lsn >= deletion.lsn);
    told(&engine, deletion).unwrap();
    assert_eq!(engine.head(&t).lsn, 0);
}

#[test]
fn a_held_reader_learns_of_a_deletion_once_it_is_durable() {
    let engine = Engine::in_memory(options()).unwrap();
    created(&engine, "s", text("old"));
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    let deletion = engine.delete(&path("s"));
    let creation = engine.create(&path("s"), text("new"));
    assert_eq!(
        reader.page(From::Start, 99).unwrap().chunks.concat(),
        b"old"
    );
    told(&engine, deletion).unwrap();
    told(&engine, creation).unwrap();
    assert!(matches!(
        reader.page(From::Start, 99),
        Err(PageError::Lookup(LookupError::NotFound { .. }))
    ));
    assert_eq!(content(&engine, "s"), "new");
}

#[test]
fn tokens_of_an_earlier_life_are_gone_even_after_a_restart() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let mut engine = open(&fs, &clock);
    let mut old = Vec::new();
    for round in 0..6 {
        let begin = created(&engine, "s", text("abc"));
        let end = appended(&engine, "s", body("def"));
        for token in &old {
            assert!(matches!(
                page(&engine, "s", From::At(*token)),
                Err(PageError::Gone { .. })
            ));
            assert!(*token < begin && token.to_string() < begin.to_string());
        }
        assert_eq!(
            page(&engine, "s", From::At(begin)).unwrap().chunks.concat(),
            b"def"
        );
        old.extend([begin, end]);
        told(&engine, engine.delete(&path("s"))).unwrap();
        if round % 2 == 0 {
            engine.checkpoint().unwrap();
        }
        drop(engine);
        engine = open(&fs.kill(), &clock);
        assert!(!exists(&engine, "s"));
    }
}

#[test]
fn positions_are_read_leniently_up_to_one_past_the_tail() {
    let engine = Engine::in_memory(options()).unwrap();
    let tail = created(&engine, "s", text("abc"));
    appended(&engine, "s", body("defg"));
    let at = |position| From::At(Offset { position, ..tail });
    let read =
        |from| page(&engine, "s", from).map(|page| (page.chunks.concat(), page.next.position));
    assert_eq!(read(at(1)).unwrap(), (b"abcdefg".to_vec(), 7));
    assert_eq!(read(at(3)).unwrap(), (b"defg".to_vec(), 7));
    assert_eq!(read(at(4)).unwrap(), (b"defg".to_vec(), 7));
    assert_eq!(read(at(7)).unwrap(), (Vec::new(), 7));
    assert_eq!(read(at(8)).unwrap(), (Vec::new(), 7));
    assert!(matches!(read(at(9)), Err(PageError::Gone { .. })));
    assert_eq!(read(From::At(Offset::START)).unwrap().1, 7);
    assert_eq!(read(From::Now).unwrap(), (Vec::new(), 7));
}

#[test]
fn both_words_for_the_start_mean_the_first_retained_append() {
    let engine = Engine::in_memory(options()).unwrap();
    let floor = created(&engine, "s", text("abc"));
    appended(&engine, "s", body("defg"));
    told(&engine, engine.trim(&path("s"), floor)).unwrap();
    for from in [From::Start, From::At(Offset::START)] {
        let page = page(&engine, "s", from).unwrap();
        assert_eq!(
            (page.chunks.concat(), page.start),
            (b"defg".to_vec(), floor)
        );
    }
    let trimmed = From::At(Offset {
        position: 0,
        ..floor
    });
    assert!(matches!(
        page(&engine, "s", trimmed),
        Err(PageError::Gone { .. })
    ));
}

#[test]
fn pages_are_whole_appends_at_least_one() {
    let engine = Engine::in_memory(options()).unwrap();
    created(&engine, "s", text(""));
    for text in ["aaaa", "bb", "cccccc", "d"] {
        appended(&engine, "s", body(text));
    }
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    let mut from = From::Start;
    let mut pages = Vec::new();
    loop {
        let page = reader.page(from, 6).unwrap();
        pages.push(String::from_utf8(page.chunks.concat()).unwrap());
        from = From::At(page.next);
        if page.up_to_date {
            break;
        }
    }
    assert_eq!(pages, ["aaaabb", "cccccc", "d"]);
}

#[test]
fn a_page_of_trimmed_data_is_gone_but_the_start_moves_along() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let mut engine = open(&fs, &clock);
    let first = created(&engine, "s", text("abc"));
    appended(&engine, "s", body("def"));
    told(&engine, engine.trim(&path("s"), first)).unwrap();
    for restart in [false, true] {
        if restart {
            engine.close().unwrap();
            drop(engine);
            engine = open(&fs.kill(), &clock);
        }
        assert_eq!(content(&engine, "s"), "def");
        let Err(PageError::Gone { earliest, .. }) = page(
            &engine,
            "s",
            From::At(Offset {
                position: 1,
                ..first
            }),
        ) else {
            panic!("trimmed data was served");
        };
        assert_eq!(earliest, first);
    }
}

#[test]
fn an_expired_stream_is_gone_by_the_clock_and_stays_gone() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let mut engine = open(&fs, &clock);
    let ttl = Create {
        expiry: Some(Expiry::Ttl(Duration::from_secs(80))),
        ..text("x")
    };
    created(&engine, "s", ttl.clone());
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    clock.pass(Duration::from_secs(60));
    assert!(exists(&engine, "s"));
    told(&engine, engine.reader(&path("s"))).unwrap();
    clock.pass(Duration::from_secs(79));
    assert!(exists(&engine, "s"));
    clock.pass(Duration::from_secs(1));
    assert!(!exists(&engine, "s"));
    assert!(reader.page(From::Start, 9).is_err());
    assert_eq!(engine.stats().expired, 1);
    drop(engine);
    engine = open(&fs.kill(), &clock);
    assert!(!exists(&engine, "s"));
    assert!(
        told(&engine, engine.create(&path("s"), ttl))
            .unwrap()
            .created
    );
}

#[test]
fn a_held_reader_hears_of_an_expiry_once_it_is_durable() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open(&fs, &clock);
    let expiring = Create {
        expiry: Some(Expiry::Ttl(Duration::from_secs(80))),
        ..text("x")
    };
    created(&engine, "s", expiring);
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    // Gone by the clock, but a restart grants accesses that were not logged.
    clock.pass(Duration::from_secs(85));
    fs.inject(Fault {
        class: OpClass::Write,
        after: 0,
        times: 1,
        kind: FaultKind::Io,
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while engine.poisoned().is_none() {
        assert_eq!(reader.page(From::Start, 9).unwrap().chunks.concat(), b"x");
        assert!(Instant::now() < deadline, "nobody tried to log the expiry");
    }
    assert!(reader.page(From::Start, 9).is_ok());
    assert!(reader.info().is_ok());
    drop(engine);
    fs.heal();
    let engine = open(&fs.kill(), &clock);
    let reader = told(&engine, engine.reader(&path("s"))).unwrap();
    clock.pass(Duration::from_secs(95));
    let tail = reader.info().unwrap().tail;
    assert!(reader.wait_readable(tail, Duration::from_secs(10)).unwrap());
    let told = reader.page(From::Start, 9).unwrap_err();
    assert!(matches!(
        told,
        PageError::Lookup(LookupError::NotFound { .. })
    ));
    drop((engine, reader));
    let engine = open(&fs.kill(), &clock);
    assert!(!exists(&engine, "s"), "told once, gone for good");
}

#[test]
fn an_access_survives_a_crash() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let engine = open(&fs, &clock);
    created(
        &engine,
        "s",
        Create {
            expiry: Some(Expiry::Ttl(Duration::from_secs(80))),
            ..text("x")
        },
    );
    clock.pass(Duration::from_secs(70));
    told(&engine, engine.reader(&path("s"))).unwrap();
    engine.wait(engine.stats().store.end_lsn, None).unwrap();
    drop(engine);
    let engine = open(&fs.kill(), &clock);
    clock.pass(Duration::from_secs(79));
    assert!(exists(&engine, "s"));
    clock.pass(Duration::from_secs(80));
    assert!(!exists(&engine, "s"));
}

#[test]
fn the_reaper_removes_expired_streams_without_a_request() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let mut quick = options();
    quick.reap_interval = Duration::from_millis(5);
    let engine = open_with(&fs, &clock, quick);
    for number in 0..600 {
        let create = Create {
            expiry: Some(Expiry::Ttl(Duration::from_secs(number % 2 * 1000))),
            ..text("")
        };
        engine
            .create(&path(&format!("s{number}")), create)
            .outcome
            .unwrap();
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while engine.stats().streams > 300 {
        assert!(std::time::Instant::now() < deadline, "{:?}", engine.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(engine.stats().streams, 300);
}

#[test]
fn background_checkpoints_let_the_log_go() {
    let (fs, clock) = (SimFs::new(), ManualClock::new());
    let mut quick = options();
    quick.reap_interval = Duration::from_millis(5);
    quick.checkpoint_bytes = 1 << 20;
    let engine = open_with(&fs, &clock, quick);
    created(&engine, "kept", text("kept"));
    let large = "x".repeat(100 << 10);
    for round in 0..60 {
        let at = format!("s{round}");
        created(&engine, &at, text(&large));
        told(&engine, engine.delete(&path(&at))).unwrap();
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while engine.stats().store.checkpoints == 0 {
        assert!(std::time::Instant::now() < deadline, "{:?}", engine.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(content(&engine, "kept"), "kept");
    // Nothing is left that needs the old log.
    told(&engine, engine.delete(&path("kept"))).unwrap();
    // Two checkpoints are kept, and the log from the older one on; full segments are sealed first.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        engine.checkpoint().unwrap();
        let stats = engine.stats();
        if stats.store.segments <= 3 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{stats:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn listings_are_ordered_paged_and_by_prefix() {
    let engine = Engine::in_memory(Options::default()).unwrap();
    for at in ["b/2", "a", "b/1", "b/10", "c", "b"] {
        created(&engine, at, text(""));
    }
    let all = |prefix: &str, limit| {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = engine.list(prefix, cursor.as_deref(), limit);
            assert!(page.streams.len() <= limit);
            found.extend(page.streams.into_iter().map(|info| info.path.to_string()));
            cursor = page.cursor;
            if cursor.is_none() {
                return found;
            }
        }
    };
    assert_eq!(all("", 2), ["a", "b", "b/1", "b/10", "b/2", "c"]);
    assert_eq!(all("b/", 1), ["b/1", "b/10", "b/2"]);
    assert_eq!(all("b/1", 9), ["b/1", "b/10"]);
    assert!(all("zzz", 9).is_empty());
    let pending = engine.create(&path("d"), text(""));
    assert!(all("d", 9).is_empty());
    told(&engine, pending).unwrap();
    assert_eq!(all("d", 9), ["d"]);
}

#[test]
fn appends_to_many_streams_share_a_group_and_stop_at_a_refusal() {
    let engine = Engine::in_memory(options()).unwrap();
    created(&engine, "a", text(""));
    created(&engine, "b", text(""));
    let groups = engine.stats().store.groups;
    let batch = [("a", "1"), ("b", "2"), ("none", "3"), ("a", "4")];
    let batch = batch.map(|(at, text)| (path(at), body(text)));
    let tickets = engine.append_many(batch.to_vec());
    assert_eq!(tickets.len(), 3);
    assert!(matches!(tickets[2].outcome, Err(AppendError::Lookup(_))));
    engine.wait(tickets[1].lsn, None).unwrap();
    assert_eq!(engine.stats().store.groups, groups + 1);
    assert_eq!(content(&engine, "a") + &content(&engine, "b"), "12");
}

#[test]
fn a_json_fork_point_may_be_counted_in_what_is_not_durable_yet() {
    let engine = Engine::in_memory(options()).unwrap();
    let json = Create {
        content_type: Some("application/json".to_owned()),
        body: "[1,2,3]".into(),
        ..Create::default()
    };
    let source = engine.create(&path("src"), json);
    let mut create = fork("src", Some(Offset::START));
    create.fork.as_mut().unwrap().sub_offset = 2;
    created(&engine, "f", create);
    assert!(engine.is_durable(source.lsn));
    assert_eq!(content(&engine, "f"), "1,2,");
}
