//! Reading streams through, page by page.

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

/// One connection that reads one stream again and again.
struct Reader {
    connection: Connection,
    target: String,
    first: Vec<u8>,
    began: Instant,
    /// Bytes of the pages before this one.
    before: u64,
}

/// Reads streams of `--bytes` bytes on `--connections` connections; `--plain 1` for a server of files. Every read must
/// have that many bytes; before and after, every byte of every stream is compared.
/// `--connections --streams --bytes --seconds --warm --plain`
pub(crate) fn run(options: &Options) -> Result<Value, Failure> {
    let size: u64 = options.number("bytes", 1 << 20)?;
    let streams: u64 = options.number("streams", 1)?;
    let plain = options.number("plain", 0u8)? == 1;
    let seconds: f64 = options.number("seconds", 4.0)?;
    let warm: f64 = options.number("warm", 0.5)?;
    let path = options.text("path", "/v1/stream/bench");
    verify(options, path, streams, size, plain)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut readers = Vec::new();
    let count: usize = options.number("connections", 32)?;
    for (number, connection) in Connection::many(options.address()?, count, &epoll)?
        .into_iter()
        .enumerate()
    {
        let target = format!("{path}/{}", number as u64 % streams);
        let first = request::get(&first_page(&target, plain));
        let mut reader = Reader {
            connection,
            target,
            first,
            began: Instant::now(),
            before: 0,
        };
        reader.connection.send(&reader.first)?;
        readers.push(reader);
    }
    let begin = Instant::now() + Duration::from_secs_f64(warm);
    let stop = begin + Duration::from_secs_f64(seconds);
    let mut scratch = vec![0; 1 << 20];
    let mut events = Vec::with_capacity(1024);
    let mut latencies = Latencies::new()?;
    let (mut reads, mut pages, mut bytes) = (0u64, 0u64, 0u64);
    let mut meter: Option<Meter> = None;
    loop {
        let now = Instant::now();
        if now >= begin && meter.is_none() {
            meter = Some(Meter::start(options.pids()?)?);
        }
        if now >= stop {
            break;
        }
        pace::wait(&epoll, &mut events, now + Duration::from_millis(100))?;
        for event in &events {
            let reader = &mut readers[usize::try_from(event.data.u64())?];
            let before = reader.connection.answer().bytes;
            let done = reader.connection.discard(&mut scratch)?;
            let answer = reader.connection.answer();
            if meter.is_some() {
                bytes += answer.bytes - before;
            }
            if !done {
                continue;
            }
            if answer.status != 200 {
                return Err(format!("{}: {}", reader.target, answer.status).into());
            }
            pages += u64::from(meter.is_some());
            reader.before += answer.bytes;
            if reader.before < size && !answer.up_to_date && !plain {
                let next = format!("{}?offset={}", reader.target, answer.next_offset);
                reader.connection.send(&request::get(&next))?;
                continue;
            }
            if reader.before != size {
                return Err(
                    format!("{}: {} bytes, not {size}", reader.target, reader.before).into(),
                );
            }
            if reader.began >= begin {
                reads += 1;
                latencies.add(reader.began.elapsed());
            }
            reader.before = 0;
            reader.began = Instant::now();
            reader.connection.send(&reader.first)?;
        }
    }
    let mut told = Map::new();
    meter
        .ok_or("nothing was measured")?
        .stop(pages, &mut told)?;
    #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^53")]
    let rate = bytes as f64 / begin.elapsed().as_secs_f64();
    verify(options, path, streams, size, plain)?;
    told.insert("bytes".into(), json!(bytes));
    told.insert("bytes_per_s".into(), json!(rate));
    told.insert("reads".into(), json!(reads));
    told.insert("pages".into(), json!(pages));
    latencies.tell("", &mut told);
    Ok(Value::Object(told))
}

fn first_page(target: &str, plain: bool) -> String {
    if plain {
        target.to_owned()
    } else {
        format!("{target}?offset=-1")
    }
}

/// Reads a stream through; hands its bytes to `sink`.
fn read(
    connection: &mut Connection,
    target: &str,
    plain: bool,
    mut sink: impl FnMut(&[u8]),
) -> Result<u64, Failure> {
    let mut ask = first_page(target, plain);
    let mut bytes = 0;
    loop {
        let answer = connection.ask(&request::get(&ask), &mut sink)?;
        if answer.status != 200 {
            return Err(format!("{ask}: {}", answer.status).into());
        }
        bytes += answer.bytes;
        if plain || answer.up_to_date || answer.bytes == 0 {
            return Ok(bytes);
        }
        ask = format!("{target}?offset={}", answer.next_offset);
    }
}

/// Every byte of every stream is the one written.
fn verify(
    options: &Options,
    path: &str,
    streams: u64,
    size: u64,
    plain: bool,
) -> Result<(), Failure> {
    let mut connection = Connection::open(options.address()?)?;
    for stream in 0..streams {
        let expected = request::pattern(stream, usize::try_from(size)?);
        let mut at = 0;
        let mut right = true;
        let target = format!("{path}/{stream}");
        read(&mut connection, &target, plain, |data| {
            right &= expected.get(at..at + data.len()) == Some(data);
            at += data.len();
        })?;
        if !right || at != expected.len() {
            return Err(format!("{target}: other bytes than those written").into());
        }
    }
    Ok(())
}

/// How many bytes `--streams` streams hold together.
pub(crate) fn count(options: &Options) -> Result<Value, Failure> {
    let streams: u64 = options.number("streams", 1)?;
    let path = options.text("path", "/v1/stream/bench");
    let mut connection = Connection::open(options.address()?)?;
    let mut bytes = 0;
    for stream in 0..streams {
        bytes += read(&mut connection, &format!("{path}/{stream}"), false, |_| {})?;
    }
    Ok(json!({ "bytes": bytes }))
}
