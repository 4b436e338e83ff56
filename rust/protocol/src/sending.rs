//! Pages from disk that are on their way to readers: memory that slow readers hold, bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use durastream_engine::Page;
use durastream_engine::storage::Chunk;

/// A page while there are too many bytes on their way (one append may be larger).
const SMALL_PAGE: usize = 64 << 10;

/// Counts what is on its way. What is hot is shared by all, and is in memory anyway.
#[derive(Debug)]
pub(crate) struct Sending {
    bytes: AtomicUsize,
    limit: usize,
}

impl Sending {
    /// With large pages while no more than `limit` bytes are on their way.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            limit,
        }
    }

    /// Has a page read for one who would take `most` bytes, and counts it until its last byte is let go. Readers take a
    /// page front to back.
    pub(crate) fn fetch<T: Chunk, E>(
        self: &Arc<Self>,
        most: usize,
        read: impl FnOnce(usize) -> Result<Page<T>, E>,
    ) -> Result<Page<T>, E> {
        // Counted before it is read, so that of many who read at once each sees the others.
        let before = self.bytes.fetch_add(most, Ordering::Relaxed);
        let mut share = Share {
            bytes: most,
            sending: Arc::clone(self),
        };
        let is_much = before.saturating_add(most) > self.limit;
        let mut page = read(if is_much { most.min(SMALL_PAGE) } else { most })?;
        // What is left in its file takes no memory.
        let held = page.chunks.iter_mut().filter_map(T::in_memory);
        share.resize(held.map(|bytes| bytes.len()).sum());
        if let Some(last) = page.chunks.iter_mut().rev().find_map(T::in_memory) {
            let bytes = std::mem::take(last);
            *last = Bytes::from_owner(Counted {
                last: bytes,
                _share: share,
            });
        }
        Ok(page)
    }
}

/// The last bytes of a page.
struct Counted {
    last: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.last
    }
}

/// What one page counts for.
struct Share {
    bytes: usize,
    sending: Arc<Sending>,
}

impl Share {
    fn resize(&mut self, bytes: usize) {
        self.sending.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.sending.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.resize(0);
    }
}
