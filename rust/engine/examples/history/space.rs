//! What history takes on the disk after deletions.

use std::path::Path;
use std::time::Instant;

use durastream_engine::Engine;

use crate::common::{
    Failure, Figures, MIB, append_to_all, body, careless, create_all, options, path, settle, taken,
};

/// Writes streams in turn and deletes nine of ten. What is left on the disk, beside what is alive: by itself after a
/// while, and when it is compacted.
pub(crate) fn delete(dir: &Path, streams: u64, bytes: u64, size: u64) -> Result<Figures, Failure> {
    // Beside history a directory has some segments of its log: with small ones the ratio is about history.
    let mut options = careless(options(MIB, 4 * MIB));
    options.checkpoint_bytes = 16 * MIB;
    let engine = Engine::open(dir, options)?;
    create_all(&engine, streams)?;
    for _ in 0..bytes / size {
        append_to_all(&engine, streams, &body(size))?;
    }
    settle(&engine)?;
    let (before, _) = taken(dir)?;
    let mut last = 0;
    for number in (0..streams).filter(|number| number % 10 > 0) {
        let ticket = engine.delete(&path(number)?);
        ticket.outcome?;
        last = ticket.lsn;
    }
    engine.wait(last, None)?;
    settle(&engine)?;
    let (by_itself, _) = taken(dir)?;
    let begun = Instant::now();
    engine.compact()?;
    let seconds = begun.elapsed().as_secs_f64();
    let (all, sealed) = taken(dir)?;
    engine.close()?;
    let live = (streams.div_ceil(10) * (bytes / size) * size) as f64;
    Ok(Figures::from([
        ("to_live", all as f64 / live),
        ("sealed_to_live", sealed as f64 / live),
        ("by_itself_to_live", by_itself as f64 / live),
        ("before_mib", (before / MIB) as f64),
        ("after_mib", (all / MIB) as f64),
        ("live_mib", live / MIB as f64),
        ("compact_s", seconds),
    ]))
}
