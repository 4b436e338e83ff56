//! The history of all streams: what the open sealed files hold together.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::error::{OpenError, ReadError};
use crate::frame::FrameRef;
use crate::home::Home;
use crate::sealed::SealedEntry;
use crate::sealed::extent::Extent;
use crate::sealed::file::SealedFile;
use crate::sealed::liveness::Lives;
use crate::sealed::lost::Lost;
use crate::sealed::part::Piece;
use crate::sealed::throttle::{Cancelled, Throttle};
use crate::tenancy::Tenancy;

/// Extents that are weighed before looking whether to go on.
const WEIGHED: usize = 4096;

/// A run of a stream's payload bytes in sealed files, cut at events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History<T = Bytes> {
    /// Position of the first byte: where the event that holds what was asked for begins.
    pub start: u64,
    /// Position behind the last byte.
    pub end: u64,
    /// The bytes, in as many pieces as they lie in on disk: not one per event.
    pub chunks: Vec<T>,
}

/// Whole sealed events of a stream, one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRow {
    /// Position of the first byte: an event begins there.
    pub start: u64,
    /// Position behind the last byte: an event ends there, or what anybody may ask for of it.
    pub end: u64,
    /// Whether it is a single event. Otherwise nobody can tell where those within begin.
    pub is_single: bool,
}

/// Figures of the sealed files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SealedFigures {
    pub(crate) files: u64,
    /// Lengths of the files.
    pub(crate) bytes: u64,
    pub(crate) payload_bytes: u64,
    /// Payload bytes that are alive, as far as is known.
    pub(crate) live_bytes: u64,
    pub(crate) extents: u64,
    pub(crate) blocks_verified: u64,
    /// Files in which something did not verify.
    pub(crate) damaged_files: u64,
    /// Payload bytes that were damaged before they were sealed, and that somebody may still ask for.
    pub(crate) lost_bytes: u64,
}

/// The files in LSN order: what a stream has in a later one has higher positions.
type Files = Arc<Vec<Arc<SealedFile>>>;

/// The sealed files that count, open. A reader keeps those it began with, also when they are replaced meanwhile.
pub(crate) struct Sealed {
    home: Home,
    files: RwLock<Files>,
}

impl Sealed {
    /// Opens the files that the manifest lists.
    pub(crate) fn open(home: &Home, entries: &[SealedEntry]) -> Result<Self, OpenError> {
        let files: Result<Vec<_>, _> = entries
            .iter()
            .map(|entry| SealedFile::open(home, entry).map(Arc::new))
            .collect();
        Ok(Self::of(home, files?))
    }

    /// Of files that are open.
    pub(crate) fn of(home: &Home, mut files: Vec<Arc<SealedFile>>) -> Self {
        files.sort_by_key(|file| file.entry().from);
        Self {
            home: home.clone(),
            files: RwLock::new(Arc::new(files)),
        }
    }

    /// The files now, in LSN order.
    pub(crate) fn files(&self) -> Files {
        Arc::clone(&self.files.read())
    }

    /// Takes files out and another one in, as the manifest already does.
    pub(crate) fn swap(&self, out: &[u64], new: Option<SealedFile>) {
        let mut files = self.files.write();
        let kept = files
            .iter()
            .filter(|file| !out.contains(&file.entry().number));
        let mut next: Vec<_> = kept.map(Arc::clone).chain(new.map(Arc::new)).collect();
        next.sort_by_key(|file| file.entry().from);
        *files = Arc::new(next);
    }

