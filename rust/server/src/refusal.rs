//! Answers of the listener's own, whatever the version of HTTP.

use std::time::Instant;

use bytes::Bytes;
use durastream_protocol::{Response, Service};

use crate::Limits;
use crate::limits::Pace;

/// The bodies being received are `total` bytes, and `most` are allowed.
pub(crate) fn too_many_uploads(service: &Service, total: usize, most: usize) -> Response {
    let detail = format!(
        "Request bodies of {total} bytes are being received at once and {most} are allowed; \
         try again later."
    );
    let mut response = service.problem(503, "Too many uploads", &detail);
    response
        .headers
        .push(("retry-after", Bytes::from_static(b"1")));
    response
}

/// A body comes too slowly.
pub(crate) fn too_slow(service: &Service, limits: &Limits, pace: Pace, now: Instant) -> Response {
    let detail = format!(
        "Of the request body {} bytes came in {} s; after {} s, at least {} bytes per second are needed, however \
         much came before. Nothing was written. Send it faster, or less at once.",
        pace.received,
        now.saturating_duration_since(pace.begun).as_secs(),
        limits.stall.as_secs_f64(),
        limits.min_body_rate,
    );
    service.problem(408, "Body too slow", &detail)
}

/// All connections are taken.
pub(crate) fn too_many_connections(service: &Service, open: usize, most: usize) -> Response {
    let detail = format!(
        "The server allows {most} connections at once and {open} are open; try again later."
    );
    service.problem(503, "Too many connections", &detail)
}

/// The listener behind this one does not answer.
pub(crate) fn bad_gateway(service: &Service) -> Response {
    let detail = "The listener that serves this path does not answer; streams are served.";
    service.problem(502, "Bad gateway", detail)
}
