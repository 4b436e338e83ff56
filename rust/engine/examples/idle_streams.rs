//! What idle streams cost: memory each, a checkpoint, opening them in a process of its own.
//!
//! `cargo run --release -p durastream-engine --example idle_streams -- [streams] [directory]`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
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

/// Opens a directory: how long that takes, and how much memory.
fn open(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let before = resident()?;
    let begun = Instant::now();
    let engine = Engine::open(dir, options())?;
    let taken = begun.elapsed();
    let streams = engine.stats().streams;
    let each = (resident()? - before) as u64 / streams;
    writeln!(
        std::io::stdout(),
        "opened {streams} streams: {taken:.2?}, {each} B a stream"
    )?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|word| word == "--open").is_some() {
        return open(Path::new(&arguments.next().ok_or("a directory")?));
    }
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
    for _ in 0..3 {
        Command::new(std::env::current_exe()?)
            .arg("--open")
            .arg(&dir)
            .status()?;
    }
    let engine = Engine::open(&dir, options())?;
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
