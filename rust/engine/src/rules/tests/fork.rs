use super::*;
use crate::errors::LookupError;

/// A source of two appends: `abcde` and `fgh`.
fn table() -> Table {
    let mut table = Table::new();
    table.create("src", holding_bytes(text(), "abcde")).unwrap();
    table.append("src", body("fgh")).unwrap();
    table
}

fn soft_deleted(table: &Table, at: &str) -> bool {
    matches!(
        lookup(&table.state, &path(at)),
        Err((_, LookupError::SoftDeleted { .. }))
    )
}

#[test]
fn a_fork_reads_its_source_up_to_the_fork_point_then_itself() {
    let mut table = table();
    table.create("f", fork_at("src", 5, 0)).unwrap();
    table.append("src", body("later")).unwrap();
    table.append("f", body("own")).unwrap();
    assert_eq!(table.content("f"), "abcdeown");
    assert_eq!(table.appends("f", 2), ["abcde", "own"]);
    assert_eq!(table.appends("f", 5), ["own"]);
    assert_eq!(table.content("src"), "abcdefghlater");
    assert_eq!(table.info("f").tail.incarnation, table.info("src").id);
}

#[test]
fn a_fork_without_an_offset_takes_the_whole_source() {
    let mut table = table();
    let (_, info) = table
        .create("f", holding_bytes(fork_of("src"), "!"))
        .unwrap();
    assert_eq!(&*info.content_type, "text/plain");
    assert_eq!(table.content("f"), "abcdefgh!");
}

#[test]
fn a_byte_sub_offset_takes_a_part_of_the_next_append() {
    let mut table = table();
    table.create("f", fork_at("src", 5, 2)).unwrap();
    table.append("f", body("X")).unwrap();
    assert_eq!(table.appends("f", 0), ["abcde", "fg", "X"]);
    table.create("whole", fork_at("src", 5, 3)).unwrap();
    assert_eq!(table.content("whole"), "abcdefgh");
    for beyond in [fork_at("src", 5, 4), fork_at("src", 8, 1)] {
        let refusal = table.create("g", beyond).unwrap_err();
        assert!(matches!(refusal, CreateError::ForkPoint { .. }));
    }
}

#[test]
fn sub_offsets_compose_along_a_chain() {
    let mut table = table();
    table.create("f", fork_at("src", 0, 4)).unwrap();
    table.create("g", fork_at("f", 0, 2)).unwrap();
    table.append("g", body("Z")).unwrap();
    assert_eq!(table.content("f"), "abcd");
    assert_eq!(table.content("g"), "abZ");
    // The clipped end is a boundary of the fork, and nothing of the source lies behind it.
    table.create("h", fork_at("f", 4, 0)).unwrap();
    assert!(table.create("i", fork_at("f", 0, 5)).is_err());
}

