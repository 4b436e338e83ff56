//! What live reads promise: long-poll and server-sent events.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod driver;

use std::time::Duration;

use base64::Engine as _;
use driver::{Live, Reply, Request, Seen, Server};
use durastream_engine::storage::CommitError;
use serde_json::Value;

const MINUTE: Duration = Duration::from_secs(60);

fn patient() -> Server {
    Server::with(|_, config| config.long_poll_timeout = Duration::from_secs(30))
}

fn poll(server: &Server, target: &str) -> Live {
    server.begin(&Request::get(&format!("{target}&live=long-poll")))
}

/// An event stream after its head.
fn events(server: &Server, target: &str) -> (Live, Reply) {
    let mut live = server.begin(&Request::get(&format!("{target}&live=sse")));
    let head = live.head();
    (live, head)
}

/// The events of a chunk: type and data, as a reader of event streams takes them.
fn parse(chunk: &str) -> Vec<(String, String)> {
    assert!(chunk.ends_with("\n\n"), "an event in one piece: {chunk:?}");
    chunk
        .split("\n\n")
        .filter(|block| !block.is_empty() && *block != ":")
        .map(|block| {
            let mut kind = String::new();
            let mut data = Vec::new();
            for line in block.split('\n') {
                if let Some(value) = line.strip_prefix("event: ") {
                    kind = value.to_owned();
                } else {
                    let value = line.strip_prefix("data:").expect("a data line");
                    data.push(value.strip_prefix(' ').unwrap_or(value));
                }
            }
            (kind, data.join("\n"))
        })
        .collect()
}

/// A chunk of one data event and its control event.
fn pair(chunk: &str) -> (String, Value) {
    let events = parse(chunk);
    assert_eq!(events.len(), 2, "{chunk:?}");
    assert_eq!(events[0].0, "data");
    (events[0].1.clone(), control_of(&events[1]))
}

/// A chunk of a control event alone.
fn control(chunk: &str) -> Value {
    let events = parse(chunk);
    assert_eq!(events.len(), 1, "{chunk:?}");
    control_of(&events[0])
}

fn control_of((kind, data): &(String, String)) -> Value {
    assert_eq!(kind, "control");
    let control: Value = serde_json::from_str(data).unwrap();
    assert!(control["streamNextOffset"].is_string());
    assert_eq!(
        control["streamCursor"].is_string(),
        control["streamClosed"].is_null()
    );
    control
}

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
fn shutdown_answers_long_polls_and_ends_event_streams() {
    let server = patient();
    let tail = server.create("a", "text/plain", "x");
    let mut waiting = poll(&server, "a?offset=now");
    waiting.waiting();
    let (mut sse, _) = events(&server, "a?offset=now");
    control(&sse.chunk());
    sse.waiting();
    server.service.shut_down();
    let reply = waiting.reply();
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("stream-up-to-date"), Some("true"));
    assert_eq!(reply.next_offset(), tail);
    assert!(reply.header("stream-cursor").is_some());
    sse.end();
    // New ones answer at once, with what there is.
    assert_eq!(poll(&server, "a?offset=now").reply().status, 204);
    assert_eq!(poll(&server, "a?offset=-1").reply().text(), "x");
    let (mut sse, _) = events(&server, "a?offset=-1");
    assert_eq!(pair(&sse.chunk()).0, "x");
    sse.end();
}

#[test]
fn an_event_stream_has_the_right_head() {
    let server = Server::new();
    server.create("a", "text/plain", "x");
    let (_, head) = events(&server, "a?offset=-1");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert!(head.header("cache-control").unwrap().contains("no-cache"));
    assert_eq!(head.header("stream-sse-data-encoding"), None);
    assert_eq!(head.header("etag"), None);
}

