//! What is not HTTP/1.1 as RFC 9112 has it is refused, and ends its connection only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{Peer, content, create, serve};

const A: &str = "/v1/stream/a";

/// Requests to be refused: why, with which status, and what goes over the wire.
const REFUSED: &[(&str, u16, &str)] = &[
    (
        "length and transfer-encoding",
        400,
        "POST /v1/stream/a HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "lengths that differ",
        400,
        "POST /v1/stream/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ),
    (
        "a list of lengths",
        400,
        "POST /v1/stream/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1, 1\r\n\r\na",
    ),
    (
        "a signed length",
        400,
        "POST /v1/stream/a HTTP/1.1\r\nHost: t\r\nContent-Length: +1\r\n\r\na",
    ),
    (
        "an empty length",
        400,
        "POST /v1/stream/a HTTP/1.1\r\nHost: t\r\nContent-Length:\r\n\r\n",
    ),
    (
        "two transfer-encodings",
        400,
        "POST /v1/stream/a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "another transfer-encoding",
        501,
        "POST /v1/stream/a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    ),
    (
        "transfer-encoding in 1.0",
        400,
        "POST /v1/stream/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "a bare LF in the head",
        400,
        "GET /v1/stream/a HTTP/1.1\nHost: t\n\n",
    ),
    (
        "a bare LF behind a field",
        400,
        "GET /v1/stream/a HTTP/1.1\r\nHost: t\nX: y\r\n\r\n",
    ),
    (
        "a bare CR in a field",
        400,
        "GET /v1/stream/a HTTP/1.1\r\nHost: t\r\nX: a\rb\r\n\r\n",
    ),
    (
        "a folded field",
        400,
        "GET /v1/stream/a HTTP/1.1\r\nHost: t\r\nX: a\r\n b\r\n\r\n",
    ),
    (
        "a blank before the colon",
        400,
        "GET /v1/stream/a HTTP/1.1\r\nHost : t\r\n\r\n",
    ),
    (
        "a NUL in a field",
        400,
        "GET /v1/stream/a HTTP/1.1\r\nHost: t\r\nX: \0\r\n\r\n",
    ),
    ("no host", 400, "GET /v1/stream/a HTTP/1.1\r\n\r\n"),
    (
        "two hosts",
        400,
        "GET /v1/stream/a HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n",
    ),
    (
        "a host that is none",
        400,
        "GET /v1/stream/a HTTP/1.1\r\nHost: a/b\r\n\r\n",
    ),
    (
        "two blanks in the request line",
        400,
        "GET  /v1/stream/a HTTP/1.1\r\nHost: t\r\n\r\n",
    ),
    ("no version", 400, "GET /v1/stream/a\r\nHost: t\r\n\r\n"),
    (
        "another version",
        505,
        "GET /v1/stream/a HTTP/3.0\r\nHost: t\r\n\r\n",
    ),
    (
        "a relative target",
        400,
        "GET v1/stream/a HTTP/1.1\r\nHost: t\r\n\r\n",
    ),
    (
        "another scheme",
        400,
        "GET ftp://t/v1/stream/a HTTP/1.1\r\nHost: t\r\n\r\n",
    ),
    (
        "user information",
        400,
        "GET http://u@t/v1/stream/a HTTP/1.1\r\nHost: t\r\n\r\n",
    ),
    ("a TLS greeting", 400, "\x16\x03\x01\x02\0\x01\0\x01\0"),
];

/// Chunks to be refused, behind the head of an append.
const BAD_CHUNKS: &[(&str, &str)] = &[
    ("no size", "\r\n"),
    ("a size that is no number", "x\r\n"),
    ("a signed size", "+1\r\na\r\n"),
    ("a size with 0x", "0x1\r\na\r\n"),
    ("a blank before the size", " 1\r\na\r\n"),
    ("a size beyond any number", "ffffffffffffffffffff\r\n"),
    ("a bare LF behind the size", "1\na\r\n0\r\n\r\n"),
    ("a chunk longer than its size", "1\r\nab\r\n0\r\n\r\n"),
    ("a bare LF behind the data", "1\r\na\n0\r\n\r\n"),
    (
        "a trailer that is no field",
        "1\r\na\r\n0\r\nnonsense\r\n\r\n",
    ),
    ("a folded trailer", "1\r\na\r\n0\r\n x: y\r\n\r\n"),
    (
        "a control character in an extension",
        "1;\x01\r\na\r\n0\r\n\r\n",
    ),
];

#[test]
fn requests_that_are_not_http_are_refused_and_their_connection_ends() {
    let listener = serve(|_| {});
    create(&listener, A, b"kept");
    for (why, status, raw) in REFUSED {
        let mut peer = Peer::of(&listener);
        let answer = peer.send(raw).answer();
        assert_eq!(answer.status, *status, "{why}: {answer:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{why}");
        assert!(peer.is_closed(), "{why}");
    }
    assert_eq!(content(&listener, A), b"kept");
}

#[test]
fn chunks_that_are_not_as_they_must_be_are_refused_and_store_nothing() {
    let listener = serve(|_| {});
    create(&listener, A, b"kept");
    for (why, chunks) in BAD_CHUNKS {
        let mut peer = Peer::of(&listener);
        peer.send(format!(
            "POST {A} HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        ));
        let answer = peer.answer();
        assert_eq!(answer.status, 400, "{why}: {answer:?}");
        assert!(peer.is_closed(), "{why}");
    }
    assert_eq!(content(&listener, A), b"kept");
}

#[test]
fn a_head_over_the_limit_is_refused_in_one_piece_and_in_many() {
    let listener = serve(|limits| limits.max_header_bytes = 2048);
    for pieces in [1, 64] {
        let raw = format!(
            "GET {A} HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n",
            "x".repeat(4000)
        );
        let mut peer = Peer::of(&listener);
        for piece in raw.as_bytes().chunks(raw.len() / pieces) {
            peer.send(piece);
        }
        assert_eq!(peer.answer().status, 431);
    }
}

#[test]
fn many_small_fields_are_taken() {
    let listener = serve(|_| {});
    create(&listener, A, b"x");
    let fields: String = (0..1000).map(|n| format!("X-{n}: y\r\n")).collect();
    let answer = Peer::of(&listener)
        .ask(&format!("GET {A}"), &fields, b"")
        .answer();
    assert_eq!(answer.status, 200);
}

#[test]
fn a_refusal_is_framed_for_its_own_request_and_not_for_the_one_before() {
    let listener = serve(|_| {});
    create(&listener, A, b"x");
    let mut peer = Peer::of(&listener);
    peer.send(format!(
        "HEAD {A} HTTP/1.1\r\nHost: t\r\n\r\nnonsense\r\n\r\n"
    ));
    assert_eq!(peer.head().status, 200);
    let refusal = peer.answer();
    assert_eq!(refusal.status, 400);
    assert!(
        String::from_utf8(refusal.body)
            .unwrap()
            .contains("request line")
    );
    assert!(peer.is_closed());
}

#[test]
fn bytes_behind_the_last_request_spoil_no_answer() {
    let listener = serve(|_| {});
    create(&listener, A, b"kept");
    for trailing in ["\r\n", "nonsense\r\n\r\n", &"x".repeat(300_000)] {
        let mut peer = Peer::of(&listener);
        peer.send(format!(
            "GET {A} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n{trailing}"
        ));
        assert_eq!(peer.answer().body, b"kept");
        assert!(peer.is_closed());
    }
}

#[test]
fn an_http_2_preface_behind_a_request_is_no_http_2() {
    let listener = serve(|_| {});
    let mut peer = Peer::of(&listener);
    peer.send("OPTIONS / HTTP/1.1\r\nHost: t\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(peer.answer().status, 204);
    assert_eq!(peer.answer().status, 505);
    assert!(peer.is_closed());
}
