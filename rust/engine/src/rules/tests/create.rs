use std::time::{Duration, SystemTime};

use super::*;
use crate::types::Expiry;
use crate::wire::BodyError;

#[test]
fn the_same_creation_again_finds_the_stream() {
    let mut table = Table::new();
    let ttl = Create {
        expiry: Some(Expiry::Ttl(Duration::from_secs(60))),
        ..holding_bytes(text(), "abc")
    };
    let (created, info) = table.create("s", ttl.clone()).unwrap();
    assert!(created);
    assert_eq!((info.tail.position, &*info.content_type), (3, "text/plain"));
    let again = Create {
        content_type: Some("Text/Plain".to_owned()),
        body: Bytes::from_static(b"other"),
        ..ttl
    };
    let (created, info) = table.create("s", again).unwrap();
    assert!(!created);
    assert_eq!(info.tail.position, 3);
}

#[test]
fn another_configuration_at_a_path_in_use_is_refused_and_named() {
    let mut table = Table::new();
    table.create("src", text()).unwrap();
    table.create("s", text()).unwrap();
    let at = |secs| {
        Some(Expiry::At(
            SystemTime::UNIX_EPOCH + Duration::from_secs(secs),
        ))
    };
    for (create, what) in [
        (json(), "content type"),
        (Create::default(), "content type"),
        (
            Create {
                expiry: at(1 << 33),
                ..text()
            },
            "expiry",
        ),
        (
            Create {
                closed: true,
                ..text()
            },
            "closure status",
        ),
        (fork_of("src"), "fork"),
    ] {
        match table.create("s", create).unwrap_err() {
            CreateError::Exists { differs, .. } => assert_eq!(differs, what),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn closure_is_compared_with_what_is_now() {
    let mut table = Table::new();
    table.create("s", text()).unwrap();
    table.append("s", close()).unwrap();
    assert!(table.create("s", text()).is_err());
    assert!(
        !table
            .create(
                "s",
                Create {
                    closed: true,
                    ..text()
                }
            )
            .unwrap()
            .0
    );
}

#[test]
fn a_stream_may_begin_closed_with_its_only_content() {
    let mut table = Table::new();
    let create = Create {
        closed: true,
        ..holding_bytes(text(), "all")
    };
    assert!(table.create("s", create).unwrap().1.closed);
    assert!(table.append("s", body("x")).is_err());
    assert!(table.append("s", close()).unwrap().duplicate);
}

#[test]
fn json_content_is_flattened_and_may_be_none() {
    let mut table = Table::new();
    table.create("a", holding_bytes(json(), "[]")).unwrap();
    assert_eq!(table.content("a"), "");
    table.create("b", holding_bytes(json(), "[1,[2]]")).unwrap();
    assert_eq!(table.content("b"), "1,[2],");
    let refusal = table.create("c", holding_bytes(json(), "{")).unwrap_err();
    assert!(matches!(refusal, CreateError::Body(BodyError::Json { .. })));
    assert!(!table.exists("c"));
}

#[test]
fn a_recreated_path_has_an_incarnation_never_used_before() {
    let mut table = Table::new();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let (_, info) = table.create("s", holding_bytes(text(), "x")).unwrap();
        assert!(!seen.contains(&info.tail));
        assert!(seen.iter().all(|earlier| *earlier < info.tail));
        seen.push(info.tail);
        table.delete("s").unwrap();
        table.commit();
    }
}

#[test]
fn the_limit_of_streams_names_both_values() {
    let mut table = Table::new();
    table.options.max_streams = 1;
    table.create("a", text()).unwrap();
    let refusal = table.create("b", text()).unwrap_err();
    assert!(matches!(refusal, CreateError::Limit(limit) if limit.limit == 1 && limit.value == 2));
    assert!(!table.create("a", text()).unwrap().0);
    table.delete("a").unwrap();
    table.commit();
    assert!(table.create("b", text()).unwrap().0);
}
