//! Asking what is alive, a few hundred streams at once.

use crate::tenancy::Tenancy;

/// Streams that are asked for at once: the answer may take a lock that appends need.
const BATCH: usize = 256;

/// For each of `streams`, which are sorted and may repeat, the position below which its payload is dead; `None` when
/// all of it is.
pub(crate) fn floors(
    tenancy: &dyn Tenancy,
    streams: impl IntoIterator<Item = u64>,
) -> Vec<Option<u64>> {
    let mut floors = Vec::new();
    // The streams of a batch, and how often each comes.
    let mut batch: Vec<u64> = Vec::with_capacity(BATCH);
    let mut counts: Vec<usize> = Vec::with_capacity(BATCH);
    let mut ask = |batch: &mut Vec<u64>, counts: &mut Vec<usize>| {
        let mut answers = Vec::with_capacity(batch.len());
        tenancy.live(batch, &mut answers);
        // An answer that is missing kills nothing.
        answers.resize(batch.len(), Some(0));
        for (floor, count) in answers.into_iter().zip(counts.drain(..)) {
            floors.resize(floors.len() + count, floor);
        }
        batch.clear();
    };
    for stream in streams {
        match counts.last_mut() {
            Some(count) if batch.last() == Some(&stream) => *count += 1,
            _ => {
                if batch.len() == BATCH {
                    ask(&mut batch, &mut counts);
                }
                batch.push(stream);
                counts.push(1);
            }
        }
    }
    ask(&mut batch, &mut counts);
    floors
}

/// How many of the bytes from `start` to `end` are alive.
pub(crate) fn alive(floor: Option<u64>, start: u64, end: u64) -> u64 {
    floor.map_or(0, |floor| end.saturating_sub(floor.max(start)))
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// Every third stream is gone, the others live from ten times their number on.
    #[derive(Default)]
    struct Thirds {
        asked: Mutex<Vec<usize>>,
    }

    impl Tenancy for Thirds {
        fn live(&self, streams: &[u64], out: &mut Vec<Option<u64>>) {
            self.asked.lock().push(streams.len());
            out.extend(
                streams
                    .iter()
                    .map(|stream| (stream % 3 != 0).then_some(stream * 10)),
            );
        }
    }

    #[test]
    fn every_stream_is_asked_for_once_and_answered_as_often_as_it_comes() {
        let streams: Vec<u64> = (0..1000)
            .flat_map(|stream| vec![stream; stream as usize % 4])
            .collect();
        let tenancy = Thirds::default();
        let expected: Vec<_> = streams
            .iter()
            .map(|stream| (stream % 3 != 0).then_some(stream * 10))
            .collect();
        assert_eq!(floors(&tenancy, streams), expected);
        let asked = tenancy.asked.into_inner();
        assert_eq!(asked.iter().sum::<usize>(), 750);
        assert!(asked.iter().all(|count| *count <= BATCH));
    }

    #[test]
    fn what_is_alive_is_what_lies_above_the_floor() {
        assert_eq!(alive(None, 10, 20), 0);
        assert_eq!(alive(Some(0), 10, 20), 10);
        assert_eq!(alive(Some(15), 10, 20), 5);
        assert_eq!(alive(Some(25), 10, 20), 0);
    }
}
