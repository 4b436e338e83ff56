//! SSE chunks, encoded once and shared by all subscribers of a stream.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use durastream_engine::Offset;
use durastream_engine::storage::Lsn;
use parking_lot::Mutex;

use crate::slicecache::SliceCache;

/// What a data event is made of: a range of one life of one stream never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Never-reused number of the stream.
    pub(crate) stream: u64,
    /// Position of the first byte.
    pub(crate) start: u64,
    /// Position behind the last byte.
    pub(crate) end: u64,
}

/// A data event and a control event in one piece.
#[derive(Debug, Clone)]
struct Frame {
    whole: Bytes,
    data_len: usize,
}

/// When an event was the last one of its stream: while nothing changes of this, it still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// What was durable in the log.
    pub(crate) durable: Lsn,
    /// The cursor that the event carries.
    pub(crate) cursor: u64,
}

/// Streams whose last event is remembered.
const LAST_EVENTS: usize = 256;
/// Larger events are not remembered.
const LAST_BYTES: usize = 64 << 10;

/// An event that reaches a stream's tail.
#[derive(Debug)]
struct Last {
    start: Offset,
    next: Offset,
    moment: Moment,
    chunk: Bytes,
}

/// Bounded in bytes, first in first out: live subscribers want what is newest.
#[derive(Debug)]
pub(crate) struct FrameCache {
    inner: Mutex<Inner>,
    last: Mutex<HashMap<u64, Last>>,
    limit: usize,
    slices: SliceCache,
}

