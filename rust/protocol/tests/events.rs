//! What server-sent events promise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod driver;

use std::time::Duration;

use base64::Engine as _;
use driver::events::{control, events, pair};
use driver::{Live, Request, Seen, Server};
use durastream_protocol::Step;

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
fn a_long_event_is_made_once_for_all_who_want_it() {
    let server = Server::new();
    let bodies = [
        ("text/plain", "line\r\n".repeat(150_000)),
        ("image/png", "12345".repeat(140_001)),
        ("application/json", format!("\"{}\"", " x".repeat(300_000))),
    ];
    for (content_type, body) in bodies {
        let path = content_type.replace('/', "-");
        server.create(&path, content_type, &body);
        let read = || {
            let mut live = server.begin(&Request::get(&format!("{path}?offset=-1&live=sse")));
            let mut chunks = Vec::new();
            loop {
                match live.exchange().step(std::time::Instant::now()) {
                    Step::Wait { until: None } | Step::Start(_) => {}
                    Step::Wait { .. } => return chunks,
                    Step::Chunk(data) => chunks.push(data),
                    step => panic!("{step:?}"),
                }
            }
        };
        let (first, second) = (read(), read());
        assert!(first.concat() == second.concat());
        let pairs = first.iter().zip(&second);
        let shared = pairs.filter(|(a, b)| a.as_ptr() == b.as_ptr()).count();
        assert!(
            shared > 8 && shared + 1 >= first.len(),
            "{shared} of {}",
            first.len()
        );
        let text = String::from_utf8(first.concat()).unwrap();
        let (data, _) = pair(&text);
        let expected = match content_type {
            "text/plain" => body.replace("\r\n", "\n"),
            "image/png" => base64::engine::general_purpose::STANDARD.encode(&body),
            _ => format!("[{body}]"),
        };
        assert!(data == expected, "{content_type}");
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
    assert!(until <= begun + Duration::from_secs(60));
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
    let piece = || {
        let (mut sse, _) = events(&server, "a?offset=-1");
        let now = sse.now();
        match sse.exchange().step(now) {
            durastream_protocol::Step::Chunk(chunk) => chunk,
            other => panic!("{other:?}"),
        }
    };
    let open = [piece(), piece(), piece()];
    server.close("a");
    let closed = [piece(), piece(), piece()];
    for same in [open, closed] {
        assert_eq!(same[0].as_ptr(), same[1].as_ptr());
        assert_eq!(same[1].as_ptr(), same[2].as_ptr());
    }
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

#[test]
fn a_long_event_comes_in_parts_so_that_making_it_keeps_nobody_waiting() {
    let server = Server::new();
    let body = "line\r\n".repeat(200_000);
    let tail = server.create("a", "text/plain", &body);
    let (mut sse, _) = events(&server, "a?offset=-1");
    let mut whole = String::new();
    while !whole.ends_with("}\n\n") {
        let chunk = sse.chunk();
        assert!(chunk.len() < 1 << 20, "{} bytes at once", chunk.len());
        whole.push_str(&chunk);
    }
    let (data, control) = pair(&whole);
    // Line ends of every kind are LF to who reads an event stream.
    assert_eq!(data, body.replace("\r\n", "\n"));
    assert_eq!(control["streamNextOffset"], tail);
    sse.waiting();
    server.append("a", "text/plain", "more");
    sse.woken();
    assert_eq!(pair(&sse.chunk()).0, "more");
}