    /// What `stream` has from the event that holds the byte at `from`: whole events, as many as fit into `max_bytes`
    /// but at least one; one that reaches beyond `to` is cut there. Empty when nothing is sealed at `from`.
    pub(crate) fn history(
        &self,
        stream: u64,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<History, ReadError> {
        let read = |file: &Arc<SealedFile>, at, len| file.read(at, len);
        self.history_by(read, stream, from, to, max_bytes)
    }

    /// The same with large pieces left where they are, verified.
    pub(crate) fn pieces(
        &self,
        stream: u64,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<History<Piece>, ReadError> {
        self.history_by(SealedFile::piece, stream, from, to, max_bytes)
    }

    fn history_by<T>(
        &self,
        take: impl Fn(&Arc<SealedFile>, u64, u64) -> Result<T, ReadError>,
        stream: u64,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<History<T>, ReadError> {
        let nothing = History {
            start: from,
            end: from,
            chunks: Vec::new(),
        };
        if from >= to {
            return Ok(nothing);
        }
        let files = self.files();
        let mut extents = extents(&files, stream, from);
        let Some((file, first)) = extents.next().filter(|(_, extent)| extent.holds(from)) else {
            return self.not_lost(&files, stream, from).map(|()| nothing);
        };
        // The disk reads them while it is found out where they end.
        let likely = from.saturating_add(max_bytes as u64).min(to);
        file.will_need(&first, from, first.end.min(likely));
        let event = file.event(&first, from)?;
        // Where to stop, at the event that holds this byte or at this byte if it is not there.
        let limit = event
            .start
            .saturating_add(max_bytes as u64)
            .max(event.end)
            .min(to);
        let mut chunks = Vec::new();
        let mut end = event.start;
        let mut next = Some((file, first));
        while let Some((file, extent)) = next.take() {
            let stop = if extent.end <= limit {
                extent.end
            } else if limit == to {
                to
            } else {
                file.event(&extent, limit)?.start.max(end)
            };
            if stop > end {
                chunks.push(take(
                    file,
                    extent.data_at + (end - extent.start),
                    stop - end,
                )?);
                end = stop;
            }
            if end == extent.end && end < limit {
                next = extents.next().filter(|(_, extent)| extent.start == end);
                if let Some((file, extent)) = &next {
                    file.will_need(extent, end, extent.end.min(limit));
                }
            }
        }
        Ok(History {
            start: event.start,
            end,
            chunks,
        })
    }

    /// Bounds of the event of `stream` that holds the byte at `position`.
    pub(crate) fn event_at(
        &self,
        stream: u64,
        position: u64,
    ) -> Result<Option<(u64, u64)>, ReadError> {
        let files = self.files();
        match extents(&files, stream, position).next() {
            Some((file, extent)) if extent.holds(position) => {
                let event = file.event(&extent, position)?;
                Ok(Some((event.start, event.end)))
            }
            _ => self.not_lost(&files, stream, position).map(|()| None),
        }
    }

    /// The shortest row of whole events of `stream` that is known to hold the byte at `position`: the event itself, or,
    /// where its bounds are damaged or lost, what is damaged or lost with it.
    pub(crate) fn row_at(&self, stream: u64, position: u64) -> Result<Option<EventRow>, ReadError> {
        let row = |(start, end), is_single| EventRow {
            start,
            end,
            is_single,
        };
        let files = self.files();
        match extents(&files, stream, position).next() {
            Some((file, extent)) if extent.holds(position) => match file.event(&extent, position) {
                Ok(event) => Ok(Some(row((event.start, event.end), true))),
                Err(ReadError::Damaged { .. }) => Ok(Some(row((extent.start, extent.end), false))),
                Err(error) => Err(error),
            },
            _ => {
                let lost = lost_at(&files, stream, position);
                Ok(lost.map(|(_, part)| row((part.start, part.end), false)))
            }
        }
    }

    /// Number of events of `stream` that have a byte between `from` and `to`.
    pub(crate) fn events(&self, stream: u64, from: u64, to: u64) -> Result<u64, ReadError> {
        let files = self.files();
        let mut events = 0;
        for (file, extent) in extents(&files, stream, from) {
            if extent.start >= to || from >= to {
                break;
            }
            events += if from <= extent.start && extent.end <= to {
                file.events_in(&extent)?
            } else {
                let first = file.event(&extent, from.max(extent.start))?.index;
                let last = file.event(&extent, to.min(extent.end) - 1)?.index;
                last - first + 1
            };
        }
        Ok(events)
    }

    /// The payload of `frame`, or a part of an event; `None` when nothing is sealed at its position.
    pub(crate) fn payload(&self, frame: &FrameRef) -> Result<Option<Bytes>, ReadError> {
        let files = self.files();
        let Some((file, extent)) = extents(&files, frame.stream, frame.position)
            .next()
            .filter(|(_, extent)| extent.holds(frame.position))
        else {
            return self
                .not_lost(&files, frame.stream, frame.position)
                .map(|()| None);
        };
        let len = u64::from(frame.len);
        let at = extent.data_at + (frame.position - extent.start);
        if len > extent.end - frame.position {
            let detail = format!(
                "stream {} ends at position {} here, it should have {len} bytes at position {}",
                frame.stream, extent.end, frame.position
            );
            return Err(file.senseless(at, &detail));
        }
        file.read(at, len).map(Some)
    }

    /// Finds out how much of each file is alive.
    pub(crate) fn weigh(
        &self,
        tenancy: &dyn Tenancy,
        throttle: &Throttle,
    ) -> Result<(), Cancelled> {
        for file in self.files().iter() {
            let mut live = 0;
            for from in (0..file.extents().len()).step_by(WEIGHED) {
                throttle.check()?;
                let extents = || file.extents().range(from..from + WEIGHED);
                let lives = Lives::ask(tenancy, extents().map(|extent| extent.stream));
                live += extents()
                    .map(|extent| lives.of(extent.stream).bytes(extent.start, extent.end))
                    .sum::<u64>();
            }
            file.set_live_bytes(live);
            file.weigh_damage(tenancy);
            file.weigh_losses(tenancy);
        }
        Ok(())
    }

    /// The segments in which lay what is lost and alive, as far as is known.
    pub(crate) fn hurt_segments(&self) -> BTreeSet<u64> {
        let files = self.files();
        files
            .iter()
            .flat_map(|file| file.missed().segments())
            .collect()
    }

    /// Refuses what is known to be lost.
    fn not_lost(&self, files: &Files, stream: u64, position: u64) -> Result<(), ReadError> {
        match lost_at(files, stream, position) {
            Some((file, part)) => Err(part.refusal(&self.home, file.path())),
            None => Ok(()),
        }
    }

    /// Figures now.
    pub(crate) fn figures(&self) -> SealedFigures {
        self.files()
            .iter()
            .fold(SealedFigures::default(), |sum, file| SealedFigures {
                files: sum.files + 1,
                bytes: sum.bytes + file.entry().bytes,
                payload_bytes: sum.payload_bytes + file.payload_bytes(),
                live_bytes: sum.live_bytes + file.live_bytes(),
                extents: sum.extents + file.extents().len() as u64,
                blocks_verified: sum.blocks_verified + file.blocks_verified(),
                damaged_files: sum.damaged_files + u64::from(file.is_damaged()),
                lost_bytes: sum.lost_bytes + file.missed().bytes(),
            })
    }
}

/// The lost part of `stream` that holds the byte at `position`, and the file that says so.
fn lost_at(files: &Files, stream: u64, position: u64) -> Option<(&Arc<SealedFile>, &Lost)> {
    let mut parts = files
        .iter()
        .filter_map(|file| file.lost().at(stream, position).map(|part| (file, part)));
    parts.next()
}

/// The extents of `stream` that end behind `from`, in order of positions.
fn extents(
    files: &Files,
    stream: u64,
    from: u64,
) -> impl Iterator<Item = (&Arc<SealedFile>, Extent)> {
    files.iter().flat_map(move |file| {
        let extents = file.extents().behind(stream, from);
        extents.map(move |extent| (file, extent))
    })
}
