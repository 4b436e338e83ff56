//! Requests that another listener answers, or does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use durastream_engine::{Engine, Options};
use durastream_protocol::{Config, Service};
use durastream_server::{Limits, Listener, Upstream};
use support::{Peer, local};

#[test]
fn a_silent_upstream_is_not_waited_for_once_its_client_sends_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let silent = UnixListener::bind(&socket).unwrap();
    let upstream = Upstream {
        socket: Some(socket),
        own_paths: vec!["/health".to_owned()],
    };
    let mut limits = Limits::default();
    limits.stall = Duration::from_millis(300);
    let engine = Engine::in_memory(Options::default()).unwrap();
    let service = Service::new(engine, Config::default()).unwrap();
    let listener = Listener::start(service, &local(), upstream, limits).unwrap();

    let (mut present, mut gone) = (Peer::of(&listener), Peer::of(&listener));
    for peer in [&mut present, &mut gone] {
        peer.send("GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    let _held: Vec<_> = (0..2).map(|_| silent.accept().unwrap()).collect();
    gone.stream.shutdown(Shutdown::Write).unwrap();
    let begun = Instant::now();
    assert!(gone.is_closed());
    assert!(begun.elapsed() < Duration::from_secs(5));
    // Who may still have something to say has time.
    present
        .stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    assert!(present.stream.read(&mut [0]).is_err(), "it has ended too");
    assert_eq!(listener.connections(), 1);
}
