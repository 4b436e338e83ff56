//! What POST promises.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod driver;

use std::time::{Duration, Instant};

use driver::{Request, Seen, Server};

fn post(body: &str) -> Request {
    Request::post("a", "text/plain", body)
}

fn server() -> Server {
    let server = Server::new();
    server.create("a", "text/plain", "");
    server
}

#[test]
fn an_append_answers_204_with_the_end_of_that_very_append() {
    let server = server();
    let first = server.append("a", "text/plain", "one");
    let second = server.append("a", "TEXT/plain", "two");
    assert!(second > first);
    assert_eq!(server.text(&format!("a?offset={first}")), "two");
    assert_eq!(server.text(&format!("a?offset={second}")), "");
}

#[test]
fn what_an_append_lacks_is_named() {
    let server = server();
    assert!(server.expect(400, post("")).detail().contains("body"));
    let untyped = Request::new("POST", "a").body("x");
    assert!(
        server
            .expect(400, untyped)
            .detail()
            .contains("Content-Type")
    );
    server.expect(404, Request::post("nowhere", "text/plain", "x"));
    let reply = server.expect(409, Request::post("a", "application/json", "{}"));
    assert_eq!(reply.json()["expected"], "text/plain");
    assert_eq!(reply.json()["received"], "application/json");
    assert_eq!(server.text("a"), "");
}

#[test]
fn closing_is_final_idempotent_and_tells_the_end() {
    let server = server();
    let tail = server.append("a", "text/plain", "x");
    let close = || Request::new("POST", "a").header("stream-closed", "TRUE");
    let closed = server.expect(204, close().header("content-type", "application/json"));
    assert_eq!(closed.header("stream-closed"), Some("true"));
    assert_eq!(closed.next_offset(), tail);
    server.expect(204, close());
    // Without a body no content type is wrong.
    for odd in ["", "nonsense", "a/b/c"] {
        server.expect(204, close().header("content-type", odd));
    }
    let with_body = close().header("content-type", "nonsense").body("x");
    server.expect(400, with_body);
    for late in [post("late"), post("late").header("stream-closed", "true")] {
        let refused = server.expect(409, late);
        assert_eq!(refused.header("stream-closed"), Some("true"));
        assert_eq!(refused.next_offset(), tail);
    }
    // Closure outranks the content type.
    let refused = server.expect(409, Request::post("a", "application/json", "{}"));
    assert_eq!(refused.header("stream-closed"), Some("true"));
    server.expect(
        404,
        Request::new("POST", "nowhere").header("stream-closed", "true"),
    );
}

#[test]
fn an_append_may_close_in_the_same_event() {
    let server = server();
    let reply = server.expect(204, post("last").header("stream-closed", "true"));
    assert_eq!(reply.header("stream-closed"), Some("true"));
    let read = server.expect(200, Request::get("a"));
    assert_eq!(read.text(), "last");
    assert_eq!(read.header("stream-closed"), Some("true"));
}

#[test]
fn stream_seq_must_increase_byte_by_byte() {
    let server = server();
    let seq = |value: &str| post("x").header("stream-seq", value);
    server.expect(204, seq("2"));
    let reply = server.expect(409, seq("10"));
    assert_eq!(reply.json()["last"], "2");
    assert_eq!(reply.json()["received"], "10");
    server.expect(409, seq("2"));
    server.expect(204, seq("a"));
    server.expect(409, seq("B"));
    assert_eq!(server.text("a"), "xx");
}

#[test]
fn producers_get_200_for_news_and_204_for_what_is_known() {
    let server = server();
    for seq in 0..3 {
        let reply = server.expect(200, post("x").producer("p", 0, seq));
        assert_eq!(reply.header("producer-epoch"), Some("0"));
        assert_eq!(reply.header("producer-seq"), Some(seq.to_string().as_str()));
    }
    let again = server.expect(204, post("x").producer("p", 0, 1));
    assert_eq!(again.header("producer-seq"), Some("2"));
    let stale_seq = post("x").producer("p", 0, 1).header("stream-seq", "");
    server.expect(400, stale_seq);
    assert_eq!(server.text("a"), "xxx");
}

