//! What the tasks share.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use durastream_engine::storage::Durability;
use durastream_engine::{Append, Create, Engine, Options, StreamPath};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Figures = BTreeMap<&'static str, f64>;

pub(crate) const MIB: u64 = 1 << 20;

/// How long nothing may change before it counts as at rest; longer than the compactor's naps.
const REST: Duration = Duration::from_secs(12);

pub(crate) fn path(number: u64) -> Result<StreamPath, Failure> {
    Ok(StreamPath::new(&format!("bench/history/{number:06}"))?)
}

/// Resident memory of this process in bytes.
pub(crate) fn resident() -> Result<u64, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("statm")?.parse()?;
    Ok(pages * 4096)
}

pub(crate) fn options(hot_bytes: u64, segment_bytes: u64) -> Options {
    let mut options = Options::default();
    options.store.hot_bytes = hot_bytes as usize;
    options.store.segment_bytes = segment_bytes;
    options
}

/// For building what is measured later: the system syncs when it likes.
pub(crate) fn careless(mut options: Options) -> Options {
    options.store.durability = Durability::None;
    options
}

pub(crate) fn create_all(engine: &Engine, streams: u64) -> Result<(), Failure> {
    let mut last = 0;
    for number in 0..streams {
        let ticket = engine.create(&path(number)?, Create::default());
        ticket.outcome?;
        last = ticket.lsn;
    }
    engine.wait(last, None)?;
    Ok(())
}

/// An append of so many bytes.
pub(crate) fn body(size: u64) -> Append {
    Append {
        body: vec![b'x'; size as usize].into(),
        ..Append::default()
    }
}

/// One append to each of the first streams, in one batch.
pub(crate) fn append_to_all(engine: &Engine, streams: u64, append: &Append) -> Result<(), Failure> {
    let batch: Result<Vec<_>, Failure> = (0..streams)
        .map(|number| Ok((path(number)?, append.clone())))
        .collect();
    let mut last = 0;
    for ticket in engine.append_many(batch?) {
        ticket.outcome?;
        last = ticket.lsn;
    }
    engine.wait(last, None)?;
    Ok(())
}

/// Bytes on the disk that the files of a directory take: all, and those of sealed ones.
pub(crate) fn taken(dir: &Path) -> Result<(u64, u64), Failure> {
    let (mut all, mut sealed) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let bytes = entry.metadata()?.blocks() * 512;
        all += bytes;
        if entry.path().extension().is_some_and(|it| it == "sealed") {
            sealed += bytes;
        }
    }
    Ok((all, sealed))
}

/// Waits until every full segment is sealed.
pub(crate) fn sealed(engine: &Engine) -> Result<(), Failure> {
    let begun = Instant::now();
    while engine.stats().store.sealing_backlog > 0 {
        if begun.elapsed() > Duration::from_secs(300) {
            return Err("sealing does not come to an end".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Waits until nothing is sealed or compacted by itself any more.
pub(crate) fn settle(engine: &Engine) -> Result<(), Failure> {
    sealed(engine)?;
    let (begun, mut before, mut since) = (Instant::now(), None, Instant::now());
    while since.elapsed() < REST {
        let stats = engine.stats().store;
        let now = (stats.sealed_files, stats.sealed_bytes, stats.segments);
        if before != Some(now) {
            (before, since) = (Some(now), Instant::now());
        }
        if begun.elapsed() > Duration::from_secs(300) {
            return Err("compaction does not come to an end".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
