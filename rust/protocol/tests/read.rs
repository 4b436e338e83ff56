//! What GET (catching up), HEAD and DELETE promise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod driver;

use driver::{Request, Server};
use durastream_engine::storage::StoreOptions;
use durastream_engine::{Engine, Offset, Options};
use durastream_protocol::{Config, Step};

fn position(offset: &str, plus: u64) -> String {
    let mut offset: Offset = offset.parse().unwrap();
    offset.position += plus;
    offset.to_string()
}

#[test]
fn a_read_to_the_tail_says_so() {
    let server = Server::new();
    let tail = server.create("a", "text/plain", "hello");
    for target in [
        "a",
        "a?offset=-1",
        "a?offset=0000000000000000_0000000000000000&foo=bar",
    ] {
        let reply = server.expect(200, Request::get(target));
        assert_eq!(reply.text(), "hello");
        assert_eq!(reply.header("content-type"), Some("text/plain"));
        assert_eq!(reply.header("stream-up-to-date"), Some("true"));
        assert_eq!(reply.header("stream-closed"), None);
        assert_eq!(reply.next_offset(), tail);
        assert_eq!(
            reply.header("cache-control"),
            Some("public, max-age=60, stale-while-revalidate=300")
        );
        assert!(reply.header("etag").is_some());
    }
}

#[test]
fn a_stream_of_html_is_no_page_of_this_server() {
    let server = Server::new();
    server.create("a", "text/html", "<script>alert(1)</script>");
    let reply = server.expect(200, Request::get("a"));
    assert_eq!(reply.header("content-security-policy"), Some("sandbox"));
}

#[test]
fn an_authenticated_read_is_for_private_caches_only() {
    let server = Server::new();
    server.create("a", "text/plain", "hello");
    let reply = server.expect(200, Request::get("a").header("authorization", "Bearer x"));
    assert!(
        reply
            .header("cache-control")
            .unwrap()
            .starts_with("private,")
    );
}

#[test]
fn a_read_at_the_tail_is_empty_and_up_to_date() {
    let server = Server::new();
    let tail = server.create("a", "text/plain", "hello");
    let reply = server.expect(200, Request::get(&format!("a?offset={tail}")));
    assert_eq!(reply.text(), "");
    assert_eq!(reply.next_offset(), tail);
    assert_eq!(reply.header("stream-up-to-date"), Some("true"));
    let json = server.create("j", "application/json", "1");
    assert_eq!(server.text(&format!("j?offset={json}")), "[]");
}

#[test]
fn pages_end_between_appends_and_lead_to_each_other() {
    let server = Server::with(|_, config| config.page_bytes = 10);
    server.create("a", "application/json", "");
    let mut sent = Vec::new();
    for n in 0..20 {
        let message = format!("{{\"n\":{n}}}");
        server.append("a", "application/json", &message);
        sent.push(message);
    }
    let long = format!("\"{}\"", "x".repeat(50));
    server.append("a", "application/json", &long);
    sent.push(long);
    server.close("a");
    let (mut offset, mut got, mut pages) = ("-1".to_owned(), Vec::new(), 0);
    loop {
        let reply = server.expect(200, Request::get(&format!("a?offset={offset}")));
        pages += 1;
        let values: Vec<serde_json::Value> = serde_json::from_slice(&reply.body).unwrap();
        assert!(!values.is_empty());
        got.extend(values.iter().map(ToString::to_string));
        let last = got.len() == sent.len();
        assert_eq!(reply.header("stream-up-to-date").is_some(), last);
        assert_eq!(reply.header("stream-closed").is_some(), last);
        offset = reply.next_offset().to_owned();
        if last {
            break;
        }
    }
    assert_eq!(got, sent);
    assert!(pages > 10, "{pages}");
}

