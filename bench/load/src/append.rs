//! Appends at a fixed rate, whatever the server's answers do: latency counts from when an append was due, so a stall
//! is charged to every append it held up (no coordinated omission). `--rate 0`: one after the other on each
//! connection.
//!
//! `--rate --connections --streams --bytes --seconds --warm`

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::connection::Connection;
use crate::latency::Latencies;
use crate::meter::Meter;
use crate::options::Options;
use crate::pace::{self, Pace};
use crate::request;

/// How long answers are waited for when all has been sent.
const GRACE: Duration = Duration::from_secs(5);
/// A closed loop is a schedule that is always behind.
const AT_ONCE: f64 = 1e7;

struct Run {
    connections: Vec<Connection>,
    free: VecDeque<usize>,
    /// When the request on each connection was due, and its number.
    due: Vec<(Instant, u64)>,
    requests: Vec<Vec<u8>>,
    statuses: BTreeMap<u16, u64>,
    latencies: Latencies,
    lateness: Latencies,
    measured: u64,
}

pub(crate) fn run(options: &Options) -> Result<Value, Failure> {
    let rate: f64 = options.number("rate", 0.0)?;
    let seconds: f64 = options.number("seconds", 4.0)?;
    let warm: f64 = options.number("warm", 1.0)?;
    let streams: usize = options.number("streams", 1)?;
    let body = vec![b'x'; options.number("bytes", 256)?];
    let path = options.text("path", "/v1/stream/bench");
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let connections = Connection::many(
        options.address()?,
        options.number("connections", 64)?,
        &epoll,
    )?;
    let closed = rate <= 0.0;
    let mut run = Run {
        free: (0..connections.len()).collect(),
        due: vec![(Instant::now(), 0); connections.len()],
        connections,
        requests: (0..streams)
            .map(|n| {
                request::with_body(
                    "POST",
                    &format!("{path}/{n}"),
                    "application/octet-stream",
                    &body,
                )
            })
            .collect(),
        statuses: BTreeMap::new(),
        latencies: Latencies::new()?,
        lateness: Latencies::new()?,
        measured: 0,
    };
    let start = Instant::now();
    let begin = start + Duration::from_secs_f64(warm);
    let stop = begin + Duration::from_secs_f64(seconds);
    let pace_rate = if closed { AT_ONCE } else { rate };
    let mut pace = Pace::new(start, pace_rate, warm + seconds);
    let mut events = Vec::with_capacity(1024);
    let mut scratch = vec![0; 16 << 10];
    let mut meter = None;
    loop {
        let now = Instant::now();
        if meter.is_none() && now >= begin {
            meter = Some(Meter::start(options.pids()?)?);
        }
        if !closed || now < stop {
            run.send(&mut pace, now, closed)?;
        }
        let all_sent = pace.upcoming().is_none() || (closed && now >= stop);
        if all_sent && (run.free.len() == run.connections.len() || now > stop + GRACE) {
            break;
        }
        let until = match pace.upcoming() {
            Some(due) if !closed && !run.free.is_empty() => due,
            _ => now + Duration::from_millis(100),
        };
        pace::wait(&epoll, &mut events, until)?;
        for event in &events {
            let number = usize::try_from(event.data.u64())?;
            run.answered(number, begin, &mut scratch)?;
        }
    }
    let mut told = Map::new();
    meter
        .ok_or("nothing was measured")?
        .stop(run.measured, &mut told)?;
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let achieved = run.measured as f64 / (Instant::now() - begin).as_secs_f64();
    told.insert("rate".into(), json!(achieved));
    told.insert("answers".into(), json!(run.measured));
    told.insert(
        "unanswered".into(),
        json!(run.connections.len() - run.free.len()),
    );
    told.insert("statuses".into(), json!(run.statuses));
    run.latencies.tell("", &mut told);
    run.lateness.tell("sent_late_", &mut told);
    Ok(Value::Object(told))
}

impl Run {
    /// Sends what is due on connections that are free.
    fn send(&mut self, pace: &mut Pace, now: Instant, closed: bool) -> Result<(), Failure> {
        while let Some(&free) = self.free.front()
            && let Some(number) = pace.take(now)
        {
            self.free.pop_front();
            let sent = Instant::now();
            let due = if closed { sent } else { pace.due(number) };
            self.due[free] = (due, number);
            self.lateness.add(sent.saturating_duration_since(due));
            let which = usize::try_from(number)? % self.requests.len();
            self.connections[free].send(&self.requests[which])?;
        }
        Ok(())
    }

    fn answered(
        &mut self,
        number: usize,
        begin: Instant,
        scratch: &mut [u8],
    ) -> Result<(), Failure> {
        let connection = &mut self.connections[number];
        if !connection.receive(scratch, |_| {})? {
            return Ok(());
        }
        let (due, _) = self.due[number];
        *self.statuses.entry(connection.answer().status).or_default() += 1;
        if due >= begin {
            self.measured += 1;
            self.latencies.add(due.elapsed());
        }
        self.free.push_back(number);
        Ok(())
    }
}
