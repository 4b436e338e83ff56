//! What PUT promises.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod driver;

use bytes::Bytes;
use driver::{Request, Server};
use durastream_protocol::Step;

const START: &str = "0000000000000000_0000000000000000";

fn fork(target: &str, source: &str) -> Request {
    Request::new("PUT", target).header("stream-forked-from", format!("/v1/stream/{source}"))
}

#[test]
fn a_creation_says_where_what_and_how_far() {
    let server = Server::new();
    let reply = server.expect(201, Request::put("a/b", "text/plain", "hello"));
    assert_eq!(
        reply.header("location"),
        Some("http://localhost:4437/v1/stream/a/b")
    );
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert_eq!(reply.header("stream-closed"), None);
    let read = server.expect(200, Request::get("a/b"));
    assert_eq!(read.text(), "hello");
    assert_eq!(read.next_offset(), reply.next_offset());
}

#[test]
fn both_base_paths_name_the_same_stream() {
    let server = Server::new();
    server.create("a", "text/plain", "x");
    let mut other = Request::get("");
    other.path = b"/v1/streams/a".to_vec();
    assert_eq!(server.expect(200, other).text(), "x");
}

#[test]
fn the_content_type_defaults_to_bytes_and_is_echoed_verbatim() {
    let server = Server::new();
    let reply = server.expect(201, Request::new("PUT", "a"));
    assert_eq!(
        reply.header("content-type"),
        Some("application/octet-stream")
    );
    let odd = "Text/Plain; Charset=UTF-8";
    assert_eq!(
        server
            .expect(201, Request::put("b", odd, ""))
            .header("content-type"),
        Some(odd)
    );
    server.expect(200, Request::put("b", "text/plain;charset=utf-8", ""));
}

#[test]
fn the_same_creation_again_is_200_and_another_409() {
    let server = Server::new();
    let put = || Request::put("a", "application/json", "").header("stream-ttl", "3600");
    server.expect(201, put());
    let again = server.expect(200, put());
    assert_eq!(again.header("location"), None);
    server.expect(
        200,
        Request::put("a", "APPLICATION/JSON", "").header("stream-ttl", "3600"),
    );
    for other in [
        Request::put("a", "text/plain", "").header("stream-ttl", "3600"),
        Request::put("a", "application/json", "").header("stream-ttl", "7200"),
        Request::put("a", "application/json", ""),
        put().header("stream-closed", "true"),
    ] {
        let reply = server.expect(409, other);
        assert!(reply.json()["differs"].is_string());
    }
}

#[test]
fn a_stream_may_be_born_closed_with_its_content() {
    let server = Server::new();
    let reply = server.expect(
        201,
        Request::put("a", "text/plain", "all").header("stream-closed", "True"),
    );
    assert_eq!(reply.header("stream-closed"), Some("true"));
    let read = server.expect(200, Request::get("a"));
    assert_eq!(read.text(), "all");
    assert_eq!(read.header("stream-closed"), Some("true"));
    server.expect(409, Request::put("a", "text/plain", ""));
}

#[test]
fn other_values_of_stream_closed_count_as_absent() {
    let server = Server::new();
    for (n, value) in ["false", "1", "yes", "", "true,true"].iter().enumerate() {
        let put = Request::put(&format!("s{n}"), "text/plain", "").header("stream-closed", value);
        assert_eq!(
            server.expect(201, put).header("stream-closed"),
            None,
            "{value}"
        );
    }
}

#[test]
fn an_empty_json_array_creates_an_empty_stream() {
    let server = Server::new();
    server.create("a", "application/json", "[]");
    assert_eq!(server.text("a"), "[]");
    server.expect(400, Request::post("a", "application/json", "[]"));
}

#[test]
fn json_content_is_kept_as_sent_and_flattened_once() {
    let server = Server::new();
    server.create(
        "a",
        "application/json",
        r#"[{"a": 1.0e5, "a":2},[ 1 , 2 ]]"#,
    );
    server.append("a", "application/json", " 12345678901234567890 ");
    assert_eq!(
        server.text("a"),
        r#"[{"a": 1.0e5, "a":2},[ 1 , 2 ],12345678901234567890]"#
    );
}

#[test]
fn broken_json_is_refused_and_nothing_is_created() {
    let server = Server::new();
    for body in ["{", "NaN", "\u{feff}1", "[1,]", "{} {}", "'a'", " "] {
        let reply = server.expect(400, Request::put("a", "application/json", body));
        assert!(
            reply.detail().contains("byte"),
            "{body}: {}",
            reply.detail()
        );
    }
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    server.expect(400, Request::put("a", "application/json", &deep));
    let raw = Request::new("PUT", "a")
        .header("content-type", "application/json")
        .body(b"\"\xff\"");
    server.expect(400, raw);
    server.expect(404, Request::head("a"));
}

#[test]
fn expiry_is_told_by_head() {
    let server = Server::new();
    server.expect(
        201,
        Request::put("ttl", "text/plain", "").header("stream-ttl", "3600"),
    );
    let head = server.expect(200, Request::head("ttl"));
    assert_eq!(head.header("stream-ttl"), Some("3600"));
    assert_eq!(head.header("stream-expires-at"), None);
    let at = "2999-01-31T12:00:00.5+02:00";
    server.expect(
        201,
        Request::put("at", "text/plain", "").header("stream-expires-at", at),
    );
    let head = server.expect(200, Request::head("at"));
    assert_eq!(
        head.header("stream-expires-at"),
        Some("2999-01-31T10:00:00.5Z")
    );
    assert_eq!(head.header("stream-ttl"), None);
}

