//! What the connections of a loop share during a turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use durastream_protocol::Service;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::Limits;
use crate::blocking::Job;
use crate::mailbox::Mailbox;

/// Bytes read from a socket at once.
const SCRATCH_BYTES: usize = 64 << 10;
const DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// Counts of the whole listener.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections open.
    pub(crate) connections: AtomicUsize,
    /// Connections over the limit that are being told so.
    pub(crate) refusals: AtomicUsize,
    /// Bytes of request bodies being received.
    pub(crate) uploads: AtomicUsize,
}

/// A share of one of the [`Counts`], given back when dropped.
pub(crate) struct Share {
    counts: Arc<Counts>,
    which: fn(&Counts) -> &AtomicUsize,
    size: usize,
}

impl Share {
    pub(crate) fn new(counts: &Arc<Counts>, which: fn(&Counts) -> &AtomicUsize) -> Self {
        Self {
            counts: Arc::clone(counts),
            which,
            size: 0,
        }
    }

    /// Makes the share `size`; gives the total.
    pub(crate) fn resize(&mut self, size: usize) -> usize {
        let total = (self.which)(&self.counts);
        let before = if size >= self.size {
            total.fetch_add(size - self.size, Ordering::Relaxed) + (size - self.size)
        } else {
            total.fetch_sub(self.size - size, Ordering::Relaxed) - (self.size - size)
        };
        self.size = size;
        before
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.resize(0);
    }
}

/// What the connections of a loop share during a turn.
pub(crate) struct Desk {
    pub(crate) service: Service,
    pub(crate) limits: Arc<Limits>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) blocking: Sender<Job>,
    /// Host and port of the listening socket, for clients that send no Host.
    pub(crate) local: String,
    /// When the turn began.
    pub(crate) now: Instant,
    /// The `date` header's value.
    pub(crate) date: String,
    second: u64,
    /// The connection whose turn it is, as its token.
    pub(crate) current: u64,
    pub(crate) stopping: bool,
    /// For reading.
    pub(crate) scratch: Box<[u8]>,
    /// For encoding a response.
    pub(crate) out: Vec<u8>,
    /// Connections whose exchange waits since this turn. They are registered at its end, so that
    /// what the turn appended is committed together.
    pub(crate) waiting: Vec<u32>,
}

impl Desk {
    pub(crate) fn new(
        service: Service,
        limits: Arc<Limits>,
        counts: Arc<Counts>,
        mailbox: Arc<Mailbox>,
        blocking: Sender<Job>,
        local: String,
    ) -> Self {
        Self {
            service,
            limits,
            counts,
            mailbox,
            blocking,
            local,
            now: Instant::now(),
            date: String::new(),
            second: 0,
            current: 0,
            stopping: false,
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            out: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Looks at the clock; once a turn.
    pub(crate) fn tick(&mut self) {
        self.now = Instant::now();
        let wall = SystemTime::now();
        let second = wall
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        if second != self.second {
            self.second = second;
            self.date = OffsetDateTime::from(wall).format(DATE).unwrap_or_default();
        }
    }
}