#[test]
fn a_json_sub_offset_counts_messages() {
    let mut table = Table::new();
    table
        .create("src", holding_bytes(json(), r#"[{"a":","},2,[3]]"#))
        .unwrap();
    table.create("f", fork_at("src", 0, 2)).unwrap();
    assert_eq!(table.content("f"), r#"{"a":","},2,"#);
    table.create("all", fork_at("src", 0, 3)).unwrap();
    assert_eq!(table.content("all"), r#"{"a":","},2,[3],"#);
    assert!(table.create("g", fork_at("src", 0, 4)).is_err());
}

#[test]
fn a_fork_point_must_be_in_the_source() {
    let mut table = table();
    let other_life = Create {
        fork: Some(ForkSpec {
            source: path("src"),
            offset: Some(Offset {
                incarnation: 77,
                position: 5,
            }),
            sub_offset: 0,
        }),
        ..Create::default()
    };
    for bad in [fork_at("src", 9, 0), fork_at("src", 2, 0), other_life] {
        let refusal = table.create("f", bad).unwrap_err();
        assert!(matches!(refusal, CreateError::ForkPoint { .. }));
    }
    let five = Offset {
        incarnation: 0,
        position: 5,
    };
    table.trim("src", five).unwrap();
    let refusal = table.create("f", fork_at("src", 0, 0)).unwrap_err();
    assert!(matches!(refusal, CreateError::ForkPoint { .. }));
    assert_eq!(table.stream("src").forks, 0);
}

#[test]
fn a_fork_keeps_what_its_source_trims_later() {
    let mut table = table();
    table.create("f", fork_of("src")).unwrap();
    let tail = table.info("src").tail;
    table.trim("src", tail).unwrap();
    table.commit();
    assert_eq!(table.content("src"), "");
    assert_eq!(table.content("f"), "abcdefgh");
    table.delete("f").unwrap();
    table.commit();
    assert!(table.stream("src").index.is_empty());
}

#[test]
fn a_fork_has_no_writer_state_and_starts_open() {
    let mut table = Table::new();
    table.create("src", text()).unwrap();
    let append = Append {
        close: true,
        stream_seq: Some(Bytes::from_static(b"9")),
        ..by(body("a"), "p", 7, 0)
    };
    table.append("src", append).unwrap();
    table.create("f", fork_of("src")).unwrap();
    assert!(!table.info("f").closed);
    let append = Append {
        stream_seq: Some(Bytes::from_static(b"1")),
        ..by(body("b"), "p", 0, 0)
    };
    assert!(!table.append("f", append).unwrap().duplicate);
}

#[test]
fn the_same_fork_again_finds_it_another_is_refused() {
    let mut table = table();
    table.create("f", fork_at("src", 5, 2)).unwrap();
    assert!(!table.create("f", fork_at("src", 5, 2)).unwrap().0);
    for other in [
        fork_at("src", 5, 1),
        fork_at("src", 0, 2),
        fork_of("src"),
        text(),
    ] {
        assert!(matches!(
            table.create("f", other).unwrap_err(),
            CreateError::Exists {
                differs: "fork",
                ..
            }
        ));
    }
    assert_eq!(table.stream("src").forks, 1);
}

#[test]
fn a_refused_fork_leaks_no_reference() {
    let mut table = table();
    assert!(matches!(
        table.create(
            "f",
            Create {
                content_type: json().content_type,
                ..fork_of("src")
            }
        ),
        Err(CreateError::ForkContentType { .. })
    ));
    assert!(matches!(
        table.create("f", fork_of("nowhere")),
        Err(CreateError::SourceNotFound { .. })
    ));
    table.delete("src").unwrap();
    assert!(!soft_deleted(&table, "src"));
}

#[test]
fn a_deleted_source_stays_for_its_forks_and_goes_with_the_last() {
    let mut table = table();
    table.create("f", fork_of("src")).unwrap();
    table.create("g", fork_of("src")).unwrap();
    table.delete("src").unwrap();
    table.commit();
    assert!(soft_deleted(&table, "src"));
    assert_eq!(table.state.soft_deleted, 1);
    assert!(matches!(
        table.create("src", text()),
        Err(CreateError::SoftDeleted { .. })
    ));
    assert!(matches!(
        table.create("h", fork_of("src")),
        Err(CreateError::SourceDeleted { .. })
    ));
    assert!(matches!(
        table.append("src", body("x")),
        Err(AppendError::Lookup(LookupError::SoftDeleted { .. }))
    ));
    assert!(table.delete("src").is_err());
    table.delete("f").unwrap();
    table.commit();
    assert_eq!(table.content("g"), "abcdefgh");
    table.delete("g").unwrap();
    table.commit();
    assert_eq!(table.state.streams.len(), 0);
    assert_eq!(table.state.soft_deleted, 0);
    assert!(table.create("src", text()).unwrap().0);
}

#[test]
fn cleaning_up_climbs_the_chain() {
    let mut table = table();
    table.create("f", fork_of("src")).unwrap();
    table.create("g", fork_of("f")).unwrap();
    table.delete("f").unwrap();
    table.delete("src").unwrap();
    assert_eq!(table.content("g"), "abcdefgh");
    table.delete("g").unwrap();
    table.commit();
    assert!(table.state.paths().is_empty() && table.state.streams.is_empty());
}

#[test]
fn a_source_outlives_its_forks() {
    let mut table = table();
    table.create("f", fork_of("src")).unwrap();
    table.delete("f").unwrap();
    table.commit();
    assert_eq!(table.content("src"), "abcdefgh");
    assert_eq!(table.stream("src").forks, 0);
}

#[test]
fn what_a_fork_reads_stays_until_its_removal_is_durable() {
    let mut table = table();
    table.create("f", fork_of("src")).unwrap();
    table.commit();
    let tail = table.info("src").tail;
    table.trim("src", tail).unwrap();
    let fork = table.stream("f").id;
    table.delete("f").unwrap();
    // The trim is in an earlier group than the deletion.
    let trimmed = table.effects.pop_front().unwrap();
    table.state.settle(&trimmed);
    let fork = table.state.stream(fork).unwrap();
    let mut bytes = 0;
    walk(&table.state, fork, 0, fork.tail(), |part| {
        bytes += match part {
            Part::Append(span) => span.len(),
            Part::History(stretch) => panic!("{stretch:?} is not sealed"),
        };
        ControlFlow::Continue(())
    });
    assert_eq!(bytes, 8);
    table.commit();
    assert!(table.stream("src").index.is_empty());
}

#[test]
fn a_chain_of_forks_has_a_longest() {
    let mut table = Table::new();
    table.options.max_fork_depth = 3;
    table.create("0", text()).unwrap();
    for depth in 1..=3 {
        let source = (depth - 1).to_string();
        table.create(&depth.to_string(), fork_of(&source)).unwrap();
    }
    for _ in 0..2 {
        let refusal = table.create("4", fork_of("3")).unwrap_err();
        let CreateError::Limit(limit) = refusal else {
            panic!("{refusal}");
        };
        assert_eq!((limit.limit, limit.value), (3, 4));
        assert_eq!(limit.flag, "max_fork_depth");
        // A source that is deleted is read through all the same.
        table.delete("1").ok();
    }
    table.create("beside", fork_of("2")).unwrap();
}