#[test]
fn a_duplicate_is_204_whatever_its_stream_seq() {
    let server = server();
    let request = || post("x").producer("p", 0, 0).header("stream-seq", "5");
    server.expect(200, request());
    server.expect(204, request());
}

#[test]
fn a_fenced_producer_learns_the_epoch() {
    let server = server();
    server.expect(200, post("x").producer("p", 1, 0));
    let reply = server.expect(403, post("x").producer("p", 0, 7));
    assert_eq!(reply.header("producer-epoch"), Some("1"));
    assert_eq!(reply.json()["current"], 1);
    server.close("a");
    server.expect(403, post("x").producer("p", 0, 7));
}

#[test]
fn a_new_epoch_starts_at_zero() {
    let server = server();
    server.expect(200, post("x").producer("p", 0, 0));
    let reply = server.expect(400, post("x").producer("p", 1, 5));
    assert_eq!(reply.json()["expected"], 0);
    server.expect(200, post("x").producer("p", 1, 0));
}

#[test]
fn a_gap_tells_what_was_expected() {
    let server = server();
    server.expect(200, post("x").producer("p", 0, 0));
    let reply = server.expect(409, post("x").producer("p", 0, 2));
    assert_eq!(reply.header("producer-expected-seq"), Some("1"));
    assert_eq!(reply.header("producer-received-seq"), Some("2"));
    assert_eq!(reply.json()["expected"], 1);
    assert_eq!(reply.json()["received"], 2);
}

#[test]
fn an_empty_append_does_not_use_up_the_sequence() {
    let server = server();
    server.expect(400, post("").producer("p", 0, 0));
    server.expect(200, post("x").producer("p", 0, 0));
}

#[test]
fn producers_may_close_and_repeat_it() {
    let server = server();
    server.expect(200, post("x").producer("p", 0, 0));
    let close = || {
        Request::new("POST", "a")
            .header("stream-closed", "true")
            .producer("p", 0, 1)
    };
    let reply = server.expect(204, close());
    assert_eq!(reply.header("producer-seq"), Some("1"));
    assert_eq!(reply.header("stream-closed"), Some("true"));
    server.expect(204, close());
    let other = post("y")
        .header("stream-closed", "true")
        .producer("q", 0, 0);
    assert_eq!(
        server.expect(409, other).header("stream-closed"),
        Some("true")
    );
    // The closing tuple is a duplicate whatever its body.
    let with_body = post("y")
        .header("stream-closed", "true")
        .producer("p", 0, 1);
    assert_eq!(
        server.expect(204, with_body).header("stream-closed"),
        Some("true")
    );
}

#[test]
fn more_producers_than_allowed_is_429_with_both_numbers() {
    let server = Server::with(|options, _| options.max_producers_per_stream = 1);
    server.create("a", "text/plain", "");
    server.expect(200, post("x").producer("p", 0, 0));
    let reply = server.expect(429, post("x").producer("q", 0, 0));
    assert_eq!(reply.json()["limit"], 1);
    assert_eq!(reply.json()["option"], "max_producers_per_stream");
}

#[test]
fn an_early_sequence_is_held_until_its_predecessor_arrives() {
    let server = Server::with(|_, config| config.hold_time = Duration::from_secs(5));
    server.create("a", "text/plain", "");
    let mut third = server.begin(&post("3").producer("p", 0, 2));
    let mut second = server.begin(&post("2").producer("p", 0, 1));
    third.waiting();
    second.waiting();
    server.expect(200, post("1").producer("p", 0, 0));
    second.woken();
    assert_eq!(second.reply().status, 200);
    // The third was woken by the first already, and must wait on.
    third.woken();
    if let Seen::Waiting(_) = third.poll() {
        panic!("the second was there");
    }
    assert_eq!(server.text("a"), "123");
}

#[test]
fn an_early_sequence_whose_predecessor_never_comes_is_a_gap_at_the_deadline() {
    let server = server();
    let begun = Instant::now();
    let reply = server.expect(409, post("x").producer("p", 0, 1));
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert_eq!(reply.header("producer-expected-seq"), Some("0"));
}

