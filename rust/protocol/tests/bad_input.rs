//! Bad input: each refused with a 4xx that names what is wrong, the stream and its neighbours unharmed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod driver;

use driver::{Request, Server};

const TOKEN: &str = "0000000000000000_0000000000000000";

/// A stream with content and a neighbour.
struct Witness {
    server: Server,
    tail: String,
}

impl Witness {
    fn new() -> Self {
        let server = Server::with(|options, _| options.max_append_bytes = 1 << 20);
        let tail = server.create("a", "text/plain", "content");
        server.create("j", "application/json", "[1]");
        Self { server, tail }
    }

    /// Sends, expects a refusal with this status that says `word`, and looks for harm.
    fn refuses(&self, request: Request, status: u16, word: &str) {
        let shown = format!(
            "{} {}?{} {:?}",
            request.method,
            String::from_utf8_lossy(&request.path),
            String::from_utf8_lossy(&request.query),
            request
                .headers
                .iter()
                .map(|(n, v)| format!("{}: {}", String::from_utf8_lossy(n), v.escape_ascii()))
                .collect::<Vec<_>>()
        );
        let reply = self.server.send(request);
        assert_eq!(
            reply.status,
            status,
            "{shown}: {}",
            String::from_utf8_lossy(&reply.body)
        );
        let detail = reply.detail().to_lowercase();
        assert!(
            detail.contains(&word.to_lowercase()),
            "{shown}: {detail:?} lacks {word:?}"
        );
        assert!(detail.len() < 500, "{shown}: {detail}");
        self.is_unharmed(&shown);
    }

    fn is_unharmed(&self, shown: &str) {
        let head = self.server.expect(200, Request::head("a"));
        assert_eq!(head.next_offset(), self.tail, "{shown}");
        assert_eq!(head.header("stream-closed"), None, "{shown}");
        assert_eq!(self.server.text("a"), "content", "{shown}");
        assert_eq!(self.server.text("j"), "[1]", "{shown}");
        self.server.expect(404, Request::head("new"));
    }
}

const NOT_INTEGERS: [&str; 14] = [
    "",
    "-1",
    "+1",
    "01",
    "00",
    "1.0",
    "1e3",
    "0x1",
    "1abc",
    "abc",
    "NaN",
    "1 2",
    "½",
    "99999999999999999999999999",
];

#[test]
fn integers_in_headers() {
    let witness = Witness::new();
    for bad in NOT_INTEGERS {
        let put = || Request::put("new", "text/plain", "x");
        witness.refuses(put().header("stream-ttl", bad), 400, "Stream-TTL");
        let fork = put()
            .header("stream-forked-from", "/v1/stream/a")
            .header("stream-fork-offset", TOKEN)
            .header("stream-fork-sub-offset", bad);
        witness.refuses(fork, 400, "Stream-Fork-Sub-Offset");
        let post = || Request::post("a", "text/plain", "x").header("producer-id", "p");
        let epoch = post()
            .header("producer-epoch", bad)
            .header("producer-seq", "0");
        witness.refuses(epoch, 400, "Producer-Epoch");
        let seq = post()
            .header("producer-epoch", "0")
            .header("producer-seq", bad);
        witness.refuses(seq, 400, "Producer-Seq");
    }
    let put = Request::put("new", "text/plain", "x").header("stream-ttl", "10000000000");
    witness.refuses(put, 400, "limit of 9999999999");
    let post = Request::post("a", "text/plain", "x")
        .header("producer-id", "p")
        .header("producer-epoch", "0")
        .header("producer-seq", "9007199254740992");
    witness.refuses(post, 400, "2^53-1");
    for bad in ["-1", "1.5", "abc"] {
        let post = Request::post("a", "text/plain", "x").header("content-length", bad);
        witness.refuses(post, 400, "Content-Length");
    }
    for huge in ["1048577", "99999999999999999999999999"] {
        let post = Request::post("a", "text/plain", "x").header("content-length", huge);
        witness.refuses(post, 413, "1048576");
    }
}

