//! How live reads end before their time: shutdown, a failed log, a listener that drops them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod driver;

use std::time::Duration;

use driver::events::{control, events, pair};
use driver::{Request, patient, poll};
use durastream_engine::storage::CommitError;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn shutdown_answers_long_polls_and_ends_event_streams() {
    let server = patient();
    let tail = server.create("a", "text/plain", "x");
    let mut waiting = poll(&server, "a?offset=now");
    waiting.waiting();
    let (mut sse, _) = events(&server, "a?offset=now");
    control(&sse.chunk());
    sse.waiting();
    server.service.shut_down();
    let reply = waiting.reply();
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("stream-up-to-date"), Some("true"));
    assert_eq!(reply.next_offset(), tail);
    assert!(reply.header("stream-cursor").is_some());
    sse.end();
    // New ones answer at once, with what there is.
    assert_eq!(poll(&server, "a?offset=now").reply().status, 204);
    assert_eq!(poll(&server, "a?offset=-1").reply().text(), "x");
    let (mut sse, _) = events(&server, "a?offset=-1");
    assert_eq!(pair(&sse.chunk()).0, "x");
    sse.end();
}

#[test]
fn a_failed_log_refuses_who_waits_for_it_but_not_who_reads() {
    let poisoned = CommitError::Poisoned {
        cause: "EIO".to_owned(),
    };
    let full = CommitError::StorageFull {
        dir: "/data".into(),
        detail: "ENOSPC".to_owned(),
    };
    let server = patient();
    server.create("a", "text/plain", "x");
    for (cause, status) in [(&poisoned, 503), (&full, 507), (&CommitError::Closed, 503)] {
        let mut write = server.begin(&Request::post("a", "text/plain", "y"));
        write.exchange().fail(cause);
        assert_eq!(write.reply().status, status);
    }
    let mut live = poll(&server, "a?offset=now");
    live.waiting();
    live.exchange().fail(&poisoned);
    assert!(live.waiting() > live.now());
    live.pass(MINUTE);
    assert_eq!(live.reply().status, 204);
    let mut live = poll(&server, "a?offset=now");
    live.waiting();
    live.exchange().fail(&CommitError::Closed);
    assert_eq!(live.reply().status, 503);
    let (mut sse, _) = events(&server, "a?offset=-1");
    pair(&sse.chunk());
    sse.waiting();
    sse.exchange().fail(&poisoned);
    let until = sse.waiting();
    assert!(until > sse.now());
    sse.pass(MINUTE);
    sse.end();
    let (mut sse, _) = events(&server, "a?offset=now");
    control(&sse.chunk());
    sse.waiting();
    sse.exchange().fail(&CommitError::Closed);
    sse.end();
}

#[test]
fn a_dropped_exchange_withdraws_its_watch() {
    let server = patient();
    server.create("a", "text/plain", "x");
    let mut waiting = poll(&server, "a?offset=now");
    waiting.waiting();
    let (mut sse, _) = events(&server, "a?offset=now");
    control(&sse.chunk());
    sse.waiting();
    assert_eq!(server.service.engine().stats().watches, 2);
    drop(waiting);
    drop(sse);
    assert_eq!(server.service.engine().stats().watches, 0);
}
