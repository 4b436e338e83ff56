//! Sequences of commands, decided and applied against a model.
#![no_main]

use std::time::{Duration, SystemTime};

use arbitrary::Arbitrary;
use durastream_engine::fuzzing::{self, Command};
use durastream_engine::{Append, Create, Expiry, Limit, Producer, Reconfigure, Retention};

#[derive(Arbitrary, Debug)]
enum Lifetime {
    None,
    Ttl(u8),
    At(u8),
}

#[derive(Arbitrary, Debug)]
enum Body {
    None,
    /// So many letters.
    Text(u8),
    /// So many messages.
    Batch(u8),
    Any(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Say {
    Create(u8, bool, Lifetime, bool, Body),
    Fork(u8, u8, Option<u8>, u8, Lifetime),
    Append(u8, Body, Option<(bool, u8, u8)>, Option<u8>, bool),
    Delete(u8),
    Trim(u8, u8),
    Touch(u8),
    Pass(u16),
    Commit,
    Limited(u8, Limits, Body),
    LimitedFork(u8, u8, Option<u8>, Limits),
    Configure(u8, Change, Change, Change),
    Retain,
    /// What is alive goes to history, what is dead is dropped, and the indexes forget.
    Seal,
    /// So much of what was decided becomes durable, and what is dead is dropped.
    Settle(u8),
}

/// Bytes, milliseconds, appends.
#[derive(Arbitrary, Debug)]
struct Limits(Option<u8>, Option<u16>, Option<u8>);

#[derive(Arbitrary, Debug)]
enum Change {
    None,
    Remove,
    Set(u16),
}

fn at(place: u8) -> usize {
    usize::from(place) % fuzzing::PATHS.len()
}

impl From<Lifetime> for Option<Expiry> {
    fn from(lifetime: Lifetime) -> Self {
        let seconds = |seconds: u8| Duration::from_secs(seconds.into());
        match lifetime {
            Lifetime::None => None,
            Lifetime::Ttl(ttl) => Some(Expiry::Ttl(seconds(ttl))),
            // The table's clock begins at 1,000 s.
            Lifetime::At(late) => Some(Expiry::At(
                SystemTime::UNIX_EPOCH + Duration::from_secs(1000) + seconds(late),
            )),
        }
    }
}

impl From<Body> for bytes::Bytes {
    fn from(body: Body) -> Self {
        match body {
            Body::None => Vec::new(),
            Body::Text(len) => vec![b'a'; len.into()],
            Body::Batch(len) => format!("[{}1]", "2,".repeat(len.into())).into_bytes(),
            // The model keeps text, and cuts it at any byte.
            Body::Any(bytes) => bytes.iter().map(|byte| byte & 0x7f).collect(),
        }
        .into()
    }
}

impl From<Limits> for Retention {
    fn from(Limits(bytes, millis, events): Limits) -> Self {
        // None is nothing, which the engine refuses before it decides.
        Self {
            max_bytes: bytes.map(|bytes| u64::from(bytes) + 1),
            max_age: millis.map(|millis| Duration::from_millis(u64::from(millis) + 1)),
            max_events: events.map(|events| u64::from(events) + 1),
        }
    }
}

impl Change {
    fn of<T>(self, limit: impl FnOnce(u64) -> T) -> Limit<T> {
        match self {
            Change::None => Limit::Unchanged,
            Change::Remove => Limit::Removed,
            Change::Set(number) => Limit::Set(limit(number.into())),
        }
    }
}

fn command(say: Say) -> Command {
    match say {
        Say::Create(place, is_json, lifetime, closed, body) => Command::Create(
            at(place),
            Create {
                content_type: Some(
                    if is_json {
                        "application/json"
                    } else {
                        "text/plain"
                    }
                    .to_owned(),
                ),
                expiry: lifetime.into(),
                closed,
                body: body.into(),
                ..Create::default()
            },
        ),
        Say::Fork(place, source, offset, sub, lifetime) => Command::Fork(
            at(place),
            at(source),
            offset.map(u64::from),
            sub.into(),
            lifetime.into(),
            None,
        ),
        Say::Append(place, body, producer, seq, close) => Command::Append(
            at(place),
            Append {
                body: body.into(),
                close,
                producer: producer.map(|(first, epoch, seq)| Producer {
                    id: if first { "p" } else { "q" }.to_owned(),
                    epoch: epoch.into(),
                    seq: seq.into(),
                }),
                stream_seq: seq.map(|seq| vec![seq].into()),
                ..Append::default()
            },
        ),
        Say::Delete(place) => Command::Delete(at(place)),
        Say::Trim(place, before) => Command::Trim(at(place), before.into()),
        Say::Touch(place) => Command::Touch(at(place)),
        Say::Pass(millis) => Command::Pass(millis.into()),
        Say::Commit => Command::Commit,
        Say::Limited(place, limits, body) => Command::Create(
            at(place),
            Create {
                retention: Some(limits.into()),
                body: body.into(),
                ..Create::default()
            },
        ),
        Say::LimitedFork(place, source, offset, limits) => Command::Fork(
            at(place),
            at(source),
            offset.map(u64::from),
            0,
            None,
            Some(limits.into()),
        ),
        Say::Configure(place, bytes, millis, events) => Command::Configure(
            at(place),
            Reconfigure {
                max_bytes: bytes.of(|bytes| bytes),
                max_age: millis.of(Duration::from_millis),
                max_events: events.of(|events| events),
            },
        ),
        Say::Retain => Command::Retain,
        Say::Seal => Command::Seal,
        Say::Settle(effects) => Command::Settle(effects.into()),
    }
}

libfuzzer_sys::fuzz_target!(|said: Vec<Say>| fuzzing::commands(said.into_iter().map(command)));
