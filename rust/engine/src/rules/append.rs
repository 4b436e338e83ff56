//! Whether a stream takes an append (protocol sections 4.1, 5.2 and 5.3).

use std::cmp::Ordering;

use bytes::Bytes;
use durastream_storage::Lsn;

use crate::body::{Encoded, within};
use crate::errors::AppendError;
use crate::event::{Appending, Event};
use crate::moment::Millis;
use crate::offset::MAX_HALF;
use crate::options::Options;
use crate::path::StreamPath;
use crate::rules::lookup;
use crate::state::State;
use crate::stream::Stream;
use crate::types::{Append, Appended, Producer};
use crate::wire::{BodyError, Format, same_type};

/// What becomes of an append.
#[derive(Debug)]
pub(crate) enum AppendDecision {
    /// Log this event with this payload; then the outcome is true.
    Accept(Event, Bytes, Appended),
    /// Nothing to log; true once the stream's events up to the LSN are durable.
    Duplicate(u64, Lsn, Appended),
    /// Refused for what the events up to the LSN did; `None`: for the absence of a stream.
    Refuse(Option<Lsn>, AppendError),
    /// The stream is of another format than the body was encoded for.
    Recode(Format),
}

/// Decides. The order of refusals is part of the protocol: a missing stream, a fenced producer, (a
/// duplicate,) closure, the content type, the expected tail, the body, the producer's sequence, the
/// limits, `Stream-Seq`.
pub(crate) fn decide_append(
    state: &State,
    now: Millis,
    path: &StreamPath,
    append: &Append,
    body: &Encoded,
    options: &Options,
) -> AppendDecision {
    let stream = match lookup(state, path) {
        Ok(stream) => stream,
        Err((lsn, error)) => return AppendDecision::Refuse(lsn, error.into()),
    };
    match check(stream, append, body, options) {
        Err(Stop::Refuse(error)) => AppendDecision::Refuse(Some(stream.last_end), error),
        Err(Stop::Duplicate) => AppendDecision::Duplicate(
            stream.id,
            stream.last_end,
            Appended {
                duplicate: true,
                start: stream.offset(stream.tail()),
                next: stream.offset(stream.tail()),
                closed: stream.is_closed(),
                producer: append.producer.as_ref().and_then(|producer| {
                    let progress = stream.progress(&producer.id)?;
                    Some((progress.epoch, progress.seq))
                }),
            },
        ),
        Err(Stop::Recode(format)) => AppendDecision::Recode(format),
        Ok(payload) => AppendDecision::Accept(
            Event::Append(Appending {
                id: stream.id,
                position: stream.tail(),
                at: stream.wants_times().then_some(now),
                producer: append.producer.clone(),
                stream_seq: append.stream_seq.clone(),
                close: append.close,
            }),
            payload.clone(),
            Appended {
                duplicate: false,
                start: stream.offset(stream.tail()),
                next: stream.offset(stream.tail() + payload.len() as u64),
                closed: append.close,
                producer: append
                    .producer
                    .as_ref()
                    .map(|producer| (producer.epoch, producer.seq)),
            },
        ),
    }
}

/// Why there is no event.
enum Stop {
    Refuse(AppendError),
    Duplicate,
    Recode(Format),
}

impl<E: Into<AppendError>> std::convert::From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Refuse(error.into())
    }
}

