//! `/health` and `/ready`.

use bytes::Bytes;
use durastream_protocol::{RequestHead, Response, Service};

/// The answer to a probe, if `head` asks for one.
pub(crate) fn answer(
    service: &Service,
    stopping: bool,
    head: &RequestHead<'_>,
) -> Option<Response> {
    if head.method == "OPTIONS" {
        return None;
    }
    let reason = match head.path {
        b"/health" => None,
        b"/ready" if stopping => Some("shutting down".to_owned()),
        b"/ready" => service.engine().poisoned().map(|cause| cause.to_string()),
        _ => return None,
    };
    if head.method != "GET" && head.method != "HEAD" {
        let detail = format!("A probe does not take {}; use GET or HEAD.", head.method);
        let mut response = service.problem(405, "Method not allowed", &detail);
        let allow = Bytes::from_static(b"GET, HEAD, OPTIONS");
        response.headers.push(("allow", allow));
        return Some(response);
    }
    let (status, told) = match reason {
        None => (200, serde_json::json!({"status": "ok"})),
        Some(reason) => (
            503,
            serde_json::json!({"status": "unavailable", "reason": reason}),
        ),
    };
    let body = Bytes::from(told.to_string());
    // With the CORS and security fields that every response has.
    let mut response = service.problem(status, "", "");
    for (name, value) in &mut response.headers {
        match *name {
            "content-type" => *value = Bytes::from_static(b"application/json"),
            "content-length" => *value = Bytes::from(body.len().to_string()),
            _ => {}
        }
    }
    response.body = vec![body];
    Some(response)
}
