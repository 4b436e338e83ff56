//! One request as it is counted, logged and traced.

use std::cell::Cell;
use std::time::Instant;

use tracing::Span;

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
    peer: String,
    method: String,
    target: String,
    version: &'static str,
    status: u16,
    received: u64,
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

    /// A request; `peer` is asked for only if it is to be told.
    pub(crate) fn new(
        operation: Operation,
        now: Instant,
        logged: bool,
        (method, target, version): (&str, &str, &'static str),
        peer: impl FnOnce() -> String,
    ) -> Self {
        // Without a subscriber that wants it, this is one comparison.
        let span = tracing::debug_span!(
            "request",
            method,
            target,
            status = tracing::field::Empty,
            sent = tracing::field::Empty
        );
        let told = (logged || !span.is_disabled()).then(|| {
            Box::new(Told {
                logged,
                span,
                peer: peer(),
                method: method.to_owned(),
                target: target.to_owned(),
                version,
                status: 0,
                received: 0,
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
        }
    }

    /// Bytes of its body arrived.
    pub(crate) fn received(&mut self, tally: &Tally, bytes: usize) {
        tally.received(bytes);
        if let Some(told) = &mut self.told {
            told.received += bytes as u64;
        }
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
        self.span.record("status", self.status);
        self.span.record("sent", self.sent);
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
            received = self.received,
            sent = self.sent,
            milliseconds = (took.as_secs_f64() * 1e6).round() / 1e3,
            whole = self.whole,
            "request"
        );
    }
}

/// Chooses the requests that are logged.
#[derive(Debug)]
pub(crate) struct Sampler {
    every: u32,
    passed: Cell<u32>,
}

impl Sampler {
    /// One in `every`; 0: none.
    pub(crate) fn new(every: u32) -> Self {
        Self {
            every,
            passed: Cell::new(0),
        }
    }

    /// Whether the next request is one.
    pub(crate) fn takes(&self) -> bool {
        if self.every == 0 {
            return false;
        }
        let passed = (self.passed.get() + 1) % self.every;
        self.passed.set(passed);
        passed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_requests_is_logged() {
        let logged = |every| {
            let sampler = Sampler::new(every);
            (0..300).filter(|_| sampler.takes()).count()
        };
        assert_eq!([0, 1, 100].map(logged), [0, 300, 3]);
    }
}
