//! What the connections of a loop share during a turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use durastream_protocol::Service;
use tokio::sync::mpsc::UnboundedSender;

use super::blocking::{Job, Work};
use super::mailbox::Mailbox;
use crate::Limits;
use crate::asked::Sampler;
use crate::date::Clock;
use crate::h1::chunks::Framed;
use crate::routes::Routes;
use crate::side::Order;
use crate::tally::Tally;

/// Bytes read from a socket at once.
const SCRATCH_BYTES: usize = 64 << 10;

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
    pub(crate) tally: Arc<Tally>,
    pub(crate) sampler: Sampler,
    pub(crate) routes: Arc<Routes>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) blocking: Sender<Job>,
    pub(crate) side: UnboundedSender<Order>,
    /// Host and port of the listening socket, for clients that send no Host.
    pub(crate) local: String,
    /// When the turn began.
    pub(crate) now: Instant,
    pub(crate) clock: Clock,
    /// The connection whose turn it is, as its token.
    pub(crate) current: u64,
    pub(crate) stopping: bool,
    /// For reading.
    pub(crate) scratch: Box<[u8]>,
    /// For encoding a response.
    pub(crate) out: Vec<u8>,
    /// Chunks that several connections send.
    pub(crate) chunks: Framed,
    /// Connections whose exchange waits since this turn. They are registered at its end, so that
    /// what the turn appended is committed together.
    pub(crate) waiting: Vec<u32>,
}

impl Desk {
    #[expect(
        clippy::too_many_arguments,
        reason = "one for each thing that loops share"
    )]
    pub(crate) fn new(
        service: Service,
        limits: Arc<Limits>,
        counts: Arc<Counts>,
        tally: Arc<Tally>,
        routes: Arc<Routes>,
        mailbox: Arc<Mailbox>,
        blocking: Sender<Job>,
        side: UnboundedSender<Order>,
        local: String,
    ) -> Self {
        Self {
            sampler: Sampler::new(&limits),
            service,
            limits,
            counts,
            tally,
            routes,
            mailbox,
            blocking,
            side,
            local,
            now: Instant::now(),
            clock: Clock::default(),
            current: 0,
            stopping: false,
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            out: Vec::new(),
            chunks: Framed::default(),
            waiting: Vec::new(),
        }
    }

    /// Has a blocking thread do something for the connection whose turn it is; `false` if there is none any more.
    pub(crate) fn block(&self, work: Work) -> bool {
        let job = Job {
            work,
            token: self.current,
            mailbox: Arc::clone(&self.mailbox),
        };
        // Its threads end after the loops only.
        self.blocking.send(job).is_ok()
    }

    /// Looks at the clock; once a turn.
    pub(crate) fn tick(&mut self) {
        self.now = Instant::now();
        self.clock.tick();
    }
}
