//! Live reads that wait at the same place of a stream: one watch for all of them, and one wake.
//!
//! Who leaves without having been woken is not taken out: names that nobody has any more are dropped when they
//! may be the larger half.

use std::collections::HashMap;
use std::sync::Arc;

use durastream_engine::CompletionSink;
use durastream_protocol::{Exchange, Spot, SpotWatch};

/// Names that are never looked through.
const FEW: usize = 256;

struct Crowd {
    number: u32,
    watch: SpotWatch,
    names: Vec<u64>,
}

/// The crowds of a loop.
#[derive(Default)]
pub(crate) struct Crowds {
    by_spot: HashMap<Spot, Crowd>,
    spots: HashMap<u32, Spot>,
    last: u32,
    /// Names in all crowds.
    names: usize,
    /// Look for those that are gone when there are so many.
    full: usize,
}

impl Crowds {
    pub(crate) fn len(&self) -> usize {
        self.by_spot.len()
    }

    /// Adds who waits under `name` to those at its spot; `false` when it waits at none. `token` makes the name of a
    /// crowd's wake of its number.
    pub(crate) fn join(
        &mut self,
        exchange: &Exchange,
        name: u64,
        sink: &Arc<dyn CompletionSink>,
        token: impl FnOnce(u32) -> u64,
    ) -> bool {
        let Some(spot) = exchange.spot() else {
            return false;
        };
        if let Some(crowd) = self.by_spot.get_mut(&spot) {
            crowd.names.push(name);
        } else {
            let number = self.fresh();
            let Some(watch) = exchange.watch_spot(sink, token(number)) else {
                return false;
            };
            let names = vec![name];
            self.by_spot.insert(
                spot,
                Crowd {
                    number,
                    watch,
                    names,
                },
            );
            self.spots.insert(number, spot);
        }
        self.names += 1;
        true
    }

    /// A number that no crowd has; the largest one is never given.
    fn fresh(&mut self) -> u32 {
        loop {
            self.last = (self.last + 1) % u32::MAX;
            if !self.spots.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    /// Takes the names out whose wake has come.
    pub(crate) fn woken(&mut self, number: u32) -> Vec<u64> {
        let spot = self.spots.remove(&number);
        let Some(crowd) = spot.and_then(|spot| self.by_spot.remove(&spot)) else {
            return Vec::new();
        };
        crowd.watch.fired();
        self.names -= crowd.names.len();
        crowd.names
    }

    /// Forgets names that do not wait any more, if there may be many.
    pub(crate) fn tidy(&mut self, mut waits: impl FnMut(u64) -> bool) {
        if self.names < self.full.max(FEW) {
            return;
        }
        self.by_spot.retain(|_, crowd| {
            crowd.names.retain(|name| waits(*name));
            let stays = !crowd.names.is_empty();
            if !stays {
                self.spots.remove(&crowd.number);
            }
            stays
        });
        self.names = self.by_spot.values().map(|crowd| crowd.names.len()).sum();
        self.full = self.names * 2;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use durastream_engine::{Engine, Options, Wake};
    use durastream_protocol::{Config, RequestHead, Service, Step};

    use super::*;

    struct Deaf;

    impl CompletionSink for Deaf {
        fn complete(&self, _: &mut Vec<(u64, Wake)>) {}
    }

    fn request<'a>(method: &'a str, path: &'a str, query: &'a str) -> RequestHead<'a> {
        RequestHead {
            method,
            path: path.as_bytes(),
            query: query.as_bytes(),
            headers: &[(b"content-type", b"text/plain")],
            scheme: "http",
            authority: "test",
            prefix: "",
        }
    }

    fn service() -> Service {
        let engine = Engine::in_memory(Options::default()).unwrap();
        let service = Service::new(engine, Config::default()).unwrap();
        for path in ["/v1/stream/a", "/v1/stream/b"] {
            let mut put = service.begin(&request("PUT", path, ""));
            put.body(bytes::Bytes::new());
            put.step(Instant::now());
        }
        service.engine().checkpoint().unwrap();
        service
    }

    fn poll(service: &Service, path: &str) -> Exchange {
        let mut poll = service.begin(&request("GET", path, "offset=-1&live=long-poll"));
        assert!(matches!(poll.step(Instant::now()), Step::Wait { .. }));
        poll
    }

    fn join(crowds: &mut Crowds, exchange: &Exchange, name: u64) {
        let sink: Arc<dyn CompletionSink> = Arc::new(Deaf);
        assert!(crowds.join(exchange, name, &sink, u64::from));
    }

    #[test]
    fn who_waits_at_one_place_shares_a_watch_and_is_woken_together() {
        let service = service();
        let mut crowds = Crowds::default();
        for name in 0..3 {
            join(&mut crowds, &poll(&service, "/v1/stream/a"), name);
        }
        join(&mut crowds, &poll(&service, "/v1/stream/b"), 3);
        assert_eq!((crowds.len(), service.engine().stats().watches), (2, 2));
        assert_eq!(crowds.woken(1), [0, 1, 2]);
        assert!(crowds.woken(1).is_empty());
        assert_eq!((crowds.len(), crowds.names), (1, 1));
    }

    #[test]
    fn who_waits_for_no_stream_joins_no_crowd() {
        let service = service();
        let put = service.begin(&request("PUT", "/v1/stream/c", ""));
        let sink: Arc<dyn CompletionSink> = Arc::new(Deaf);
        assert!(!Crowds::default().join(&put, 1, &sink, u64::from));
    }

    #[test]
    fn those_who_left_are_forgotten_with_their_watches() {
        let service = service();
        let mut crowds = Crowds::default();
        let (a, b) = (
            poll(&service, "/v1/stream/a"),
            poll(&service, "/v1/stream/b"),
        );
        for name in 0..10_000 {
            join(&mut crowds, if name % 2 == 0 { &a } else { &b }, name);
            crowds.tidy(|other| other == name && name % 2 == 0);
            assert!(crowds.names <= FEW);
        }
        crowds.full = 0;
        for name in 0..FEW as u64 {
            join(&mut crowds, &a, name);
        }
        crowds.tidy(|_| false);
        assert_eq!((crowds.len(), service.engine().stats().watches), (0, 0));
    }
}
