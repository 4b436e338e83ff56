//! What idle streams cost: memory each, a checkpoint, a reopening.
//!
//! `cargo run --release -p durastream-engine --example idle_streams -- [streams] [directory]`

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use durastream_engine::{Append, Create, Engine, Options, StreamPath};

/// Resident memory of this process in bytes.
fn resident() -> Result<usize, Box<dyn std::error::Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split(' ').nth(1).ok_or("statm")?.parse()?;
    Ok(pages * 4096)
}

fn options() -> Options {
    let mut options = Options::default();
    options.store.hot_bytes = 1 << 20;
    options.checkpoint_bytes = u64::MAX;
    options.reap_interval = Duration::from_secs(3600);
    options
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let streams: usize = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let dir = arguments
        .next()
        .map_or_else(|| std::env::temp_dir().join("idle-streams"), PathBuf::from);
    std::fs::remove_dir_all(&dir).ok();
    let mut out = std::io::stdout();

    let engine = Engine::open(&dir, options())?;
    let before = resident()?;
    let begun = Instant::now();
    for number in 0..streams {
        let path = StreamPath::new(&format!("bench/idle/{number:09}"))?;
        let create = Create {
            content_type: Some("application/json".to_owned()),
            ..Create::default()
        };
        engine.create(&path, create).outcome?;
        let append = Append {
            body: r#"{"hello":"world"}"#.into(),
            ..Append::default()
        };
        let ticket = engine.append(&path, append);
        ticket.outcome?;
        if number % 4096 == 0 {
            engine.wait(ticket.lsn, None)?;
        }
    }
    engine.wait(engine.stats().store.end_lsn, None)?;
    let each = (resident()? - before) / streams;
    writeln!(
        out,
        "{streams} streams, one append each: {:.2?}",
        begun.elapsed()
    )?;
    writeln!(out, "memory: {each} B a stream")?;

    let begun = Instant::now();
    engine.checkpoint()?;
    writeln!(out, "checkpoint: {:.2?}", begun.elapsed())?;
    drop(engine);
    let begun = Instant::now();
    let engine = Engine::open(&dir, options())?;
    writeln!(out, "reopened from it: {:.2?}", begun.elapsed())?;
    writeln!(out, "streams: {}", engine.stats().streams)?;

    let random = (0..200_000usize).map(|i| i.wrapping_mul(7_919_993) % streams);
    let paths: Result<Vec<_>, _> = random
        .map(|number| StreamPath::new(&format!("bench/idle/{number:09}")))
        .collect();
    let paths = paths?;
    let begun = Instant::now();
    for path in &paths {
        engine.head(path).outcome?;
    }
    let each = begun.elapsed() / paths.len() as u32;
    writeln!(out, "head of a random stream: {each:.2?}")?;
    engine.close()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