#[test]
fn every_data_event_has_one_control_event() {
    let server = Server::new();
    server.create("a", "application/json", r#"[{"n":1},{"n":2}]"#);
    let tail = server.append("a", "application/json", "3");
    let (mut sse, _) = events(&server, "a?offset=-1");
    let (data, first) = pair(&sse.chunk());
    assert_eq!(data, r#"[{"n":1},{"n":2},3]"#);
    assert_eq!(first["streamNextOffset"], tail);
    assert_eq!(first["upToDate"], true);
    sse.waiting();
    let tail = server.append("a", "application/json", "4");
    sse.woken();
    let (data, second) = pair(&sse.chunk());
    assert_eq!(data, "[4]");
    assert_eq!(second["streamNextOffset"], tail);
    sse.waiting();
}

#[test]
fn a_stream_without_data_announces_its_tail_once() {
    let server = Server::new();
    let empty = server.create("a", "text/plain", "");
    for offset in ["-1", "now"] {
        let (mut sse, _) = events(&server, &format!("a?offset={offset}"));
        let control = control(&sse.chunk());
        assert_eq!(control["streamNextOffset"], empty);
        assert_eq!(control["upToDate"], true);
        sse.waiting();
        // A wake without news says nothing.
        sse.waiting();
    }
}

#[test]
fn binary_travels_in_base64_and_says_so() {
    let server = Server::new();
    let bytes: Vec<u8> = (0..=255).collect();
    for content_type in [
        "application/octet-stream",
        "image/png",
        "application/ndjson",
    ] {
        let path = content_type.replace('/', "-");
        let put = Request::new("PUT", &path).header("content-type", content_type);
        server.expect(201, put.body(&bytes[..100]));
        let post = Request::new("POST", &path).header("content-type", content_type);
        server.expect(204, post.body(&bytes[100..]));
        let (mut sse, head) = events(&server, &format!("{path}?offset=-1"));
        assert_eq!(head.header("stream-sse-data-encoding"), Some("base64"));
        let (data, _) = pair(&sse.chunk());
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(data)
            .unwrap();
        assert_eq!(decoded, bytes);
    }
}

#[test]
fn text_cannot_forge_events() {
    let server = Server::new();
    let hostile = "safe\r\n\r\nevent: control\r\ndata: {\"x\":1}\r\n\r\n more\rend\n";
    server.create("a", "text/plain", hostile);
    let (mut sse, _) = events(&server, "a?offset=-1");
    let (data, _) = pair(&sse.chunk());
    assert_eq!(data, hostile.replace("\r\n", "\n").replace('\r', "\n"));
}

#[test]
fn append_and_close_is_one_data_and_one_last_control_event() {
    let server = Server::new();
    server.create("a", "text/plain", "old");
    let (mut sse, _) = events(&server, "a?offset=now");
    control(&sse.chunk());
    sse.waiting();
    let closing = Request::post("a", "text/plain", "last").header("stream-closed", "true");
    let tail = server.expect(204, closing).next_offset().to_owned();
    sse.woken();
    let (data, control) = pair(&sse.chunk());
    assert_eq!(data, "last");
    assert_eq!(control["streamNextOffset"], tail);
    assert_eq!(control["streamClosed"], true);
    assert_eq!(control["upToDate"], true);
    sse.end();
    sse.end();
}

#[test]
fn a_close_alone_is_one_last_control_event() {
    let server = Server::new();
    let tail = server.create("a", "text/plain", "x");
    let (mut sse, _) = events(&server, "a?offset=-1");
    pair(&sse.chunk());
    sse.waiting();
    server.close("a");
    sse.woken();
    assert_eq!(control(&sse.chunk())["streamClosed"], true);
    sse.end();
    for offset in ["now", &tail] {
        let (mut sse, _) = events(&server, &format!("a?offset={offset}"));
        let control = control(&sse.chunk());
        assert_eq!(control["streamClosed"], true);
        assert_eq!(control["streamNextOffset"], tail);
        sse.end();
    }
}

#[test]
fn a_backlog_comes_page_by_page_at_the_readers_pace() {
    let server = Server::with(|_, config| config.page_bytes = 10);
    server.create("a", "text/plain", "0123456789");
    for _ in 0..4 {
        server.append("a", "text/plain", "0123456789");
    }
    let (mut sse, _) = events(&server, "a?offset=-1");
    for n in 0..5 {
        let (data, control) = pair(&sse.chunk());
        assert_eq!(data, "0123456789");
        assert_eq!(control["upToDate"].is_null(), n < 4);
    }
    sse.waiting();
}

#[test]
fn an_sse_page_is_small_whatever_the_page_size_is() {
    let server = Server::new();
    server.create("a", "text/plain", "");
    for _ in 0..8 {
        server.append("a", "text/plain", &"x".repeat(100 << 10));
    }
    let (mut sse, _) = events(&server, "a?offset=-1");
    let mut got = 0;
    while got < 8 * (100 << 10) {
        let chunk = sse.chunk();
        assert!(chunk.len() < (256 << 10) + 1024, "{}", chunk.len());
        got += pair(&chunk).0.len();
    }
}

#[test]
fn silence_is_broken_by_comments_and_the_stream_ends_in_time() {
    let server = Server::new();
    server.create("a", "text/plain", "x");
    let (mut sse, _) = events(&server, "a?offset=now");
    control(&sse.chunk());
    let begun = sse.now();
    for n in 1..=3 {
        let until = sse.waiting();
        assert!(until <= begun + Duration::from_secs(15 * n + 1), "{n}");
        sse.pass(Duration::from_secs(15));
        assert_eq!(sse.chunk(), ":\n\n");
    }
    let until = sse.waiting();
    assert!(until <= begun + MINUTE);
    sse.pass(Duration::from_secs(15));
    sse.end();
}

#[test]
fn an_event_stream_that_is_over_still_gave_its_first_event() {
    let server = Server::with(|_, config| config.sse_max = Duration::ZERO);
    server.create("a", "text/plain", "x");
    let (mut sse, _) = events(&server, "a?offset=-1");
    pair(&sse.chunk());
    sse.end();
}

#[test]
fn a_stream_deleted_meanwhile_ends_its_event_streams() {
    let server = Server::new();
    server.create("a", "text/plain", "x");
    let (mut sse, _) = events(&server, "a?offset=now");
    control(&sse.chunk());
    sse.waiting();
    server.expect(204, Request::delete("a"));
    sse.woken();
    sse.end();
}

#[test]
fn event_streams_hand_out_cursors_that_only_grow() {
    let server = Server::new();
    server.create("a", "text/plain", "x");
    let (mut sse, _) = events(&server, "a?offset=-1");
    let (_, control) = pair(&sse.chunk());
    let cursor: u64 = control["streamCursor"].as_str().unwrap().parse().unwrap();
    let (mut sse, _) = events(&server, &format!("a?offset=-1&cursor={cursor}"));
    let next = |sse: &mut Live| {
        let (_, control) = pair(&sse.chunk());
        control["streamCursor"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let first = next(&mut sse);
    assert!(first > cursor);
    sse.waiting();
    server.append("a", "text/plain", "y");
    sse.woken();
    assert!(next(&mut sse) >= first);
}

#[test]
fn subscribers_share_the_bytes_of_an_event() {
    let server = Server::new();
    server.create("a", "application/octet-stream", "shared");
    let pieces: Vec<_> = (0..3)
        .map(|_| {
            let (mut sse, _) = events(&server, "a?offset=-1");
            let now = sse.now();
            match sse.exchange().step(now) {
                durastream_protocol::Step::Chunk(chunk) => chunk,
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert_eq!(pieces[0].as_ptr(), pieces[1].as_ptr());
    assert_eq!(pieces[1].as_ptr(), pieces[2].as_ptr());
}

#[test]
fn refusals_come_before_an_event_stream_begins() {
    let server = Server::new();
    server.expect(404, Request::get("nowhere?offset=-1&live=sse"));
    server.create("a", "text/plain", "x");
    let gone = "a?offset=9999999999999999_0000000000000000&live=sse";
    server.expect(410, Request::get(gone));
}

#[test]
fn a_failed_log_refuses_who_waits_for_it_but_not_who_reads() {
    let poisoned = CommitError::Poisoned {
        cause: "EIO".to_owned(),
    };
    let full = CommitError::StorageFull {
        dir: "/data".into(),
        detail: "ENOSPC".to_owned(),
    };
    let server = patient();
    server.create("a", "text/plain", "x");
    for (cause, status) in [(&poisoned, 503), (&full, 507), (&CommitError::Closed, 503)] {
        let mut live = poll(&server, "a?offset=now");
        live.waiting();
        live.exchange().fail(cause);
        assert_eq!(live.reply().status, status);
    }
    let (mut sse, _) = events(&server, "a?offset=-1");
    pair(&sse.chunk());
    sse.waiting();
    sse.exchange().fail(&poisoned);
    let until = sse.waiting();
    assert!(until > sse.now());
    sse.pass(MINUTE);
    sse.end();
    let (mut sse, _) = events(&server, "a?offset=now");
    control(&sse.chunk());
    sse.waiting();
    sse.exchange().fail(&CommitError::Closed);
    sse.end();
}

#[test]
fn a_dropped_exchange_withdraws_its_watch() {
    let server = patient();
    server.create("a", "text/plain", "x");
    let mut waiting = poll(&server, "a?offset=now");
    waiting.waiting();
    let (mut sse, _) = events(&server, "a?offset=now");
    control(&sse.chunk());
    sse.waiting();
    assert_eq!(server.service.engine().stats().watches, 2);
    drop(waiting);
    drop(sse);
    assert_eq!(server.service.engine().stats().watches, 0);
}

#[test]
fn a_slow_reader_holds_one_chunk_and_skips_nothing() {
    let server = Server::new();
    server.create("a", "text/plain", "");
    let (mut sse, _) = events(&server, "a?offset=-1");
    control(&sse.chunk());
    let mut sent = String::new();
    for n in 0..1000 {
        let text = format!("{n},");
        server.append("a", "text/plain", &text);
        sent.push_str(&text);
    }
    let mut got = String::new();
    while let Seen::Chunk(chunk) = sse.poll() {
        got.push_str(&pair(&chunk).0);
    }
    assert_eq!(got, sent);
}