#[derive(Debug, Default)]
struct Inner {
    frames: HashMap<Key, Frame>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl FrameCache {
    /// Keeps at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            inner: Mutex::default(),
            last: Mutex::default(),
            limit,
            slices: SliceCache::new(limit / 4),
        }
    }

    /// What is too large for a frame of its own.
    pub(crate) fn slices(&self) -> &SliceCache {
        &self.slices
    }

    /// Remembers the event from `start` to the tail `next` of a stream.
    pub(crate) fn keep_last(
        &self,
        stream: u64,
        start: Offset,
        next: Offset,
        moment: Moment,
        chunk: &Bytes,
    ) {
        if chunk.len() > LAST_BYTES {
            return;
        }
        let last = Last {
            start,
            next,
            moment,
            chunk: chunk.clone(),
        };
        let mut known = self.last.lock();
        if known.len() >= LAST_EVENTS && !known.contains_key(&stream) {
            known.clear();
        }
        known.insert(stream, last);
    }

    /// The event from `start` to the tail of a stream, and that tail, if it is as it was then.
    pub(crate) fn last(
        &self,
        stream: u64,
        start: Offset,
        moment: Moment,
    ) -> Option<(Bytes, Offset)> {
        let known = self.last.lock();
        let last = known.get(&stream)?;
        (last.start == start && last.moment == moment).then(|| (last.chunk.clone(), last.next))
    }

    /// The data event of `key` (made by `encode` unless known) with `control` behind it.
    ///
    /// `common`: `control` is what most subscribers get, so the whole piece is kept.
    pub(crate) fn chunk(
        &self,
        key: Key,
        control: &[u8],
        common: bool,
        encode: impl FnOnce() -> Vec<u8>,
    ) -> Bytes {
        let known = self.inner.lock().frames.get(&key).cloned();
        if let Some(frame) = &known
            && frame.whole[frame.data_len..] == *control
        {
            return frame.whole.clone();
        }
        // Encoding and copying happen outside of the lock.
        let is_new = known.is_none();
        let (mut whole, data_len) = match known {
            Some(frame) => {
                let mut copy = Vec::with_capacity(frame.data_len + control.len());
                copy.extend_from_slice(&frame.whole[..frame.data_len]);
                (copy, frame.data_len)
            }
            None => {
                let data = encode();
                let data_len = data.len();
                (data, data_len)
            }
        };
        whole.extend_from_slice(control);
        let whole = Bytes::from(whole);
        if is_new || common {
            self.keep(
                key,
                Frame {
                    whole: whole.clone(),
                    data_len,
                },
            );
        }
        whole
    }

    fn keep(&self, key: Key, frame: Frame) {
        // One huge append must not push everything else out.
        if frame.whole.len() > self.limit / 4 {
            return;
        }
        let mut inner = self.inner.lock();
        inner.bytes += frame.whole.len();
        match inner.frames.insert(key, frame) {
            Some(old) => inner.bytes -= old.whole.len(),
            None => inner.order.push_back(key),
        }
        while inner.bytes > self.limit {
            let Some(oldest) = inner.order.pop_front() else {
                break;
            };
            if let Some(old) = inner.frames.remove(&oldest) {
                inner.bytes -= old.whole.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(start: u64) -> Key {
        Key {
            stream: 1,
            start,
            end: start + 1,
        }
    }

    #[test]
    fn the_second_subscriber_shares_the_first_ones_bytes() {
        let cache = FrameCache::new(1000);
        let first = cache.chunk(key(0), b"control", true, || b"data".to_vec());
        let second = cache.chunk(key(0), b"control", true, || unreachable!());
        assert_eq!(first, "datacontrol");
        assert_eq!(first.as_ptr(), second.as_ptr());
    }

    #[test]
    fn another_control_event_reuses_the_data_and_leaves_the_common_piece() {
        let cache = FrameCache::new(1000);
        let own = cache.chunk(key(0), b"own", false, || b"data".to_vec());
        assert_eq!(own, "dataown");
        let common = cache.chunk(key(0), b"common", true, || unreachable!());
        assert_eq!(common, "datacommon");
        assert_eq!(
            cache.chunk(key(0), b"own2", false, || unreachable!()),
            "dataown2"
        );
        let again = cache.chunk(key(0), b"common", true, || unreachable!());
        assert_eq!(again.as_ptr(), common.as_ptr());
    }

    #[test]
    fn the_last_event_is_given_only_while_it_is_the_last_one() {
        let cache = FrameCache::new(1000);
        let at = |position| Offset {
            incarnation: 1,
            position,
        };
        let moment = |durable, cursor| Moment { durable, cursor };
        let chunk = Bytes::from_static(b"event");
        cache.keep_last(1, at(0), at(5), moment(80, 3), &chunk);
        let (shared, next) = cache.last(1, at(0), moment(80, 3)).unwrap();
        assert_eq!((shared.as_ptr(), next), (chunk.as_ptr(), at(5)));
        assert!(cache.last(1, at(0), moment(88, 3)).is_none());
        assert!(cache.last(1, at(0), moment(80, 4)).is_none());
        assert!(cache.last(1, at(1), moment(80, 3)).is_none());
        assert!(cache.last(2, at(0), moment(80, 3)).is_none());
    }

    #[test]
    fn the_last_events_of_many_streams_are_bounded() {
        let cache = FrameCache::new(1000);
        let (at, moment) = (
            Offset::START,
            Moment {
                durable: 1,
                cursor: 1,
            },
        );
        for stream in 0..10 * LAST_EVENTS as u64 {
            cache.keep_last(stream, at, at, moment, &Bytes::from_static(b"e"));
        }
        let large = Bytes::from(vec![0; LAST_BYTES + 1]);
        cache.keep_last(u64::MAX, at, at, moment, &large);
        assert!(cache.last.lock().len() <= LAST_EVENTS);
        assert!(cache.last(u64::MAX, at, moment).is_none());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let cache = FrameCache::new(100);
        for start in 0..50 {
            cache.chunk(key(start), b"c", true, || vec![b'x'; 19]);
        }
        let inner = cache.inner.lock();
        assert!(inner.bytes <= 100);
        assert_eq!(inner.frames.len(), 5);
        assert_eq!(inner.order.len(), 5);
        assert!(inner.frames.contains_key(&key(49)));
    }

    #[test]
    fn a_huge_frame_is_not_kept() {
        let cache = FrameCache::new(100);
        cache.chunk(key(0), b"c", true, || vec![b'x'; 26]);
        assert_eq!(cache.inner.lock().frames.len(), 0);
    }
}
