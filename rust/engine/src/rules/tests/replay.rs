use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::checkpoint::{decode, encode};
use crate::types::Expiry;

const PATHS: [&str; 5] = ["a", "b", "c/d", "c/e", "f"];

#[derive(Debug, Clone)]
enum Command {
    Create(usize, Create),
    Fork(usize, usize, Option<u64>, u64, Option<Expiry>),
    Append(usize, Append),
    Delete(usize),
    Trim(usize, u64),
    Touch(usize),
    Pass(u64),
    Commit,
}

fn expiry() -> impl Strategy<Value = Option<Expiry>> {
    prop_oneof![
        6 => Just(None),
        1 => (0u64..4).prop_map(|s| Some(Expiry::Ttl(Duration::from_secs(s)))),
        1 => (1000u64..1010).prop_map(|s| {
            Some(Expiry::At(SystemTime::UNIX_EPOCH + Duration::from_secs(s)))
        }),
    ]
}

fn create() -> impl Strategy<Value = Create> {
    let body = prop_oneof!["[a-z]{0,6}", Just("[1,2,3]".to_owned())];
    (any::<bool>(), expiry(), prop::bool::weighted(0.1), body).prop_map(
        |(is_json, expiry, closed, body)| Create {
            expiry,
            closed,
            ..holding_bytes(if is_json { json() } else { text() }, &body)
        },
    )
}

fn append() -> impl Strategy<Value = Append> {
    let text = prop_oneof!["[a-z]{0,5}", Just("[\"x\",[]]".to_owned())];
    let producer = prop::option::of(("[pq]", 0u64..3, 0u64..4));
    let seq = prop::option::weighted(0.2, 0u8..8);
    (text, producer, seq, prop::bool::weighted(0.1)).prop_map(|(text, producer, seq, close)| {
        let append = Append {
            close,
            stream_seq: seq.map(|seq| Bytes::copy_from_slice(&[seq])),
            ..body(&text)
        };
        match producer {
            Some((id, epoch, seq)) => by(append, &id, epoch, seq),
            None => append,
        }
    })
}

fn command() -> impl Strategy<Value = Command> {
    let at = 0..PATHS.len();
    prop_oneof![
        3 => (at.clone(), create()).prop_map(|(at, create)| Command::Create(at, create)),
        3 => (at.clone(), at.clone(), prop::option::of(0u64..20), 0u64..3, expiry()).prop_map(
            |(at, source, offset, sub, expiry)| Command::Fork(at, source, offset, sub, expiry)
        ),
        8 => (at.clone(), append()).prop_map(|(at, append)| Command::Append(at, append)),
        2 => at.clone().prop_map(Command::Delete),
        1 => (at.clone(), 0u64..20).prop_map(|(at, before)| Command::Trim(at, before)),
        1 => at.prop_map(Command::Touch),
        1 => (0u64..3000).prop_map(Command::Pass),
        1 => Just(Command::Commit),
    ]
}

/// What every stream must hold, kept by simple means: position and text of each append.
#[derive(Default)]
struct Model {
    streams: BTreeMap<&'static str, Vec<(u64, String)>>,
}

impl Model {
    /// Forgets what a trim may have cut and takes what is new.
    fn check(&self, table: &Table) {
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
}

fn run(table: &mut Table, model: &mut Model, command: Command) {
    match command {
        Command::Create(at, create) => {
            let at = PATHS[at];
            if let Ok((true, _)) = table.create(at, create) {
                let first = table.appends(at, 0).into_iter().map(|text| (0, text));
                model.streams.insert(at, first.collect());
            }
        }
        Command::Fork(at, source, offset, sub, expiry) => {
            let (at, source) = (PATHS[at], PATHS[source]);
            let fork = match offset {
                Some(offset) => fork_at(source, offset, sub),
                None => fork_of(source),
            };
            if let Ok((true, info)) = table.create(at, Create { expiry, ..fork }) {
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
        Command::Pass(millis) => table.now += millis,
        Command::Commit => table.commit(),
    }
}

fn bytes(state: &State) -> Vec<u8> {
    encode(state).chunks.concat()
}

proptest! {
    #[test]
    fn a_replay_of_the_frames_arrives_at_the_live_state(
        commands in prop::collection::vec(command(), 1..120)
    ) {
        let mut table = Table::new();
        let mut model = Model::default();
        for command in commands {
            run(&mut table, &mut model, command);
            model.check(&table);
        }
        let mut replayed = State::default();
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
        prop_assert_eq!(&bytes(&replayed), &live);
        table.commit();
        prop_assert_eq!(&bytes(&table.state), &live);
        let restored = decode(&live).unwrap();
        prop_assert_eq!(&bytes(&restored), &live);
        prop_assert_eq!(restored.soft_deleted, table.state.soft_deleted);
        prop_assert_eq!(restored.streams.len(), table.state.streams.len());
        prop_assert_eq!(replayed.deadlines, table.state.deadlines.clone());
    }

    #[test]
    fn no_bytes_make_a_checkpoint_panic(bytes: Vec<u8>) {
        let _ = decode(&bytes);
    }

    #[test]
    fn a_damaged_checkpoint_is_no_panic_either(
        commands in prop::collection::vec(command(), 1..40), at: prop::sample::Index, byte: u8,
    ) {
        let mut table = Table::new();
        let mut model = Model::default();
        for command in commands {
            run(&mut table, &mut model, command);
        }
        let mut damaged = bytes(&table.state);
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let _ = decode(&damaged);
    }
}
