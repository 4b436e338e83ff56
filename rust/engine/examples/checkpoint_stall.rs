//! What appends feel of a checkpoint: their latencies with one being made all the time, and with none. The last line is
//! JSON with medians, for `bench/history.py`.
//!
//! `cargo run --release -p durastream-engine --example checkpoint_stall -- [streams] [writers] [directory]`

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use durastream_engine::{Append, Create, Engine, Options, StreamPath};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(4);

fn path(number: usize) -> Result<StreamPath, Failure> {
    Ok(StreamPath::new(&format!("bench/stall/{number:09}"))?)
}

/// Durable appends of 256 B to random streams, one after the other; how long each took.
fn write(engine: &Engine, streams: usize, seed: usize) -> Result<Vec<Duration>, Failure> {
    let mut taken = Vec::new();
    let began = Instant::now();
    let mut number = seed;
    while began.elapsed() < ROUND {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let path = path((number >> 33) % streams)?;
        let append = Append {
            body: vec![b'x'; 256].into(),
            ..Append::default()
        };
        let began = Instant::now();
        let ticket = engine.append(&path, append);
        ticket.outcome?;
        engine.wait(ticket.lsn, None)?;
        taken.push(began.elapsed());
    }
    Ok(taken)
}

fn round(engine: &Engine, streams: usize, writers: usize) -> Result<Vec<Duration>, Failure> {
    let writers: Vec<_> = (0..writers)
        .map(|seed| {
            let engine = engine.clone();
            std::thread::spawn(move || write(&engine, streams, seed))
        })
        .collect();
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.join().map_err(|_| "a writer panicked")??);
    }
    all.sort_unstable();
    Ok(all)
}

/// A figure of each round.
#[derive(Default)]
struct Seen {
    p99: Vec<f64>,
    rate: Vec<f64>,
    each: Vec<f64>,
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let streams: usize = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let writers: usize = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let dir = arguments.next().map_or_else(
        || std::env::temp_dir().join("checkpoint-stall"),
        PathBuf::from,
    );
    std::fs::remove_dir_all(&dir).ok();
    let mut options = Options::default();
    options.checkpoint_bytes = u64::MAX;
    let engine = Engine::open(&dir, options)?;
    for number in 0..streams {
        let ticket = engine.create(&path(number)?, Create::default());
        ticket.outcome?;
        if number % 4096 == 0 {
            engine.wait(ticket.lsn, None)?;
        }
    }
    let mut out = std::io::stdout();
    let mut seen = [Seen::default(), Seen::default()];
    for number in 0..2 * ROUNDS {
        let with = number % 2 == 1;
        let stop = Arc::new(AtomicBool::new(!with));
        let keeper = {
            let (engine, stop) = (engine.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let (mut made, began) = (0, Instant::now());
                while !stop.load(Ordering::Relaxed) {
                    engine.checkpoint()?;
                    made += 1;
                }
                Ok::<_, Failure>(began.elapsed() / made.max(1))
            })
        };
        let all = round(&engine, streams, writers)?;
        stop.store(true, Ordering::Relaxed);
        let each = keeper.join().map_err(|_| "the keeper panicked")??;
        let at = |part: f64| {
            all.get((all.len() as f64 * part) as usize)
                .copied()
                .unwrap_or_default()
        };
        writeln!(
            out,
            "{} appends={} p50={:?} p99={:?} p99.9={:?} max={:?} checkpoint={each:?}",
            if with { "with   " } else { "without" },
            all.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            all.last().copied().unwrap_or_default(),
        )?;
        let seen = &mut seen[usize::from(with)];
        seen.p99.push(at(0.99).as_secs_f64() * 1e3);
        seen.rate.push(all.len() as f64 / ROUND.as_secs_f64());
        seen.each.push(each.as_secs_f64());
    }
    engine.close()?;
    std::fs::remove_dir_all(&dir)?;
    let [without, with] = seen;
    writeln!(
        out,
        r#"{{"p99_ms_without": {:.4}, "p99_ms_with": {:.4}, "rate_without": {:.0}, "rate_with": {:.0}, "checkpoint_s": {:.4}}}"#,
        median(without.p99),
        median(with.p99),
        median(without.rate),
        median(with.rate),
        median(with.each),
    )?;
    Ok(())
}
