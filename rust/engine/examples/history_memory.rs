//! What history costs in memory: bytes for each stream in each sealed segment, and for each event that was sealed. The
//! last line is JSON, for `bench/history.py`.
//!
//! `cargo run --release -p durastream-engine --example history_memory -- [streams] [segments] [events] [directory]`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use durastream_engine::{Append, Create, Engine, Options, StreamPath};

type Failure = Box<dyn std::error::Error>;

/// Segments of the history that the one measured is compared with.
const FEW: usize = 2;

/// Resident memory of this process in bytes.
fn resident() -> Result<u64, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("statm")?.parse()?;
    Ok(pages * 4096)
}

fn options() -> Options {
    let mut options = Options::default();
    options.store.hot_bytes = 0;
    // Nothing is merged: what counts is what a stream's part of one file costs.
    options.store.sealed_file_bytes = 1;
    options.checkpoint_bytes = u64::MAX;
    options.reap_interval = Duration::from_secs(3600);
    options
}

fn path(number: usize) -> Result<StreamPath, Failure> {
    Ok(StreamPath::new(&format!("bench/history/{number:09}"))?)
}

/// Streams with events in every segment.
fn build(dir: &Path, streams: usize, segments: usize, events: usize) -> Result<u64, Failure> {
    std::fs::remove_dir_all(dir).ok();
    let engine = Engine::open(dir, options())?;
    for number in 0..streams {
        engine.create(&path(number)?, Create::default()).outcome?;
    }
    for _ in 0..segments {
        for number in 0..streams * events {
            let append = Append {
                body: vec![b'x'; 16].into(),
                ..Append::default()
            };
            let ticket = engine.append(&path(number % streams)?, append);
            ticket.outcome?;
            if number % 4096 == 0 {
                engine.wait(ticket.lsn, None)?;
            }
        }
        // Each round of appends is a segment of its own.
        engine.compact()?;
    }
    let files = engine.stats().store.sealed_files;
    engine.close()?;
    Ok(files)
}

/// Opened in a process of its own, so that nothing else is counted.
fn measure(dir: &Path) -> Result<u64, Failure> {
    let out = Command::new(std::env::current_exe()?)
        .arg("--measure")
        .arg(dir)
        .output()?;
    Ok(String::from_utf8(out.stdout)?.trim().parse()?)
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).peekable();
    let mut out = std::io::stdout();
    if arguments.next_if(|word| word == "--measure").is_some() {
        let dir = arguments.next().ok_or("a directory")?;
        let before = resident()?;
        let engine = Engine::open(Path::new(&dir), options())?;
        let taken = resident()?.saturating_sub(before);
        writeln!(out, "{taken}")?;
        drop(engine);
        return Ok(());
    }
    let mut number = |usual: usize| arguments.next().map_or(Ok(usual), |text| text.parse());
    let (streams, segments, events) = (number(10_000)?, number(64)?, number(4)?);
    let dir = arguments.next().map_or_else(
        || std::env::temp_dir().join("history-memory"),
        PathBuf::from,
    );
    let begun = Instant::now();
    // Less a few: what the first of them takes beside is shared by all.
    let few = build(&dir, streams, FEW, events)?;
    let without = measure(&dir)?;
    let files = build(&dir, streams, segments, events)?;
    let with = measure(&dir)?;
    std::fs::remove_dir_all(&dir)?;
    let taken = with.saturating_sub(without);
    let segments = files.saturating_sub(few) as usize;
    let pairs = (streams * segments) as u64;
    writeln!(
        out,
        "{streams} streams, {segments} segments, {events} events of each stream in each: {:.2?}",
        begun.elapsed()
    )?;
    writeln!(out, "memory of the history: {taken} B")?;
    writeln!(
        out,
        "each stream and segment: {:.1} B",
        taken as f64 / pairs as f64
    )?;
    writeln!(
        out,
        "each event: {:.1} B",
        taken as f64 / (pairs * events as u64) as f64
    )?;
    // 100 GB are so many segments; what a stream has in one is at least one event.
    let many = (100u64 << 30) / options().store.segment_bytes;
    for streams in [100u64, 1_000, 10_000] {
        let bytes = taken as f64 / pairs as f64 * (many * streams) as f64;
        writeln!(
            out,
            "100 GB of history, {streams} streams in every segment: {:.0} MB",
            bytes / 1e6
        )?;
    }
    let each = taken as f64 / pairs as f64;
    writeln!(out, r#"{{"each": {each:.2}, "files": {segments}}}"#)?;
    Ok(())
}
