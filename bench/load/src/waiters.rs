//! Long-poll waiters on one stream, and one publisher at a fixed rate: each waiter must get each event.
//!
//! Latency counts from when an event was due to be published. `--waiters --rate --bytes --seconds --warm`

use std::time::{Duration, Instant};

use rustix::event::epoll;
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::connection::Connection;
use crate::latency::Latencies;
use crate::marks::{Marks, event};
use crate::meter::Meter;
use crate::options::Options;
use crate::pace::{self, Pace};
use crate::request;

const GRACE: Duration = Duration::from_secs(3);
const SETTLE: Duration = Duration::from_millis(700);
const PUBLISHER: u64 = u64::MAX;

struct Waiter {
    connection: Connection,
    next: u64,
    carry: Vec<u8>,
}

impl Waiter {
    /// Asks for what comes after the last answer.
    fn ask(&mut self, path: &str) -> Result<(), Failure> {
        let answer = self.connection.answer();
        let offset = if answer.next_offset.is_empty() {
            "-1"
        } else {
            &answer.next_offset
        };
        let mut target = format!("{path}?offset={offset}&live=long-poll");
        if !answer.cursor.is_empty() {
            target.push_str("&cursor=");
            target.push_str(&answer.cursor);
        }
        self.carry.clear();
        self.connection.send(&request::get(&target))
    }
}

pub(crate) fn run(options: &Options) -> Result<Value, Failure> {
    let rate: f64 = options.number("rate", 4.0)?;
    let seconds: f64 = options.number("seconds", 5.0)?;
    let warm: f64 = options.number("warm", 1.0)?;
    let bytes: usize = options.number("bytes", 256)?;
    let count: usize = options.number("waiters", 1000)?;
    let path = options.text("path", "/v1/stream/wait");
    let address = options.address()?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;

    let mut publisher = Connection::open(address)?;
    let made = publisher.ask(
        &request::with_body("PUT", path, "application/json", b""),
        |_| {},
    )?;
    if !(200..300).contains(&made.status) {
        return Err(format!("PUT {path}: {}", made.status).into());
    }
    publisher.socket.set_nonblocking(true)?;
    let flag = epoll::EventData::new_u64(PUBLISHER);
    epoll::add(&epoll, &publisher.socket, flag, epoll::EventFlags::IN)?;
    let mut waiters = Vec::with_capacity(count);
    for connection in Connection::many(address, count, &epoll)? {
        let mut waiter = Waiter {
            connection,
            next: 0,
            carry: Vec::new(),
        };
        waiter.ask(path)?;
        waiters.push(waiter);
    }

    let mut pace = Pace::new(Instant::now() + SETTLE, rate, warm + seconds);
    let first_measured = pace.end() - Pace::new(Instant::now(), rate, seconds).end();
    let (mut counted, mut all, mut wrong, mut refused, mut empty) = (0u64, 0u64, 0u64, 0u64, 0u64);
    let mut latencies = Latencies::new()?;
    let marks = Marks::new();
    let mut events = Vec::with_capacity(1024);
    let mut scratch = vec![0; 64 << 10];
    let mut busy = false;
    let mut meter: Option<Meter> = None;
    let goal = pace.end() * count as u64;
    let last = pace.due(pace.end()) + GRACE;
    while all < goal && Instant::now() < last {
        let now = Instant::now();
        if !busy && let Some(number) = pace.take(now) {
            if number >= first_measured && meter.is_none() {
                meter = Some(Meter::start(options.pids()?)?);
            }
            publisher.send(&request::with_body(
                "POST",
                path,
                "application/json",
                &event(number, bytes),
            ))?;
            busy = true;
        }
        let until = if busy { None } else { pace.upcoming() };
        pace::wait(
            &epoll,
            &mut events,
            until.unwrap_or(now + Duration::from_millis(50)),
        )?;
        for event in &events {
            if event.data.u64() == PUBLISHER {
                if publisher.receive(&mut scratch, |_| {})? {
                    refused += u64::from(!(200..300).contains(&publisher.answer().status));
                    busy = false;
                }
                continue;
            }
            let waiter = &mut waiters[usize::try_from(event.data.u64())?];
            let Waiter {
                connection,
                next,
                carry,
            } = waiter;
            let done = connection.receive(&mut scratch, |data| {
                let now = Instant::now();
                marks.find(carry, data, |number| {
                    wrong += u64::from(number != *next);
                    *next = number + 1;
                    all += 1;
                    if number >= first_measured {
                        counted += 1;
                        latencies.add(now.saturating_duration_since(pace.due(number)));
                    }
                });
            })?;
            if done {
                match connection.answer().status {
                    200 => {}
                    204 => empty += 1,
                    status => return Err(format!("a waiter was answered {status}").into()),
                }
                waiter.ask(path)?;
            }
        }
    }
    let mut told = Map::new();
    meter
        .ok_or("nothing was measured")?
        .stop(counted, &mut told)?;
    told.insert(
        "expected".into(),
        json!((pace.end() - first_measured) * count as u64),
    );
    told.insert("delivered".into(), json!(counted));
    told.insert("out_of_order".into(), json!(wrong));
    told.insert("refused".into(), json!(refused));
    told.insert("timeouts".into(), json!(empty));
    latencies.tell("", &mut told);
    Ok(Value::Object(told))
}
