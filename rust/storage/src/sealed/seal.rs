//! Sealing: a full segment of the log becomes a sealed file.

use std::sync::Arc;

use crate::Lsn;
use crate::cold;
use crate::error::{Failure, OpenError, ReadError, Trouble};
use crate::frame::FrameRef;
use crate::home::Home;
use crate::sealed::file::SealedFile;
use crate::sealed::liveness::{alive, floors};
use crate::sealed::throttle::{Cancelled, Throttle};
use crate::sealed::writer::{SealedWriter, WriteError};
use crate::segment::Segment;
use crate::tenancy::Tenancy;
use crate::walk::{Stop, walk};

/// Payloads up to this many bytes are kept in memory between reading and writing; longer ones are read again.
const COPIED: usize = 1 << 20;

/// Why nothing was sealed or merged. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// Told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// What was to be read does not verify, or contradicts itself.
    #[error(transparent)]
    Damaged(#[from] ReadError),
    /// The file system failed.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

impl From<Failure> for SealError {
    fn from(failure: Failure) -> Self {
        Self::Trouble(failure.into())
    }
}

/// An event of the segment.
struct Event {
    stream: u64,
    position: u64,
    len: u32,
    lsn: Lsn,
    /// Where it lies among the copies; `None` when it is to be read again.
    copy: Option<usize>,
}

/// Seals what is alive of `segment`, whose logical end is `end`, into file `number`: written and synced, neither its
/// directory nor the manifest. `None` when nothing is alive.
///
/// Takes as much memory as the segment has bytes of payload.
pub(crate) fn seal(
    home: &Home,
    segment: &Arc<Segment>,
    end: Lsn,
    number: u64,
    tenancy: &dyn Tenancy,
    throttle: &Throttle,
) -> Result<Option<SealedFile>, SealError> {
    let (mut events, copies) = collect(segment, end)?;
    throttle.check()?;
    events.sort_unstable_by_key(|event| (event.stream, event.position, event.lsn));
    keep_alive(&mut events, tenancy);
    if events.is_empty() {
        return Ok(None);
    }
    let written = write(home, segment, end, number, &events, &copies, throttle);
    if written.is_err() {
        // A left-over is removed at the next start, if not now.
        home.remove(&home.sealed(number)).ok();
    }
    written
}

/// Everything with a payload in the segment, verified.
fn collect(segment: &Arc<Segment>, end: Lsn) -> Result<(Vec<Event>, Vec<u8>), SealError> {
    let mut events = Vec::new();
    let mut copies = Vec::new();
    let walked = walk(segment, segment.base, Some(end), &mut |frame| {
        if frame.payload.is_empty() {
            return Ok(());
        }
        let copy = (frame.payload.len() <= COPIED).then_some(copies.len());
        if copy.is_some() {
            copies.extend_from_slice(frame.payload);
        }
        events.push(Event {
            stream: frame.head.stream,
            position: frame.head.position,
            // A frame's payload length has four bytes.
            len: frame.payload.len() as u32,
            lsn: frame.lsn,
            copy,
        });
        Ok(())
    });
    match walked {
        Ok(walked) => match walked.stop {
            Stop::End => Ok((events, copies)),
            Stop::Hole(hole) => Err(damaged(segment, hole.lsn, &hole.detail)),
        },
        Err(OpenError::Io { file, source }) => Err(SealError::Damaged(ReadError::Io {
            file,
            detail: source.to_string(),
        })),
        Err(other) => Err(damaged(segment, segment.base, &other.to_string())),
    }
}

/// Drops the events that are dead. `events` are sorted by stream.
fn keep_alive(events: &mut Vec<Event>, tenancy: &dyn Tenancy) {
    let floors = floors(tenancy, events.iter().map(|event| event.stream));
    let mut floors = floors.into_iter();
    events.retain(|event| {
        let end = event.position.saturating_add(event.len.into());
        alive(floors.next().unwrap_or(Some(0)), event.position, end) > 0
    });
}

fn write(
    home: &Home,
    segment: &Arc<Segment>,
    end: Lsn,
    number: u64,
    events: &[Event],
    copies: &[u8],
    throttle: &Throttle,
) -> Result<Option<SealedFile>, SealError> {
    let sort = |error: WriteError| match error {
        WriteError::Cancelled(cancelled) => SealError::Cancelled(cancelled),
        WriteError::Failed(failure) => failure.into(),
        disorder @ WriteError::Disorder { .. } => {
            damaged(segment, segment.base, &disorder.to_string())
        }
    };
    let mut writer =
        SealedWriter::create(home, number, segment.base, end, throttle).map_err(sort)?;
    for event in events {
        let copy = event
            .copy
            .and_then(|at| copies.get(at..at + event.len as usize));
        let written = if let Some(copy) = copy {
            writer.event(event.stream, event.position, copy)
        } else {
            let frame = FrameRef {
                lsn: event.lsn,
                stream: event.stream,
                position: event.position,
                len: event.len,
            };
            let payload = cold::read(&[(Arc::clone(segment), frame)])?;
            writer
                .announce(event.stream, event.position, event.len.into())
                .and_then(|()| payload.iter().try_for_each(|part| writer.data(part)))
        };
        written.map_err(sort)?;
    }
    writer.finish(home).map_err(sort)
}

fn damaged(segment: &Segment, lsn: Lsn, detail: &str) -> SealError {
    SealError::Damaged(ReadError::Damaged {
        file: segment.path.clone(),
        offset: segment.offset(lsn),
        detail: detail.to_owned(),
    })
}
