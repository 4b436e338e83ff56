use bytes::Bytes;

use super::*;
use crate::errors::LookupError;
use crate::wire::BodyError;

fn table() -> Table {
    let mut table = Table::new();
    table.create("s", text()).unwrap();
    table
}

fn seq(append: Append, seq: &'static str) -> Append {
    Append {
        stream_seq: Some(Bytes::from_static(seq.as_bytes())),
        ..append
    }
}

fn typed(append: Append, content_type: &str) -> Append {
    Append {
        content_type: Some(content_type.to_owned()),
        ..append
    }
}

#[test]
fn an_append_answers_with_its_own_end() {
    let mut table = table();
    let first = table.append("s", body("abc")).unwrap();
    let second = table.append("s", body("de")).unwrap();
    assert_eq!((first.start.position, first.next.position), (0, 3));
    assert_eq!((second.start.position, second.next.position), (3, 5));
    assert_eq!(table.content("s"), "abcde");
}

#[test]
fn a_missing_stream_outranks_everything() {
    let mut table = Table::new();
    let refusal = table.append("s", body("")).unwrap_err();
    assert!(matches!(
        refusal,
        AppendError::Lookup(LookupError::NotFound { .. })
    ));
}

#[test]
fn an_empty_body_needs_a_close_and_uses_up_no_sequence_number() {
    let mut table = table();
    let refusal = table.append("s", by(body(""), "p", 0, 0)).unwrap_err();
    assert!(matches!(refusal, AppendError::Empty));
    let appended = table.append("s", by(body("x"), "p", 0, 0)).unwrap();
    assert!(!appended.duplicate);
}

#[test]
fn a_close_is_idempotent_and_ignores_the_content_type() {
    let mut table = table();
    table.append("s", body("x")).unwrap();
    let closed = table.append("s", typed(close(), "image/png")).unwrap();
    assert!(closed.closed && !closed.duplicate);
    let again = table.append("s", close()).unwrap();
    assert!(again.closed && again.duplicate);
    assert_eq!(again.next.position, 1);
}

#[test]
fn a_closed_stream_takes_nothing_and_says_its_final_offset() {
    let mut table = table();
    table
        .append(
            "s",
            Append {
                close: true,
                ..body("end")
            },
        )
        .unwrap();
    for append in [
        body("x"),
        typed(body("x"), "image/png"),
        Append {
            close: true,
            ..body("x")
        },
        by(body("x"), "p", 0, 0),
        by(close(), "p", 0, 0),
        by(body("x"), "p", 0, 7),
        seq(body("x"), "a"),
    ] {
        let refusal = table.append("s", append).unwrap_err();
        assert!(matches!(refusal, AppendError::Closed { tail } if tail.position == 3));
    }
}

#[test]
fn the_closing_tuple_again_is_a_duplicate_whatever_its_body() {
    let mut table = table();
    table.append("s", by(body("a"), "p", 0, 0)).unwrap();
    let closing = |text| {
        by(
            Append {
                close: true,
                ..body(text)
            },
            "p",
            0,
            1,
        )
    };
    assert!(table.append("s", closing("end")).unwrap().closed);
    for append in [closing("end"), closing("other"), by(close(), "p", 0, 1)] {
        let again = table.append("s", append).unwrap();
        assert!(again.duplicate && again.closed);
        assert_eq!(again.producer, Some((0, 1)));
    }
    // Accepted before the close, but not what closed it.
    let refusal = table.append("s", by(body("a"), "p", 0, 0)).unwrap_err();
    assert!(matches!(refusal, AppendError::Closed { .. }));
    assert_eq!(table.content("s"), "aend");
}

#[test]
fn fencing_outranks_closure() {
    let mut table = table();
    table.append("s", by(close(), "p", 3, 0)).unwrap();
    let refusal = table.append("s", by(body("x"), "p", 2, 9)).unwrap_err();
    assert!(matches!(
        refusal,
        AppendError::Fenced { got: 2, current: 3 }
    ));
}

#[test]
fn sequence_numbers_are_accepted_once_and_in_order() {
    let mut table = table();
    let appended = table.append("s", by(body("a"), "p", 0, 0)).unwrap();
    assert_eq!(
        (appended.duplicate, appended.producer),
        (false, Some((0, 0)))
    );
    table.append("s", by(body("b"), "p", 0, 1)).unwrap();
    let gap = table.append("s", by(body("d"), "p", 0, 3)).unwrap_err();
    assert!(matches!(
        gap,
        AppendError::Gap {
            expected: 2,
            got: 3
        }
    ));
    let again = table.append("s", by(body("a"), "p", 0, 0)).unwrap();
    assert_eq!((again.duplicate, again.producer), (true, Some((0, 1))));
    assert_eq!(again.next.position, 2);
    assert_eq!(table.content("s"), "ab");
}

#[test]
fn an_unknown_producer_begins_at_0_in_any_epoch() {
    let mut table = table();
    let gap = table.append("s", by(body("x"), "p", 5, 1)).unwrap_err();
    assert!(matches!(
        gap,
        AppendError::Gap {
            expected: 0,
            got: 1
        }
    ));
    table.append("s", by(body("x"), "p", 5, 0)).unwrap();
}

