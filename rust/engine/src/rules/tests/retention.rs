use std::time::Duration;

use super::*;
use crate::checkpoint::{decode, encode};
use crate::retention::{Limit, Reconfigure, Retention};

fn bytes(most: u64) -> Retention {
    Retention {
        max_bytes: Some(most),
        ..Retention::default()
    }
}

fn events(most: u64) -> Retention {
    Retention {
        max_events: Some(most),
        ..Retention::default()
    }
}

fn age(millis: u64) -> Retention {
    Retention {
        max_age: Some(Duration::from_millis(millis)),
        ..Retention::default()
    }
}

fn kept(create: Create, retention: Retention) -> Create {
    Create {
        retention: Some(retention),
        ..create
    }
}

/// A stream with a retention and these appends, trimmed.
fn trimmed(retention: Retention, appends: &[&str]) -> Table {
    let mut table = Table::new();
    table.create("s", kept(text(), retention)).unwrap();
    for text in appends {
        table.append("s", body(text)).unwrap();
    }
    table.retain();
    table.commit();
    table
}

#[test]
fn bytes_keep_the_appends_that_fit_as_a_whole() {
    for (most, left) in [
        (9, "abcdefghi"),
        (8, "defghi"),
        (6, "defghi"),
        (5, "ghi"),
        (3, "ghi"),
        // At least the last append.
        (2, "ghi"),
        (1, "ghi"),
    ] {
        let table = trimmed(bytes(most), &["abc", "def", "ghi"]);
        assert_eq!(table.content("s"), left, "{most}");
    }
}

#[test]
fn a_large_limit_by_bytes_is_enforced_when_it_is_passed_by_a_64th() {
    let append = "x".repeat(10);
    let mut table = trimmed(bytes(640), &vec![append.as_str(); 65]);
    assert_eq!(table.content("s").len(), 650);
    table.append("s", body("y")).unwrap();
    table.retain();
    assert_eq!(table.content("s").len(), 631);
}

#[test]
fn the_newest_appends_are_kept_by_number_whatever_their_size() {
    let table = trimmed(events(2), &["a", "bbbbbb", "cc", "d"]);
    assert_eq!(table.appends("s", 0), ["cc", "d"]);
    let table = trimmed(events(5), &["a", "b"]);
    assert_eq!(table.appends("s", 0), ["a", "b"]);
}

#[test]
fn first_content_is_an_append_and_a_close_is_none() {
    let mut table = Table::new();
    table
        .create("s", kept(holding_bytes(text(), "first"), events(2)))
        .unwrap();
    table.append("s", body("x")).unwrap();
    table.append("s", close()).unwrap();
    table.retain();
    assert_eq!(table.content("s"), "firstx");
}

#[test]
fn what_is_older_than_the_limit_goes_even_from_an_idle_or_closed_stream() {
    let mut table = Table::new();
    table.create("s", kept(text(), age(100))).unwrap();
    table.append("s", body("a")).unwrap();
    table.now += 60;
    table.append("s", body("b")).unwrap();
    table.append("s", close()).unwrap();
    table.now += 39;
    assert!(table.retain().is_empty());
    table.now += 1;
    table.retain();
    assert_eq!(table.content("s"), "b");
    table.now += 60;
    table.retain();
    assert_eq!(table.content("s"), "");
    table.now += 1_000_000;
    assert!(table.retain().is_empty());
}

#[test]
fn several_limits_trim_to_the_strictest() {
    let both = Retention {
        max_bytes: Some(4),
        max_events: Some(3),
        max_age: Some(Duration::from_secs(3600)),
    };
    assert_eq!(trimmed(both, &["a", "b", "c", "d"]).content("s"), "bcd");
    assert_eq!(trimmed(both, &["aa", "bb", "cc"]).content("s"), "bbcc");
}

#[test]
fn a_stream_without_limits_is_never_looked_at() {
    let mut table = Table::new();
    table.create("s", text()).unwrap();
    table.append("s", body("x")).unwrap();
    assert!(table.stream("s").extra.is_none());
    assert!(table.retain().is_empty());
}

#[test]
fn a_changed_limit_trims_what_is_there_but_counts_it_as_one_append_made_now() {
    let mut table = trimmed(Retention::default(), &["abc", "def", "ghi"]);
    table.now += 1_000_000;
    table.configure("s", events(2).into()).unwrap();
    table.configure("s", age(1000).into()).unwrap();
    table.now += 999;
    table.retain();
    assert_eq!(table.content("s"), "abcdefghi");
    table.now += 1;
    table.append("s", body("j")).unwrap();
    table.retain();
    assert_eq!(table.content("s"), "j");
    let mut table = trimmed(Retention::default(), &["abc", "def", "ghi"]);
    table.configure("s", bytes(6).into()).unwrap();
    table.retain();
    assert_eq!(table.content("s"), "defghi");
}

#[test]
fn a_limit_that_only_grows_or_shrinks_goes_on_counting() {
    let mut table = trimmed(events(4), &["a", "b", "c", "d"]);
    table.configure("s", events(3).into()).unwrap();
    table.retain();
    assert_eq!(table.content("s"), "bcd");
    table.configure("s", events(5).into()).unwrap();
    for text in ["e", "f", "g"] {
        table.append("s", body(text)).unwrap();
    }
    table.retain();
    assert_eq!(table.content("s"), "cdefg");
}