#[test]
fn an_expired_stream_is_gone_and_its_path_free() {
    let server = Server::new();
    let past =
        Request::put("a", "text/plain", "x").header("stream-expires-at", "2001-01-01T00:00:00Z");
    server.expect(201, past);
    server.expect(404, Request::get("a"));
    server.create("a", "text/plain", "y");
    assert_eq!(server.text("a"), "y");
}

#[test]
fn a_fork_shows_its_source_up_to_the_fork_and_then_its_own() {
    let server = Server::new();
    let middle = server.create("src", "text/plain", "one");
    server.append("src", "text/plain", "two");
    let reply = server.expect(201, fork("f", "src").header("stream-fork-offset", &middle));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert_eq!(reply.next_offset(), middle);
    for (name, _) in &reply.headers {
        assert!(!name.starts_with("stream-fork"), "{name}");
    }
    server.append("f", "text/plain", "own");
    assert_eq!(server.text("f"), "oneown");
    assert_eq!(server.text("src"), "onetwo");
    server.expect(201, fork("tail", "src"));
    assert_eq!(server.text("tail"), "onetwo");
    server.expect(201, fork("none", "src").header("stream-fork-offset", START));
    assert_eq!(server.text("none"), "");
}

#[test]
fn counting_a_sub_offset_may_block_so_it_is_no_step() {
    let server = Server::new();
    server.create("json", "application/json", "[1,2]");
    let forked = fork("f", "json")
        .header("stream-fork-offset", START)
        .header("stream-fork-sub-offset", "1");
    let mut live = server.begin(&forked);
    let now = live.now();
    let exchange = live.exchange();
    assert!(matches!(exchange.step(now), Step::NeedBody { .. }));
    exchange.body(Bytes::new());
    assert!(matches!(exchange.step(now), Step::Block));
    exchange.block();
    assert!(!matches!(exchange.step(now), Step::Block));
}

#[test]
fn a_sub_offset_counts_messages_or_bytes() {
    let server = Server::new();
    let tail = server.create("bin", "text/plain", "hello");
    let sub = |n: &str| {
        fork("f", "bin")
            .header("stream-fork-offset", START)
            .header("stream-fork-sub-offset", n)
    };
    server.expect(400, sub("6"));
    server.expect(201, sub("3"));
    assert_eq!(server.text("f"), "hel");
    server.expect(200, sub("3"));
    server.expect(409, sub("2"));
    server.create("json", "application/json", r#"[{"a":1},{"b":2},{"c":3}]"#);
    let forked = fork("g", "json")
        .header("stream-fork-offset", START)
        .header("stream-fork-sub-offset", "2");
    server.expect(201, forked);
    assert_eq!(server.text("g"), r#"[{"a":1},{"b":2}]"#);
    // Nothing lies behind the tail.
    let beyond = fork("h", "bin")
        .header("stream-fork-offset", &tail)
        .header("stream-fork-sub-offset", "1");
    server.expect(400, beyond);
}

#[test]
fn fork_sources_must_exist_fit_and_live() {
    let server = Server::new();
    server.expect(404, fork("f", "nowhere"));
    server.create("src", "text/plain", "x");
    let beyond = fork("f", "src").header("stream-fork-offset", "9999999999999999_9999999999999999");
    server.expect(400, beyond);
    let other_type = fork("f", "src").header("content-type", "application/json");
    let reply = server.expect(409, other_type);
    assert_eq!(reply.json()["expected"], "text/plain");
    server.expect(404, Request::head("f"));
    server.expect(201, fork("f", "src"));
    server.expect(204, Request::delete("src"));
    server.expect(409, fork("g", "src"));
}

#[test]
fn a_deleted_source_is_gone_but_feeds_its_forks_until_the_last() {
    let server = Server::new();
    server.create("src", "text/plain", "x");
    server.expect(201, fork("f", "src"));
    server.expect(204, Request::delete("src"));
    for request in [
        Request::get("src"),
        Request::head("src"),
        Request::delete("src"),
        Request::post("src", "text/plain", "y"),
        Request::get("src?offset=now&live=long-poll"),
        Request::get("src?offset=-1&live=sse"),
    ] {
        server.expect(410, request);
    }
    server.expect(409, Request::put("src", "text/plain", "x"));
    assert_eq!(server.text("f"), "x");
    server.expect(204, Request::delete("f"));
    server.expect(404, Request::get("src"));
    server.create("src", "text/plain", "new");
}

#[test]
fn a_fork_may_come_from_a_mounted_or_encoded_path() {
    let server = Server::new();
    server.create("a/b", "text/plain", "x");
    for (n, from) in [
        "/v1/streams/a/b",
        "/v1/stream/a%2Fb",
        "http://localhost:4437/v1/stream/a/b",
    ]
    .iter()
    .enumerate()
    {
        let request = Request::new("PUT", &format!("f{n}")).header("stream-forked-from", from);
        server.expect(201, request);
        assert_eq!(server.text(&format!("f{n}")), "x");
    }
}

#[test]
fn more_streams_than_allowed_is_507_with_both_numbers() {
    let server = Server::with(|options, _| options.max_streams = 2);
    server.create("a", "text/plain", "");
    server.create("b", "text/plain", "");
    let reply = server.expect(507, Request::put("c", "text/plain", ""));
    assert_eq!(reply.json()["limit"], 2);
    assert_eq!(reply.json()["value"], 3);
    server.expect(200, Request::put("a", "text/plain", ""));
}
