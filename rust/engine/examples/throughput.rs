//! How fast the engine appends in batches and replays its log.
//!
//! `cargo run --release -p durastream-engine --example throughput -- [directory]`

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use durastream_engine::{Append, Create, Engine, From, Options, StreamPath};

fn options() -> Options {
    let mut options = Options::default();
    options.checkpoint_bytes = u64::MAX;
    options.reap_interval = Duration::from_secs(3600);
    options
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("throughput"), PathBuf::from);
    let mut out = std::io::stdout();
    for (size, batches) in [(256usize, 2_000usize), (4096, 200)] {
        std::fs::remove_dir_all(&dir).ok();
        let engine = Engine::open(&dir, options())?;
        let paths: Result<Vec<_>, _> = (0..1000)
            .map(|number| StreamPath::new(&format!("bench/{number}")))
            .collect();
        let paths = paths?;
        for path in &paths {
            engine.create(path, Create::default()).outcome?;
        }
        let body = Bytes::from(vec![b'x'; size]);
        let begun = Instant::now();
        for _ in 0..batches {
            let appends = paths.iter().map(|path| {
                let append = Append {
                    body: body.clone(),
                    ..Append::default()
                };
                (path.clone(), append)
            });
            let tickets = engine.append_many(appends.collect());
            let last = tickets.last().ok_or("no ticket")?;
            last.outcome.clone()?;
            engine.wait(last.lsn, None)?;
        }
        let taken = begun.elapsed();
        let events = (batches * paths.len()) as f64;
        writeln!(
            out,
            "append_many of 1,000 x {size} B: {:.0} durable events/s",
            events / taken.as_secs_f64()
        )?;
        let bytes = engine.stats().store.bytes as f64;
        drop(engine);
        let begun = Instant::now();
        let engine = Engine::open(&dir, options())?;
        let rate = bytes / begun.elapsed().as_secs_f64() / 1e6;
        writeln!(out, "replay: {:.0} MB at {rate:.0} MB/s", bytes / 1e6)?;
        let path = paths.first().ok_or("no path")?;
        let reader = engine.reader(path).outcome?;
        let begun = Instant::now();
        let page = reader.page(From::Start, 4 << 20)?;
        writeln!(
            out,
            "cold page of {} appends: {:.2?}",
            page.chunks.len(),
            begun.elapsed()
        )?;
        engine.close()?;
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
