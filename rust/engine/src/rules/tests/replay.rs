use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::script::{Command, Model, PATHS, bytes, replay_equals_live, run};
use super::*;
use crate::checkpoint::decode;
use crate::retention::{Limit, Reconfigure, Retention};
use crate::types::Expiry;

fn expiry() -> impl Strategy<Value = Option<Expiry>> {
    prop_oneof![
        6 => Just(None),
        1 => (0u64..4).prop_map(|s| Some(Expiry::Ttl(Duration::from_secs(s)))),
        1 => (1000u64..1010).prop_map(|s| {
            Some(Expiry::At(SystemTime::UNIX_EPOCH + Duration::from_secs(s)))
        }),
    ]
}

fn retention() -> impl Strategy<Value = Option<Retention>> {
    let limit = |most| prop::option::weighted(0.5, 1..most);
    let limits = (limit(30u64), limit(3000), limit(9));
    prop::option::weighted(
        0.3,
        limits.prop_map(|(max_bytes, age, max_events)| Retention {
            max_bytes,
            max_age: age.map(Duration::from_millis),
            max_events,
        }),
    )
}

fn reconfigure() -> impl Strategy<Value = Reconfigure> {
    let limit = |most| {
        prop_oneof![
            Just(Limit::Unchanged),
            Just(Limit::Removed),
            (0..most).prop_map(Limit::Set)
        ]
    };
    (limit(30u64), limit(3000), limit(9)).prop_map(|(max_bytes, age, max_events)| Reconfigure {
        max_bytes,
        max_age: match age {
            Limit::Set(millis) => Limit::Set(Duration::from_millis(millis)),
            Limit::Removed => Limit::Removed,
            Limit::Unchanged => Limit::Unchanged,
        },
        max_events,
    })
}

fn create() -> impl Strategy<Value = Create> {
    let body = prop_oneof!["[a-z]{0,6}", Just("[1,2,3]".to_owned())];
    let closed = prop::bool::weighted(0.1);
    (any::<bool>(), expiry(), closed, body, retention()).prop_map(
        |(is_json, expiry, closed, body, retention)| Create {
            expiry,
            closed,
            retention,
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

pub(super) fn command() -> impl Strategy<Value = Command> {
    let at = 0..PATHS.len();
    prop_oneof![
        3 => (at.clone(), create()).prop_map(|(at, create)| Command::Create(at, create)),
        3 => (
            (at.clone(), at.clone()), prop::option::of(0u64..20), 0u64..3, expiry(), retention()
        ).prop_map(|((at, source), offset, sub, expiry, retention)| {
            Command::Fork(at, source, offset, sub, expiry, retention)
        }),
        8 => (at.clone(), append()).prop_map(|(at, append)| Command::Append(at, append)),
        2 => at.clone().prop_map(Command::Delete),
        1 => (at.clone(), 0u64..20).prop_map(|(at, before)| Command::Trim(at, before)),
        1 => at.clone().prop_map(Command::Touch),
        1 => (at, reconfigure()).prop_map(|(at, change)| Command::Configure(at, change)),
        2 => Just(Command::Retain),
        1 => (0u64..3000).prop_map(Command::Pass),
        1 => Just(Command::Commit),
        2 => (0usize..6).prop_map(Command::Settle),
        1 => Just(Command::Seal),
    ]
}

proptest! {
    #[test]
    fn a_replay_of_the_frames_arrives_at_the_live_state(
        commands in prop::collection::vec(command(), 1..120)
    ) {
        replay_equals_live(commands);
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

#[test]
fn a_checkpoint_with_a_floor_beyond_the_tail_is_refused() {
    // Of one stream `a` with a limit by bytes, without payloads, whose first is at this position.
    let checkpoint = |floor: u8, start: u8| {
        let mut bytes = vec![2, 2, 1, 0, 10];
        bytes.extend_from_slice(b"text/plain");
        bytes.extend_from_slice(&[48, 1, 1, b'a', 0, 0, floor, floor, 1, 5, start, 0]);
        bytes
    };
    for (floor, start) in [(0, 0), (9, 9), (8, 9)] {
        let mut state = decode(&checkpoint(floor, start)).unwrap();
        state.recovered();
    }
    assert!(decode(&checkpoint(9, 8)).is_err());
}