#[test]
fn each_limit_is_set_or_removed_by_itself() {
    let mut table = trimmed(bytes(6), &["abc"]);
    let only_events = Reconfigure {
        max_events: Limit::Set(9),
        ..Reconfigure::default()
    };
    let both = Retention {
        max_events: Some(9),
        ..bytes(6)
    };
    assert_eq!(table.configure("s", only_events).unwrap(), both);
    let no_bytes = Reconfigure {
        max_bytes: Limit::Removed,
        ..Reconfigure::default()
    };
    assert_eq!(table.configure("s", no_bytes).unwrap(), events(9));
    let recorded = table.log.len();
    assert_eq!(table.configure("s", events(9).into()).unwrap(), events(9));
    assert_eq!(table.log.len(), recorded, "nothing changed");
    table.configure("s", Retention::default().into()).unwrap();
    table.commit();
    assert!(table.stream("s").ledger().is_none());
}

#[test]
fn a_limit_of_nothing_is_refused() {
    let mut table = trimmed(Retention::default(), &["abc"]);
    for none in [bytes(0), events(0), age(0)] {
        assert!(matches!(
            table.configure("s", none.into()),
            Err(ChangeError::Retention { .. })
        ));
    }
    assert!(matches!(
        table.configure("missing", bytes(1).into()),
        Err(ChangeError::Lookup(_))
    ));
}

#[test]
fn readers_are_told_of_a_change_once_it_is_durable() {
    let mut table = trimmed(bytes(6), &[]);
    let shown = |table: &Table, horizon| info(table.stream("s"), horizon).retention;
    table.configure("s", bytes(7).into()).unwrap();
    let first = table.log.last().unwrap().2.end;
    table.configure("s", events(1).into()).unwrap();
    let second = table.log.last().unwrap().2.end;
    assert_eq!(shown(&table, first - 1), bytes(6));
    assert_eq!(shown(&table, first), bytes(7));
    assert_eq!(shown(&table, second), events(1));
    table.commit();
    assert_eq!(shown(&table, second), events(1));
}

#[test]
fn a_creation_compares_the_retention_only_when_it_names_one() {
    let mut table = Table::new();
    table.create("s", kept(text(), bytes(6))).unwrap();
    assert!(!table.create("s", text()).unwrap().0);
    assert!(!table.create("s", kept(text(), bytes(6))).unwrap().0);
    for other in [bytes(7), events(6), Retention::default()] {
        let refusal = table.create("s", kept(text(), other)).unwrap_err();
        assert!(matches!(refusal, CreateError::Exists { differs, .. } if differs == "retention"));
    }
}

#[test]
fn a_fork_keeps_as_much_as_its_source_unless_told_otherwise() {
    let mut table = trimmed(events(3), &["a", "b", "c"]);
    table.create("same", fork_of("s")).unwrap();
    assert_eq!(table.info("same").retention, events(3));
    table
        .create("all", kept(fork_of("s"), Retention::default()))
        .unwrap();
    assert_eq!(table.info("all").retention, Retention::default());
    table.create("less", kept(fork_of("s"), bytes(2))).unwrap();
    for (at, left) in [("same", "abcde"), ("all", "abcdef"), ("less", "ef")] {
        for text in ["d", "e", "f"]
            .iter()
            .take(if at == "same" { 2 } else { 3 })
        {
            table.append(at, body(text)).unwrap();
        }
        table.retain();
        assert_eq!(table.content(at), left, "{at}");
    }
    // What the fork took over counts as one append.
    table.append("same", body("f")).unwrap();
    table.retain();
    assert_eq!(table.content("same"), "def");
    assert_eq!(table.content("s"), "abc");
}

#[test]
fn what_is_remembered_survives_a_checkpoint() {
    let limits = Retention {
        max_events: Some(3),
        ..age(100)
    };
    let mut table = Table::new();
    table.create("s", kept(text(), limits)).unwrap();
    for text in ["a", "b", "c", "d"] {
        table.now += 10;
        table.append("s", body(text)).unwrap();
    }
    table.state = decode(&encode(&table.state, 0)).unwrap();
    table.state.recovered();
    table.retain();
    assert_eq!(table.content("s"), "bcd");
    table.now += 80;
    table.retain();
    assert_eq!(table.content("s"), "cd");
    table.delete("s").unwrap();
    table.now += 1000;
    assert!(table.retain().is_empty());
}

#[test]
fn memory_is_bounded_between_two_rounds_of_the_reaper() {
    let limits = Retention {
        max_events: Some(100),
        ..age(1000)
    };
    let mut table = Table::new();
    table.create("s", kept(text(), limits)).unwrap();
    for _ in 0..5000 {
        table.now += 3;
        table.append("s", body("x")).unwrap();
    }
    let mut out = Vec::new();
    table.stream("s").ledger().unwrap().encode(&mut out);
    assert!(out.len() < 2 * 70 * 6, "{}", out.len());
    table.retain();
    let left = table.content("s").len();
    assert!((100..=101).contains(&left), "{left}");
}
