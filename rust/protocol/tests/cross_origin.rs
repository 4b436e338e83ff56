//! CORS, OPTIONS, and what the service offers a listener.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod driver;

use driver::{Request, Server};
use durastream_engine::{Engine, Options};
use durastream_protocol::{Config, Exchange, Service};

#[test]
fn a_preflight_allows_every_request_header_of_the_protocol() {
    let server = Server::new();
    let reply = server.expect(
        204,
        Request::new("OPTIONS", "any/../path")
            .header("origin", "https://a.example")
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "if-none-match, producer-id",
            ),
    );
    let allowed = reply
        .header("access-control-allow-headers")
        .unwrap()
        .to_lowercase();
    for name in [
        "content-type",
        "authorization",
        "if-none-match",
        "if-match",
        "stream-ttl",
        "stream-expires-at",
        "stream-retention-bytes",
        "stream-retention-seconds",
        "stream-retention-events",
        "stream-seq",
        "stream-closed",
        "stream-forked-from",
        "stream-fork-offset",
        "stream-fork-sub-offset",
        "producer-id",
        "producer-epoch",
        "producer-seq",
    ] {
        assert!(allowed.split(", ").any(|a| a == name), "{name}");
    }
    let methods = reply.header("access-control-allow-methods").unwrap();
    assert_eq!(methods, "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS");
    assert!(reply.header("access-control-max-age").is_some());
}

#[test]
fn every_response_header_of_the_protocol_is_exposed() {
    let server = Server::new();
    let reply = server.send(Request::get("nowhere"));
    let exposed = reply
        .header("access-control-expose-headers")
        .unwrap()
        .to_lowercase();
    for name in [
        "stream-next-offset",
        "stream-up-to-date",
        "stream-closed",
        "stream-cursor",
        "stream-ttl",
        "stream-expires-at",
        "stream-retention-bytes",
        "stream-retention-seconds",
        "stream-retention-events",
        "stream-sse-data-encoding",
        "producer-epoch",
        "producer-seq",
        "producer-expected-seq",
        "producer-received-seq",
        "etag",
        "location",
        "retry-after",
    ] {
        assert!(exposed.split(", ").any(|a| a == name), "{name}");
    }
}

#[test]
fn plain_options_says_what_is_allowed() {
    let server = Server::new();
    let reply = server.expect(204, Request::new("OPTIONS", "a"));
    assert_eq!(
        reply.header("allow"),
        Some("GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS")
    );
}

#[test]
fn only_listed_origins_are_granted_and_caches_are_told() {
    let server =
        Server::with(|_, config| config.cors_origins = vec!["https://a.example".to_owned()]);
    let from = |origin: &str| server.send(Request::get("nowhere").header("origin", origin));
    let listed = from("https://a.example");
    assert_eq!(
        listed.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    assert_eq!(listed.header("vary"), Some("Origin"));
    let other = from("https://evil.example");
    assert_eq!(other.header("access-control-allow-origin"), None);
    assert_eq!(other.header("vary"), Some("Origin"));
    assert_eq!(
        other.header("cross-origin-resource-policy"),
        Some("same-origin")
    );
}

#[test]
fn a_listeners_own_problem_looks_like_all_others() {
    let server = Server::new();
    let response = server
        .service
        .problem(503, "Too many connections", "1,024 are open, try again");
    assert_eq!(response.status, 503);
    let body: serde_json::Value = serde_json::from_slice(&response.body.concat()).unwrap();
    assert_eq!(body["title"], "Too many connections");
    assert_eq!(body["type"], "about:blank");
    let has = |name| response.headers.iter().any(|(n, _)| *n == name);
    assert!(has("access-control-allow-origin") && has("content-length"));
}

#[test]
fn the_service_knows_its_paths() {
    let engine = Engine::in_memory(Options::default()).unwrap();
    let mut config = Config::default();
    config.base_paths = vec!["/streams/".to_owned(), "/db".to_owned()];
    let service = Service::new(engine.clone(), config.clone()).unwrap();
    for (path, is_ours) in [
        ("/streams/a", true),
        ("/db/x/y", true),
        ("/db", true),
        ("/database", false),
        ("/health", false),
    ] {
        assert_eq!(service.routes(path.as_bytes()), is_ours, "{path}");
    }
    config.base_paths = vec!["no-slash".to_owned()];
    let error = Service::new(engine, config).err().unwrap();
    assert!(error.to_string().contains("must begin with a slash"));
}

#[test]
fn exchanges_and_services_may_cross_threads() {
    fn assert_send<T: Send>() {}
    fn assert_send_sync<T: Send + Sync>() {}
    assert_send::<Exchange>();
    assert_send_sync::<Service>();
}
