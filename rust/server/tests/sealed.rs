//! Large pages of sealed data, which the system sends out of their files: over real sockets, from real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use durastream_server::Listener;
use support::{Peer, TEXT, create, serve_disk};

const A: &str = "/v1/stream/a";
const JSON: &str = "Content-Type: application/json\r\n";

/// Bytes that tell their place.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|at| ((at * 31 + at / 251 + seed * 17) % 256) as u8)
        .collect()
}

/// Appends so many events of so many bytes to a new stream; all of them together.
fn fill(listener: &Listener, path: &str, events: usize, size: usize) -> Vec<u8> {
    create(listener, path, b"");
    let (mut peer, mut whole) = (Peer::of(listener), Vec::new());
    for seed in 0..events {
        let body = pattern(size, seed);
        let answer = peer.ask(&format!("POST {path}"), TEXT, &body).answer();
        assert_eq!(answer.status, 204, "{answer:?}");
        whole.extend(body);
    }
    whole
}

/// The whole stream, page by page on one connection, and how many pages it was.
fn read_through(peer: &mut Peer, path: &str) -> (Vec<u8>, usize) {
    let (mut whole, mut pages, mut offset) = (Vec::new(), 0, "-1".to_owned());
    loop {
        let target = format!("GET {path}?offset={offset}");
        let answer = peer.ask(&target, "", b"").answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        whole.extend_from_slice(&answer.body);
        pages += 1;
        if answer.field("stream-up-to-date").is_some() {
            return (whole, pages);
        }
        offset = answer.field("stream-next-offset").unwrap().to_owned();
    }
}

fn sealed_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|it| it == "sealed"))
        .collect()
}

#[test]
fn what_is_sealed_arrives_as_it_was_written_hot_or_not_and_again() {
    for hot_bytes in [64 << 20, 0] {
        let dir = tempfile::tempdir().unwrap();
        let (listener, engine) = serve_disk(dir.path(), hot_bytes, |_| {});
        let written = fill(&listener, A, 90, 110_000);
        engine.compact().unwrap();
        let more = fill(&listener, "/v1/stream/b", 3, 300_000);
        let mut peer = Peer::of(&listener);
        for _ in 0..3 {
            let (whole, pages) = read_through(&mut peer, A);
            assert!(whole == written && pages == 3, "{pages} pages");
            assert!(read_through(&mut peer, "/v1/stream/b").0 == more);
        }
        drop(listener);
        engine.close().unwrap();
    }
}

#[test]
fn json_pages_have_their_brackets_and_commas_around_what_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, engine) = serve_disk(dir.path(), 64 << 20, |_| {});
    let mut peer = Peer::of(&listener);
    assert_eq!(
        peer.ask(&format!("PUT {A}"), JSON, b"").answer().status,
        201
    );
    let message = |n: usize| format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(90_000));
    for n in 0..20 {
        let answer = peer.ask(&format!("POST {A}"), JSON, message(n).as_bytes());
        assert_eq!(answer.answer().status, 204);
        if n == 15 {
            engine.compact().unwrap();
        }
    }
    let messages: Vec<String> = (0..20).map(message).collect();
    for _ in 0..2 {
        let answer = peer.ask(&format!("GET {A}"), "", b"").answer();
        assert!(answer.body == format!("[{}]", messages.join(",")).into_bytes());
        assert_eq!(answer.field("stream-up-to-date"), Some("true"));
    }
    engine.compact().unwrap();
    let answer = peer.ask(&format!("GET {A}"), "", b"").answer();
    assert!(answer.body == format!("[{}]", messages.join(",")).into_bytes());
}

#[test]
fn pipelined_requests_around_sealed_pages_are_answered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, engine) = serve_disk(dir.path(), 0, |_| {});
    let written = fill(&listener, A, 20, 100_000);
    engine.compact().unwrap();
    let get = format!("GET {A} HTTP/1.1\r\nHost: t\r\n\r\n");
    let head = format!("HEAD {A} HTTP/1.1\r\nHost: t\r\n\r\n");
    let missing = "GET /v1/stream/none HTTP/1.1\r\nHost: t\r\n\r\n";
    let mut peer = Peer::of(&listener);
    peer.send(format!("{get}{head}{missing}{get}{missing}{get}"));
    for expected in [200, 1, 404, 200, 404, 200] {
        if expected == 1 {
            assert_eq!(peer.head().status, 200);
            continue;
        }
        let answer = peer.answer();
        assert_eq!(answer.status, expected);
        assert!(answer.status != 200 || answer.body == written);
    }
    let etag = {
        let answer = peer.ask(&format!("GET {A}"), "", b"").answer();
        answer.field("etag").unwrap().to_owned()
    };
    let field = format!("If-None-Match: {etag}\r\n");
    let answer = peer.ask(&format!("GET {A}"), &field, b"").answer();
    assert_eq!((answer.status, answer.body.len()), (304, 0));
}

#[test]
fn a_slow_reader_gets_everything_although_the_files_are_replaced_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, engine) = serve_disk(dir.path(), 0, |_| {});
    let written = fill(&listener, A, 38, 100_000);
    engine.compact().unwrap();
    let before = sealed_files(dir.path());
    let mut peer = Peer::of(&listener);
    peer.ask(&format!("GET {A}"), "", b"");
    let head = peer.head();
    let mut got = peer.bytes(10_000);
    // Another stream fills and dies: the sealed files are merged, those that are read from lose their names.
    fill(&listener, "/v1/stream/b", 30, 100_000);
    engine.compact().unwrap();
    assert!(
        sealed_files(dir.path())
            .iter()
            .all(|file| !before.contains(file))
    );
    while got.len() < written.len() {
        let more = 150_000.min(written.len() - got.len());
        got.extend(peer.bytes(more));
        sleep(Duration::from_millis(5));
    }
    assert_eq!(head.status, 200);
    assert!(got == written);
    // The connection goes on.
    assert!(peer.ask(&format!("GET {A}"), "", b"").answer().body == written);
}

#[test]
fn a_file_that_was_cut_short_ends_the_connection_and_no_wrong_byte_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, engine) = serve_disk(dir.path(), 0, |_| {});
    // One event: where it ends need not be looked up in the file, which would be refused.
    let written = fill(&listener, A, 1, 4_000_000);
    engine.compact().unwrap();
    let mut peer = Peer::of(&listener);
    // Sent once before, so that it is verified.
    assert!(peer.ask(&format!("GET {A}"), "", b"").answer().body == written);
    for file in sealed_files(dir.path()) {
        let file = OpenOptions::new().write(true).open(file).unwrap();
        file.set_len(1 << 20).unwrap();
    }
    peer.ask(&format!("GET {A}"), "", b"");
    let (mut got, mut buffer) = (Vec::new(), vec![0; 65536]);
    loop {
        match peer.stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(size) => got.extend_from_slice(&buffer[..size]),
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "it is open");
                break;
            }
        }
    }
    assert!(got.starts_with(b"HTTP/1.1 200"));
    let end = got.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let body = &got[end.unwrap() + 4..];
    assert!(body.len() < 1 << 20 && written.starts_with(body));
}

#[test]
fn who_takes_nothing_of_a_sealed_page_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, engine) = serve_disk(dir.path(), 0, |limits| {
        limits.stall = Duration::from_millis(300);
    });
    fill(&listener, A, 120, 100_000);
    engine.compact().unwrap();
    let mut peer = Peer::of(&listener);
    for _ in 0..8 {
        peer.ask(&format!("GET {A}"), "", b"");
    }
    let begun = Instant::now();
    while listener.connections() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(8), "it is still open");
        sleep(Duration::from_millis(20));
    }
}
