//! Bodies that trickle in: whoever sends one is told, and nobody holds memory by it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use support::{Peer, TEXT, content, create, serve};

const A: &str = "/v1/stream/a";
const POST: &str = "POST /v1/stream/a HTTP/1.1\r\nHost: t\r\n";
const STALL: Duration = Duration::from_millis(400);
const TICK: Duration = Duration::from_millis(50);

#[test]
fn a_body_below_the_least_rate_is_answered_with_both_values_and_stores_nothing() {
    for framing in [
        "Content-Length: 9000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2000\r\n",
    ] {
        let listener = serve(|limits| {
            limits.stall = STALL;
            limits.min_body_rate = 1000;
        });
        create(&listener, A, b"");
        let (mut peer, begun) = (Peer::of(&listener), Instant::now());
        peer.send(format!("{POST}{TEXT}{framing}"));
        // It never stalls: a byte comes all the time.
        while listener
            .stats()
            .statuses
            .iter()
            .all(|(status, _)| *status != 408)
        {
            assert!(begun.elapsed() < 10 * STALL, "{framing}");
            peer.send(b"x");
            thread::sleep(TICK);
        }
        assert!(begun.elapsed() >= STALL);
        assert_eq!(listener.stats().upload_bytes, 0);
        let answer = peer.answer();
        assert_eq!(answer.status, 408);
        assert_eq!(answer.field("connection"), Some("close"));
        let told = String::from_utf8(answer.body).unwrap();
        assert!(
            told.contains("after 0.4 s, at least 1000 bytes per second"),
            "{told}"
        );
        assert!(content(&listener, A).is_empty());
    }
}

#[test]
fn a_body_above_the_least_rate_is_taken_however_long_it_lasts() {
    let listener = serve(|limits| {
        limits.stall = STALL;
        limits.min_body_rate = 200;
    });
    create(&listener, A, b"");
    let (mut peer, begun) = (Peer::of(&listener), Instant::now());
    peer.send(format!("{POST}{TEXT}Content-Length: 900\r\n\r\n"));
    for _ in 0..30 {
        peer.send([b'x'; 30]);
        thread::sleep(TICK);
    }
    assert_eq!(peer.answer().status, 204);
    assert!(begun.elapsed() > 3 * STALL);
    assert_eq!(content(&listener, A).len(), 900);
}

#[test]
fn without_a_least_rate_a_body_only_has_to_move() {
    let listener = serve(|limits| {
        limits.stall = STALL;
        limits.min_body_rate = 0;
    });
    create(&listener, A, b"");
    let mut peer = Peer::of(&listener);
    peer.send(format!("{POST}{TEXT}Content-Length: 20\r\n\r\n"));
    for _ in 0..20 {
        peer.send(b"x");
        thread::sleep(TICK);
    }
    assert_eq!(peer.answer().status, 204);
}

#[test]
fn the_rest_of_a_body_that_nobody_wants_has_one_stall_to_come() {
    let listener = serve(|limits| limits.stall = STALL);
    create(&listener, A, b"");
    let (mut peer, begun) = (Peer::of(&listener), Instant::now());
    // Answered without its body, and kept open for the rest of it.
    peer.send("GET /v1/stream/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n");
    assert_eq!(peer.answer().status, 200);
    while listener.connections() > 0 {
        assert!(begun.elapsed() < 10 * STALL);
        // It may be closed by then.
        let _ = peer.stream.write_all(b"x");
        thread::sleep(TICK);
    }
}
