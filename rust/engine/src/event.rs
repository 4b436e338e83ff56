//! Events: what was decided, and how a frame carries it. One event is one frame.
//!
//! | event  | kind | position | flags | meta |
//! |--------|------|----------|-------|------|
//! | create | 1 | of the first content | 1 closed | configuration, see [`encode_create`] |
//! | append | 2 | of the payload | 1 closes, 2 has a time | time (8 bytes LE, ms) when flagged |
//! | delete | 3 | 0 | 1 expired | |
//! | trim   | 4 | the new floor | | |
//! | touch  | 5 | 0 | | time (8 bytes LE, ms) |
//! | configure | 6 | 0 | | time (8 bytes LE, ms), retention, see [`put_retention`] |
//!
//! A close without a payload is an append of nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use durastream_storage::{FrameHead, FrameProducer};

use crate::moment::Millis;
use crate::retention::{Retention, put_retention, take_retention};
use crate::types::{Expiry, ForkSpec, Producer};
use crate::varint::{Input, Malformed, put, put_bytes};
use crate::{Offset, StreamPath};

const CREATE: u8 = 1;
const APPEND: u8 = 2;
const DELETE: u8 = 3;
const TRIM: u8 = 4;
const TOUCH: u8 = 5;
const CONFIGURE: u8 = 6;

const FLAG_CLOSED: u8 = 1;
const FLAG_TIMED: u8 = 2;
const FLAG_EXPIRED: u8 = 1;

/// Version of a creation's configuration bytes. The first one has no retention.
const CREATE_VERSION: u8 = 2;

/// Something that happened to one stream. The payload travels beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Create(Box<Creation>),
    Append(Appending),
    Delete { id: u64, expired: bool },
    Trim { id: u64, floor: u64 },
    Touch { id: u64, at: Millis },
    Configure(Configuring),
}

/// A stream's birth. Its payload is the first content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Creation {
    pub(crate) id: u64,
    pub(crate) path: StreamPath,
    pub(crate) content_type: Arc<str>,
    pub(crate) created_at: Millis,
    /// In force, whether asked for or inherited from a fork's source.
    pub(crate) expiry: Option<Expiry>,
    pub(crate) expiry_inherited: bool,
    pub(crate) closed: bool,
    pub(crate) fork: Option<Origin>,
    /// In force, whether asked for or taken over from a fork's source.
    pub(crate) retention: Retention,
}

/// Where a fork comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The source stream's id.
    pub(crate) source: u64,
    /// The position at which the fork leaves it.
    pub(crate) point: u64,
    /// As asked for: re-creation compares this.
    pub(crate) spec: ForkSpec,
}

/// An append, a close, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Appending {
    pub(crate) id: u64,
    pub(crate) position: u64,
    /// When, for streams with a sliding expiry or a limit by age.
    pub(crate) at: Option<Millis>,
    pub(crate) producer: Option<Producer>,
    pub(crate) stream_seq: Option<bytes::Bytes>,
    pub(crate) close: bool,
}

/// A change of what can be changed: the retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Configuring {
    pub(crate) id: u64,
    pub(crate) at: Millis,
    pub(crate) retention: Retention,
}

