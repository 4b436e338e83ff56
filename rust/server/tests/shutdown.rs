//! Stopping: what is in flight is finished, and nobody can hold it up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{Peer, TEXT, content, create, serve};

const A: &str = "/v1/stream/a";

#[test]
fn a_listener_without_connections_stops_at_once_and_frees_its_port() {
    let listener = serve(|_| {});
    let address = listener.address();
    let began = Instant::now();
    listener.stop(Duration::from_secs(9));
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn live_reads_end_in_order_and_idle_connections_close() {
    let listener = serve(|_| {});
    create(&listener, A, b"x");
    let tail = content_tail(&listener);
    let mut sse = Peer::of(&listener);
    sse.ask(&format!("GET {A}?offset={tail}&live=sse"), "", b"");
    sse.head();
    let mut poll = Peer::of(&listener);
    poll.ask(&format!("GET {A}?offset={tail}&live=long-poll"), "", b"");
    let mut idle = Peer::of(&listener);
    idle.ask("OPTIONS /", "", b"").answer();
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    listener.stop(Duration::from_secs(9));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(poll.answer().status, 204);
    sse.until(b"0\r\n\r\n");
    assert!(idle.is_closed());
}

#[test]
fn hostile_clients_cannot_hold_up_a_stop_beyond_its_grace() {
    let listener = serve(|_| {});
    create(&listener, A, &vec![b'z'; 8 << 20]);
    let mut peers: Vec<Peer> = (0..40).map(|_| Peer::of(&listener)).collect();
    for (n, peer) in peers.iter_mut().enumerate() {
        match n % 4 {
            0 => peer.send("GET /v1/str"),
            1 => peer.send(format!(
                "POST {A} HTTP/1.1\r\nHost: t\r\n{TEXT}Content-Length: 9\r\n\r\nhalf"
            )),
            // Never read.
            2 => peer.ask(&format!("GET {A}"), "", b""),
            _ => peer.send(format!(
                "POST {A} HTTP/1.1\r\nHost: t\r\n{TEXT}Content-Length: 99999999\r\n\r\n"
            )),
        };
    }
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    listener.stop(Duration::from_millis(500));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn an_upload_in_flight_is_finished_and_its_connection_told_to_close() {
    let listener = serve(|_| {});
    create(&listener, A, b"");
    let mut peer = Peer::of(&listener);
    peer.send(format!(
        "POST {A} HTTP/1.1\r\nHost: t\r\n{TEXT}Content-Length: 8\r\n\r\nhalf"
    ));
    std::thread::sleep(Duration::from_millis(100));
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| listener.stop(Duration::from_secs(9)));
        std::thread::sleep(Duration::from_millis(100));
        let answer = peer.send("half").answer();
        assert_eq!(
            (answer.status, answer.field("connection")),
            (204, Some("close"))
        );
        stopping.join().unwrap();
    });
    assert!(peer.is_closed());
}

#[test]
fn a_second_stop_shortens_the_first() {
    let listener = serve(|_| {});
    let mut peer = Peer::of(&listener);
    peer.send(format!(
        "PUT {A} HTTP/1.1\r\nHost: t\r\n{TEXT}Content-Length: 8\r\n\r\nhalf"
    ));
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| listener.stop(Duration::from_secs(30)));
        std::thread::sleep(Duration::from_millis(100));
        listener.stop(Duration::ZERO);
    });
    assert!(began.elapsed() < Duration::from_secs(5));
}

fn content_tail(listener: &durastream_server::Listener) -> String {
    let mut peer = Peer::of(listener);
    let answer = peer.ask(&format!("HEAD {A}"), "", b"").head();
    assert_eq!(content(listener, A), b"x");
    answer.field("stream-next-offset").unwrap().to_owned()
}