fn check(
    stream: &Stream,
    append: &Append,
    body: &Encoded,
    options: &Options,
) -> Result<Bytes, Stop> {
    let standing = match &append.producer {
        None => Standing::Next,
        Some(producer) => standing(stream, producer),
    };
    if let Standing::Fenced(current) = standing
        && let Some(producer) = &append.producer
    {
        return Err(AppendError::Fenced {
            got: producer.epoch,
            current,
        }
        .into());
    }
    if stream.is_closed() {
        return Err(closed(stream, append));
    }
    if let Standing::Known = standing {
        return Err(Stop::Duplicate);
    }
    if !append.body.is_empty()
        && let Some(got) = &append.content_type
        && !same_type(got, &stream.content_type)
    {
        return Err(AppendError::ContentType {
            expected: stream.content_type.clone(),
            got: got.clone(),
        }
        .into());
    }
    if let Some(expected) = append.if_tail
        && stream.position(expected) != Some(stream.tail())
    {
        return Err(AppendError::TailMoved {
            expected,
            tail: stream.offset(stream.tail()),
        }
        .into());
    }
    let payload = payload(stream, append, body)?;
    match (standing, &append.producer) {
        (Standing::Gap(expected), Some(producer)) => {
            return Err(AppendError::Gap {
                expected,
                got: producer.seq,
            }
            .into());
        }
        (Standing::EpochStart, Some(producer)) => {
            return Err(AppendError::EpochStart { got: producer.seq }.into());
        }
        (Standing::New, Some(_)) => {
            let known = stream
                .extra
                .as_ref()
                .map_or(0, |extra| extra.producers.len());
            let limit = options.max_producers_per_stream;
            within(
                "producers of one stream",
                "max_producers_per_stream",
                limit,
                known + 1,
            )
            .map_err(AppendError::from)?;
        }
        _ => {}
    }
    if let (Some(got), Some(last)) = (&append.stream_seq, stream.stream_seq())
        && got.as_ref() <= last
    {
        return Err(AppendError::StreamSeq {
            got: got.clone(),
            last: Bytes::copy_from_slice(last),
        }
        .into());
    }
    let room = usize::try_from(MAX_HALF - stream.tail()).unwrap_or(usize::MAX);
    within(
        "bytes left in the stream's offsets",
        "none",
        room,
        payload.len(),
    )
    .map_err(AppendError::from)?;
    Ok(payload)
}

/// On a closed stream: the closing append again, or a mere close again, is a duplicate.
fn closed(stream: &Stream, append: &Append) -> Stop {
    let again = match &append.producer {
        Some(producer) => {
            let closing = stream
                .extra
                .as_ref()
                .and_then(|extra| extra.closing.as_ref());
            closing == Some(producer)
        }
        None => append.close && append.body.is_empty(),
    };
    if again {
        return Stop::Duplicate;
    }
    Stop::Refuse(AppendError::Closed {
        tail: stream.offset(stream.tail()),
    })
}

fn payload(stream: &Stream, append: &Append, body: &Encoded) -> Result<Bytes, Stop> {
    if append.body.is_empty() {
        return if append.close {
            Ok(Bytes::new())
        } else {
            Err(AppendError::Empty.into())
        };
    }
    if body.format != stream.format {
        return Err(Stop::Recode(stream.format));
    }
    let wire = body.wire.clone().map_err(AppendError::from)?;
    if wire.is_empty() {
        return Err(AppendError::from(BodyError::NoMessages).into());
    }
    Ok(wire)
}

/// Where an append stands with its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The next of its epoch, the first of a newer one, or of no producer.
    Next,
    /// The first of a producer not seen before.
    New,
    /// Of an older epoch than this.
    Fenced(u64),
    /// Accepted before.
    Known,
    /// This one is missing before it.
    Gap(u64),
    /// A new epoch that does not begin at 0.
    EpochStart,
}

fn standing(stream: &Stream, producer: &Producer) -> Standing {
    let Some(known) = stream.progress(&producer.id) else {
        return match producer.seq {
            0 => Standing::New,
            _ => Standing::Gap(0),
        };
    };
    match producer.epoch.cmp(&known.epoch) {
        Ordering::Less => Standing::Fenced(known.epoch),
        Ordering::Greater if producer.seq == 0 => Standing::Next,
        Ordering::Greater => Standing::EpochStart,
        Ordering::Equal if producer.seq <= known.seq => Standing::Known,
        Ordering::Equal if producer.seq == known.seq + 1 => Standing::Next,
        Ordering::Equal => Standing::Gap(known.seq + 1),
    }
}
