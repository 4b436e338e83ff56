//! Sequences of commands, decided and applied against a model.
#![no_main]

use std::time::{Duration, SystemTime};

use arbitrary::Arbitrary;
use durastream_engine::fuzzing::{self, Command};
use durastream_engine::{Append, Create, Expiry, Producer};

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
            // The model keeps text.
            Body::Any(bytes) => String::from_utf8_lossy(&bytes).into_owned().into_bytes(),
        }
        .into()
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
    }
}

libfuzzer_sys::fuzz_target!(|said: Vec<Say>| fuzzing::commands(said.into_iter().map(command)));
