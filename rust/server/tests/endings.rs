//! Request bodies that nobody reads: their answers arrive, and they cost no more than is allowed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;

use durastream_server::Listener;
use support::{Peer, TEXT, content, create, serve};

const LINGER: usize = 1 << 20;
/// More than any append may have.
const HUGE: u64 = 1 << 40;

/// A listener that drops so much of a body, and a connection whose request was refused before its body.
fn refused() -> (Listener, Peer) {
    let listener = serve(|limits| limits.linger_bytes = LINGER as u64);
    create(&listener, "/v1/stream/a", b"whole");
    let mut peer = Peer::of(&listener);
    peer.send(format!(
        "POST /v1/stream/a HTTP/1.1\r\nHost: t\r\n{TEXT}Content-Length: {HUGE}\r\n\r\n"
    ));
    (listener, peer)
}

#[test]
fn what_is_sent_of_an_unread_body_does_not_reset_the_answer_away() {
    let (listener, mut peer) = refused();
    for _ in 0..16 {
        peer.send([b'x'; LINGER / 16]);
    }
    peer.stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    peer.stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(content(&listener, "/v1/stream/a"), b"whole");
}

#[test]
fn an_unread_body_beyond_the_limit_is_cut_off() {
    let (listener, mut peer) = refused();
    let piece = [b'x'; 64 << 10];
    // Far more than the system's buffers hold on their way.
    let cut = (0..2048).any(|_| peer.stream.write_all(&piece).is_err());
    assert!(cut);
    assert_eq!(content(&listener, "/v1/stream/a"), b"whole");
}
