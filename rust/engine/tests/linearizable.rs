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

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use check::{Call, is_linearizable};
use durastream_engine::Engine;
use model::{Answer, Ask};
use record::{Patience, Round, record};
use support::{body, options, path, text, told};

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

/// What a run of rounds came to.
#[derive(Default)]
struct Seen {
    rounds: u64,
    calls: usize,
    /// Calls that began while another one of the same path was under way.
    overlapping: usize,
}

/// Records rounds for so long, twenty at least, and checks them all.
fn rounds(engine: &Engine, time: Duration) -> Seen {
    let until = Instant::now() + time;
    let mut seen = Seen::default();
    while Instant::now() < until || seen.rounds < 20 {
        seen.rounds += 1;
        let round = Round {
            number: seen.rounds,
            patience: Patience::Waits,
        };
        for history in record(engine, round) {
            assert!(
                is_linearizable(&history),
                "round {}: {history:#?}",
                seen.rounds
            );
            seen.calls += history.len();
            let meets = |a: &&Call| {
                history
                    .iter()
                    .any(|b| b.began < a.began && a.began < b.ended)
            };
            seen.overlapping += history.iter().filter(meets).count();
        }
    }
    seen
}

#[test]
fn every_recorded_history_has_a_sequential_order() {
    let engine = Engine::in_memory(options()).unwrap();
    let seen = rounds(&engine, Duration::from_secs(4));
    let Seen {
        calls, overlapping, ..
    } = seen;
    assert!(
        overlapping * 10 > calls,
        "too little at once: {overlapping} of {calls}"
    );
}

/// Another writer fills small segments all the time, so that what the callers write is sealed, its log given back,
/// and read from sealed files, while they go on.
#[test]
fn histories_have_an_order_while_the_log_is_sealed_and_given_back() {
    let mut small = options();
    small.store.segment_bytes = 16 << 10;
    small.store.hot_bytes = 0;
    let engine = Engine::in_memory(small).unwrap();
    told(&engine, engine.create(&path("filler"), text(""))).unwrap();
    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                told(
                    &engine,
                    engine.append(&path("filler"), body(&"x".repeat(3000))),
                )
                .unwrap();
                number += 1;
                if number % 8 == 0 {
                    engine.checkpoint().unwrap();
                }
            }
        });
        let seen = rounds(&engine, Duration::from_secs(4));
        stop.store(true, Ordering::Relaxed);
        seen
    });
    let stats = engine.stats().store;
    assert!(
        seen.overlapping * 10 > seen.calls,
        "too little at once: {} of {}",
        seen.overlapping,
        seen.calls
    );
    assert!(
        stats.sealed_lsn > 0 && stats.recycled > 0 && stats.reads_cold > 0,
        "{stats:?}"
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
