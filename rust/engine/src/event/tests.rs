use super::*;
use proptest::prelude::*;

fn expiry() -> impl Strategy<Value = Option<Expiry>> {
    let duration = (0..1u64 << 40, 0..1_000_000_000u32).prop_map(|(s, n)| Duration::new(s, n));
    prop_oneof![
        Just(None),
        duration.clone().prop_map(|ttl| Some(Expiry::Ttl(ttl))),
        duration.prop_map(|at| Some(Expiry::At(SystemTime::UNIX_EPOCH + at))),
    ]
}

fn path() -> impl Strategy<Value = StreamPath> {
    "[a-zé]{1,9}(/[a-z0-9]{1,9}){0,3}".prop_map(|text| StreamPath::new(&text).unwrap())
}

fn origin() -> impl Strategy<Value = Option<Origin>> {
    proptest::option::of((
        any::<u64>(),
        any::<u64>(),
        path(),
        proptest::option::of((any::<u64>(), any::<u64>())),
        any::<u64>(),
    ))
    .prop_map(|fork| {
        fork.map(|(source, point, path, offset, sub_offset)| Origin {
            source,
            point,
            spec: ForkSpec {
                source: path,
                offset: offset.map(|(incarnation, position)| Offset {
                    incarnation,
                    position,
                }),
                sub_offset,
            },
        })
    })
}

fn retention() -> impl Strategy<Value = Retention> {
    let limit = || proptest::option::of(1..u64::MAX);
    (limit(), limit(), limit()).prop_map(|(max_bytes, age, max_events)| Retention {
        max_bytes,
        max_age: age.map(Duration::from_millis),
        max_events,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let creation = (
        any::<u64>(),
        path(),
        "[a-z]{1,9}/[a-z;= ]{0,9}",
        any::<u64>(),
        expiry(),
        any::<(bool, bool)>(),
        origin(),
        retention(),
    )
        .prop_map(
            |(
                id,
                path,
                content_type,
                created_at,
                expiry,
                (expiry_inherited, closed),
                fork,
                retention,
            )| {
                Event::Create(Box::new(Creation {
                    id,
                    path,
                    content_type: content_type.into(),
                    created_at,
                    expiry,
                    expiry_inherited,
                    closed,
                    fork,
                    retention,
                }))
            },
        );
    let append = (
        any::<(u64, u64, Option<u64>, bool)>(),
        proptest::option::of((".{1,8}", any::<u64>(), any::<u64>())),
        any::<Option<Vec<u8>>>(),
    )
        .prop_map(|((id, position, at, close), producer, seq)| {
            Event::Append(Appending {
                id,
                position,
                at,
                producer: producer.map(|(id, epoch, seq)| Producer { id, epoch, seq }),
                stream_seq: seq.map(Into::into),
                close,
            })
        });
    prop_oneof![
        creation,
        append,
        any::<(u64, bool)>().prop_map(|(id, expired)| Event::Delete { id, expired }),
        any::<(u64, u64)>().prop_map(|(id, floor)| Event::Trim { id, floor }),
        any::<(u64, u64)>().prop_map(|(id, at)| Event::Touch { id, at }),
        (any::<(u64, u64)>(), retention()).prop_map(|((id, at), retention)| {
            Event::Configure(Configuring { id, at, retention })
        }),
    ]
}

proptest! {
    #[test]
    fn every_event_survives_its_frame(event in event()) {
        let mut meta = Vec::new();
        let head = event.head(&mut meta);
        prop_assert_eq!(Event::decode(&head), Ok(event.clone()));
    }

    #[test]
    fn a_creation_of_the_first_version_has_no_retention(event in event()) {
        let Event::Create(mut creation) = event else {
            return Ok(());
        };
        creation.retention = Retention::default();
        let event = Event::Create(creation);
        let mut meta = Vec::new();
        let mut head = event.head(&mut meta);
        let mut first = head.meta.to_vec();
        prop_assert_eq!(first.pop(), Some(0));
        first[0] = 1;
        head.meta = &first;
        prop_assert_eq!(Event::decode(&head), Ok(event.clone()));
    }

    #[test]
    fn no_frame_makes_decoding_panic(
        kind in 0u8..8, flags: u8, position: u64, meta: Vec<u8>,
    ) {
        let head = FrameHead {
            stream: 1, position, kind, flags, producer: None, stream_seq: None, meta: &meta,
        };
        let _ = Event::decode(&head);
    }
}
