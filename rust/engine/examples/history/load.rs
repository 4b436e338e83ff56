//! Appends while history is made.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use durastream_engine::Engine;

use crate::common::{
    Failure, Figures, MIB, append_to_all, body, create_all, options, path, resident, sealed,
};

const STREAMS: u64 = 1000;
const WRITERS: u64 = 8;
const SIZE: u64 = 1024;
/// Of how many parts the first and the last are told of.
const PARTS: usize = 10;
/// What a disk gets to recover from what was written before.
const CALM: Duration = Duration::from_secs(2);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Durable appends of 1 KiB by eight writers to 1,000 streams, one after the other. `busy`: into small segments, so that
/// they are sealed and files merged and checkpoints made all the time. Otherwise none of it happens: the segment is large enough.
/// Either way the file that is written had an earlier life, as it always has after a while.
pub(crate) fn appends(dir: &Path, seconds: u64, busy: bool) -> Result<Figures, Failure> {
    let segment = if busy { 8 * MIB } else { 192 * MIB };
    let mut options = options(64 * MIB, segment);
    options.checkpoint_bytes = if busy { 32 * MIB } else { u64::MAX };
    let engine = Engine::open(dir, options)?;
    create_all(&engine, STREAMS)?;
    recycled(&engine, segment, if busy { 24 } else { 0 })?;
    std::thread::sleep(CALM);
    let before = engine.stats().store;
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds);
    let writers = writers(&engine, until, Vec::push);
    let mut times = Vec::new();
    for writer in writers {
        times.extend(writer.join().map_err(|_| "a writer panicked")??);
    }
    let elapsed = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| {
        let time = times.get((times.len() as f64 * part) as usize);
        time.map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    let after = engine.stats().store;
    let mib = |after: u64, before: u64| (after - before) as f64 / MIB as f64;
    let figures = Figures::from([
        ("rate", times.len() as f64 / elapsed),
        ("p50_ms", at(0.5)),
        ("p99_ms", at(0.99)),
        ("p999_ms", at(0.999)),
        ("log_mib", mib(after.bytes, before.bytes)),
        (
            "sealed_mib",
            mib(after.sealed_written_bytes, before.sealed_written_bytes),
        ),
        (
            "merged_mib",
            mib(after.compacted_bytes, before.compacted_bytes),
        ),
        (
            "checkpoints",
            (after.checkpoints - before.checkpoints) as f64,
        ),
        (
            "slowed_ms",
            (after.slowed_nanos - before.slowed_nanos) as f64 / 1e6,
        ),
    ]);
    engine.close()?;
    Ok(figures)
}

/// Appends until the segment in use had an earlier life, but so many segments at least. All before it are sealed then.
fn recycled(engine: &Engine, segment: u64, least: u64) -> Result<(), Failure> {
    // Batches of a good size, so that it does not take long.
    let append = body(16 << 10);
    let mut reused = 0;
    for filled in 1..64 {
        let goal = engine.stats().store.end_lsn + segment;
        while engine.stats().store.end_lsn < goal {
            append_to_all(engine, 64, &append)?;
        }
        sealed(engine)?;
        // The log is kept from the older one on.
        engine.checkpoint()?;
        engine.checkpoint()?;
        // A segment is prepared when the one before comes into use.
        reused += u64::from(engine.stats().store.recycled > 0);
        if reused > 1 && filled >= least {
            return Ok(());
        }
    }
    Err("no segment is reused".into())
}

type Writer<T> = JoinHandle<Result<T, Failure>>;

/// Threads that append to streams of their own, in turn, until then. Each keeps of its appends what `note` makes of
/// how long they took.
fn writers<T, N>(engine: &Engine, until: Instant, note: N) -> Vec<Writer<T>>
where
    T: Default + Send + 'static,
    N: Fn(&mut T, Duration) + Clone + Send + 'static,
{
    let start = |writer: u64| {
        let (engine, note) = (engine.clone(), note.clone());
        std::thread::spawn(move || -> Result<_, Failure> {
            let append = body(SIZE);
            let own = (writer..STREAMS).step_by(WRITERS as usize).map(path);
            let own = own.collect::<Result<Vec<_>, Failure>>()?;
            let mut kept = T::default();
            for stream in own.iter().cycle() {
                let begun = Instant::now();
                if begun >= until {
                    break;
                }
                let ticket = engine.append(stream, append.clone());
                ticket.outcome?;
                engine.wait(ticket.lsn, None)?;
                note(&mut kept, begun.elapsed());
            }
            Ok(kept)
        })
    };
    (0..WRITERS).map(start).collect()
}

/// The same appends for so long, with so much memory for payloads: how fast, and how large, in each tenth of the time.
pub(crate) fn sustained(dir: &Path, seconds: u64, cap: u64) -> Result<Figures, Failure> {
    let engine = Engine::open(dir, options(cap, cap.min(64 * MIB)))?;
    create_all(&engine, STREAMS)?;
    let part = Duration::from_secs(seconds) / PARTS as u32;
    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    // The times themselves would be most of the memory.
    let counted = Arc::clone(&done);
    let writers = writers(&engine, begun + part * PARTS as u32, move |(), _| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let (mut rates, mut sizes, mut before) = (Vec::new(), Vec::new(), 0);
    for number in 1..=PARTS as u32 {
        let (since, mut largest) = (Instant::now(), 0);
        while begun.elapsed() < part * number {
            largest = largest.max(resident()?);
            std::thread::sleep(LOOK);
        }
        let now = done.load(Ordering::Relaxed);
        let rate = (now - before) as f64 / since.elapsed().as_secs_f64();
        let files = engine.stats().store.sealed_files;
        writeln!(
            std::io::stderr(),
            "{number}: {rate:.0} appends/s, {} MiB, {files} sealed files",
            largest / MIB
        )?;
        rates.push(rate);
        sizes.push(largest as f64);
        before = now;
    }
    for writer in writers {
        writer.join().map_err(|_| "a writer panicked")??;
    }
    let stats = engine.stats().store;
    let [_, second, .., last] = rates[..] else {
        return Err("too few parts".into());
    };
    let [_, then, .., now] = sizes[..] else {
        return Err("too few parts".into());
    };
    let written = (before * SIZE) as f64;
    let figures = Figures::from([
        ("last_to_second", last / second),
        ("slowest_to_second", least(&rates) / second),
        ("rate", before as f64 / begun.elapsed().as_secs_f64()),
        ("memory_last_to_second", now / then),
        ("resident_mib", now / MIB as f64),
        ("data_to_cap", written / cap as f64),
        ("sealed_files", stats.sealed_files as f64),
        ("write_amplification", stats.write_amplification()),
        ("slowed_ms", stats.slowed_nanos as f64 / 1e6),
    ]);
    engine.close()?;
    Ok(figures)
}

fn least(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}
