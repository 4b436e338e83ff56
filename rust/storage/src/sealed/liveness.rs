//! Asking what is alive, a few hundred streams at once.

use crate::tenancy::{Live, Tenancy};

/// Streams that are asked for at once: the answer may take a lock that appends need.
const BATCH: usize = 256;

static ALL: Live = Live::ALL;

/// What is alive of some streams, as it was when it was asked for.
#[derive(Default)]
pub(crate) struct Lives {
    /// Sorted, each once.
    streams: Vec<u64>,
    live: Vec<Live>,
}

impl Lives {
    /// Asks about `streams`, in whatever order they come and however often, each once.
    pub(crate) fn ask(tenancy: &dyn Tenancy, streams: impl IntoIterator<Item = u64>) -> Self {
        let mut streams: Vec<u64> = streams.into_iter().collect();
        streams.sort_unstable();
        streams.dedup();
        let mut live = Vec::with_capacity(streams.len());
        for batch in streams.chunks(BATCH) {
            let end = live.len() + batch.len();
            tenancy.live(batch, &mut live);
            // An answer that is missing kills nothing.
            live.resize(end, Live::ALL);
        }
        Self { streams, live }
    }

    /// What is alive of a stream; of one that was not asked for everything.
    pub(crate) fn of(&self, stream: u64) -> &Live {
        let at = self.streams.binary_search(&stream);
        at.ok().and_then(|at| self.live.get(at)).unwrap_or(&ALL)
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::Lsn;
    use crate::tenancy::Held;

    /// Every third stream is gone, the others live from ten times their number on.
    #[derive(Default)]
    struct Thirds {
        asked: Mutex<Vec<usize>>,
    }

    fn third(stream: u64) -> Live {
        match stream % 3 {
            0 => Live::NOTHING,
            _ => Live::above(stream * 10),
        }
    }

    impl Tenancy for Thirds {
        fn live(&self, streams: &[u64], out: &mut Vec<Live>) {
            self.asked.lock().push(streams.len());
            out.extend(streams.iter().map(|stream| third(*stream)));
        }

        fn within(&self, _from: Lsn, _to: Lsn, _out: &mut Vec<Held>) {}
    }

    #[test]
    fn every_stream_is_asked_for_once_however_often_it_comes() {
        let streams = (0..1000).flat_map(|stream| vec![999 - stream; stream as usize % 4]);
        let tenancy = Thirds::default();
        let lives = Lives::ask(&tenancy, streams);
        for stream in 0..1000 {
            let asked = (999 - stream) % 4 > 0;
            let expected = if asked { third(stream) } else { Live::ALL };
            assert_eq!(lives.of(stream), &expected);
        }
        let asked = tenancy.asked.into_inner();
        assert_eq!(asked.iter().sum::<usize>(), 750);
        assert!(asked.iter().all(|count| *count <= BATCH));
    }

    /// Forgets to answer.
    struct Silent;

    impl Tenancy for Silent {
        fn live(&self, _: &[u64], _: &mut Vec<Live>) {}

        fn within(&self, _from: Lsn, _to: Lsn, _out: &mut Vec<Held>) {}
    }

    #[test]
    fn an_answer_that_is_missing_kills_nothing() {
        assert_eq!(Lives::ask(&Silent, [1, 2]).of(2), &Live::ALL);
    }
}
