//! Requests, heads and bodies, over an engine in memory: no 5xx, no panic, no harm to a neighbour.
#![no_main]

#[path = "../../rust/protocol/tests/driver/mod.rs"]
mod driver;

use arbitrary::Arbitrary;
use driver::{Request, Seen, Server};

#[derive(Arbitrary, Debug)]
struct Say<'a> {
    method: u8,
    path: Text<'a>,
    query: Vec<(u8, Text<'a>)>,
    headers: Vec<(u8, Text<'a>)>,
    body: Text<'a>,
}

/// A word that means something, or anything.
#[derive(Arbitrary, Debug)]
enum Text<'a> {
    Word(u8),
    Any(&'a [u8]),
}

const METHODS: &[&str] = &[
    "GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "get",
];
const PATHS: &[&str] = &["a", "b", "c/d", "%61", "c%2Fd", "", "..", "c/./d", "%ff"];
const PARAMETERS: &[&str] = &["offset", "live", "cursor", "off%73et", "x"];
const HEADERS: &[&str] = &[
    "content-type",
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
];
const WORDS: &[&str] = &[
    "text/plain",
    "application/json",
    "true",
    "false",
    "0",
    "1",
    "2",
    "3600",
    "-1",
    "now",
    "sse",
    "long-poll",
    "2999-01-01T00:00:00Z",
    "/v1/stream/a",
    "/v1/stream/b",
    "p",
    "*",
    "{}",
    "[1,2]",
    "[]",
    "0000000000000000_0000000000000000",
    "0000000000000001_0000000000000003",
    "0000000000000002_0000000000000003",
    "9007199254740991",
    "9999999999999999_9999999999999999",
    "\"1:0000000000000001_0000000000000000:0000000000000001_0000000000000003\"",
];

fn pick<'a>(words: &[&'a str], index: u8) -> &'a str {
    words[usize::from(index) % words.len()]
}

impl<'a> Text<'a> {
    fn of(&self, words: &[&'static str]) -> Vec<u8> {
        match self {
            Text::Word(index) => pick(words, *index).as_bytes().to_vec(),
            Text::Any(bytes) => bytes.to_vec(),
        }
    }
}

fn request(say: &Say<'_>) -> Request {
    let query: Vec<_> = say
        .query
        .iter()
        .map(|(name, value)| [pick(PARAMETERS, *name).as_bytes(), b"=", &value.of(WORDS)].concat())
        .collect();
    Request {
        method: pick(METHODS, say.method).to_owned(),
        path: [b"/v1/stream/", &say.path.of(PATHS)[..]].concat(),
        query: query.join(&b'&'),
        headers: say
            .headers
            .iter()
            .map(|(name, value)| (pick(HEADERS, *name).as_bytes().to_vec(), value.of(WORDS)))
            .collect(),
        body: say.body.of(WORDS),
    }
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

/// An engine's threads end a moment after it does, which a search for leaks takes for one.
#[unsafe(no_mangle)]
extern "C" fn __lsan_is_turned_off() -> i32 {
    1
}

libfuzzer_sys::fuzz_target!(|said: Vec<Say<'_>>| {
    let server = Server::with(|options, _| options.store.segment_bytes = 64 << 10);
    server.create("neighbour", "application/json", r#"[{"n":1}]"#);
    server.create("a", "text/plain", "abc");
    for say in said.iter().take(12) {
        let request = request(say);
        let status = finish(&server, &request);
        let is_control = status == 501;
        assert!(
            (200..500).contains(&status) || is_control,
            "{status}: {request:?}"
        );
    }
    // Unless it was named: a path may be anything.
    if server.send(Request::head("neighbour")).status == 200 {
        assert_eq!(server.text("neighbour"), r#"[{"n":1}]"#);
    }
});