#[test]
fn times() {
    let witness = Witness::new();
    for bad in [
        "",
        "tomorrow",
        "2030-01-31",
        "2030-01-31T12:00:00",
        "2030-02-30T12:00:00Z",
        "2030-01-31T24:00:01Z",
        "1700000000",
        "1969-12-31T23:59:59Z",
        "10000-01-01T00:00:00Z",
        "2030-01-31T12:00:00Z, 2030-01-31T12:00:00Z",
    ] {
        let put = Request::put("new", "text/plain", "x").header("stream-expires-at", bad);
        witness.refuses(put, 400, "Stream-Expires-At");
    }
    let both = Request::put("new", "text/plain", "x")
        .header("stream-ttl", "60")
        .header("stream-expires-at", "2030-01-31T12:00:00Z");
    witness.refuses(both, 400, "exclude each other");
}

#[test]
fn content_types() {
    let witness = Witness::new();
    let long = format!("text/{}", "x".repeat(300));
    for bad in [
        "text",
        "/",
        "text/",
        "/plain",
        "text/plain; charset",
        "text/plain, text/html",
        "te xt/plain",
        "text/plain; a=\"",
        "*/",
        "text/pläin",
        &long,
    ] {
        witness.refuses(Request::put("new", bad, "x"), 400, "content type");
    }
    for bad in ["text", "text/", "text/plain; charset", "text/pläin"] {
        witness.refuses(Request::post("a", bad, "x"), 400, "content type");
    }
    let raw = Request::new("PUT", "new").header("content-type", b"text/\xff\xfe");
    witness.refuses(raw, 400, "content type");
    let missing = Request::new("POST", "a").body("x");
    witness.refuses(missing, 400, "the one of its stream: text/plain");
    witness.refuses(Request::put("new", "", "x"), 400, "content type");
    let empty = Request::post("a", "", "x");
    witness.refuses(empty, 400, "Content-Type");
    witness.refuses(
        Request::post("a", "application/json", "{}"),
        409,
        "text/plain",
    );
}

#[test]
fn repeated_headers() {
    let witness = Witness::new();
    for (name, value) in [
        ("content-type", "text/plain"),
        ("stream-ttl", "60"),
        ("stream-expires-at", "2030-01-31T12:00:00Z"),
        ("stream-closed", "true"),
        ("stream-forked-from", "/v1/stream/a"),
        ("stream-fork-offset", TOKEN),
        ("stream-fork-sub-offset", "0"),
        ("content-length", "1"),
    ] {
        let mut put = Request::new("PUT", "new").body("x");
        if name.starts_with("stream-fork-") {
            put = put.header("stream-forked-from", "/v1/stream/a");
        }
        if name == "stream-fork-sub-offset" {
            put = put.header("stream-fork-offset", TOKEN);
        }
        let put = put.header(name, value).header(&name.to_uppercase(), value);
        witness.refuses(put, 400, name);
    }
    for (name, value) in [
        ("content-type", "text/plain"),
        ("stream-closed", "true"),
        ("stream-seq", "1"),
        ("producer-id", "p"),
        ("producer-epoch", "0"),
        ("producer-seq", "0"),
        ("content-length", "1"),
    ] {
        let post = Request::new("POST", "a")
            .body("x")
            .header(name, value)
            .header(name, value);
        witness.refuses(post, 400, name);
    }
}