impl Event {
    /// Shows the event as a frame's head. `meta` is scratch space.
    pub(crate) fn head<'a>(&'a self, meta: &'a mut Vec<u8>) -> FrameHead<'a> {
        meta.clear();
        let mut head = FrameHead {
            stream: 0,
            position: 0,
            kind: 0,
            flags: 0,
            producer: None,
            stream_seq: None,
            meta: &[],
        };
        match self {
            Event::Create(creation) => {
                encode_create(creation, meta);
                head.kind = CREATE;
                head.stream = creation.id;
                head.position = creation.fork.as_ref().map_or(0, |origin| origin.point);
                head.flags = if creation.closed { FLAG_CLOSED } else { 0 };
            }
            Event::Append(append) => {
                head.kind = APPEND;
                head.stream = append.id;
                head.position = append.position;
                head.flags = if append.close { FLAG_CLOSED } else { 0 };
                if let Some(at) = append.at {
                    head.flags |= FLAG_TIMED;
                    meta.extend_from_slice(&at.to_le_bytes());
                }
                head.producer = append.producer.as_ref().map(|producer| FrameProducer {
                    id: &producer.id,
                    epoch: producer.epoch,
                    seq: producer.seq,
                });
                head.stream_seq = append.stream_seq.as_deref();
            }
            Event::Delete { id, expired } => {
                head.kind = DELETE;
                head.stream = *id;
                head.flags = if *expired { FLAG_EXPIRED } else { 0 };
            }
            Event::Trim { id, floor } => {
                head.kind = TRIM;
                head.stream = *id;
                head.position = *floor;
            }
            Event::Touch { id, at } => {
                head.kind = TOUCH;
                head.stream = *id;
                meta.extend_from_slice(&at.to_le_bytes());
            }
            Event::Configure(change) => {
                head.kind = CONFIGURE;
                head.stream = change.id;
                meta.extend_from_slice(&change.at.to_le_bytes());
                put_retention(meta, &change.retention);
            }
        }
        head.meta = meta;
        head
    }

    /// Reads an event back from a frame's head.
    pub(crate) fn decode(head: &FrameHead<'_>) -> Result<Self, Malformed> {
        let id = head.stream;
        Ok(match head.kind {
            CREATE => Event::Create(Box::new(decode_create(head)?)),
            APPEND => Event::Append(Appending {
                id,
                position: head.position,
                at: if head.flags & FLAG_TIMED != 0 {
                    Some(time(head.meta)?)
                } else {
                    None
                },
                producer: head.producer.map(|producer| Producer {
                    id: producer.id.to_owned(),
                    epoch: producer.epoch,
                    seq: producer.seq,
                }),
                stream_seq: head.stream_seq.map(bytes::Bytes::copy_from_slice),
                close: head.flags & FLAG_CLOSED != 0,
            }),
            DELETE => Event::Delete {
                id,
                expired: head.flags & FLAG_EXPIRED != 0,
            },
            TRIM => Event::Trim {
                id,
                floor: head.position,
            },
            TOUCH => Event::Touch {
                id,
                at: time(head.meta)?,
            },
            CONFIGURE => Event::Configure(decode_configure(head)?),
            _ => return Err(Malformed("unknown event kind")),
        })
    }
}

fn time(meta: &[u8]) -> Result<Millis, Malformed> {
    let bytes = meta.try_into().map_err(|_| Malformed("event time"))?;
    Ok(Millis::from_le_bytes(bytes))
}

fn decode_configure(head: &FrameHead<'_>) -> Result<Configuring, Malformed> {
    let (at, retention) = head
        .meta
        .split_at_checked(8)
        .ok_or(Malformed("event time"))?;
    let mut input = Input::new(retention);
    let retention = take_retention(&mut input)?;
    if !input.is_empty() {
        return Err(Malformed("bytes left over"));
    }
    Ok(Configuring {
        id: head.stream,
        at: time(at)?,
        retention,
    })
}

/// Version, path, content type, creation time in ms, expiry, whether it is inherited, fork, retention.
fn encode_create(creation: &Creation, out: &mut Vec<u8>) {
    out.push(CREATE_VERSION);
    put_bytes(out, creation.path.as_str().as_bytes());
    put_bytes(out, creation.content_type.as_bytes());
    put(out, creation.created_at);
    put_expiry(out, creation.expiry, creation.expiry_inherited);
    put_origin(out, creation.fork.as_ref());
    put_retention(out, &creation.retention);
}

