//! What long-polls promise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod driver;

use std::time::Duration;

use driver::{Request, Server, patient, poll};

#[test]
fn a_long_poll_answers_at_once_when_there_is_data() {
    let server = patient();
    let tail = server.create("a", "text/plain", "hello");
    let reply = poll(&server, "a?offset=-1").reply();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text(), "hello");
    assert_eq!(reply.next_offset(), tail);
    assert_eq!(reply.header("stream-up-to-date"), Some("true"));
    assert!(reply.header("etag").is_some());
    let cursor: u64 = reply.header("stream-cursor").unwrap().parse().unwrap();
    let again = poll(&server, &format!("a?offset=-1&cursor={cursor}")).reply();
    let next: u64 = again.header("stream-cursor").unwrap().parse().unwrap();
    assert!(next > cursor);
}

#[test]
fn a_long_poll_waits_for_news_and_brings_only_them() {
    let server = patient();
    let tail = server.create("a", "text/plain", "old");
    for offset in [tail.as_str(), "now"] {
        let mut live = poll(&server, &format!("a?offset={offset}"));
        let until = live.waiting();
        assert!(until > live.now() + Duration::from_secs(25));
        assert!(!live.is_woken());
        live.waiting();
        server.append("a", "text/plain", "new");
        live.woken();
        let reply = live.reply();
        assert_eq!(reply.text(), "new");
        assert_eq!(reply.header("stream-up-to-date"), Some("true"));
        // The answer to `now` is another one a moment later.
        let is_now = offset == "now";
        assert_eq!(reply.header("etag").is_none(), is_now);
        assert_eq!(reply.header("cache-control") == Some("no-store"), is_now);
        if is_now {
            break;
        }
    }
}

#[test]
fn a_long_poll_ends_with_204_and_all_that_is_needed_to_go_on() {
    let server = Server::new();
    let tail = server.create("a", "text/plain", "x");
    let reply = server.expect(
        204,
        Request::get(&format!("a?offset={tail}&live=long-poll")),
    );
    assert_eq!(reply.next_offset(), tail);
    assert_eq!(reply.header("stream-up-to-date"), Some("true"));
    assert_eq!(reply.header("stream-closed"), None);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert!(
        reply
            .header("stream-cursor")
            .unwrap()
            .parse::<u64>()
            .is_ok()
    );
    assert_eq!(reply.header("content-type"), None);
}

#[test]
fn a_closed_stream_keeps_no_long_poll_waiting() {
    let server = patient();
    server.create("a", "text/plain", "x");
    let mut waiting = poll(&server, "a?offset=now");
    waiting.waiting();
    let tail = server.close("a");
    waiting.woken();
    for reply in [
        waiting.reply(),
        poll(&server, "a?offset=now").reply(),
        poll(&server, &format!("a?offset={tail}")).reply(),
    ] {
        assert_eq!(reply.status, 204);
        assert_eq!(reply.header("stream-closed"), Some("true"));
        assert_eq!(reply.header("stream-up-to-date"), Some("true"));
        assert_eq!(reply.header("stream-cursor"), None);
        assert_eq!(reply.next_offset(), tail);
    }
    let data = poll(&server, "a?offset=-1").reply();
    assert_eq!(data.status, 200);
    assert_eq!(data.header("stream-closed"), Some("true"));
    assert_eq!(data.header("stream-cursor"), None);
}

#[test]
fn a_long_poll_one_past_the_tail_gets_even_a_single_byte() {
    let server = patient();
    let tail: durastream_engine::Offset = server.create("a", "text/plain", "x").parse().unwrap();
    let past = durastream_engine::Offset {
        position: tail.position + 1,
        ..tail
    };
    let mut live = poll(&server, &format!("a?offset={past}"));
    live.waiting();
    server.append("a", "text/plain", "y");
    live.woken();
    assert_eq!(live.reply().text(), "y");
}

#[test]
fn a_stream_deleted_meanwhile_answers_the_long_poll() {
    let server = patient();
    server.create("a", "text/plain", "x");
    let mut live = poll(&server, "a?offset=now");
    live.waiting();
    server.expect(204, Request::delete("a"));
    live.woken();
    assert_eq!(live.reply().status, 404);
}

#[test]
fn a_fork_wakes_for_its_own_appends_only() {
    let server = patient();
    server.create("src", "text/plain", "x");
    let fork = Request::new("PUT", "f").header("stream-forked-from", "/v1/stream/src");
    server.expect(201, fork);
    assert_eq!(poll(&server, "f?offset=-1").reply().text(), "x");
    let mut live = poll(&server, "f?offset=now");
    live.waiting();
    server.append("src", "text/plain", "theirs");
    assert!(!live.is_woken());
    live.waiting();
    server.append("f", "text/plain", "ours");
    live.woken();
    assert_eq!(live.reply().text(), "ours");
}

#[test]
fn a_long_poll_may_be_revalidated() {
    let server = patient();
    server.create("a", "text/plain", "x");
    let target = "a?offset=-1&live=long-poll";
    let etag = server
        .expect(200, Request::get(target))
        .header("etag")
        .unwrap()
        .to_owned();
    let reply = server.expect(304, Request::get(target).header("if-none-match", etag));
    assert!(reply.header("stream-cursor").is_some());
}

#[test]
fn times_beyond_what_a_clock_can_say_are_taken_as_long_ones() {
    let server = Server::with(|_, config| {
        config.long_poll_timeout = Duration::MAX;
        config.sse_max = Duration::MAX;
        config.sse_heartbeat = Duration::MAX;
        config.hold_time = Duration::MAX;
    });
    let tail = server.create("a", "text/plain", "");
    for live in ["long-poll", "sse"] {
        let mut request = server.begin(&Request::get(&format!("a?offset={tail}&live={live}")));
        if live == "sse" {
            request.head();
            request.chunk();
        }
        request.waiting();
    }
    let mut early = server.begin(&Request::post("a", "text/plain", "x").producer("p", 0, 1));
    early.waiting();
}
