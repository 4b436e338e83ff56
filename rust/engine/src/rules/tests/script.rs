//! Sequences of commands against a model: driven by proptest, and by a guided search from `fuzz/`.
#![allow(
    unreachable_pub,
    reason = "only under cfg(fuzzing) somebody reaches it"
)]

use std::collections::BTreeMap;

use super::live;
use super::*;
use crate::checkpoint::{decode, encode};
use crate::retention::Reconfigure;
use crate::types::Expiry;

/// Where streams come and go.
pub const PATHS: [&str; 5] = ["a", "b", "c/d", "c/e", "f"];

/// Something done to a stream, named by its place in [`PATHS`].
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Command {
    Create(usize, Create),
    /// Source, offset, sub-offset, lifetime, retention.
    Fork(
        usize,
        usize,
        Option<u64>,
        u64,
        Option<Expiry>,
        Option<Retention>,
    ),
    Append(usize, Append),
    Delete(usize),
    Trim(usize, u64),
    Touch(usize),
    Configure(usize, Reconfigure),
    Retain,
    Pass(u64),
    Commit,
    /// So many effects become durable, then what is dead is dropped.
    Settle(usize),
    Seal,
}

/// What every stream must hold, kept by simple means: position and text of each append.
#[derive(Default)]
pub(super) struct Model {
    streams: BTreeMap<&'static str, Vec<(u64, String)>>,
}

impl Model {
    /// Forgets what a trim may have cut and takes what is new.
    pub(super) fn check(&self, table: &Table) {
        for (at, appends) in &self.streams {
            if !table.exists(at) {
                continue;
            }
            let floor = table.stream(at).reserved_floor();
            let expected: Vec<_> = appends
                .iter()
                .filter(|(start, text)| start + text.len() as u64 > floor)
                .map(|(_, text)| text.clone())
                .collect();
            assert_eq!(table.appends(at, floor), expected, "{at}");
        }
    }

    /// Whatever was trimmed lies beyond a limit, and by bytes no more than a 64th is left beyond it.
    fn check_trim(&self, table: &Table, at: &str, before: u64) {
        let stream = table.stream(at);
        let (limits, floor, tail) = (stream.retention(), stream.reserved_floor(), stream.tail());
        let held: Vec<_> = self.streams[at]
            .iter()
            .filter(|(start, _)| *start >= before)
            .collect();
        for (nth, (start, _)) in held.iter().enumerate() {
            let newer = (held.len() - nth - 1) as u64;
            let beyond = limits
                .max_bytes
                .is_some_and(|most| tail - start > most && newer > 0)
                || limits.max_events.is_some_and(|most| newer >= most)
                || limits.max_age.is_some();
            assert!(*start >= floor || beyond, "{at} {start} {limits:?}");
        }
        if let Some(most) = limits.max_bytes {
            let last = held.last().map_or(0, |(start, _)| tail - start);
            assert!(
                tail - floor <= (most + most / 64).max(last),
                "{at} {floor} {tail}"
            );
        }
    }
}

fn floors(table: &Table) -> Vec<(&'static str, u64)> {
    let there = PATHS
        .into_iter()
        .filter(|at| lookup(&table.state, &path(at)).is_ok());
    there
        .map(|at| (at, table.stream(at).reserved_floor()))
        .collect()
}

