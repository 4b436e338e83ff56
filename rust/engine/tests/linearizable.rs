//! Many threads at once look like one at a time: every history of answers has an order that a simple
//! sequential stream could have given, in which nothing comes before what had ended when it began.
//!
//! Histories are recorded on the real engine and checked path by path, as Wing and Gong do: any
//! operation that began before the first end among the rest may come next.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "linearizable/check.rs"]
mod check;
#[path = "linearizable/model.rs"]
mod model;
#[path = "linearizable/record.rs"]
mod record;

use std::time::{Duration, Instant};

use check::{Call, is_linearizable};
use durastream_engine::Engine;
use model::{Answer, Ask};
use record::{Patience, Round, record};
use support::options;

/// A call that began and ended at these times.
fn call(began: u64, ended: u64, ask: Ask, answer: Answer) -> Call {
    Call {
        began,
        ended,
        ask,
        answer,
    }
}

fn created() -> Call {
    let ask = Ask::Create { closed: false };
    call(
        0,
        1,
        ask,
        Answer::Created {
            life: 1,
            new: true,
            tail: 0,
            closed: false,
        },
    )
}

fn append(began: u64, ended: u64, letter: char, next: u64) -> Call {
    let ask = Ask::Append {
        letter: Some(letter),
        producer: None,
        close: false,
    };
    let answer = Answer::Appended {
        duplicate: false,
        life: 1,
        next,
        closed: false,
    };
    call(began, ended, ask, answer)
}

fn read(began: u64, ended: u64, content: &str) -> Call {
    let answer = Answer::Read {
        life: 1,
        content: content.to_owned(),
        closed: false,
    };
    call(began, ended, Ask::Read, answer)
}

#[test]
fn every_recorded_history_has_a_sequential_order() {
    let engine = Engine::in_memory(options()).unwrap();
    let until = Instant::now() + Duration::from_secs(4);
    let (mut rounds, mut overlapping, mut calls) = (0, 0, 0);
    while Instant::now() < until || rounds < 20 {
        rounds += 1;
        for history in record(
            &engine,
            Round {
                number: rounds,
                patience: Patience::Waits,
            },
        ) {
            assert!(is_linearizable(&history), "round {rounds}: {history:#?}");
            calls += history.len();
            overlapping += history
                .iter()
                .filter(|a| {
                    history
                        .iter()
                        .any(|b| b.began < a.began && a.began < b.ended)
                })
                .count();
        }
    }
    assert!(
        overlapping * 10 > calls,
        "too little at once: {overlapping} of {calls}"
    );
}

/// The planted fault: outcomes are told without waiting for their LSN.
#[test]
fn answers_told_before_they_are_durable_are_found_out() {
    let engine = Engine::in_memory(options()).unwrap();
    let found = (1..500).any(|number| {
        let histories = record(
            &engine,
            Round {
                number,
                patience: Patience::Answers,
            },
        );
        !histories.iter().all(|history| is_linearizable(history))
    });
    assert!(found, "a hasty engine passes for a right one");
}

#[test]
fn calls_at_the_same_time_may_come_in_any_order() {
    let writes = [created(), append(2, 9, 'a', 2), append(3, 8, 'b', 1)];
    assert!(is_linearizable(&writes));
    let mut seen = writes.to_vec();
    seen.extend([read(4, 5, ""), read(6, 7, "b"), read(10, 11, "ba")]);
    assert!(is_linearizable(&seen));
}

#[test]
fn an_append_that_was_told_and_is_not_shown_is_found_out() {
    assert!(!is_linearizable(&[
        created(),
        append(2, 3, 'a', 1),
        read(4, 5, "")
    ]));
}

/// What a reader of the reserved tail would see: more than the reader after it.
#[test]
fn content_that_goes_away_again_is_found_out() {
    let history = [
        created(),
        append(2, 9, 'a', 1),
        read(3, 4, "a"),
        read(5, 6, ""),
    ];
    assert!(!is_linearizable(&history));
}

#[test]
fn content_in_an_order_that_nobody_was_told_is_found_out() {
    let mut history = vec![created(), append(2, 3, 'a', 1), append(4, 5, 'b', 2)];
    history.push(read(6, 7, "ba"));
    assert!(!is_linearizable(&history));
    history[2] = append(4, 5, 'b', 1);
    assert!(!is_linearizable(&history));
}

#[test]
fn a_producers_append_stored_twice_is_found_out() {
    let twice = |began, duplicate, next| {
        let ask = Ask::Append {
            letter: Some('a'),
            producer: Some((0, 0, 0)),
            close: false,
        };
        let answer = Answer::Appended {
            duplicate,
            life: 1,
            next,
            closed: false,
        };
        call(began, began + 1, ask, answer)
    };
    let right = [
        created(),
        twice(2, false, 1),
        twice(4, true, 1),
        read(6, 7, "a"),
    ];
    assert!(is_linearizable(&right));
    let wrong = [
        created(),
        twice(2, false, 1),
        twice(4, false, 2),
        read(6, 7, "aa"),
    ];
    assert!(!is_linearizable(&wrong));
}

#[test]
fn a_deleted_stream_that_comes_back_is_found_out() {
    let gone = call(4, 5, Ask::Delete, Answer::Deleted);
    let history = [created(), append(2, 3, 'a', 1), gone.clone()];
    assert!(is_linearizable(&history));
    assert!(!is_linearizable(
        &[&history[..], &[read(6, 7, "a")]].concat()
    ));
    let nothing = call(6, 7, Ask::Read, Answer::NotFound);
    assert!(is_linearizable(&[&history[..], &[nothing]].concat()));
}

#[test]
fn an_append_after_a_close_is_found_out() {
    let ask = Ask::Append {
        letter: None,
        producer: None,
        close: true,
    };
    let answer = Answer::Appended {
        duplicate: false,
        life: 1,
        next: 0,
        closed: true,
    };
    let history = [created(), call(2, 3, ask, answer), append(4, 5, 'a', 1)];
    assert!(!is_linearizable(&history));
}
