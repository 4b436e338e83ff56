//! Whether a stream or a fork may be created (protocol sections 4.2 and 5.1).

use std::sync::Arc;

use bytes::Bytes;
use durastream_storage::Lsn;

use crate::StreamPath;
use crate::body::{Encoded, within};
use crate::errors::CreateError;
use crate::event::{Creation, Event, Origin};
use crate::moment::{Millis, time};
use crate::options::Options;
use crate::retention::Retention;
use crate::span::{Held, Part, SealedAppend, Stretch, holding};
use crate::state::State;
use crate::stream::{Phase, Stream};
use crate::types::{Expiry, ForkSpec, StreamInfo};
use crate::wire::{Format, same_type};

/// The content type of a stream created without one.
pub(crate) const DEFAULT_TYPE: &str = "application/octet-stream";

/// A creation, as far as it could be prepared outside the lock.
#[derive(Debug)]
pub(crate) struct CreateRequest<'a> {
    pub(crate) path: &'a StreamPath,
    pub(crate) content_type: Option<Arc<str>>,
    pub(crate) expiry: Option<Expiry>,
    pub(crate) closed: bool,
    pub(crate) body: Encoded,
    pub(crate) fork: Option<&'a ForkSpec>,
    /// What a JSON sub-offset came to, when that was needed.
    pub(crate) sub: Option<SubPoint>,
    /// The sealed append at the fork point, when it was looked up.
    pub(crate) known: Option<SealedAppend>,
    pub(crate) retention: Option<Retention>,
}

/// Where a sub-offset leads; true for good, since bytes at a position never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubPoint {
    pub(crate) source: u64,
    pub(crate) anchor: u64,
    /// `None`: beyond the append.
    pub(crate) point: Option<u64>,
}

/// What becomes of a creation.
#[derive(Debug)]
pub(crate) enum CreateDecision {
    /// Log this event with this payload.
    Accept(Event, Bytes),
    /// It exists just so: the stream's id.
    Exists(u64),
    /// Refused for what the events up to the LSN did; `None`: for the absence of a stream.
    Refuse(Option<Lsn>, CreateError),
    /// The stream will be of another format than the body was encoded for.
    Recode(Format),
    /// Look up the sealed append that this begins in, then decide again.
    Find(Stretch),
    /// Count the messages of this append of the source's, which begins at the anchor, then decide again.
    Resolve {
        source: u64,
        anchor: u64,
        append: Part,
    },
}

pub(crate) fn decide_create(
    state: &State,
    now: Millis,
    request: &CreateRequest<'_>,
    options: &Options,
) -> CreateDecision {
    if let Some(stream) = state.at(request.path) {
        let path = request.path.clone();
        let refusal = match (stream.phase, difference(stream, request)) {
            (Phase::Live, None) => return CreateDecision::Exists(stream.id),
            (Phase::Live, Some(differs)) => CreateError::Exists { path, differs },
            _ => CreateError::SoftDeleted { path },
        };
        return CreateDecision::Refuse(Some(stream.last_end), refusal);
    }
    let streams = state.streams.len() + 1;
    if let Err(limit) = within("streams", "max_streams", options.max_streams, streams) {
        return CreateDecision::Refuse(None, limit.into());
    }
    match request.fork {
        None => {
            let content_type = request.content_type.clone();
            let taken = Taken {
                content_type,
                expiry: request.expiry,
                retention: request.retention,
                fork: None,
            };
            accept(state, now, request, taken)
        }
        Some(spec) => fork(state, now, request, spec, options),
    }
}