#[test]
fn producers_and_sequences() {
    let witness = Witness::new();
    let post = || Request::post("a", "text/plain", "x");
    for (headers, missing) in [
        (vec!["producer-id"], "producer-epoch"),
        (vec!["producer-epoch"], "producer-id"),
        (vec!["producer-seq"], "producer-id"),
        (vec!["producer-id", "producer-epoch"], "producer-seq"),
        (vec!["producer-id", "producer-seq"], "producer-epoch"),
        (vec!["producer-epoch", "producer-seq"], "producer-id"),
    ] {
        let request = headers
            .iter()
            .fold(post(), |request, name| request.header(name, "0"));
        witness.refuses(request, 400, missing);
    }
    witness.refuses(post().producer("", 0, 0), 400, "Producer-Id is empty");
    witness.refuses(post().producer(&"p".repeat(1025), 0, 0), 400, "1024");
    let raw = post()
        .header("producer-id", b"\xff")
        .header("producer-epoch", "0")
        .header("producer-seq", "0");
    witness.refuses(raw, 400, "UTF-8");
    witness.refuses(post().header("stream-seq", ""), 400, "Stream-Seq");
    witness.refuses(post().header("stream-seq", "s".repeat(1025)), 400, "1024");
}

#[test]
fn conditions() {
    let witness = Witness::new();
    for bad in ["", "abc", "\"open", "W/abc", "\"a\" \"b\"", "7", "\u{fffd}"] {
        let post = Request::post("a", "text/plain", "x").header("if-match", bad);
        witness.refuses(post, 400, "If-Match");
    }
    for other in [
        "\"abc\"",
        "\"1:2:3\"",
        TOKEN,
        "9999999999999999_9999999999999999",
    ] {
        let post = Request::post("a", "text/plain", "x").header("if-match", other);
        witness.refuses(post, 412, &witness.tail);
    }
}

#[test]
fn forks() {
    let witness = Witness::new();
    let put = || Request::new("PUT", "new");
    for bad in [
        "",
        "a",
        "/a",
        "/v1/stream",
        "/v1/stream/",
        "/v1/stream/../a",
        "/v1/stream/a%zz",
        "/v1/stream/a?b",
        "/v1/stream/a b\u{1}",
        "//v1/stream/a",
        "http://elsewhere/v1/stream/a",
        "/v1/stream/__ds/a",
    ] {
        let request = put().header("stream-forked-from", bad);
        witness.refuses(request, 400, "Stream-Forked-From");
    }
    for bad in [
        "",
        "-1",
        "now",
        "0",
        "0_0",
        "abc",
        "0000000000000000-0000000000000000",
    ] {
        let request = put()
            .header("stream-forked-from", "/v1/stream/a")
            .header("stream-fork-offset", bad);
        witness.refuses(request, 400, "Stream-Fork-Offset");
    }
    witness.refuses(
        put().header("stream-fork-offset", TOKEN),
        400,
        "Stream-Forked-From",
    );
    witness.refuses(
        put().header("stream-fork-sub-offset", "0"),
        400,
        "Stream-Forked-From",
    );
    let without_offset = put()
        .header("stream-forked-from", "/v1/stream/a")
        .header("stream-fork-sub-offset", "1");
    witness.refuses(without_offset, 400, "Stream-Fork-Offset, which is missing");
    let overshoot = put()
        .header("stream-forked-from", "/v1/stream/a")
        .header("stream-fork-offset", TOKEN)
        .header("stream-fork-sub-offset", "9007199254740991");
    witness.refuses(overshoot, 400, "fork point");
}

#[test]
fn query_parameters() {
    let witness = Witness::new();
    for bad in [
        "offset=",
        "offset",
        "offset=0,1",
        "offset=0 1",
        "offset=0%201",
        "offset=a",
        "offset=-2",
        "offset=NOW",
        "offset=now,",
        "offset=%",
        "offset=%00",
        "offset=../x",
        "offset=0/0",
        "offset=0000000000000000_00000000000000000",
        "offset=-1&offset=-1",
        "offset=-1&off%73et=now",
        "offset=%EF%BC%91",
        "live=sse",
        "live=long-poll",
    ] {
        witness.refuses(Request::get(&format!("a?{bad}")), 400, "offset");
    }
    for bad in ["", "true", "1", "SSE", "longpoll", "long-poll,sse", "%"] {
        witness.refuses(
            Request::get(&format!("a?offset=-1&live={bad}")),
            400,
            "live",
        );
    }
    for live in ["sse", "long-poll"] {
        for bad in NOT_INTEGERS {
            let target = format!("a?offset=-1&live={live}&cursor={}", bad.replace('+', "%2B"));
            witness.refuses(Request::get(&target), 400, "cursor");
        }
    }
    let gone = format!("a?offset={}", "9999999999999999_9999999999999999");
    witness.refuses(Request::get(&gone), 410, "gone");
}

