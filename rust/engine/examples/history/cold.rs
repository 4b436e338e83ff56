//! Reading some of many streams from the disk.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use durastream_engine::{Engine, From};

use crate::common::{
    Failure, Figures, MIB, append_to_all, body, careless, create_all, options, path,
};

/// The largest page that a server gives.
const PAGE: usize = 4 << 20;
/// What `cat` reads at once.
const READ: usize = 128 << 10;

/// Which of the streams are read: far from each other.
fn chosen(number: u64) -> u64 {
    number * 61 + 7
}

/// The file that is as long as a stream, beside the directory.
fn plain(dir: &Path, number: u64) -> PathBuf {
    dir.with_extension("plain").join(number.to_string())
}

/// So many streams, written in turn, that hold so many bytes each, in appends of `size`; all of it sealed and merged.
/// Beside the directory, 16 files as long as one of them.
pub(crate) fn interleave(
    dir: &Path,
    streams: u64,
    bytes: u64,
    size: u64,
) -> Result<Figures, Failure> {
    let engine = Engine::open(dir, careless(options(MIB, 64 * MIB)))?;
    create_all(&engine, streams)?;
    for _ in 0..bytes / size {
        append_to_all(&engine, streams, &body(size))?;
    }
    let begun = Instant::now();
    engine.compact()?;
    let seconds = begun.elapsed().as_secs_f64();
    let stats = engine.stats().store;
    engine.close()?;
    for number in 0..16 {
        let file = plain(dir, number);
        std::fs::create_dir_all(file.parent().unwrap_or(dir))?;
        std::fs::write(file, vec![b'y'; (bytes / size * size) as usize])?;
    }
    Ok(Figures::from([
        ("sealed_mib", (stats.sealed_bytes / MIB) as f64),
        ("files", stats.sealed_files as f64),
        ("compact_s", seconds),
    ]))
}

/// So many streams, each from its start.
pub(crate) fn read(dir: &Path, streams: u64) -> Result<Figures, Failure> {
    let engine = Engine::open(dir, options(MIB, 64 * MIB))?;
    let (begun, mut bytes) = (Instant::now(), 0);
    for number in 0..streams {
        let reader = engine.reader(&path(chosen(number))?).outcome?;
        let mut from = From::Start;
        loop {
            let page = reader.page(from, PAGE)?;
            bytes += page.chunks.iter().map(|chunk| chunk.len()).sum::<usize>();
            from = From::At(page.next);
            if page.up_to_date {
                break;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    // Not closed: the next round finds it as it was.
    Ok(rate(bytes, seconds))
}

/// So many of the files beside it, as `cat` reads them.
pub(crate) fn cat(dir: &Path, files: u64) -> Result<Figures, Failure> {
    let mut buffer = vec![0; READ];
    let (begun, mut bytes) = (Instant::now(), 0);
    for number in 0..files {
        let mut file = File::open(plain(dir, number))?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => bytes += count,
            }
        }
    }
    Ok(rate(bytes, begun.elapsed().as_secs_f64()))
}

fn rate(bytes: usize, seconds: f64) -> Figures {
    let mib = bytes as f64 / MIB as f64;
    Figures::from([("mib_per_s", mib / seconds), ("mib", mib)])
}
