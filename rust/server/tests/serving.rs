//! Requests as clients send them, in every framing that HTTP/1.1 and 1.0 allow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::Shutdown;
use std::time::{Duration, Instant};

use support::{Peer, TEXT, content, create, serve};

const A: &str = "/v1/stream/a";
const POST: &str = "POST /v1/stream/a";

#[test]
fn pipelined_requests_are_answered_in_order() {
    let listener = serve(|_| {});
    create(&listener, A, b"");
    let mut raw = Vec::new();
    for n in 0..200 {
        let body = format!("{n};");
        raw.extend(
            format!(
                "{POST} HTTP/1.1\r\nHost: t\r\n{TEXT}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        );
    }
    let mut peer = Peer::of(&listener);
    peer.send(raw);
    let tails: Vec<String> = (0..200)
        .map(|_| {
            let answer = peer.answer();
            assert_eq!(answer.status, 204);
            answer.field("stream-next-offset").unwrap().to_owned()
        })
        .collect();
    assert!(tails.is_sorted());
    let expected: String = (0..200).map(|n| format!("{n};")).collect();
    assert_eq!(content(&listener, A), expected.as_bytes());
}

#[test]
fn a_page_of_many_small_appends_and_a_few_large_ones_arrives_as_it_was_written() {
    let listener = serve(|_| {});
    create(&listener, A, b"");
    let (mut peer, mut written) = (Peer::of(&listener), Vec::new());
    for n in 0..4000 {
        let body = if n % 500 == 499 {
            vec![b'.'; 70_000]
        } else {
            format!("{n};").into_bytes()
        };
        assert_eq!(peer.ask(POST, TEXT, &body).answer().status, 204);
        written.extend(body);
    }
    assert_eq!(content(&listener, A), written);
}

#[test]
fn chunks_with_extensions_and_trailers_are_taken_byte_by_byte() {
    let listener = serve(|_| {});
    create(&listener, A, b"");
    let mut peer = Peer::of(&listener);
    let raw = format!(
        "{POST} HTTP/1.1\r\nHost: t\r\n{TEXT}Transfer-Encoding: Chunked\r\n\r\n\
         3;x=\"y\"\r\nabc\r\n00A\r\n0123456789\r\n0\r\nTrailer: z\r\n\r\n"
    );
    for byte in raw.bytes() {
        peer.send([byte]);
    }
    assert_eq!(peer.answer().status, 204);
    assert_eq!(content(&listener, A), b"abc0123456789");
    assert_eq!(peer.ask(POST, TEXT, b"!").answer().status, 204);
}

#[test]
fn the_go_ahead_is_given_only_to_who_waits_for_it() {
    let listener = serve(|_| {});
    create(&listener, A, b"");
    let mut peer = Peer::of(&listener);
    let head = format!(
        "{POST} HTTP/1.1\r\nHost: t\r\n{TEXT}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    );
    peer.send(&head);
    assert_eq!(peer.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(peer.send(b"body").answer().status, 204);
    assert_eq!(peer.send(head + "body").answer().status, 204);
}

#[test]
fn a_refusal_comes_instead_of_the_go_ahead_and_ends_the_connection() {
    let listener = serve(|_| {});
    let mut peer = Peer::of(&listener);
    peer.send("POST /v1/stream/a//b HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    let answer = peer.answer();
    assert_eq!(
        (answer.status, answer.field("connection")),
        (400, Some("close"))
    );
}

#[test]
fn an_unread_body_is_dropped_and_the_connection_goes_on() {
    let listener = serve(|_| {});
    create(&listener, A, b"");
    let mut peer = Peer::of(&listener);
    assert_eq!(
        peer.ask("POST /v1/stream/a//b", TEXT, &[b'x'; 60_000])
            .answer()
            .status,
        400
    );
    assert_eq!(peer.ask(POST, TEXT, b"good").answer().status, 204);
    assert_eq!(content(&listener, A), b"good");
}

#[test]
fn a_body_over_the_limit_is_answered_while_it_is_still_being_sent() {
    let listener = serve(|_| {});
    create(&listener, A, b"");
    let mut peer = Peer::of(&listener);
    peer.send(format!(
        "{POST} HTTP/1.1\r\nHost: t\r\n{TEXT}Content-Length: 99999999\r\n\r\n"
    ));
    for _ in 0..64 {
        peer.send([b'x'; 65536]);
    }
    assert_eq!(peer.answer().status, 413);
}

#[test]
fn answers_to_head_have_no_body_whatever_their_status() {
    let listener = serve(|_| {});
    create(&listener, A, b"some");
    let mut peer = Peer::of(&listener);
    for (target, status) in [(A, 200), ("/v1/stream/none", 404), ("/x", 404)] {
        peer.ask(&format!("HEAD {target}"), "", b"");
        assert_eq!(peer.head().status, status, "{target}");
    }
    assert_eq!(
        peer.ask(&format!("GET {A}"), "", b"").answer().body,
        b"some"
    );
}

#[test]
fn http_1_0_ends_its_connection_unless_it_asks_otherwise() {
    let listener = serve(|_| {});
    create(&listener, A, b"some");
    let mut peer = Peer::of(&listener);
    peer.send(format!(
        "GET {A} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    ));
    let answer = peer.answer();
    assert_eq!(
        (answer.body.as_slice(), answer.field("connection")),
        (b"some".as_slice(), Some("keep-alive"))
    );
    peer.send(format!("GET {A} HTTP/1.0\r\n\r\n"));
    assert_eq!(peer.answer().body, b"some");
    assert!(peer.is_closed());
}

#[test]
fn an_absolute_target_goes_before_the_host_field() {
    let listener = serve(|_| {});
    let answer = Peer::of(&listener)
        .ask("PUT http://example.org:81/v1/stream/abs", TEXT, b"")
        .answer();
    assert_eq!(
        answer.field("location"),
        Some("http://example.org:81/v1/stream/abs")
    );
}

#[test]
fn sse_comes_in_chunks_as_it_happens_and_ends_with_its_stream() {
    let listener = serve(|_| {});
    create(&listener, A, b"one");
    let mut reader = Peer::of(&listener);
    reader.ask(&format!("GET {A}?offset=-1&live=sse"), "", b"");
    assert_eq!(reader.head().field("transfer-encoding"), Some("chunked"));
    assert!(
        String::from_utf8(reader.chunk())
            .unwrap()
            .contains("data:one")
    );
    let mut writer = Peer::of(&listener);
    assert_eq!(writer.ask(POST, TEXT, b"two").answer().status, 204);
    assert!(
        String::from_utf8(reader.chunk())
            .unwrap()
            .contains("data:two")
    );
    assert_eq!(
        writer
            .ask(POST, "Stream-Closed: true\r\n", b"")
            .answer()
            .status,
        204
    );
    assert!(
        String::from_utf8(reader.until(b"0\r\n\r\n"))
            .unwrap()
            .contains("streamClosed")
    );
    assert_eq!(reader.ask(&format!("HEAD {A}"), "", b"").head().status, 200);
}

#[test]
fn readers_that_do_not_read_hold_up_nobody_and_get_everything_later() {
    let listener = serve(|_| {});
    create(&listener, A, b"");
    let mut slow = Peer::of(&listener);
    slow.ask(&format!("GET {A}?offset=-1&live=sse"), "", b"");
    let mut writer = Peer::of(&listener);
    for n in 0..64 {
        let body = vec![b'a' + n % 26; 256 << 10];
        let began = Instant::now();
        assert_eq!(writer.ask(POST, TEXT, &body).answer().status, 204);
        assert!(began.elapsed() < Duration::from_secs(2));
    }
    writer.ask(POST, "Stream-Closed: true\r\n", b"").answer();
    slow.head();
    let mut letters = Vec::new();
    loop {
        let chunk = slow.chunk();
        if chunk.is_empty() {
            break;
        }
        for line in chunk.split(|b| *b == b'\n') {
            let data = line.strip_prefix(b"data:").unwrap_or_default();
            if !data.starts_with(b"{") {
                letters.extend_from_slice(data);
            }
        }
    }
    let sent: Vec<u8> = (0..64)
        .flat_map(|n| vec![b'a' + n % 26; 256 << 10])
        .collect();
    assert!(letters == sent);
}

#[test]
fn a_long_poll_is_woken_by_the_append_it_waits_for() {
    let listener = serve(|_| {});
    create(&listener, A, b"");
    let mut waiting: Vec<Peer> = (0..50).map(|_| Peer::of(&listener)).collect();
    for peer in &mut waiting {
        peer.ask(
            &format!("GET {A}?offset=0000000000000000_0000000000000000&live=long-poll"),
            "",
            b"",
        );
    }
    std::thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    Peer::of(&listener).ask(POST, TEXT, b"news").answer();
    for peer in &mut waiting {
        assert_eq!(peer.answer().body, b"news");
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_client_that_half_closes_after_its_request_is_answered() {
    let listener = serve(|_| {});
    create(&listener, A, b"");
    let mut peer = Peer::of(&listener);
    peer.ask(POST, TEXT, b"last words");
    peer.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(peer.answer().status, 204);
    assert!(peer.is_closed());
}

#[test]
fn connections_over_the_limit_are_told_so_and_room_comes_back() {
    let listener = serve(|limits| limits.max_connections = 2);
    let mut first = Peer::of(&listener);
    let second = Peer::of(&listener);
    assert_eq!(first.ask("OPTIONS /", "", b"").answer().status, 204);
    while listener.connections() < 2 {
        std::thread::yield_now();
    }
    let answer = Peer::of(&listener).ask("OPTIONS /", "", b"").answer();
    assert_eq!(
        (answer.status, answer.field("connection")),
        (503, Some("close"))
    );
    drop(second);
    while listener.connections() > 1 {
        std::thread::yield_now();
    }
    assert_eq!(
        Peer::of(&listener)
            .ask("OPTIONS /", "", b"")
            .answer()
            .status,
        204
    );
}

#[test]
fn peers_that_say_nothing_are_closed_at_their_deadlines() {
    let listener = serve(|limits| {
        limits.keep_alive = Duration::from_millis(100);
        limits.stall = Duration::from_millis(100);
    });
    let began = Instant::now();
    for raw in [
        "",
        "GET /v1",
        "POST /v1/stream/a HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nab",
    ] {
        assert!(Peer::of(&listener).send(raw).is_closed(), "{raw}");
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(listener.connections(), 0);
}

#[test]
fn uploads_beyond_what_may_be_received_at_once_are_refused() {
    let listener = serve(|limits| limits.max_upload_bytes = 100_000);
    create(&listener, A, b"");
    let mut peer = Peer::of(&listener);
    peer.send(format!(
        "{POST} HTTP/1.1\r\nHost: t\r\n{TEXT}Content-Length: 1000000\r\n\r\n"
    ));
    peer.send([b'x'; 200_000]);
    let answer = peer.answer();
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(
        Peer::of(&listener)
            .ask(POST, TEXT, &[b'y'; 90_000])
            .answer()
            .status,
        204
    );
}
