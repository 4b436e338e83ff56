//! One request as it is counted, logged and traced.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tracing::{Level, Span};

use crate::Limits;
use crate::sampling::{TraceParent, TraceSampler};
use crate::tally::{Operation, Tally};

/// Target of the events of the access log.
const ACCESS: &str = "durastream.access";

/// One request, from its head on.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) operation: Operation,
    begun: Instant,
    told: Option<Box<Told>>,
}

/// What is told of a request that is logged or traced, once it is over.
#[derive(Debug)]
struct Told {
    logged: bool,
    span: Span,
    operation: Operation,
    peer: String,
    method: String,
    target: String,
    version: &'static str,
    status: u16,
    received: Arc<AtomicU64>,
    sent: u64,
    whole: bool,
    begun: Instant,
}

impl Asked {
    /// Nothing, or nobody knows what.
    pub(crate) fn nothing(now: Instant) -> Self {
        Self {
            operation: Operation::Other,
            begun: now,
            told: None,
        }
    }

    /// A request; `whence` is asked for only if it is to be told: its peer, and the base path of its stream.
    pub(crate) fn new<'a>(
        operation: Operation,
        now: Instant,
        chosen: Chosen<'_>,
        (method, target, version): (&str, &str, &'static str),
        whence: impl FnOnce() -> (String, Option<&'a str>),
    ) -> Self {
        let told = (chosen.logged || chosen.parent.is_some()).then(|| {
            let (peer, base) = whence();
            let span = match chosen.parent {
                None => Span::none(),
                Some(parent) => span(&peer, method, target, version, base, parent),
            };
            Box::new(Told {
                logged: chosen.logged,
                span,
                operation,
                peer,
                method: method.to_owned(),
                target: target.to_owned(),
                version,
                status: 0,
                received: Arc::default(),
                sent: 0,
                whole: false,
                begun: now,
            })
        });
        Self {
            operation,
            begun: now,
            told,
        }
    }

    /// The head of its answer was made.
    pub(crate) fn answered(&mut self, tally: &Tally, status: u16, now: Instant) {
        let took = now.saturating_duration_since(self.begun);
        tally.answered(self.operation, status, took);
        if let Some(told) = &mut self.told {
            told.status = status;
            told.operation = self.operation;
        }
    }

    /// Bytes of its body arrived.
    pub(crate) fn received(&mut self, tally: &Tally, bytes: usize) {
        tally.received(bytes);
        if let Some(told) = &self.told {
            told.received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Where whoever reads its body beside the answer notes how much came, if that is told.
    pub(crate) fn counter(&self) -> Option<Arc<AtomicU64>> {
        self.told.as_ref().map(|told| Arc::clone(&told.received))
    }

    /// Bytes of its answer's body are on their way.
    pub(crate) fn sent(&mut self, tally: &Tally, bytes: usize) {
        tally.sent(bytes);
        if let Some(told) = &mut self.told {
            told.sent += bytes as u64;
        }
    }

    /// All of its answer is on its way. Dropped before that, it is told as cut short.
    pub(crate) fn finished(&mut self) {
        if let Some(mut told) = self.told.take() {
            told.whole = true;
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.span.record("operation", self.operation.name());
        self.span.record("status", self.status);
        self.span
            .record("received", self.received.load(Ordering::Relaxed));
        self.span.record("sent", self.sent);
        self.span.record("whole", self.whole);
        if !self.logged {
            return;
        }
        let took = self.begun.elapsed();
        tracing::info!(
            target: ACCESS,
            peer = self.peer,
            method = self.method,
            target = self.target,
            version = self.version,
            status = self.status,
            received = self.received.load(Ordering::Relaxed),
            sent = self.sent,
            milliseconds = (took.as_secs_f64() * 1e6).round() / 1e3,
            whole = self.whole,
            "request"
        );
    }
}

/// As long as a request and its answer; `parent` is its `traceparent`, or empty.
fn span(
    peer: &str,
    method: &str,
    target: &str,
    version: &str,
    base: Option<&str>,
    parent: &str,
) -> Span {
    use tracing::field::Empty;
    tracing::debug_span!(
        "request",
        peer,
        method,
        target,
        version,
        base,
        traceparent = parent,
        operation = Empty,
        status = Empty,
        received = Empty,
        sent = Empty,
        whole = Empty
    )
}

/// What is told of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen<'a> {
    logged: bool,
    /// It is traced, under this `traceparent`, or as the first of a trace if that is empty.
    parent: Option<&'a str>,
}

/// Chooses the requests that are logged, and those that are traced.
#[derive(Debug)]
pub(crate) struct Sampler {
    every: u32,
    passed: Cell<u32>,
    traces: TraceSampler,
}

impl Sampler {
    /// As the limits say.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            every: limits.access_log,
            passed: Cell::new(0),
            traces: TraceSampler::new(limits.trace_ratio),
        }
    }

    /// What is to be told of the next request; its `traceparent` is asked for only if somebody listens to spans.
    pub(crate) fn choose<'a>(&self, traceparent: impl FnOnce() -> Option<&'a [u8]>) -> Chosen<'a> {
        Chosen {
            logged: self.logs(),
            // Without a subscriber that wants them, this is one comparison.
            parent: if tracing::span_enabled!(Level::DEBUG) {
                self.traces(traceparent())
            } else {
                None
            },
        }
    }

    fn logs(&self) -> bool {
        if self.every == 0 {
            return false;
        }
        let passed = (self.passed.get() + 1) % self.every;
        self.passed.set(passed);
        passed == 0
    }

    fn traces<'a>(&self, traceparent: Option<&'a [u8]>) -> Option<&'a str> {
        let text = traceparent.and_then(|value| std::str::from_utf8(value).ok());
        let parent = text.and_then(TraceParent::parse);
        let text = parent.and(text).unwrap_or_default();
        self.traces.takes(parent).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(access_log: u32, trace_ratio: f64) -> Sampler {
        Sampler::new(&Limits {
            access_log,
            trace_ratio,
            ..Limits::default()
        })
    }

    #[test]
    fn one_in_so_many_requests_is_logged() {
        let logged = |every| {
            let sampler = sampler(every, 0.0);
            (0..300).filter(|_| sampler.logs()).count()
        };
        assert_eq!([0, 1, 100].map(logged), [0, 300, 3]);
    }

    #[test]
    fn a_span_is_under_the_parent_that_was_sent() {
        let id = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-";
        let (taken, left) = (format!("{id}01"), format!("{id}00"));
        let (none, all) = (sampler(0, 0.0), sampler(0, 1.0));
        assert_eq!(none.traces(Some(taken.as_bytes())), Some(&*taken));
        assert_eq!(all.traces(Some(left.as_bytes())), None);
        assert_eq!(all.traces(Some(b"nonsense")), Some(""));
    }
}
