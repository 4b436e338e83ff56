//! How much of a stream is kept: headers on PUT and HEAD, and PATCH.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod driver;

use std::time::{Duration, Instant};

use driver::{Reply, Request, Server};

const HEADERS: [&str; 3] = [
    "stream-retention-bytes",
    "stream-retention-seconds",
    "stream-retention-events",
];

fn limits(reply: &Reply) -> [Option<&str>; 3] {
    HEADERS.map(|name| reply.header(name))
}

fn limited(mut request: Request, limits: [&str; 3]) -> Request {
    for (name, limit) in HEADERS.into_iter().zip(limits) {
        if !limit.is_empty() {
            request = request.header(name, limit);
        }
    }
    request
}

fn put(limits: [&str; 3]) -> Request {
    limited(Request::put("a", "text/plain", ""), limits)
}

fn patch(limits: [&str; 3]) -> Request {
    limited(Request::new("PATCH", "a"), limits)
}

/// Reads until the reaper has been there.
fn when_left(server: &Server, left: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while server.text("a") != left {
        assert!(Instant::now() < end, "{}", server.text("a"));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn quick() -> Server {
    Server::with(|options, _| options.reap_interval = Duration::from_millis(5))
}

#[test]
fn a_creation_may_limit_what_is_kept_and_is_told_so() {
    let server = Server::new();
    let created = server.expect(201, put(["1000", "60", "5"]));
    assert_eq!(limits(&created), [Some("1000"), Some("60"), Some("5")]);
    let head = server.expect(200, Request::head("a"));
    assert_eq!(limits(&head), [Some("1000"), Some("60"), Some("5")]);
    server.expect(201, Request::put("b", "text/plain", ""));
    let head = server.expect(200, Request::head("b"));
    assert_eq!(limits(&head), [None, None, None]);
}

#[test]
fn a_creation_again_must_name_the_same_limits_or_none_at_all() {
    let server = Server::new();
    server.expect(201, put(["", "", "5"]));
    server.expect(200, put(["", "", "5"]));
    server.expect(200, put(["none", "", "5"]));
    let silent = server.expect(200, put(["", "", ""]));
    assert_eq!(limits(&silent), [None, None, Some("5")]);
    for other in [["", "", "6"], ["1", "", "5"], ["", "", "none"]] {
        let refusal = server.expect(409, put(other));
        assert_eq!(refusal.json()["differs"], "retention");
    }
}

#[test]
fn what_lies_beyond_a_limit_is_gone() {
    let server = quick();
    let first = server.expect(201, put(["", "", "2"]));
    for text in ["one", "two", "three"] {
        server.append("a", "text/plain", text);
    }
    when_left(&server, "twothree");
    let offset = first.next_offset();
    let gone = server.expect(410, Request::get(&format!("a?offset={offset}")));
    assert!(gone.detail().contains("trimmed"), "{}", gone.detail());
    server.append("a", "text/plain", "four");
    when_left(&server, "threefour");
}

#[test]
fn a_patch_changes_the_limits_it_names_and_no_other() {
    let server = quick();
    server.expect(201, put(["1000", "60", ""]));
    server.append("a", "text/plain", "one");
    server.append("a", "text/plain", "two");
    let changed = server.expect(204, patch(["3", "", "7"]));
    assert_eq!(limits(&changed), [Some("3"), Some("60"), Some("7")]);
    when_left(&server, "two");
    let changed = server.expect(204, patch(["NONE", "none", ""]));
    assert_eq!(limits(&changed), [None, None, Some("7")]);
    let head = server.expect(200, Request::head("a"));
    assert_eq!(limits(&head), [None, None, Some("7")]);
}

#[test]
fn a_patch_of_a_closed_stream_is_taken_and_one_of_no_stream_is_404() {
    let server = Server::new();
    server.expect(404, patch(["1", "", ""]));
    server.expect(201, put(["", "", ""]).header("stream-closed", "true"));
    server.expect(204, patch(["1", "", ""]));
}

#[test]
fn limits_that_are_none_are_refused_and_say_what_would_be_right() {
    let server = Server::new();
    server.expect(201, put(["", "", "5"]));
    for bad in [
        "0",
        "-1",
        "+1",
        "01",
        "1.5",
        "1e3",
        "all",
        "1 2",
        "",
        "9007199254740992",
    ] {
        for name in HEADERS {
            for method in ["PUT", "PATCH"] {
                let reply = server.expect(400, Request::new(method, "a").header(name, bad));
                assert_eq!(reply.json()["header"], name, "{bad}");
                assert!(reply.detail().contains("none"), "{}", reply.detail());
            }
        }
    }
    let twice = patch(["1", "", ""]).header("stream-retention-bytes", "1");
    server.expect(400, twice);
    let nothing = server.expect(400, Request::new("PATCH", "a").body("{}"));
    assert!(nothing.detail().contains("Stream-Retention-Bytes"));
    let head = server.expect(200, Request::head("a"));
    assert_eq!(limits(&head), [None, None, Some("5")]);
}

#[test]
fn a_fork_takes_the_limits_over_unless_it_names_its_own() {
    let server = Server::new();
    server.expect(201, put(["", "60", "5"]));
    let fork = |at: &str| Request::new("PUT", at).header("stream-forked-from", "/v1/stream/a");
    let same = server.expect(201, fork("same"));
    assert_eq!(limits(&same), [None, Some("60"), Some("5")]);
    let own = server.expect(201, limited(fork("own"), ["9", "", ""]));
    assert_eq!(limits(&own), [Some("9"), None, None]);
    let all = server.expect(201, limited(fork("all"), ["none", "", ""]));
    assert_eq!(limits(&all), [None, None, None]);
}
