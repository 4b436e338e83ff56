//! Live reads that wait at the same place of a stream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use durastream_server::Listener;
use support::{Peer, TEXT, create, serve};

const A: &str = "/v1/stream/a";

fn subscribe(listener: &Listener) -> Peer {
    let mut peer = Peer::of(listener);
    peer.ask(&format!("GET {A}?offset=-1&live=sse"), "", b"");
    assert_eq!(peer.head().status, 200);
    peer.until(b"\"upToDate\":true");
    peer
}

fn append(listener: &Listener, body: &[u8]) {
    let answer = Peer::of(listener)
        .ask(&format!("POST {A}"), TEXT, body)
        .answer();
    assert_eq!(answer.status, 204);
}

/// Waits until so many live reads share watches beside those that have one.
fn wait_for(listener: &Listener, sharing: i64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while listener.stats().sharing != sharing {
        assert!(Instant::now() < deadline, "{}", listener.stats().sharing);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_member_of_a_large_crowd_gets_every_event() {
    let listener = serve(|limits| limits.loops = 1);
    create(&listener, A, b"");
    let mut peers: Vec<Peer> = (0..600).map(|_| subscribe(&listener)).collect();
    wait_for(&listener, 599);
    for event in ["first", "second", "third"] {
        append(&listener, event.as_bytes());
        for peer in &mut peers {
            peer.until(event.as_bytes());
        }
    }
}

#[test]
fn who_leaves_is_counted_no_more_and_the_others_are_woken() {
    let listener = serve(|limits| limits.loops = 1);
    create(&listener, A, b"");
    let mut peers: Vec<Peer> = (0..4).map(|_| subscribe(&listener)).collect();
    wait_for(&listener, 3);
    peers.truncate(2);
    wait_for(&listener, 1);
    append(&listener, b"event");
    for peer in &mut peers {
        peer.until(b"event");
    }
    wait_for(&listener, 1);
}

#[test]
fn a_crowd_hears_of_the_end_of_its_stream() {
    let listener = serve(|_| {});
    create(&listener, A, b"");
    let mut peers: Vec<Peer> = (0..8).map(|_| subscribe(&listener)).collect();
    let deleted = Peer::of(&listener)
        .ask(&format!("DELETE {A}"), "", b"")
        .answer();
    assert_eq!(deleted.status, 204);
    for peer in &mut peers {
        peer.until(b"\r\n0\r\n\r\n");
    }
    wait_for(&listener, 0);
}