#[test]
fn paths() {
    let witness = Witness::new();
    let long = "x".repeat(1025);
    for bad in [
        "", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "%2e%2e", "a/%2E/b", "%00", "a%0d%0ab",
        "%7F", "%C2%80", "a%", "a%z", "%ff", "%C3", &long,
    ] {
        for method in ["GET", "PUT", "POST", "DELETE"] {
            let request = Request::new(method, bad)
                .header("content-type", "text/plain")
                .body("x");
            witness.refuses(request, 400, "path");
        }
        let head = witness.server.send(Request::head(bad));
        assert_eq!(head.status, 400);
    }
    let mut elsewhere = Request::get("");
    elsewhere.path = b"/v2/nothing".to_vec();
    witness.refuses(elsewhere, 404, "base paths");
    for (path, method) in [
        ("__ds", "GET"),
        ("__ds/subscriptions/x", "PUT"),
        ("%5f_ds/jwks.json", "GET"),
    ] {
        let reply = witness.server.expect(501, Request::new(method, path));
        assert!(reply.detail().contains("__ds"));
    }
}

#[test]
fn methods() {
    let witness = Witness::new();
    for method in ["TRACE", "CONNECT", "PROPFIND", "get", "", "G\u{0}T", "🦀"] {
        witness.refuses(
            Request::new(method, "a"),
            405,
            "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS",
        );
        let reply = witness.server.send(Request::new(method, "a"));
        assert_eq!(
            reply.header("allow"),
            Some("GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS")
        );
    }
}

#[test]
fn json() {
    let witness = Witness::new();
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let bottomless = "[".repeat(500_000);
    let number = "1".repeat(1_000_000);
    for bad in [
        "",
        " ",
        "{",
        "}",
        "[",
        "[1,]",
        "{\"a\":}",
        "{\"a\" 1}",
        "{a:1}",
        "'a'",
        "NaN",
        "Infinity",
        "-",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "tru",
        "nul",
        "\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\u{1}\"",
        "\"\n\"",
        "{} {}",
        "1 2",
        "\u{feff}1",
        "[]",
        "[ ]",
        "/*a*/1",
        "1//a",
        &deep,
        &bottomless,
        &number,
    ] {
        witness.refuses(Request::post("j", "application/json", bad), 400, "");
    }
    for raw in [
        b"\"\xff\"".as_slice(),
        b"\"\xc3\"",
        b"\"\xed\xa0\x80\"",
        b"\xff\xfe1\x00",
        b"1\x00",
    ] {
        let request = Request::new("POST", "j")
            .header("content-type", "application/json")
            .body(raw);
        witness.refuses(request, 400, "byte");
    }
}

#[test]
fn bodies_over_the_limit() {
    let witness = Witness::new();
    let body = "x".repeat((1 << 20) + 1);
    witness.refuses(
        Request::post("a", "text/plain", &body),
        413,
        "1048577 bytes",
    );
    witness.refuses(Request::put("new", "text/plain", &body), 413, "1048576");
}

#[test]
fn huge_headers_are_quoted_in_part_only() {
    let witness = Witness::new();
    let huge = "9".repeat(100_000);
    witness.refuses(
        Request::put("new", "text/plain", "x").header("stream-ttl", &huge),
        400,
        "…",
    );
    witness.refuses(Request::put("new", &huge, "x"), 400, "…");
    witness.refuses(Request::get(&format!("a?offset={huge}")), 400, "…");
}
