//! Merging sealed files into one.

use std::ops::Range;

use crate::compact::plan::Job;
use crate::error::ReadError;
use crate::home::Home;
use crate::sealed::{
    BodyWindow, Extent, Lives, Losses, Marks, SealError, SealedFile, SealedWriter, Throttle,
    WriteError,
};
use crate::tenancy::{Live, Tenancy};

/// Memory for what is read of all files together.
const READ_AHEAD: usize = 32 << 20;
/// The most of it that is read of one file at once, and the least.
const SPAN: std::ops::RangeInclusive<usize> = 128 << 10..=1 << 20;
/// Extents whose liveness is asked for at once.
const ASKED: usize = 1024;

/// What a merge came to.
pub(crate) struct Merged {
    /// The file to put in place of the job's; `None` when nothing was alive.
    pub(crate) file: Option<SealedFile>,
    /// Bytes of the new file.
    pub(crate) written_bytes: u64,
}

/// Merges what is alive of the job's files into file `number`: written and synced, neither its directory nor the
/// manifest.
///
/// Memory: about 40 MiB, and the extents and marks of the new file, which [`PlanOptions`](super::PlanOptions) bounds.
pub(crate) fn run(
    home: &Home,
    job: &Job,
    number: u64,
    tenancy: &dyn Tenancy,
    throttle: &Throttle,
) -> Result<Merged, SealError> {
    let mut merge = Merge::new(home, job, number, tenancy, throttle);
    let merged = merge.copy_all().and_then(|()| merge.finish());
    if merged.is_err() {
        // A left-over is removed at the next start, if not now.
        home.remove(&home.sealed(number)).ok();
    }
    merged
}

struct Merge<'j> {
    home: &'j Home,
    number: u64,
    tenancy: &'j dyn Tenancy,
    throttle: &'j Throttle,
    sources: Vec<Source<'j>>,
    /// What is lost of what they should have.
    lost: Losses,
    /// Nothing is created before something is alive.
    writer: Option<SealedWriter<'j>>,
    /// Dead bytes that were kept, because their event is alive.
    stuck: u64,
}

/// A file that is read front to back.
struct Source<'j> {
    file: &'j SealedFile,
    /// Extents from here on are still to come.
    next: usize,
    /// Extents up to here were asked for, and what is alive of them.
    asked: usize,
    lives: Lives,
    data: BodyWindow<'j>,
    marks: BodyWindow<'j>,
}

impl<'j> Merge<'j> {
    fn new(
        home: &'j Home,
        job: &'j Job,
        number: u64,
        tenancy: &'j dyn Tenancy,
        throttle: &'j Throttle,
    ) -> Self {
        let span = (READ_AHEAD / job.files.len().max(1)).clamp(*SPAN.start(), *SPAN.end());
        let source = |file: &'j std::sync::Arc<SealedFile>| Source {
            file,
            next: 0,
            asked: 0,
            lives: Lives::default(),
            data: BodyWindow::new(file, span),
            marks: BodyWindow::new(file, span / 4),
        };
        let lost = job.files.iter().map(|file| file.missed());
        let lost = lost.flat_map(|parts| parts.iter().copied().collect::<Vec<_>>());
        Self {
            home,
            number,
            tenancy,
            throttle,
            lost: Losses::sorted(lost.collect()),
            sources: job.files.iter().map(source).collect(),
            writer: None,
            stuck: 0,
        }
    }

    fn copy_all(&mut self) -> Result<(), SealError> {
        loop {
            let heads = self
                .sources
                .iter()
                .enumerate()
                .filter_map(|(index, source)| {
                    let extent = source.extent()?;
                    Some(((extent.stream, extent.start), index, extent))
                });
            let Some((_, index, extent)) = heads.min_by_key(|(order, ..)| *order) else {
                return Ok(());
            };
            let live = self.live(index, extent.stream)?;
            if live.bytes(extent.start, extent.end) > 0 {
                self.copy(index, &extent, &live)?;
            }
            if let Some(source) = self.sources.get_mut(index) {
                source.next += 1;
            }
        }
    }

    /// What is alive of the stream of a source's next extent.
    fn live(&mut self, index: usize, stream: u64) -> Result<Live, SealError> {
        let Some(source) = self.sources.get_mut(index) else {
            return Ok(Live::ALL);
        };
        if source.next >= source.asked {
            self.throttle.check()?;
            source.asked = source.next + ASKED;
            let extents = source.file.extents().range(source.next..source.asked);
            source.lives = Lives::ask(self.tenancy, extents.map(|extent| extent.stream));
        }
        Ok(source.lives.of(stream).clone())
    }

    /// Writes what is alive of an extent.
    fn copy(&mut self, index: usize, extent: &Extent, live: &Live) -> Result<(), SealError> {
        if self.writer.is_none() {
            self.create()?;
        }
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let Some(source) = self.sources.get_mut(index) else {
            return Ok(());
        };
        match copy(writer, source, extent, live) {
            Ok(stuck) => self.stuck += stuck,
            Err(CopyError::Read(refused)) => {
                // Otherwise it would be tried again at once.
                if matches!(refused, ReadError::Damaged { .. }) && !source.file.is_blocked() {
                    source.file.give_up(&refused);
                }
                return Err(refused.into());
            }
            Err(CopyError::Write(error)) => {
                let file = source.file;
                let sorted = sort(error, index, &self.sources);
                if let SealError::Damaged(disorder) = &sorted {
                    file.give_up(disorder);
                }
                return Err(sorted);
            }
        }
        Ok(())
    }

    fn create(&mut self) -> Result<(), SealError> {
        let lost = std::mem::take(&mut self.lost);
        let range = range(&self.sources);
        let created =
            SealedWriter::create_without(self.home, self.number, range, lost, self.throttle);
        self.writer = Some(created.map_err(|error| sort(error, 0, &self.sources))?);
        Ok(())
    }

    fn finish(&mut self) -> Result<Merged, SealError> {
        if !self.lost.is_empty() {
            self.create()?;
        }
        let Some(writer) = self.writer.take() else {
            return Ok(Merged {
                file: None,
                written_bytes: 0,
            });
        };
        let file = writer
            .finish(self.home)
            .map_err(|error| sort(error, 0, &self.sources))?;
        if let Some(file) = &file {
            file.set_stuck_bytes(self.stuck);
        }
        Ok(Merged {
            written_bytes: file.as_ref().map_or(0, |file| file.entry().bytes),
            file,
        })
    }
}

