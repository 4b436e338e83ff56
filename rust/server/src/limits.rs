//! Bounds and deadlines of the listener.

use std::time::{Duration, Instant};

/// Bounds and deadlines of the listener. Every one has a default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Loops, one thread each; default: one per core.
    pub loops: usize,
    /// Connections open at once; more are answered 503 and closed; default 10,000.
    pub max_connections: usize,
    /// Request line and header fields of one request, in bytes; default 64 KiB.
    pub max_header_bytes: usize,
    /// HTTP/2 requests in flight on one connection; default 100.
    pub max_streams_per_connection: usize,
    /// Request bodies being received at once, all together, in bytes; default 1 GiB.
    pub max_upload_bytes: usize,
    /// How long a connection may be idle, or take to send a request head; default 75 s.
    pub keep_alive: Duration,
    /// How long a peer may send nothing of a body, or take nothing of an answer; default 30 s.
    pub stall: Duration,
    /// Bytes per second in which a request body must come after a first time of `stall`, see `Pace`; default 500, 0: none.
    pub min_body_rate: u32,
    /// How long the unread rest of a request body is read and dropped after its answer; default 30 s.
    pub linger: Duration,
    /// How much of it is read and dropped, in bytes; default 1 GiB.
    pub linger_bytes: u64,
    /// Logs one in so many requests (per loop), as an event of target `durastream.access`; default 0: none.
    pub access_log: u32,
    /// Of the requests without a `traceparent`, how many become spans where somebody listens to them: 0 to 1; default 1.
    pub trace_ratio: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            loops: std::thread::available_parallelism().map_or(1, usize::from),
            max_connections: 10_000,
            max_header_bytes: 64 << 10,
            max_streams_per_connection: 100,
            max_upload_bytes: 1 << 30,
            keep_alive: Duration::from_secs(75),
            stall: Duration::from_secs(30),
            min_body_rate: 500,
            linger: Duration::from_secs(30),
            linger_bytes: 1 << 30,
            access_log: 0,
            trace_ratio: 1.0,
        }
    }
}

/// For so many times the patience with a silent body its neighbours on a connection may take the link.
const TURNS: u32 = 20;
/// What a body has to come with meanwhile is the least rate divided by this. It is a fair part of a link that this many
/// bodies fill at the least rate, and a hundred at 12.5 KB/s.
const PART: u32 = 4;

/// How a body has come so far, or all bodies of one connection, and until when more must.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) begun: Instant,
    pub(crate) received: u64,
    /// `None`: at any rate.
    pub(crate) until: Option<Instant>,
    /// When the last of it came.
    heard: Instant,
    /// No neighbour makes up for it any longer.
    sheltered: Instant,
}

/// When a body is given up if nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Its peer is silent by then.
    Silent(Instant),
    /// It is below the least rate by then.
    Slow(Instant),
}

impl Patience {
    pub(crate) fn until(self) -> Instant {
        let (Self::Silent(until) | Self::Slow(until)) = self;
        until
    }
}

impl Pace {
    pub(crate) fn begin(limits: &Limits, now: Instant) -> Self {
        Self {
            begun: now,
            received: 0,
            until: (limits.min_body_rate > 0).then(|| now + limits.stall),
            heard: now,
            sheltered: now + TURNS * limits.stall,
        }
    }

    /// More of it has come. What comes fast earns time, but not for ever: a body that comes at once but for its last
    /// bytes holds as much memory as a whole one.
    pub(crate) fn go_on(&mut self, limits: &Limits, now: Instant, bytes: usize) {
        self.received += bytes as u64;
        self.heard = now;
        let earned = Duration::from_secs(bytes as u64).checked_div(limits.min_body_rate);
        let sheltered = now + TURNS * limits.stall;
        self.sheltered = earned.map_or(sheltered, |earned| {
            sheltered.min(self.sheltered + PART * earned)
        });
        if let (Some(until), Some(earned)) = (self.until, earned) {
            self.until = Some((until + earned).min(now + 2 * limits.stall));
        }
    }

    /// How long a body is waited for that shares its link with others, `all` of them together. As long as these come fast
    /// enough as a whole, it is not late: it may be theirs that fill the link. But it has to have some part of it: who
    /// keeps a connection busy, or has one that is never silent, such as a proxy, does not hold others on it by a byte
    /// now and then.
    pub(crate) fn among(&self, all: &Self, limits: &Limits) -> Patience {
        let silent = self.heard.max(all.heard) + limits.stall;
        let Some(until) = self.until else {
            return Patience::Silent(silent.min(self.sheltered));
        };
        let slow = until.max(all.until.unwrap_or(until)).min(self.sheltered);
        if slow <= silent {
            Patience::Slow(slow)
        } else {
            Patience::Silent(silent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_earns_a_body_no_more_than_twice_the_patience() {
        let limits = Limits {
            stall: Duration::from_secs(10),
            min_body_rate: 100,
            ..Limits::default()
        };
        let begun = Instant::now();
        let after = |seconds| Some(begun + Duration::from_secs(seconds));
        let mut pace = Pace::begin(&limits, begun);
        assert_eq!(pace.until, after(10));
        pace.go_on(&limits, begun, 500);
        assert_eq!(pace.until, after(15));
        pace.go_on(&limits, begun, 1 << 30);
        assert_eq!(pace.until, after(20));
        pace.go_on(&limits, begun + Duration::from_secs(19), 100);
        assert_eq!(pace.until, after(21));
        assert_eq!(pace.received, 500 + (1 << 30) + 100);
    }

    #[test]
    fn neighbours_keep_a_body_alive_while_it_has_a_part_of_the_link() {
        let limits = Limits {
            stall: Duration::from_secs(10),
            min_body_rate: 100,
            ..Limits::default()
        };
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let own = Pace::begin(&limits, begun);
        let (mut fair, mut trickling) = (own, own);
        let mut all = own;
        assert_eq!(own.among(&all, &limits), Patience::Slow(at(10)));
        for second in 1..=1000 {
            all.go_on(&limits, at(second), 200);
            fair.go_on(&limits, at(second), 25);
            trickling.go_on(&limits, at(second), 5);
            let kept = Patience::Silent(at(second + 10));
            assert_eq!(fair.among(&all, &limits), kept);
            if second < 190 {
                assert_eq!(own.among(&all, &limits), kept);
                assert_eq!(trickling.among(&all, &limits), kept);
            }
        }
        assert_eq!(own.among(&all, &limits), Patience::Slow(at(200)));
        assert_eq!(trickling.among(&all, &limits), Patience::Slow(at(400)));
        // All together below the rate, none is kept any longer, silent or not.
        all.go_on(&limits, at(1019), 0);
        assert_eq!(fair.among(&all, &limits), Patience::Slow(at(1020)));
    }

    #[test]
    fn without_a_least_rate_a_body_has_to_move() {
        let limits = Limits {
            stall: Duration::from_secs(10),
            min_body_rate: 0,
            ..Limits::default()
        };
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut own = Pace::begin(&limits, begun);
        own.go_on(&limits, at(50), 1);
        let mut all = own;
        all.go_on(&limits, at(100), 200);
        assert_eq!(own.among(&all, &limits), Patience::Silent(at(110)));
        all.go_on(&limits, at(245), 200);
        assert_eq!(own.among(&all, &limits), Patience::Silent(at(250)));
    }
}
