use std::time::{Duration, SystemTime};

use super::*;
use crate::types::Expiry;

fn ttl(seconds: u64) -> Option<Expiry> {
    Some(Expiry::Ttl(Duration::from_secs(seconds)))
}

fn at(millis: u64) -> Option<Expiry> {
    Some(Expiry::At(
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis),
    ))
}

fn with(create: Create, expiry: Option<Expiry>) -> Create {
    Create { expiry, ..create }
}

#[test]
fn a_write_slides_a_ttl_and_a_time_stays() {
    let mut table = Table::new();
    let end = table.now + 2000;
    table.create("ttl", with(text(), ttl(2))).unwrap();
    table.create("at", with(text(), at(end))).unwrap();
    table.now += 1500;
    table.append("ttl", body("x")).unwrap();
    table.append("at", body("x")).unwrap();
    table.now += 1500;
    assert!(table.exists("ttl"));
    assert!(!table.exists("at"));
    table.append("ttl", close()).unwrap();
    table.now += 1999;
    assert!(table.exists("ttl"));
    table.now += 1;
    assert!(!table.exists("ttl"));
}

#[test]
fn a_ttl_of_0_ends_at_once() {
    let mut table = Table::new();
    table.create("s", with(text(), ttl(0))).unwrap();
    assert!(!table.exists("s"));
    assert!(table.create("s", with(text(), ttl(0))).unwrap().0);
    table.state.recovered();
    assert!(!table.exists("s"));
}

#[test]
fn an_expired_path_is_free_for_any_configuration() {
    let mut table = Table::new();
    let (_, before) = table.create("s", with(text(), ttl(1))).unwrap();
    table.now += 1000;
    let (created, after) = table.create("s", json()).unwrap();
    assert!(created);
    assert!(after.id > before.id);
}

#[test]
fn a_fork_takes_over_its_sources_expiry_unless_it_has_its_own() {
    let mut table = Table::new();
    let far = table.now + 1_000_000;
    for (source, fork, gets) in [
        (None, None, None),
        (None, ttl(5), ttl(5)),
        (None, at(far), at(far)),
        (ttl(60), None, ttl(60)),
        (ttl(60), ttl(5), ttl(5)),
        (ttl(60), at(far), at(far)),
        (at(far), None, at(far)),
        (at(far), ttl(5), ttl(5)),
        (at(far), at(far + 1), at(far + 1)),
    ] {
        table.create("src", with(text(), source)).unwrap();
        let (_, info) = table.create("f", with(fork_of("src"), fork)).unwrap();
        assert_eq!(info.expiry, gets, "{source:?} {fork:?}");
        assert!(!table.create("f", with(fork_of("src"), fork)).unwrap().0);
        table.delete("f").unwrap();
        table.delete("src").unwrap();
        table.commit();
    }
}

#[test]
fn an_expired_source_cannot_be_forked_but_its_forks_read_on() {
    let mut table = Table::new();
    table
        .create("src", with(holding_bytes(text(), "abc"), ttl(1)))
        .unwrap();
    table.create("f", with(fork_of("src"), ttl(60))).unwrap();
    table.now += 1000;
    assert!(matches!(
        table.create("g", fork_of("src")),
        Err(CreateError::SourceDeleted { .. })
    ));
    assert_eq!(table.content("f"), "abc");
}

#[test]
fn recovery_never_ends_a_stream_before_its_last_unlogged_access_would() {
    let mut table = Table::new();
    table.create("s", with(text(), ttl(80))).unwrap();
    let id = table.info("s").id;
    // The slack is 10 s: up to there an access is not worth an event.
    table.now += 10_000;
    let now = table.now;
    let lifetime = table
        .state
        .stream_mut(id)
        .unwrap()
        .lifetime
        .as_mut()
        .unwrap();
    assert!(!lifetime.access(now));
    let promised = lifetime.deadline();
    assert!(lifetime.access(now + 1));
    let bytes = crate::checkpoint::encode(&table.state, 0);
    let mut state = crate::checkpoint::decode(&bytes).unwrap();
    state.recovered();
    let lifetime = state.stream(id).unwrap().lifetime.as_ref().unwrap();
    assert!(lifetime.deadline() >= promised);
}
