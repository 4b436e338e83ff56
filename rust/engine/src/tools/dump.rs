//! The sealed files and frames of a log, with the names that their numbers stand for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use durastream_storage::fs::Fs;
use durastream_storage::inspect::{ExtentFacts, Inspection, Seen};
use durastream_storage::{Frame, Lsn, OpenError};
use rustc_hash::FxHashMap;

use super::Fault;
use crate::event::Event;
use crate::moment::time;
use crate::retention::Retention;
use crate::types::{Expiry, Producer};
use crate::{StreamPath, checkpoint};

/// A run of sealed payload, a frame, or what is wrong between frames.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Dumped {
    /// A run of one stream's payload in a sealed file, and the stream's path when that is known.
    Extent(Box<ExtentFacts>, Option<StreamPath>),
    /// A verified frame.
    Frame(Box<DumpedFrame>),
    /// Something wrong.
    Fault(Fault),
}

/// A frame in words.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DumpedFrame {
    /// Where it begins.
    pub lsn: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// Its file.
    pub file: PathBuf,
    /// Byte offset in the file.
    pub offset: u64,
    /// create, append, close, delete, expire, trim, touch, configure or unknown.
    pub kind: &'static str,
    /// The stream's number.
    pub stream: u64,
    /// Its path, when that is known.
    pub path: Option<StreamPath>,
    /// Position of the payload in the stream; a trim's new floor.
    pub position: u64,
    /// The payload.
    pub payload: bytes::Bytes,
    /// The stream is closed behind it.
    pub closes: bool,
    /// The producer triple.
    pub producer: Option<Producer>,
    /// `Stream-Seq`.
    pub stream_seq: Option<bytes::Bytes>,
    /// When it happened, for the kinds that say so.
    pub at: Option<SystemTime>,
    /// Of a creation: the content type.
    pub content_type: Option<String>,
    /// Of a creation: when the stream ends by itself.
    pub expiry: Option<Expiry>,
    /// Of a fork: the source's number, its path, and the position where the fork leaves it.
    pub fork: Option<(u64, StreamPath, u64)>,
    /// Of a creation or a configuration: how much of the stream is kept.
    pub retention: Option<Retention>,
}

/// Shows what sealed files have of the log from `from` on (an LSN, not necessarily of a frame), then every frame from
/// there on, and what is wrong among them, until `see` answers `false`. Changes nothing, and may be used on a directory that is in use.
pub fn dump(
    fs: Arc<dyn Fs>,
    dir: &Path,
    from: Lsn,
    see: &mut dyn FnMut(Dumped) -> bool,
) -> Result<(), OpenError> {
    let inspection = Inspection::open(fs, dir)?;
    let mut paths = FxHashMap::default();
    if let Some(state) = inspection
        .checkpoint()
        .and_then(|bytes| checkpoint::decode(&bytes).ok())
    {
        let named = state.paths().iter();
        paths.extend(named.map(|(path, id)| (*id, path.clone())));
    }
    let mut stopped = false;
    let mut show = |dumped: Dumped| {
        stopped = !see(dumped);
        if stopped { Err(String::new()) } else { Ok(()) }
    };
    for finding in inspection.findings() {
        if show(Dumped::Fault(Fault::of(finding.clone(), None))).is_err() {
            return Ok(());
        }
    }
    inspection.extents(from, &mut |extent| {
        let path = paths.get(&extent.stream).cloned();
        show(Dumped::Extent(Box::new(extent), path)).is_ok()
    });
    if stopped {
        return Ok(());
    }
    let mut show = |dumped: Dumped| {
        stopped = !see(dumped);
        if stopped { Err(String::new()) } else { Ok(()) }
    };
    let scanned = inspection.scan(inspection.oldest().unwrap_or(0), &mut |seen| match seen {
        Seen::Frame {
            frame,
            file,
            offset,
        } => {
            let dumped = dumped(&frame, file, offset, &mut paths);
            if frame.end <= from {
                return Ok(());
            }
            show(Dumped::Frame(Box::new(dumped)))
        }
        Seen::Finding(finding) => {
            if finding.lsn.is_some_and(|lsn| lsn < from) {
                return Ok(());
            }
            let path = finding.stream.and_then(|id| paths.get(&id).cloned());
            show(Dumped::Fault(Fault::of(finding, path)))
        }
    });
    match scanned {
        Err(OpenError::Replay { .. }) if stopped => Ok(()),
        scanned => scanned.map(|_| ()),
    }
}

fn dumped(
    frame: &Frame<'_>,
    file: &Path,
    offset: u64,
    paths: &mut FxHashMap<u64, StreamPath>,
) -> DumpedFrame {
    let head = &frame.head;
    let mut dumped = DumpedFrame {
        lsn: frame.lsn,
        end: frame.end,
        file: file.to_owned(),
        offset,
        kind: "unknown",
        stream: head.stream,
        path: None,
        position: head.position,
        payload: bytes::Bytes::copy_from_slice(frame.payload),
        closes: false,
        producer: head.producer.map(|producer| Producer {
            id: producer.id.to_owned(),
            epoch: producer.epoch,
            seq: producer.seq,
        }),
        stream_seq: head.stream_seq.map(bytes::Bytes::copy_from_slice),
        at: None,
        content_type: None,
        expiry: None,
        fork: None,
        retention: None,
    };
    match Event::decode(head) {
        Ok(Event::Create(creation)) => {
            dumped.kind = "create";
            dumped.closes = creation.closed;
            dumped.at = Some(time(creation.created_at));
            dumped.content_type = Some(creation.content_type.to_string());
            dumped.expiry = creation.expiry;
            dumped.retention = Some(creation.retention);
            dumped.fork = creation
                .fork
                .map(|origin| (origin.source, origin.spec.source, origin.point));
            paths.insert(creation.id, creation.path);
        }
        Ok(Event::Append(append)) => {
            let bare = frame.payload.is_empty() && append.close;
            dumped.kind = if bare { "close" } else { "append" };
            dumped.closes = append.close;
            dumped.at = append.at.map(time);
        }
        Ok(Event::Delete { expired, .. }) => {
            dumped.kind = if expired { "expire" } else { "delete" };
        }
        Ok(Event::Trim { .. }) => dumped.kind = "trim",
        Ok(Event::Configure(change)) => {
            dumped.kind = "configure";
            dumped.at = Some(time(change.at));
            dumped.retention = Some(change.retention);
        }
        Ok(Event::Touch { at, .. }) => {
            dumped.kind = "touch";
            dumped.at = Some(time(at));
        }
        Err(_) => {}
    }
    dumped.path = paths.get(&head.stream).cloned();
    dumped
}
