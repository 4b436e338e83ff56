//! Subscribers by server-sent events to one stream, and one publisher at a fixed rate.
//!
//! Each subscriber must see every event once and in order. Latency counts from when an event was due to be published.
//! `--subscribers --rate --bytes --seconds --warm --in-time` (milliseconds)

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

/// How long the last events are waited for.
const GRACE: Duration = Duration::from_secs(3);
/// Between the last subscription and the first event.
const SETTLE: Duration = Duration::from_millis(500);
const PUBLISHER: u64 = u64::MAX;

struct Subscriber {
    connection: Connection,
    carry: Vec<u8>,
    /// The number it has to see next.
    next: u64,
}

/// What was delivered.
struct Deliveries {
    first_measured: u64,
    in_time: Duration,
    counted: u64,
    timely: u64,
    wrong: u64,
    all: u64,
    latencies: Latencies,
}

pub(crate) fn run(options: &Options) -> Result<Value, Failure> {
    let rate: f64 = options.number("rate", 20.0)?;
    let seconds: f64 = options.number("seconds", 5.0)?;
    let warm: f64 = options.number("warm", 1.0)?;
    let bytes: usize = options.number("bytes", 220)?;
    let path = options.text("path", "/v1/stream/fanout");
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
    let mut subscribers = subscribe(options, &epoll, path)?;
    publisher.socket.set_nonblocking(true)?;
    let flag = epoll::EventData::new_u64(PUBLISHER);
    epoll::add(&epoll, &publisher.socket, flag, epoll::EventFlags::IN)?;

    let mut pace = Pace::new(Instant::now() + SETTLE, rate, warm + seconds);
    let first_measured = pace.end() - Pace::new(Instant::now(), rate, seconds).end();
    let mut seen = Deliveries {
        first_measured,
        in_time: Duration::from_millis(options.number("in-time", 1000)?),
        counted: 0,
        timely: 0,
        wrong: 0,
        all: 0,
        latencies: Latencies::new()?,
    };
    let all = pace.end() * subscribers.len() as u64;
    let marks = Marks::new();
    let mut events = Vec::with_capacity(1024);
    let mut scratch = vec![0; 64 << 10];
    let mut busy = false;
    let mut refused = 0u64;
    let mut meter: Option<Meter> = None;
    let last = pace.due(pace.end()) + GRACE;
    while seen.all < all && Instant::now() < last {
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
            let subscriber = &mut subscribers[usize::try_from(event.data.u64())?];
            let Subscriber {
                connection,
                carry,
                next,
            } = subscriber;
            connection.receive(&mut scratch, |data| {
                let now = Instant::now();
                marks.find(carry, data, |number| seen.deliver(number, next, &pace, now));
            })?;
        }
    }
    let mut told = Map::new();
    meter
        .ok_or("nothing was measured")?
        .stop(seen.counted, &mut told)?;
    let expected = (pace.end() - first_measured) * subscribers.len() as u64;
    told.insert("expected".into(), json!(expected));
    told.insert("delivered".into(), json!(seen.counted));
    told.insert("in_time".into(), json!(seen.timely));
    told.insert("out_of_order".into(), json!(seen.wrong));
    told.insert("refused".into(), json!(refused));
    seen.latencies.tell("", &mut told);
    Ok(Value::Object(told))
}

/// Opens the subscriptions and waits for the head of each answer.
fn subscribe(
    options: &Options,
    epoll: &std::os::fd::OwnedFd,
    path: &str,
) -> Result<Vec<Subscriber>, Failure> {
    let count: usize = options.number("subscribers", 1000)?;
    let ask = request::get(&format!("{path}?offset=-1&live=sse"));
    let mut all = Vec::with_capacity(count);
    for mut connection in Connection::many(options.address()?, count, epoll)? {
        connection.send(&ask)?;
        all.push(Subscriber {
            connection,
            carry: Vec::new(),
            next: 0,
        });
    }
    let patience = Instant::now() + Duration::from_secs(20);
    let mut scratch = vec![0; 64 << 10];
    for subscriber in &mut all {
        while subscriber.connection.answer().status == 0 {
            let carry = &mut subscriber.carry;
            subscriber
                .connection
                .receive(&mut scratch, |data| carry.extend_from_slice(data))?;
            if Instant::now() > patience {
                return Err("a subscription was not answered".into());
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        let status = subscriber.connection.answer().status;
        if status != 200 {
            return Err(format!("a subscription was answered {status}").into());
        }
    }
    Ok(all)
}

impl Deliveries {
    fn deliver(&mut self, number: u64, next: &mut u64, pace: &Pace, now: Instant) {
        self.wrong += u64::from(number != *next);
        *next = number + 1;
        self.all += 1;
        if number < self.first_measured {
            return;
        }
        let latency = now.saturating_duration_since(pace.due(number));
        self.counted += 1;
        self.timely += u64::from(latency <= self.in_time);
        self.latencies.add(latency);
    }
}