fn decode_create(head: &FrameHead<'_>) -> Result<Creation, Malformed> {
    let mut input = Input::new(head.meta);
    let version = input.byte()?;
    if !(1..=CREATE_VERSION).contains(&version) {
        return Err(Malformed("unknown version of a creation"));
    }
    let path = take_path(&mut input)?;
    let content_type = input.text()?.into();
    let created_at = input.number()?;
    let (expiry, expiry_inherited) = take_expiry(&mut input)?;
    let fork = take_origin(&mut input)?;
    let retention = match version {
        1 => Retention::default(),
        _ => take_retention(&mut input)?,
    };
    if fork.as_ref().map_or(0, |origin| origin.point) != head.position {
        return Err(Malformed("a creation's position is its fork point"));
    }
    Ok(Creation {
        id: head.stream,
        path,
        content_type,
        created_at,
        expiry,
        expiry_inherited,
        closed: head.flags & FLAG_CLOSED != 0,
        fork,
        retention,
    })
}

pub(crate) fn take_path(input: &mut Input<'_>) -> Result<StreamPath, Malformed> {
    StreamPath::new(input.text()?).map_err(|_| Malformed("invalid path"))
}

/// A tag (0 none, 1 sliding, 2 fixed; 4 added when inherited), then seconds and nanoseconds.
pub(crate) fn put_expiry(out: &mut Vec<u8>, expiry: Option<Expiry>, inherited: bool) {
    let (tag, duration) = match expiry {
        None => (0, Duration::ZERO),
        Some(Expiry::Ttl(ttl)) => (1, ttl),
        Some(Expiry::At(at)) => (
            2,
            at.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        ),
    };
    out.push(tag | if inherited { 4 } else { 0 });
    if tag != 0 {
        put(out, duration.as_secs());
        put(out, duration.subsec_nanos().into());
    }
}

pub(crate) fn take_expiry(input: &mut Input<'_>) -> Result<(Option<Expiry>, bool), Malformed> {
    let tag = input.byte()?;
    let inherited = tag & 4 != 0;
    if tag & 3 == 0 {
        return Ok((None, inherited));
    }
    let seconds = input.number()?;
    let nanos = u32::try_from(input.number()?).map_err(|_| Malformed("nanoseconds"))?;
    if nanos >= 1_000_000_000 {
        return Err(Malformed("nanoseconds"));
    }
    let duration = Duration::new(seconds, nanos);
    let expiry = match tag & !4 {
        1 => Expiry::Ttl(duration),
        2 => Expiry::At(
            SystemTime::UNIX_EPOCH
                .checked_add(duration)
                .ok_or(Malformed("expiry time"))?,
        ),
        _ => return Err(Malformed("unknown expiry")),
    };
    Ok((Some(expiry), inherited))
}

/// A tag (0 none, 1 at the tail, 2 at an offset), source id, point, source path, offset, sub-offset.
pub(crate) fn put_origin(out: &mut Vec<u8>, origin: Option<&Origin>) {
    let Some(origin) = origin else {
        out.push(0);
        return;
    };
    out.push(if origin.spec.offset.is_some() { 2 } else { 1 });
    put(out, origin.source);
    put(out, origin.point);
    put_bytes(out, origin.spec.source.as_str().as_bytes());
    if let Some(offset) = origin.spec.offset {
        put(out, offset.incarnation);
        put(out, offset.position);
    }
    put(out, origin.spec.sub_offset);
}

pub(crate) fn take_origin(input: &mut Input<'_>) -> Result<Option<Origin>, Malformed> {
    let tag = input.byte()?;
    if tag == 0 {
        return Ok(None);
    }
    if tag > 2 {
        return Err(Malformed("unknown fork"));
    }
    let source = input.number()?;
    let point = input.number()?;
    let path = take_path(input)?;
    let offset = if tag == 2 {
        Some(Offset {
            incarnation: input.number()?,
            position: input.number()?,
        })
    } else {
        None
    };
    Ok(Some(Origin {
        source,
        point,
        spec: ForkSpec {
            source: path,
            offset,
            sub_offset: input.number()?,
        },
    }))
}

#[cfg(test)]
mod tests;
