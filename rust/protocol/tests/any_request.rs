//! No request, however made, is answered with a 5xx, panics, or harms a neighbour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod driver;

use driver::{Request, Seen, Server};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn method() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(vec!["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"]).prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let below = prop_oneof![
        4 => select(vec!["a", "b", "c/d", "%61", "c%2Fd"]).prop_map(|p| p.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..12),
        1 => "[a-c./%0-9A-F]{0,12}".prop_map(String::into_bytes),
    ];
    (select(vec!["/v1/stream/", "/v1/streams/", "/"]), below)
        .prop_map(|(base, below)| [base.as_bytes(), &below].concat())
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => select(vec![
            "text/plain", "application/json", "application/octet-stream", "true", "false", "0", "1", "2",
            "3600", "2999-01-01T00:00:00Z", "/v1/stream/a", "/v1/stream/c%2Fd", "p", "*", "-1", "now",
            "0000000000000000_0000000000000000", "0000000000000001_0000000000000001",
            "\"1:0000000000000001_0000000000000000:0000000000000001_0000000000000003\"",
        ]).prop_map(|v| v.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
        1 => "[0-9_+.eE:-]{0,20}".prop_map(String::into_bytes),
    ]
}

fn header() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let name = select(vec![
        "content-type",
        "Content-Type",
        "stream-ttl",
        "stream-expires-at",
        "stream-closed",
        "stream-seq",
        "stream-forked-from",
        "stream-fork-offset",
        "stream-fork-sub-offset",
        "producer-id",
        "producer-epoch",
        "producer-seq",
        "if-match",
        "if-none-match",
        "authorization",
        "origin",
        "x-other",
    ]);
    (name, value()).prop_map(|(name, value)| (name.as_bytes().to_vec(), value))
}

fn query() -> impl Strategy<Value = Vec<u8>> {
    let pair = (
        select(vec!["offset", "live", "cursor", "off%73et", "x"]),
        prop_oneof![
            3 => select(vec![
                "-1", "now", "sse", "long-poll", "0000000000000000_0000000000000000",
                "0000000000000001_0000000000000002", "7",
            ]).prop_map(|v| v.as_bytes().to_vec()),
            1 => vec(any::<u8>(), 0..12),
        ],
    )
        .prop_map(|(name, value)| [name.as_bytes(), b"=", &value].concat());
    vec(pair, 0..4).prop_map(|pairs| pairs.join(&b'&'))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        select(vec!["x", "{}", "[1,2]", "[]", "[[", "\"\\ud800\""])
            .prop_map(|b| b.as_bytes().to_vec()),
        vec(any::<u8>(), 0..64),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    (method(), path(), query(), vec(header(), 0..6), body()).prop_map(
        |(method, path, query, headers, body)| Request {
            method,
            path,
            query,
            headers,
            body,
        },
    )
}

/// Answers to the end: live reads are given no time.
fn finish(server: &Server, request: &Request) -> u16 {
    let mut live = server.begin(request);
    let mut status = 0;
    for _ in 0..1000 {
        match live.poll() {
            Seen::Reply(reply) => return reply.status,
            Seen::Head(reply) => status = reply.status,
            Seen::Chunk(chunk) => assert!(chunk.ends_with("\n\n")),
            Seen::End => return status,
            Seen::Waiting(until) => {
                let left = until.saturating_duration_since(live.now());
                live.pass(left);
            }
        }
    }
    panic!("an exchange without an end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_requests_fails_the_server_or_harms_a_neighbour(requests in vec(request(), 1..12)) {
        let server = Server::new();
        server.create("neighbour", "application/json", r#"[{"n":1}]"#);
        server.create("a", "text/plain", "abc");
        for request in &requests {
            let status = finish(&server, request);
            let is_control = status == 501;
            prop_assert!((200..500).contains(&status) || is_control, "{status}: {request:?}");
        }
        prop_assert_eq!(server.text("neighbour"), r#"[{"n":1}]"#);
    }

    #[test]
    fn what_was_appended_is_what_is_read(bodies in vec(vec(any::<u8>(), 1..200), 1..20), page in 1_usize..500) {
        let server = Server::with(|_, config| config.page_bytes = page);
        server.create("a", "application/octet-stream", "");
        for body in &bodies {
            let post = Request::new("POST", "a").header("content-type", "application/octet-stream");
            server.expect(204, post.body(body));
        }
        let (mut offset, mut got) = ("-1".to_owned(), Vec::new());
        loop {
            let reply = server.expect(200, Request::get(&format!("a?offset={offset}")));
            got.extend_from_slice(&reply.body);
            offset = reply.next_offset().to_owned();
            if reply.header("stream-up-to-date").is_some() {
                break;
            }
        }
        prop_assert_eq!(got, bodies.concat());
    }
}