/// In what a stream differs from a request for it.
fn difference(stream: &Stream, request: &CreateRequest<'_>) -> Option<&'static str> {
    let same_content_type = match (&request.content_type, request.fork) {
        (Some(content_type), _) => same_type(content_type, &stream.content_type),
        (None, Some(_)) => true,
        (None, None) => same_type(DEFAULT_TYPE, &stream.content_type),
    };
    if !same_content_type {
        return Some("content type");
    }
    let same_expiry = match (&stream.lifetime, request.expiry) {
        (None, asked) => asked.is_none(),
        (Some(lifetime), None) => lifetime.inherited,
        (Some(lifetime), Some(asked)) => lifetime.expiry == asked,
    };
    if !same_expiry {
        return Some("expiry");
    }
    if stream.is_closed() != request.closed {
        return Some("closure status");
    }
    if stream.origin().map(|origin| &origin.spec) != request.fork {
        return Some("fork");
    }
    if request
        .retention
        .is_some_and(|asked| asked != stream.retention())
    {
        return Some("retention");
    }
    None
}

fn fork(
    state: &State,
    now: Millis,
    request: &CreateRequest<'_>,
    spec: &ForkSpec,
    options: &Options,
) -> CreateDecision {
    let path = spec.source.clone();
    let source = match state.at(&spec.source) {
        Some(source) if source.phase == Phase::Live => source,
        Some(source) => {
            let refusal = CreateError::SourceDeleted { path };
            return CreateDecision::Refuse(Some(source.last_end), refusal);
        }
        None => return CreateDecision::Refuse(None, CreateError::SourceNotFound { path }),
    };
    let limit = options.max_fork_depth;
    let depth = fork_depth(state, source, limit) + 1;
    if let Err(limit) = within("forks of forks", "max_fork_depth", limit, depth) {
        return CreateDecision::Refuse(Some(source.last_end), limit.into());
    }
    let refuse = |error| CreateDecision::Refuse(Some(source.last_end), error);
    if let Some(got) = &request.content_type
        && !same_type(got, &source.content_type)
    {
        return refuse(CreateError::ForkContentType {
            expected: source.content_type.clone(),
            got: got.as_ref().to_owned(),
        });
    }
    let point = match fork_point(state, source, spec, request) {
        Ok(Point::At(point)) => point,
        Ok(Point::Find(stretch)) => return CreateDecision::Find(stretch),
        Ok(Point::Resolve(anchor, append)) => {
            return CreateDecision::Resolve {
                source: source.id,
                anchor,
                append,
            };
        }
        Err(why) => return refuse(CreateError::ForkPoint { why }),
    };
    let origin = Origin {
        source: source.id,
        point,
        spec: spec.clone(),
    };
    let content_type = request.content_type.clone();
    let taken = Taken {
        content_type: content_type.or_else(|| Some(source.content_type.clone())),
        expiry: request.expiry.or(source.expiry()),
        retention: request.retention.or(Some(source.retention())),
        fork: Some(origin),
    };
    accept(state, now, request, taken)
}

/// How many streams a stream reads through, as far as `most`: every read walks them under the lock.
fn fork_depth(state: &State, stream: &Stream, most: usize) -> usize {
    let source = |stream: &&Stream| state.stream(stream.origin()?.source);
    std::iter::successors(source(&stream), source)
        .take(most)
        .count()
}

enum Point {
    At(u64),
    Find(Stretch),
    Resolve(u64, Part),
}

fn fork_point(
    state: &State,
    source: &Stream,
    spec: &ForkSpec,
    request: &CreateRequest<'_>,
) -> Result<Point, String> {
    let tail = source.offset(source.tail());
    let anchor = match spec.offset {
        None => source.tail(),
        Some(offset) => source
            .position(offset)
            .ok_or_else(|| format!("{offset} is of another stream; the tail is {tail}"))?,
    };
    if anchor > source.tail() {
        return Err(format!("it is beyond the tail, {tail}"));
    }
    let floor = source.reserved_floor();
    if anchor < floor {
        return Err(format!(
            "it was trimmed; the first offset is {}",
            source.offset(floor)
        ));
    }
    // A floor is where an append begins, whatever of it can be read.
    if anchor == floor && spec.sub_offset == 0 {
        return Ok(Point::At(anchor));
    }
    let (start, end, append) = match holding(state, source, anchor, source.tail(), request.known) {
        Held::Unknown(stretch) => return Ok(Point::Find(stretch)),
        Held::Append(start, end, append) => (start, end, append),
        Held::Nothing if spec.sub_offset == 0 => return Ok(Point::At(anchor)),
        Held::Nothing => return Err("there is no append after it to take a part of".to_owned()),
        Held::Blurred(start) if start == anchor && spec.sub_offset == 0 => {
            return Ok(Point::At(anchor));
        }
        Held::Blurred(_) => return Err("what lies there cannot be read".to_owned()),
    };
    if start != anchor {
        return Err(format!(
            "it is inside an append that begins at {} and ends at {}; use one of these, or a sub-offset",
            source.offset(start),
            source.offset(end)
        ));
    }
    if spec.sub_offset == 0 {
        return Ok(Point::At(anchor));
    }
    match (source.format, request.sub) {
        (Format::Bytes, _) if spec.sub_offset <= end - start => {
            Ok(Point::At(anchor + spec.sub_offset))
        }
        (Format::Bytes, _) => Err(format!(
            "the append after it has {} bytes, the sub-offset is {}",
            end - start,
            spec.sub_offset
        )),
        (Format::Json, Some(sub)) if sub.source == source.id && sub.anchor == anchor => {
            sub.point.map(Point::At).ok_or_else(|| {
                format!(
                    "the append after it has fewer than {} messages",
                    spec.sub_offset
                )
            })
        }
        (Format::Json, _) => Ok(Point::Resolve(anchor, append)),
    }
}

/// What was asked for, or taken over from a fork's source.
struct Taken {
    content_type: Option<Arc<str>>,
    expiry: Option<Expiry>,
    retention: Option<Retention>,
    fork: Option<Origin>,
}

fn accept(state: &State, now: Millis, request: &CreateRequest<'_>, taken: Taken) -> CreateDecision {
    let Taken {
        content_type,
        expiry,
        retention,
        fork,
    } = taken;
    let content_type = content_type.unwrap_or_else(|| DEFAULT_TYPE.into());
    let format = Format::of(&content_type);
    let payload = match &request.body.wire {
        _ if request.body.format != format => return CreateDecision::Recode(format),
        Ok(wire) => wire.clone(),
        Err(fault) => {
            let depends = fork.as_ref().and_then(|origin| state.stream(origin.source));
            let lsn = depends.map(|source| source.last_end);
            return CreateDecision::Refuse(lsn, fault.clone().into());
        }
    };
    let creation = Creation {
        id: state.next_id,
        path: request.path.clone(),
        content_type,
        created_at: now,
        expiry,
        expiry_inherited: expiry.is_some() && request.expiry.is_none(),
        closed: request.closed,
        fork,
        retention: retention.unwrap_or_default(),
    };
    CreateDecision::Accept(Event::Create(Box::new(creation)), payload)
}

/// Describes a stream by the events up to `horizon`.
pub(crate) fn info(stream: &Stream, horizon: Lsn) -> StreamInfo {
    StreamInfo {
        path: stream.path.clone(),
        id: stream.id,
        content_type: stream.content_type.clone(),
        tail: stream.offset(stream.tail_at(horizon)),
        floor: stream.offset(stream.floor()),
        closed: stream.closed_at(horizon),
        expiry: stream.expiry(),
        created_at: time(stream.created_at),
        retention: stream
            .ledger()
            .map(|ledger| ledger.limits_at(horizon))
            .unwrap_or_default(),
    }
}