#[test]
fn a_position_inside_an_append_gives_that_whole_append() {
    let server = Server::new();
    let first = server.create("a", "application/json", r#"{"n":1}"#);
    server.append("a", "application/json", r#"[{"n":2},{"n":3}]"#);
    let inside = position(&first, 3);
    assert_eq!(
        server.text(&format!("a?offset={inside}")),
        r#"[{"n":2},{"n":3}]"#
    );
}

#[test]
fn one_past_the_tail_is_the_tail_and_further_is_gone() {
    let server = Server::new();
    let tail = server.create("a", "text/plain", "hello");
    let past = position(&tail, 1);
    let reply = server.expect(200, Request::get(&format!("a?offset={past}")));
    assert_eq!(reply.text(), "");
    assert_eq!(reply.next_offset(), tail);
    let beyond = server.expect(
        410,
        Request::get(&format!("a?offset={}", position(&tail, 2))),
    );
    assert_eq!(beyond.json()["tail"], tail);
    server.append("a", "text/plain", "whole");
    assert_eq!(server.text(&format!("a?offset={past}")), "whole");
}

#[test]
fn an_offset_of_an_earlier_life_is_gone() {
    let server = Server::new();
    let old = server.create("a", "text/plain", "old");
    server.expect(204, Request::delete("a"));
    server.create("a", "text/plain", "new");
    for target in [
        format!("a?offset={old}"),
        format!("a?offset={old}&live=long-poll"),
        format!("a?offset={old}&live=sse"),
    ] {
        let reply = server.expect(410, Request::get(&target));
        assert_eq!(reply.json()["asked"], old);
        assert!(reply.detail().contains("read again from"));
    }
}

#[test]
fn trimmed_data_is_gone_and_the_earliest_offset_named() {
    let server = Server::new();
    let first = server.create("a", "text/plain", "one");
    let second = server.append("a", "text/plain", "two");
    server.append("a", "text/plain", "three");
    let path = durastream_engine::StreamPath::new("a").unwrap();
    let trimmed = server.service.engine().trim(&path, second.parse().unwrap());
    server.service.engine().wait(trimmed.lsn, None).unwrap();
    trimmed.outcome.unwrap();
    let reply = server.expect(410, Request::get(&format!("a?offset={first}")));
    assert_eq!(reply.json()["earliest"], second);
    assert_eq!(server.text("a?offset=-1"), "three");
}

#[test]
fn now_is_an_empty_uncached_answer_with_the_tail() {
    let server = Server::new();
    for (path, content_type, body, empty) in [
        ("a", "text/plain", "hello", ""),
        ("j", "application/json", "[1,2]", "[]"),
    ] {
        let tail = server.create(path, content_type, body);
        let reply = server.expect(200, Request::get(&format!("{path}?offset=now")));
        assert_eq!(reply.text(), empty);
        assert_eq!(reply.next_offset(), tail);
        assert_eq!(reply.header("stream-up-to-date"), Some("true"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("etag"), None);
        server.close(path);
        let reply = server.expect(200, Request::get(&format!("{path}?offset=now")));
        assert_eq!(reply.header("stream-closed"), Some("true"));
    }
}

#[test]
fn closure_is_told_at_the_end_only() {
    let server = Server::new();
    server.create("a", "text/plain", "x");
    let tail = server.close("a");
    for target in ["a".to_owned(), format!("a?offset={tail}")] {
        let reply = server.expect(200, Request::get(&target));
        assert_eq!(reply.header("stream-closed"), Some("true"));
        assert_eq!(reply.header("stream-up-to-date"), Some("true"));
    }
}

#[test]
fn an_unchanged_page_is_304_and_a_changed_one_is_not() {
    let server = Server::new();
    let tail = server.create("a", "text/plain", "x");
    let first = server.expect(200, Request::get("a"));
    let etag = first.header("etag").unwrap().to_owned();
    for value in [
        etag.clone(),
        format!("W/{etag}"),
        format!("\"z\", {etag}"),
        "*".to_owned(),
    ] {
        let reply = server.expect(304, Request::get("a").header("if-none-match", &value));
        assert_eq!(reply.header("etag"), Some(etag.as_str()));
        assert_eq!(reply.next_offset(), tail);
        assert!(reply.header("cache-control").is_some());
    }
    // A list may come as two fields.
    let two = Request::get("a")
        .header("if-none-match", "\"z\"")
        .header("if-none-match", &etag);
    server.expect(304, two);
    for value in ["\"wrong\"", "nonsense", "", "\"open"] {
        server.expect(200, Request::get("a").header("if-none-match", value));
    }
    server.expect(
        200,
        Request::get("a?offset=now").header("if-none-match", "*"),
    );
    server.append("a", "text/plain", "y");
    let changed = server.expect(200, Request::get("a").header("if-none-match", &etag));
    let etag = changed.header("etag").unwrap().to_owned();
    server.close("a");
    let closed = server.expect(200, Request::get("a").header("if-none-match", &etag));
    assert_eq!(closed.header("stream-closed"), Some("true"));
}

#[test]
fn a_recreated_stream_has_other_tags() {
    let server = Server::new();
    server.create("a", "text/plain", "x");
    let old = server
        .expect(200, Request::get("a"))
        .header("etag")
        .unwrap()
        .to_owned();
    server.expect(204, Request::delete("a"));
    server.create("a", "text/plain", "y");
    let reply = server.expect(200, Request::get("a").header("if-none-match", old));
    assert_eq!(reply.text(), "y");
}

#[test]
fn a_cold_page_is_read_where_blocking_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    let mut store = StoreOptions::default();
    store.hot_bytes = 0;
    options.store = store;
    let server = Server::over(
        Engine::open(dir.path(), options.clone()).unwrap(),
        Config::default(),
    );
    server.create("a", "text/plain", "cold");
    server.service.engine().close().unwrap();
    let server = Server::over(
        Engine::open(dir.path(), options).unwrap(),
        Config::default(),
    );
    for target in ["a", "a?offset=-1&live=long-poll"] {
        let mut live = server.begin(&Request::get(target));
        let step = live.exchange().step(std::time::Instant::now());
        assert!(matches!(step, Step::Block), "{step:?}");
        live.exchange().block();
        assert_eq!(live.reply().text(), "cold");
    }
    let mut sse = server.begin(&Request::get("a?offset=-1&live=sse"));
    let step = sse.exchange().step(std::time::Instant::now());
    assert!(matches!(step, Step::Block), "{step:?}");
    sse.exchange().block();
    sse.head();
    assert!(sse.chunk().contains("data:cold\n"));
}

#[test]
fn pages_from_disk_become_small_while_many_bytes_are_on_their_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.store.hot_bytes = 0;
    let mut config = Config::default();
    config.page_bytes = 1 << 20;
    config.sending_bytes = 2 << 20;
    let engine = Engine::open(dir.path(), options).unwrap();
    let server = Server::over(engine, config);
    server.create("a", "text/plain", "");
    for _ in 0..200 {
        server.append("a", "text/plain", &"x".repeat(10_000));
    }
    let page = || {
        let mut live = server.begin(&Request::get("a"));
        loop {
            match live.exchange().step(std::time::Instant::now()) {
                Step::Block => live.exchange().block(),
                // Opening waits for what was decided before it.
                Step::Wait { .. } => {}
                Step::Respond(response) => return response.body,
                step => panic!("{step:?}"),
            }
        }
    };
    let size = |body: &[bytes::Bytes]| body.iter().map(bytes::Bytes::len).sum::<usize>();
    let mut held = vec![page(), page()];
    assert!(held.iter().all(|body| size(body) > 1_000_000));
    held.push(page());
    assert!(size(&held[2]) < 64 << 10 && !held[2].is_empty());
    held.clear();
    assert!(size(&page()) > 1_000_000);
}

#[test]
fn head_is_metadata_and_never_cached() {
    let server = Server::new();
    let tail = server.create("a", "text/plain", "hello");
    let reply = server.expect(200, Request::head("a?offset=nonsense"));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert_eq!(reply.next_offset(), tail);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("stream-closed"), None);
    server.close("a");
    assert_eq!(
        server
            .expect(200, Request::head("a"))
            .header("stream-closed"),
        Some("true")
    );
    server.expect(404, Request::head("nowhere"));
    server.expect(400, Request::head("a//b"));
}

#[test]
fn a_deleted_stream_is_not_found() {
    let server = Server::new();
    server.create("a", "text/plain", "x");
    server.expect(204, Request::delete("a"));
    for request in [
        Request::get("a"),
        Request::head("a"),
        Request::delete("a"),
        Request::post("a", "text/plain", "x"),
        Request::get("a?offset=now"),
        Request::get("a?offset=now&live=long-poll"),
        Request::get("a?offset=now&live=sse"),
    ] {
        server.expect(404, request);
    }
}

#[test]
fn expiring_streams_are_not_cached_beyond_their_end() {
    let server = Server::new();
    server.expect(
        201,
        Request::put("a", "text/plain", "x").header("stream-ttl", "10"),
    );
    let reply = server.expect(200, Request::get("a"));
    assert_eq!(reply.header("cache-control"), Some("public, max-age=10"));
}