pub(super) fn run(table: &mut Table, model: &mut Model, command: Command) {
    match command {
        Command::Create(at, create) => {
            let at = PATHS[at];
            if let Ok((true, _)) = table.create(at, create) {
                let first = table.appends(at, 0).into_iter().map(|text| (0, text));
                model.streams.insert(at, first.collect());
            }
        }
        Command::Fork(at, source, offset, sub, expiry, retention) => {
            let (at, source) = (PATHS[at], PATHS[source]);
            let fork = match offset {
                Some(offset) => fork_at(source, offset, sub),
                None => fork_of(source),
            };
            let fork = Create {
                expiry,
                retention,
                ..fork
            };
            if let Ok((true, info)) = table.create(at, fork) {
                let point = info.tail.position;
                let inherited = model.streams[source].iter();
                let inherited = inherited.filter(|(start, _)| *start < point);
                let clip = |(start, text): &(u64, String)| {
                    let len = text.len().min((point - start) as usize);
                    (*start, text[..len].to_owned())
                };
                model.streams.insert(at, inherited.map(clip).collect());
            }
        }
        Command::Append(at, append) => {
            let at = PATHS[at];
            let before = table.exists(at).then(|| table.info(at));
            if let Ok(appended) = table.append(at, append) {
                let before = before.unwrap().tail;
                assert_eq!(appended.start, before);
                assert!(appended.next >= before);
                if appended.duplicate {
                    assert_eq!(appended.next, before);
                }
                if appended.next > before {
                    let new = table.appends(at, before.position);
                    assert_eq!(new.len(), 1);
                    let appends = model.streams.get_mut(at).unwrap();
                    appends.extend(new.into_iter().map(|text| (before.position, text)));
                }
            }
        }
        Command::Delete(at) => {
            if table.delete(PATHS[at]).is_ok() {
                model.streams.remove(PATHS[at]);
            }
        }
        Command::Trim(at, position) => {
            let before = Offset {
                incarnation: 0,
                position,
            };
            let _ = table.trim(PATHS[at], before);
        }
        Command::Touch(at) => {
            if table.exists(PATHS[at]) {
                let id = table.info(PATHS[at]).id;
                table.record(Event::Touch { id, at: table.now }, Bytes::new());
            }
        }
        Command::Configure(at, change) => {
            let _ = table.configure(PATHS[at], change);
        }
        Command::Retain => {
            let before = floors(table);
            table.retain();
            for (at, floor) in before {
                model.check_trim(table, at, floor);
            }
        }
        Command::Pass(millis) => table.now += millis,
        Command::Commit => table.commit(),
        Command::Settle(effects) => {
            table.settle(effects);
            table.drop_dead();
        }
        Command::Seal => table.seal(),
    }
}

pub(super) fn bytes(state: &State) -> Vec<u8> {
    encode(state, state.forgettable)
}

/// Runs the commands against the model, then replays the frames that they left.
pub(crate) fn replay_equals_live(commands: impl IntoIterator<Item = Command>) {
    let mut table = Table::new();
    let mut model = Model::default();
    for command in commands {
        run(&mut table, &mut model, command);
        model.check(&table);
        live::check(&table.state);
    }
    let mut replayed = State::default();
    replayed.set_forgettable(table.state.forgettable);
    let mut effects = VecDeque::new();
    let mut meta = Vec::new();
    for (event, payload, placed) in &table.log {
        let event = Event::decode(&event.head(&mut meta)).unwrap();
        apply(&mut replayed, &event, payload.len(), *placed, &mut effects).unwrap();
        for effect in effects.drain(..) {
            replayed.settle(&effect);
        }
    }
    // Before the rest is durable, too: a checkpoint describes what was decided.
    let live = bytes(&table.state);
    assert_eq!(&bytes(&replayed), &live);
    table.commit();
    assert_eq!(&bytes(&table.state), &live);
    let restored = decode(&live).unwrap();
    assert_eq!(&bytes(&restored), &live);
    // What is alive follows from the state, however that came about.
    live::assert_same(&replayed, &table.state);
    live::assert_same(&restored, &table.state);
    assert_eq!(restored.soft_deleted, table.state.soft_deleted);
    assert_eq!(restored.streams.len(), table.state.streams.len());
    assert_eq!(replayed.deadlines, table.state.deadlines.clone());
    // What is to be trimmed is forgotten by no restart.
    let mut restored = restored;
    restored.recovered();
    table.state.recovered();
    table.retain();
    let left = floors(&table);
    table.state = restored;
    table.retain();
    assert_eq!(floors(&table), left);
}
