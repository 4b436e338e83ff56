//! A listener over an engine in memory, and peers that write exactly what they are told.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use durastream_engine::storage::Durability;
use durastream_engine::{Engine, Options};
use durastream_protocol::{Config, Service};
use durastream_server::{Address, Limits, Listener, Upstream};

/// A running listener with two loops, and limits that `adjust` may change.
pub(crate) fn serve(adjust: impl FnOnce(&mut Limits)) -> Listener {
    let mut limits = Limits::default();
    limits.loops = 2;
    adjust(&mut limits);
    let engine = Engine::in_memory(Options::default()).unwrap();
    let service = Service::new(engine, Config::default()).unwrap();
    Listener::start(service, &local(), Upstream::default(), limits).unwrap()
}

/// The same over an engine on the system's own disk, whose log has small segments, and that keeps `hot_bytes` in memory.
pub(crate) fn serve_disk(
    dir: &Path,
    hot_bytes: usize,
    adjust: impl FnOnce(&mut Limits),
) -> (Listener, Engine) {
    let mut limits = Limits::default();
    limits.loops = 2;
    adjust(&mut limits);
    let mut options = Options::default();
    options.store.segment_bytes = 1 << 20;
    options.store.durability = Durability::None;
    options.store.hot_bytes = hot_bytes;
    let engine = Engine::open(dir, options).unwrap();
    let service = Service::new(engine.clone(), Config::default()).unwrap();
    let listener = Listener::start(service, &local(), Upstream::default(), limits).unwrap();
    (listener, engine)
}

/// A free port of this machine.
pub(crate) fn local() -> Address {
    Address {
        host: "127.0.0.1".to_owned(),
        ..Address::default()
    }
}

/// One response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            (key == name).then_some(value)
        })
    }
}

/// A client connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    rest: Vec<u8>,
}

impl Peer {
    pub(crate) fn of(listener: &Listener) -> Self {
        let stream = TcpStream::connect(listener.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self {
            stream,
            rest: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends a request with a body and these header lines.
    pub(crate) fn ask(&mut self, line: &str, fields: &str, body: &[u8]) -> &mut Self {
        let length = body.len();
        let head =
            format!("{line} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n{fields}\r\n");
        self.send(head).send(body)
    }

    fn more(&mut self) -> bool {
        let mut buffer = [0; 65536];
        let size = self.stream.read(&mut buffer).unwrap();
        self.rest.extend_from_slice(&buffer[..size]);
        size > 0
    }

    /// Everything up to and with `end`.
    pub(crate) fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.rest.windows(end.len()).position(|w| w == end) {
                let behind = self.rest.split_off(at + end.len());
                return std::mem::replace(&mut self.rest, behind);
            }
            assert!(
                self.more(),
                "ended early: {:?}",
                String::from_utf8_lossy(&self.rest)
            );
        }
    }

    /// The next `size` bytes.
    pub(crate) fn bytes(&mut self, size: usize) -> Vec<u8> {
        while self.rest.len() < size {
            assert!(self.more(), "ended early");
        }
        let behind = self.rest.split_off(size);
        std::mem::replace(&mut self.rest, behind)
    }

    /// The next response's head.
    pub(crate) fn head(&mut self) -> Answer {
        let head = String::from_utf8(self.until(b"\r\n\r\n")).unwrap();
        Answer {
            status: head[9..12].parse().unwrap(),
            head,
            body: Vec::new(),
        }
    }

    /// The next response whose body has a length, or has none.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let length = answer.field("content-length").map(|l| l.parse().unwrap());
        answer.body = self.bytes(length.unwrap_or(0));
        answer
    }

    /// The next chunk; empty at the end of the body.
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let line = String::from_utf8(self.until(b"\r\n")).unwrap();
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let data = self.bytes(size);
        assert_eq!(self.bytes(2), b"\r\n");
        data
    }

    /// Whether the server has closed and sent nothing before that.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.rest.is_empty() && !self.more()
    }
}

/// Creates a stream of text.
pub(crate) fn create(listener: &Listener, path: &str, body: &[u8]) {
    let answer = Peer::of(listener)
        .ask(&format!("PUT {path}"), "Content-Type: text/plain\r\n", body)
        .answer();
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// The whole content of a stream, on a connection of its own.
pub(crate) fn content(listener: &Listener, path: &str) -> Vec<u8> {
    let answer = Peer::of(listener)
        .ask(&format!("GET {path}"), "", b"")
        .answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

pub(crate) const TEXT: &str = "Content-Type: text/plain\r\n";
