//! What `fuzz/` drives: each function takes any input and asserts what the code behind it promises.
#![allow(missing_docs, reason = "the names of what is driven say it all")]

use std::collections::VecDeque;

use durastream_storage::{FrameHead, FrameProducer, Placed};

use crate::event::Event;
use crate::rules::{apply, script};
use crate::state::State;
use crate::{checkpoint, varint};

pub use crate::rules::script::{Command, PATHS};

/// A frame's head from any bytes, and how long its payload was.
fn head<'a>(input: &mut varint::Input<'a>) -> Option<(FrameHead<'a>, usize)> {
    let marks = input.byte().ok()?;
    let head = FrameHead {
        kind: marks & 7,
        flags: marks >> 3 & 3,
        stream: input.number().ok()?,
        position: input.number().ok()?,
        producer: match marks & 32 {
            0 => None,
            _ => Some(FrameProducer {
                id: input.text().ok()?,
                epoch: input.number().ok()?,
                seq: input.number().ok()?,
            }),
        },
        stream_seq: match marks & 64 {
            0 => None,
            _ => Some(input.bytes().ok()?),
        },
        meta: input.bytes().ok()?,
    };
    Some((head, usize::from(input.byte().ok()?)))
}

/// Whatever decodes, encodes to what decodes to the same.
pub fn event(bytes: &[u8]) {
    let Some((head, _)) = head(&mut varint::Input::new(bytes)) else {
        return;
    };
    if let Ok(event) = Event::decode(&head) {
        let mut meta = Vec::new();
        assert_eq!(Event::decode(&event.head(&mut meta)), Ok(event.clone()));
    }
}

/// Any events in any order: applied or refused, and the state they lead to survives a checkpoint.
pub fn replay(bytes: &[u8]) {
    let mut input = varint::Input::new(bytes);
    let mut state = State::default();
    let mut effects = VecDeque::new();
    let mut end = 4096;
    while let Some((head, len)) = head(&mut input) {
        let Ok(event) = Event::decode(&head) else {
            continue;
        };
        let lsn = end;
        end += 64 + (len as u64).next_multiple_of(8);
        let _ = apply(&mut state, &event, len, Placed { lsn, end }, &mut effects);
        for effect in effects.drain(..) {
            state.settle(&effect);
        }
    }
    state.recovered();
    survives(&state);
}

/// Any bytes with a checkpoint's checksum: refused, or a state that is written as it was read.
pub fn checkpoint(bytes: &[u8]) {
    if let Ok(mut state) = checkpoint::decode(bytes) {
        state.recovered();
        survives(&state);
    }
}

fn survives(state: &State) {
    let written = checkpoint::encode(state, 0);
    match checkpoint::decode(&written) {
        Ok(again) => assert_eq!(checkpoint::encode(&again, 0), written),
        Err(malformed) => unreachable!("{malformed}"),
    }
}

/// Commands decided and applied: streams hold what they must at every step, and a replay of the
/// frames arrives at the same state.
pub fn commands(commands: impl IntoIterator<Item = Command>) {
    script::replay_equals_live(commands);
}