#[test]
fn a_sequence_with_more_predecessors_missing_than_can_be_held_is_a_gap_at_once() {
    let server = Server::with(|_, config| {
        config.hold_time = Duration::from_secs(5);
        config.hold_count = 3;
    });
    server.create("a", "text/plain", "");
    for (seq, held) in [(3, true), (4, false), ((1 << 53) - 1, false)] {
        let mut early = server.begin(&post("x").producer("p", 0, seq));
        if held {
            early.waiting();
        } else {
            let reply = early.reply();
            assert_eq!(reply.status, 409);
            assert_eq!(reply.header("producer-expected-seq"), Some("0"));
        }
    }
}

#[test]
fn an_unrelated_event_does_not_end_the_hold() {
    let server = Server::with(|_, config| config.hold_time = Duration::from_secs(5));
    server.create("a", "text/plain", "");
    let mut early = server.begin(&post("2").producer("p", 0, 1));
    let deadline = early.waiting();
    server.append("a", "text/plain", "other");
    early.woken();
    assert_eq!(early.waiting(), deadline);
    early.pass(Duration::from_secs(5));
    assert_eq!(early.reply().status, 409);
}

#[test]
fn holding_is_bounded_and_can_be_switched_off() {
    for change in [
        (|config| config.hold_count = 1) as fn(&mut durastream_protocol::Config),
        |config| config.hold_bytes = 5,
    ] {
        let server = Server::with(|_, config| {
            config.hold_time = Duration::from_secs(5);
            change(config);
        });
        server.create("a", "text/plain", "");
        let mut held = server.begin(&post("four").producer("p", 0, 1));
        held.waiting();
        let mut over = server.begin(&post("five!").producer("p", 0, 2));
        assert_eq!(over.reply().status, 409);
        drop(held);
        let mut next = server.begin(&post("four").producer("p", 0, 1));
        next.waiting();
    }
    let server = Server::with(|_, config| config.hold_time = Duration::ZERO);
    server.create("a", "text/plain", "");
    let mut early = server.begin(&post("x").producer("p", 0, 1));
    assert_eq!(early.reply().status, 409);
}

#[test]
fn if_match_appends_only_at_the_named_tail() {
    let server = server();
    let tail = server.append("a", "text/plain", "one");
    let etag = server
        .expect(200, Request::get("a"))
        .header("etag")
        .unwrap()
        .to_owned();
    for good in [
        tail.clone(),
        format!("\"{tail}\""),
        etag.clone(),
        "*".to_owned(),
    ] {
        let mut request = server.begin(&post("").header("if-match", &good));
        assert_eq!(
            request.reply().status,
            400,
            "conditions do not excuse an empty body"
        );
    }
    let second = server.expect(204, post("two").header("if-match", &etag));
    for moved in [
        tail.clone(),
        format!("\"{tail}\""),
        etag.clone(),
        format!("W/{etag}"),
        "\"x\"".to_owned(),
    ] {
        let reply = server.expect(412, post("no").header("if-match", &moved));
        assert_eq!(reply.next_offset(), second.next_offset(), "{moved}");
        assert_eq!(reply.json()["tail"], second.next_offset());
    }
    let list = format!("{tail}, \"{}\"", second.next_offset());
    server.expect(204, post("three").header("if-match", list));
    server.expect(204, post("four").header("if-match", "*"));
    assert_eq!(server.text("a"), "onetwothreefour");
    server.expect(
        404,
        Request::post("nowhere", "text/plain", "x").header("if-match", "*"),
    );
    server.expect(
        404,
        Request::post("nowhere", "text/plain", "x").header("if-match", etag),
    );
}

#[test]
fn any_of_the_tails_listed_may_be_the_one_and_the_body_is_checked_once() {
    let server = Server::new();
    let mut tails = vec![server.create("a", "text/plain", "")];
    for _ in 0..15 {
        tails.push(server.expect(204, post("x")).next_offset().to_owned());
    }
    let before = server.service.engine().stats().refusals;
    for at in [0, 7, 15] {
        let mut list = tails.clone();
        list.swap(at, 15);
        let next = server.expect(204, post("y").header("if-match", list.join(", ")));
        let next = next.next_offset().to_owned();
        server.expect(412, post("no").header("if-match", list.join(", ")));
        tails[15] = next;
    }
    let refused = server.service.engine().stats().refusals - before;
    assert_eq!(
        refused, 3,
        "each 412 came of one attempt, each 204 of none before it"
    );
}