impl Source<'_> {
    fn extent(&self) -> Option<Extent> {
        self.file.extents().get(self.next)
    }
}

enum CopyError {
    Read(ReadError),
    Write(WriteError),
}

impl From<ReadError> for CopyError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<WriteError> for CopyError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

/// Writes the events of `extent` that something is alive of; gives how many of their bytes are dead.
fn copy(
    writer: &mut SealedWriter<'_>,
    source: &mut Source<'_>,
    extent: &Extent,
    live: &Live,
) -> Result<u64, CopyError> {
    if extent.is_single() {
        writer.announce(extent.stream, extent.start, extent.len())?;
        copy_data(writer, source, extent, extent.start..extent.end)?;
        return Ok(extent.len() - live.bytes(extent.start, extent.end));
    }
    let mut lengths = Marks::open(&mut source.marks, extent, source.file.body())?.lengths();
    let (mut position, mut stuck) = (extent.start, 0);
    // Events in a row that were announced and not copied yet.
    let mut run = position..position;
    while let Some(len) = lengths.next(&mut source.marks)? {
        let start = position;
        position += len;
        let alive = live.bytes(start, position);
        if alive == 0 {
            copy_data(writer, source, extent, run)?;
            run = position..position;
        } else {
            stuck += len - alive;
            writer.announce(extent.stream, start, len)?;
            run.end = position;
        }
    }
    copy_data(writer, source, extent, run)?;
    Ok(stuck)
}

/// Writes what an extent has between two positions, which was announced.
fn copy_data(
    writer: &mut SealedWriter<'_>,
    source: &mut Source<'_>,
    extent: &Extent,
    positions: Range<u64>,
) -> Result<(), CopyError> {
    let mut at = extent.data_at + (positions.start - extent.start);
    let end = extent.data_at + (positions.end - extent.start);
    while at < end {
        let bytes = source.data.some(at, end - at)?;
        writer.data(bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// The part of the log that the files are for.
fn range(sources: &[Source<'_>]) -> (u64, u64) {
    let entries = || sources.iter().map(|source| source.file.entry());
    let from = entries().map(|entry| entry.from).min();
    let to = entries().map(|entry| entry.to).max();
    (from.unwrap_or(0), to.unwrap_or(0))
}

/// What is to be said of an error while something of source `index` was written.
fn sort(error: WriteError, index: usize, sources: &[Source<'_>]) -> SealError {
    match error {
        WriteError::Cancelled(cancelled) => SealError::Cancelled(cancelled),
        WriteError::Failed(failure) => failure.into(),
        // Two of the files contradict each other; merging would only hide it.
        disorder @ WriteError::Disorder { .. } => {
            let file = sources.get(index).map(|source| source.file);
            SealError::Damaged(ReadError::Damaged {
                file: file.map(|file| file.path().to_owned()).unwrap_or_default(),
                offset: 0,
                detail: disorder.to_string(),
            })
        }
    }
}
