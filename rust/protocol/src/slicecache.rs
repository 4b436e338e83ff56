//! Slices of long data events, made once for all subscribers that are at about the same place.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::framecache::Key;
use crate::frames::Carry;

/// A data event, and the number of one of its slices.
pub(crate) type Place = (Key, usize);

/// Bounded in bytes, first in first out.
#[derive(Debug)]
pub(crate) struct SliceCache {
    inner: Mutex<Inner>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Inner {
    slices: HashMap<Place, (Bytes, Carry)>,
    order: VecDeque<Place>,
    bytes: usize,
}

impl SliceCache {
    /// Keeps at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            inner: Mutex::default(),
            limit,
        }
    }

    /// A slice, and what it leaves to the next.
    pub(crate) fn get(&self, place: &Place) -> Option<(Bytes, Carry)> {
        self.inner.lock().slices.get(place).cloned()
    }

    /// Keeps one for others. What is behind the last slice differs from one subscriber to the other, so that is not kept.
    pub(crate) fn keep(&self, place: Place, slice: &Bytes, carry: Carry) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if inner.slices.insert(place, (slice.clone(), carry)).is_some() {
            return;
        }
        inner.order.push_back(place);
        inner.bytes += slice.len();
        while inner.bytes > self.limit
            && let Some(oldest) = inner.order.pop_front()
        {
            if let Some((slice, _)) = inner.slices.remove(&oldest) {
                inner.bytes -= slice.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use durastream_engine::{Offset, Page};

    use super::*;
    use crate::frames::{DataEvent, Encoding};

    const KEY: Key = Key {
        stream: 1,
        start: 0,
        end: 9,
    };

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let cache = SliceCache::new(100);
        let page = Page {
            chunks: vec![Bytes::from_static(b"x")],
            start: Offset::START,
            next: Offset::START,
            up_to_date: true,
            closed: false,
        };
        let carry = DataEvent::new(Encoding::Base64, &page).carry();
        for number in 0..50 {
            let slice = Bytes::from(vec![0; 20]);
            cache.keep((KEY, number), &slice, carry.clone());
            cache.keep((KEY, number), &slice, carry.clone());
            let (kept, _) = cache.get(&(KEY, number)).unwrap();
            assert_eq!(kept.as_ptr(), slice.as_ptr());
        }
        assert!(cache.get(&(KEY, 44)).is_none());
        assert!(cache.get(&(KEY, 45)).is_some());
        let inner = cache.inner.lock();
        assert_eq!(
            (inner.bytes, inner.order.len(), inner.slices.len()),
            (100, 5, 5)
        );
    }
}