#[test]
fn a_tag_of_another_stream_or_an_earlier_life_is_not_the_tail() {
    let server = server();
    server.append("a", "text/plain", "one");
    let etag = server
        .expect(200, Request::get("a"))
        .header("etag")
        .unwrap()
        .to_owned();
    let fork = Request::new("PUT", "f").header("stream-forked-from", "/v1/stream/a");
    server.expect(201, fork);
    server.expect(
        412,
        Request::post("f", "text/plain", "x").header("if-match", &etag),
    );
    server.expect(204, Request::delete("f"));
    server.expect(204, Request::delete("a"));
    server.create("a", "text/plain", "one");
    server.expect(412, post("x").header("if-match", &etag));
}

#[test]
fn the_start_of_an_empty_stream_can_be_matched() {
    let server = Server::new();
    let tail = server.create("a", "text/plain", "");
    server.expect(204, post("x").header("if-match", tail));
}

#[test]
fn a_body_over_the_limit_is_413_with_both_sizes_and_is_not_read_when_declared() {
    let server = Server::with(|options, _| options.max_append_bytes = 10);
    server.create("a", "text/plain", "");
    server.expect(204, post("0123456789"));
    let declared = post("01234567890").header("content-length", "11");
    // Refused at the first step, before a body was asked for.
    let reply = server.begin(&declared).reply();
    assert_eq!(reply.status, 413);
    let counted = server.expect(413, post("01234567890"));
    for reply in [reply, counted] {
        assert_eq!(reply.json()["limit"], 10);
        assert_eq!(reply.json()["value"], 11);
        assert!(reply.detail().contains("11 bytes"));
    }
    let mut chunked = server.begin(&post(""));
    let step = chunked.exchange().step(Instant::now());
    assert!(matches!(
        step,
        durastream_protocol::Step::NeedBody { limit: 10 }
    ));
    chunked.exchange().body_too_large(None);
    let reply = chunked.reply();
    assert_eq!(reply.status, 413);
    assert_eq!(reply.json()["at_least"], 11);
    // A listener that hands it over all the same changes nothing.
    let mut careless = server.begin(&post(""));
    careless.exchange().step(Instant::now());
    careless.exchange().body("01234567890".into());
    assert_eq!(careless.reply().json()["value"], 11);
    server.expect(413, Request::put("b", "text/plain", "01234567890"));
    server.expect(404, Request::head("b"));
    assert_eq!(server.text("a"), "0123456789");
}

#[test]
fn refusals_by_head_do_not_need_the_body() {
    let server = server();
    for request in [
        post("x").header("producer-id", "p"),
        post("x").header("content-type", "text/plain"),
        Request::post("a/../b", "text/plain", "x"),
        Request::put("b", "nonsense", "x"),
        Request::new("PATCH", "a").body("x"),
    ] {
        let mut live = server.begin(&request);
        let step = live.exchange().step(Instant::now());
        assert!(
            matches!(step, durastream_protocol::Step::Respond(_)),
            "{step:?}"
        );
    }
}

#[test]
fn a_large_body_is_looked_through_where_blocking_is_allowed() {
    let server = Server::new();
    let large = format!("[{}1]", "1,".repeat(100_000));
    for (target, content_type, body, blocks) in [
        ("small", "application/json", "[1]", false),
        ("large", "application/json", large.as_str(), true),
    ] {
        for (method, place) in [("PUT", "new"), ("POST", "a")] {
            let request = Request::new(method, place)
                .header("content-type", content_type)
                .body(body);
            let mut live = server.begin(&request);
            assert_eq!(live.blocks(), blocks, "{method} {target}");
            server.send(Request::delete(place));
        }
        server.create(target, content_type, "");
        server.append(target, content_type, body);
        assert_eq!(server.text(target).len(), body.len());
    }
}
