use proptest::prelude::*;

use super::replay::command;
use super::script::{Command, Model, run};
use super::*;
use crate::checkpoint::{Encoder, decode, encode};
use crate::snapshot::Slice;

/// What is done between two commands.
#[derive(Debug, Clone)]
enum Step {
    Command(Command),
    /// Begins a snapshot; payloads of this part (of 8) of the log are sealed.
    Begin(u64),
    /// Writes so many streams of it.
    Slice(usize),
    Abandon,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => command().prop_map(Step::Command),
        1 => (0u64..8).prop_map(Step::Begin),
        4 => (1usize..4).prop_map(Step::Slice),
        1 => prop::bool::weighted(0.1).prop_map(|abandon| match abandon {
            true => Step::Abandon,
            false => Step::Slice(9),
        }),
    ]
}

/// A snapshot under way: what it must come to, and what it came to so far.
struct Writing {
    expected: Vec<u8>,
    oldest: Option<Lsn>,
    out: Encoder,
    written: Vec<u8>,
}

impl Writing {
    fn begin(state: &mut State, sealed: Lsn) -> Self {
        state.set_forgettable(sealed / 2);
        let expected = encode(state, sealed);
        Self {
            oldest: oldest(state, sealed),
            out: state.begin_snapshot(sealed),
            expected,
            written: Vec::new(),
        }
    }

    /// `true` when it is done.
    fn slice(&mut self, state: &mut State, streams: usize) -> bool {
        let mut left = streams;
        let slice = state.slice(&mut self.out, |_| {
            left -= 1;
            left > 0
        });
        match slice {
            Slice::Done => {}
            Slice::More => return false,
            Slice::Run(run) => {
                let written = &mut self.written;
                let mut give = |chunk: Bytes| {
                    written.extend_from_slice(&chunk);
                    Ok::<_, ()>(())
                };
                self.out.put_run(&run, &mut give).unwrap();
                return false;
            }
        }
        state.end_snapshot();
        self.written.extend_from_slice(&self.out.take());
        assert_eq!(self.written, self.expected);
        assert_eq!(self.out.oldest, self.oldest);
        decode(&self.written).unwrap();
        true
    }
}

fn oldest(state: &State, sealed: Lsn) -> Option<Lsn> {
    let streams = state.paths().values().filter_map(|id| state.stream(*id));
    let first = |stream: &Stream| {
        let mut entries = stream.index.beyond(stream.kept());
        let (_, entry) = entries.find(|(_, entry)| entry.lsn >= sealed)?;
        Some(entry.lsn)
    };
    streams.filter_map(first).min()
}

proptest! {
    #[test]
    fn slices_between_changes_give_what_one_look_would_have_given(
        steps in prop::collection::vec(step(), 1..150)
    ) {
        let mut table = Table::new();
        let mut model = Model::default();
        let mut writing: Option<Writing> = None;
        for step in steps {
            match step {
                Step::Command(command) => run(&mut table, &mut model, command),
                Step::Begin(part) if writing.is_none() => {
                    let sealed = table.end() * part / 8;
                    // Only what is durable is sealed.
                    table.commit();
                    writing = Some(Writing::begin(&mut table.state, sealed));
                }
                Step::Slice(streams) => {
                    if let Some(now) = &mut writing && now.slice(&mut table.state, streams) {
                        writing = None;
                    }
                }
                Step::Abandon => {
                    table.state.end_snapshot();
                    writing = None;
                }
                Step::Begin(_) => {}
            }
        }
        if let Some(mut writing) = writing {
            while !writing.slice(&mut table.state, 1) {}
        }
        let mut last = Writing::begin(&mut table.state, 0);
        while !last.slice(&mut table.state, 1) {}
    }
}
