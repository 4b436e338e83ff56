//! The way to a collector: one HTTP/1.1 request per batch of spans, on the exporter's own thread.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use opentelemetry_http::{HttpClient, HttpError};
use parking_lot::Mutex;

/// How long a batch may take, connecting included.
const EXPORT_TIME: Duration = Duration::from_secs(3);
/// How much of an answer is read.
const ANSWER_BYTES: u64 = 64 << 10;
/// A collector that is down is told of once in this time.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Where spans go.
#[derive(Debug)]
pub(crate) struct Collector {
    told: Mutex<Option<Instant>>,
}

impl Collector {
    pub(crate) fn new() -> Self {
        Self {
            told: Mutex::new(None),
        }
    }

    fn tell(&self, uri: &Uri, problem: &dyn fmt::Display) {
        let mut told = self.told.lock();
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(%uri, %problem, "spans were dropped: the collector does not take them");
        }
    }
}

// It blocks, as the batch processor of the SDK wants it: its thread does nothing else.
#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri().clone();
        match send(&request) {
            Ok(status) => {
                if !(200..300).contains(&status) {
                    self.tell(&uri, &format_args!("it answered {status}"));
                }
                // What it says beside its status is of no use here.
                Ok(Response::builder().status(status).body(Bytes::new())?)
            }
            Err(error) => {
                self.tell(&uri, &error);
                Err(error.into())
            }
        }
    }
}

/// Sends a request; gives the status of its answer.
fn send(request: &Request<Bytes>) -> io::Result<u16> {
    let until = Instant::now() + EXPORT_TIME;
    let uri = request.uri();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut stream = connect(host, uri.port_u16().unwrap_or(80), until)?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let size = request.body().len();
    let mut head = format!(
        "POST {target} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {size}\r\n"
    )
    .into_bytes();
    for (name, value) in request.headers() {
        if name != header::CONTENT_LENGTH && name != header::HOST {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"\r\n");
    head.extend_from_slice(request.body());
    stream.set_write_timeout(Some(left(until)?))?;
    stream.write_all(&head)?;
    status(&mut stream, until)
}

fn connect(host: &str, port: u16, until: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Reads a status line, `HTTP/1.1 200 ...`.
fn status(stream: &mut TcpStream, until: Instant) -> io::Result<u16> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    // To its end, so that closing does not reset what the collector still says.
    while (answer.len() as u64) < ANSWER_BYTES && !is_whole(&answer) {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut piece)? {
            0 => break,
            size => answer.extend_from_slice(piece.get(..size).unwrap_or_default()),
        }
    }
    let code = answer
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| std::str::from_utf8(code).ok())
        .and_then(|code| code.parse().ok());
    code.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP/1"))
}

/// Whether all of an answer has come that says how long it is. Not every collector closes when it is asked to.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}
