//! One page at a time of one stream: hot ones at once, cold ones where blocking is allowed, and a
//! watch for what comes next.

use std::sync::Arc;

use bytes::Bytes;
use durastream_engine::storage::{Chunk, Lsn};
use durastream_engine::wire::Format;
use durastream_engine::{
    CompletionSink, Expiry, From as Start, LookupError, Offset, Page, PageError, Reader, WatchFor,
    WatchId,
};

use crate::sending::Sending;

/// What does not change while a stream is read.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// Never-reused number of the stream.
    pub(crate) id: u64,
    /// Content type, verbatim.
    pub(crate) content_type: Arc<str>,
    /// How its wire bytes are framed.
    pub(crate) format: Format,
    /// When it ends by itself.
    pub(crate) expiry: Option<Expiry>,
}

impl Subject {
    /// Describes the stream.
    pub(crate) fn of(reader: &Reader) -> Result<Self, LookupError> {
        let info = reader.info()?;
        Ok(Self {
            id: info.id,
            format: Format::of(&info.content_type),
            content_type: info.content_type,
            expiry: info.expiry,
        })
    }
}

/// A place in a stream where live reads wait for news. What wakes one that waits there wakes all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spot {
    /// Never-reused number of the stream.
    stream: u64,
    place: Offset,
}

/// One watch for everybody who waits at a [`Spot`]. Dropping it withdraws it.
pub struct SpotWatch {
    reader: Reader,
    id: Option<WatchId>,
}

impl SpotWatch {
    /// Its wake has come: a watch fires once, so there is nothing left to withdraw.
    pub fn fired(mut self) {
        self.id = None;
    }
}

impl Drop for SpotWatch {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.reader.unwatch(id);
        }
    }
}

/// A reader with a position, which takes pages in memory or with parts of files.
pub(crate) struct Paging<T: Chunk = Bytes> {
    reader: Reader,
    from: Start,
    max_bytes: usize,
    sending: Arc<Sending>,
    fetched: Option<Result<Page<T>, PageError>>,
    watch: Option<WatchId>,
    /// The log failed: what is stored can be read, but no wake will come.
    deaf: bool,
}

impl<T: Chunk> Paging<T> {
    /// Begins at `from`, with pages of `max_bytes`.
    pub(crate) fn new(
        reader: Reader,
        from: Start,
        max_bytes: usize,
        sending: &Arc<Sending>,
    ) -> Self {
        Self {
            reader,
            from,
            max_bytes,
            sending: Arc::clone(sending),
            fetched: None,
            watch: None,
            deaf: false,
        }
    }

    /// The page at the position; `None`: call [`Self::block`] first, it is not in memory.
    pub(crate) fn poll(&mut self) -> Option<Result<Page<T>, PageError>> {
        self.unwatch();
        if let Some(fetched) = self.fetched.take() {
            return Some(fetched);
        }
        self.reader.hot_page_of(self.from, self.max_bytes)
    }

    /// Reads the page from disk, for the next [`Self::poll`].
    pub(crate) fn block(&mut self) {
        let page = |max_bytes| self.reader.page_of(self.from, max_bytes);
        self.fetched = Some(self.sending.fetch(self.max_bytes, page));
    }

    /// Goes on behind `page`. After an empty page that is the true tail, also for a position one
    /// beyond it: the next append is then given whole, however short.
    pub(crate) fn advance(&mut self, page: &Page<T>) {
        self.from = Start::At(page.next);
    }

    /// Asks for a wake at data beyond the position, closure or deletion.
    pub(crate) fn watch(&mut self, sink: &Arc<dyn CompletionSink>, token: u64) {
        self.unwatch();
        if !self.deaf
            && let Start::At(position) = self.from
        {
            self.watch = Some(self.reader.watch(WatchFor::Readable(position), sink, token));
        }
    }

    /// Where [`Self::watch`] would wait.
    pub(crate) fn spot(&self, stream: u64) -> Option<Spot> {
        match self.from {
            Start::At(place) if !self.deaf => Some(Spot { stream, place }),
            _ => None,
        }
    }

    /// Asks for the wake of all who wait at this spot.
    pub(crate) fn watch_spot(
        &self,
        spot: Spot,
        sink: &Arc<dyn CompletionSink>,
        token: u64,
    ) -> SpotWatch {
        let id = self
            .reader
            .watch(WatchFor::Readable(spot.place), sink, token);
        SpotWatch {
            reader: self.reader.clone(),
            id: Some(id),
        }
    }

    /// The wake has come: a watch fires once, so there is nothing left to withdraw.
    pub(crate) fn woken(&mut self) {
        self.watch = None;
    }

    /// Where the next page begins, when that is a place and nothing was fetched for it.
    pub(crate) fn place(&self) -> Option<Offset> {
        match self.from {
            Start::At(place) if self.fetched.is_none() => Some(place),
            _ => None,
        }
    }

    /// Goes on at `next`: what lies before it was got elsewhere.
    pub(crate) fn skip(&mut self, next: Offset) {
        self.unwatch();
        self.from = Start::At(next);
    }

    /// What is durable in the log. While it stays the same, so does every page.
    pub(crate) fn durable(&self) -> Lsn {
        self.reader.durable()
    }

    /// Asks for no more wakes.
    pub(crate) fn deafen(&mut self) {
        self.deaf = true;
    }

    fn unwatch(&mut self) {
        if let Some(id) = self.watch.take() {
            self.reader.unwatch(id);
        }
    }
}

impl<T: Chunk> Drop for Paging<T> {
    fn drop(&mut self) {
        self.unwatch();
    }
}

/// Whether a page carries data.
pub(crate) fn has_data(page: &Page) -> bool {
    page.chunks.iter().any(|chunk| !chunk.is_empty())
}