#[test]
fn a_new_epoch_begins_at_0_and_fences_the_old_one() {
    let mut table = table();
    table.append("s", by(body("a"), "p", 0, 0)).unwrap();
    let refusal = table.append("s", by(body("b"), "p", 1, 1)).unwrap_err();
    assert!(matches!(refusal, AppendError::EpochStart { got: 1 }));
    table.append("s", by(body("b"), "p", 1, 0)).unwrap();
    let refusal = table.append("s", by(body("c"), "p", 0, 1)).unwrap_err();
    assert!(matches!(
        refusal,
        AppendError::Fenced { got: 0, current: 1 }
    ));
}

#[test]
fn producers_know_nothing_of_each_other() {
    let mut table = table();
    table.append("s", by(body("a"), "p", 4, 0)).unwrap();
    assert!(
        !table
            .append("s", by(body("b"), "q", 0, 0))
            .unwrap()
            .duplicate
    );
    assert_eq!(table.content("s"), "ab");
}

#[test]
fn the_limit_of_producers_names_both_values() {
    let mut table = table();
    table.options.max_producers_per_stream = 1;
    table.append("s", by(body("a"), "p", 0, 0)).unwrap();
    let refusal = table.append("s", by(body("b"), "q", 0, 0)).unwrap_err();
    assert!(matches!(
        refusal,
        AppendError::Limit(limit) if limit.limit == 1 && limit.value == 2
    ));
    table.append("s", by(body("b"), "p", 0, 1)).unwrap();
}

#[test]
fn stream_seq_increases_byte_by_byte() {
    let mut table = table();
    table.append("s", seq(body("a"), "2")).unwrap();
    for stale in ["2", "10", "1"] {
        let refusal = table.append("s", seq(body("b"), stale)).unwrap_err();
        assert!(matches!(refusal, AppendError::StreamSeq { .. }));
    }
    table.append("s", seq(body("b"), "20")).unwrap();
    // Without one, nothing is compared and nothing forgotten.
    table.append("s", body("c")).unwrap();
    assert!(table.append("s", seq(body("d"), "20")).is_err());
}

#[test]
fn a_duplicate_is_one_even_with_a_stale_stream_seq_or_tail() {
    let mut table = table();
    let append = seq(by(body("a"), "p", 0, 0), "5");
    table.append("s", append.clone()).unwrap();
    assert!(table.append("s", append.clone()).unwrap().duplicate);
    let moved = Append {
        if_tail: Some(Offset::START),
        ..append
    };
    assert!(table.append("s", moved).unwrap().duplicate);
}

#[test]
fn a_refused_append_leaves_no_trace() {
    let mut table = table();
    table.append("s", seq(body("a"), "5")).unwrap();
    let stale = seq(by(body("b"), "p", 0, 0), "4");
    assert!(table.append("s", stale).is_err());
    assert!(table.stream("s").progress("p").is_none());
    assert_eq!(table.content("s"), "a");
}

#[test]
fn content_types_are_compared_and_outrank_bad_json() {
    let mut table = table();
    table.append("s", typed(body("a"), "TEXT/plain")).unwrap();
    let refusal = table
        .append("s", typed(body("{"), "application/json"))
        .unwrap_err();
    assert!(matches!(refusal, AppendError::ContentType { .. }));
}

#[test]
fn bad_json_is_refused_but_fencing_outranks_it() {
    let mut table = Table::new();
    table.create("j", json()).unwrap();
    table.append("j", by(body("[1,2]"), "p", 1, 0)).unwrap();
    let refusal = table.append("j", body("{")).unwrap_err();
    assert!(matches!(refusal, AppendError::Body(BodyError::Json { .. })));
    let refusal = table.append("j", body("[]")).unwrap_err();
    assert!(matches!(refusal, AppendError::Body(BodyError::NoMessages)));
    let refusal = table.append("j", by(body("{"), "p", 0, 0)).unwrap_err();
    assert!(matches!(refusal, AppendError::Fenced { .. }));
    assert!(
        table
            .append("j", by(body("{"), "p", 1, 0))
            .unwrap()
            .duplicate
    );
    assert_eq!(table.content("j"), "1,2,");
}

#[test]
fn an_expected_tail_that_moved_is_refused() {
    let mut table = table();
    let first = table.append("s", body("a")).unwrap();
    let on = |tail| Append {
        if_tail: Some(tail),
        ..body("b")
    };
    let second = table.append("s", on(first.next)).unwrap();
    let refusal = table.append("s", on(first.next)).unwrap_err();
    assert!(matches!(refusal, AppendError::TailMoved { tail, .. } if tail == second.next));
    let other_life = Offset {
        incarnation: 99,
        ..second.next
    };
    assert!(table.append("s", on(other_life)).is_err());
}

#[test]
fn a_trim_keeps_appends_whole_and_never_goes_back() {
    let mut table = table();
    for text in ["abc", "def", "gh"] {
        table.append("s", body(text)).unwrap();
    }
    let at = |position| Offset {
        incarnation: 0,
        position,
    };
    assert_eq!(table.trim("s", at(5)).unwrap().position, 3);
    assert_eq!(table.trim("s", at(0)).unwrap().position, 3);
    table.commit();
    assert_eq!(table.content("s"), "defgh");
    assert_eq!(table.trim("s", at(8)).unwrap().position, 8);
    assert!(matches!(
        table.trim("s", at(9)).unwrap_err(),
        ChangeError::Offset { tail, .. } if tail.position == 8
    ));
    table.commit();
    assert_eq!(table.content("s"), "");
    table.append("s", body("ij")).unwrap();
    assert_eq!(table.content("s"), "ij");
    assert_eq!(table.info("s").tail.position, 10);
}
