//! Making streams: many, or a few large ones.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::connection::Connection;
use crate::latency::Latencies;
use crate::meter::Meter;
use crate::options::Options;
use crate::pace;
use crate::request;

const PIECE: usize = 1 << 20;

/// PUTs `{path}/0` and so on, each with `--bytes` of body. `--count --connections --bytes --stop-at-error`
pub(crate) fn streams(options: &Options) -> Result<Value, Failure> {
    let count: u64 = options.number("count", 1)?;
    let stop_at_error = options.number("stop-at-error", 0u8)? == 1;
    let body = vec![b'x'; options.number("bytes", 0)?];
    let path = options.text("path", "/v1/stream/bench");
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Connection::many(
        options.address()?,
        options.number("connections", 64)?,
        &epoll,
    )?;
    let mut sent_at = vec![Instant::now(); connections.len()];
    let mut latencies = Latencies::new()?;
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    let mut events = Vec::with_capacity(1024);
    let mut scratch = vec![0; 16 << 10];
    let (mut next, mut waiting, mut made) = (0u64, 0usize, 0u64);
    let mut failed = false;
    let meter = Meter::start(options.pids()?)?;
    let mut idle: Vec<usize> = (0..connections.len()).collect();
    loop {
        while next < count
            && !(failed && stop_at_error)
            && let Some(free) = idle.pop()
        {
            let target = format!("{path}/{next}");
            sent_at[free] = Instant::now();
            connections[free].send(&request::with_body(
                "PUT",
                &target,
                "application/octet-stream",
                &body,
            ))?;
            next += 1;
            waiting += 1;
        }
        if waiting == 0 {
            break;
        }
        pace::wait(
            &epoll,
            &mut events,
            Instant::now() + Duration::from_secs(30),
        )?;
        if events.is_empty() {
            return Err("no answer for 30 s".into());
        }
        for event in &events {
            let number = usize::try_from(event.data.u64())?;
            let connection = &mut connections[number];
            if !connection.receive(&mut scratch, |_| {})? {
                continue;
            }
            let status = connection.answer().status;
            *statuses.entry(status).or_default() += 1;
            made += u64::from(status == 201);
            failed |= status >= 400;
            latencies.add(sent_at[number].elapsed());
            idle.push(number);
            waiting -= 1;
        }
    }
    let mut told = Map::new();
    meter.stop(made, &mut told)?;
    told.insert("made".into(), json!(made));
    told.insert("statuses".into(), json!(statuses));
    latencies.tell("", &mut told);
    Ok(Value::Object(told))
}

/// Makes `--streams` streams of `--bytes` bytes each, in appends of at most 1 MiB.
pub(crate) fn fill(options: &Options) -> Result<Value, Failure> {
    let streams: u64 = options.number("streams", 1)?;
    let bytes: usize = options.number("bytes", 1 << 20)?;
    let path = options.text("path", "/v1/stream/bench");
    let content_type = "application/octet-stream";
    let mut connection = Connection::open(options.address()?)?;
    for stream in 0..streams {
        let content = request::pattern(stream, bytes);
        let target = format!("{path}/{stream}");
        let first = request::with_body("PUT", &target, content_type, b"");
        let pieces = content.chunks(PIECE);
        let appends = pieces.map(|piece| request::with_body("POST", &target, content_type, piece));
        for ask in std::iter::once(first).chain(appends) {
            let status = connection.ask(&ask, |_| {})?.status;
            if !(200..300).contains(&status) {
                return Err(format!("{target}: {status}").into());
            }
        }
    }
    Ok(json!({ "streams": streams, "bytes": bytes }))
}
