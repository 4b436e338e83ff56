//! One loop: events in, turns of connections, one hand-over to the committer at the end.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use durastream_engine::CompletionSink;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::connection::{Connection, Fate};
use crate::desk::{Desk, Share};
use crate::mailbox::{Accepted, Letters, Mailbox};
use crate::slots::{Slots, slot_of};
use crate::timers::Timers;

/// Events taken at once.
const EVENTS: usize = 1024;
/// Connections accepted in one turn.
const ACCEPTS: usize = 64;
/// Pause after the system refused a connection for want of descriptors or memory.
const RETRY_ACCEPT: Duration = Duration::from_millis(100);
/// Connections over the limit that are told so at once; others are just closed.
const REFUSALS: usize = 64;
/// No token of a connection: generations have 31 bits.
const LISTENING: u64 = u64::MAX;
const LETTERS: u64 = u64::MAX - 1;

/// The socket that the first loop accepts from, for all loops in turn.
pub(crate) struct Acceptor {
    pub(crate) socket: TcpListener,
    pub(crate) loops: Vec<Arc<Mailbox>>,
    pub(crate) next: usize,
    /// Not looked at before then.
    pub(crate) paused: Option<Instant>,
}

/// One loop.
pub(crate) struct EventLoop {
    epoll: OwnedFd,
    sink: Arc<dyn CompletionSink>,
    acceptor: Option<Acceptor>,
    slots: Slots,
    timers: Timers,
    desk: Desk,
    /// Counts waits, to tell a late wake from the one waited for.
    waits: u32,
    /// Connections that have more to do, by token.
    again: Vec<u64>,
    spare: Letters,
    stop_at: Option<Instant>,
}

impl EventLoop {
    pub(crate) fn new(desk: Desk, acceptor: Option<Acceptor>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(LETTERS);
        epoll::add(&epoll, &desk.mailbox.event, data, epoll::EventFlags::IN)?;
        let sink: Arc<dyn CompletionSink> = Arc::clone(&desk.mailbox) as _;
        let this = Self {
            epoll,
            sink,
            acceptor,
            slots: Slots::default(),
            timers: Timers::default(),
            desk,
            waits: 0,
            again: Vec::new(),
            spare: Letters::default(),
            stop_at: None,
        };
        this.listen(true)?;
        Ok(this)
    }

    /// Serves until told to stop and done, or out of time.
    pub(crate) fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let timeout = self.timeout();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the listener's loop failed");
                    return;
                }
            }
            self.desk.tick();
            for event in events.drain(..) {
                match event.data.u64() {
                    LETTERS => self.letters(),
                    LISTENING => self.accept(),
                    name => self.event(name, event.flags),
                }
            }
            for name in std::mem::take(&mut self.again) {
                if self.slots.by_token(name).is_some() {
                    self.turn(slot_of(name));
                }
            }
            self.overdue();
            self.hand_over();
            if let Some(until) = self.stop_at
                && (self.slots.is_empty() || until <= self.desk.now)
            {
                return;
            }
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        if !self.again.is_empty() {
            return Some(Timespec::default());
        }
        let paused = self.acceptor.as_ref().and_then(|acceptor| acceptor.paused);
        let next = [self.timers.next(), self.stop_at, paused]
            .into_iter()
            .flatten()
            .min()?;
        let left = next.saturating_duration_since(Instant::now());
        Some(Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        })
    }

    fn listen(&self, on: bool) -> io::Result<()> {
        if let Some(acceptor) = &self.acceptor {
            if on {
                let data = epoll::EventData::new_u64(LISTENING);
                epoll::add(&self.epoll, &acceptor.socket, data, epoll::EventFlags::IN)?;
            } else {
                epoll::delete(&self.epoll, &acceptor.socket)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        let Some(acceptor) = &mut self.acceptor else {
            return;
        };
        let (mut mine, mut failed) = (Vec::new(), None);
        for _ in 0..ACCEPTS {
            match acceptor.socket.accept() {
                Ok((stream, _)) => {
                    let loops = acceptor.loops.len().max(1);
                    acceptor.next = (acceptor.next + 1) % loops;
                    match acceptor.loops.get(acceptor.next) {
                        Some(mailbox) if !Arc::ptr_eq(mailbox, &self.desk.mailbox) => {
                            mailbox.put(|letters| letters.accepted.push(Accepted { stream }));
                        }
                        _ => mine.push(Accepted { stream }),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    use rustix::io::Errno;
                    let scarce = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
                    if scarce.contains(&Errno::from_io_error(&error).unwrap_or(Errno::INTR)) {
                        failed = Some(error);
                        break;
                    }
                }
            }
        }
        if let Some(error) = failed {
            tracing::warn!(%error, "cannot accept a connection");
            acceptor.paused = Some(self.desk.now + RETRY_ACCEPT);
            self.switch(false);
        }
        for accepted in mine {
            self.insert(accepted);
        }
    }

    fn switch(&self, on: bool) {
        if let Err(error) = self.listen(on) {
            tracing::error!(%error, "the listening socket cannot be watched");
        }
    }

    fn insert(&mut self, Accepted { stream }: Accepted) {
        if self.desk.stopping {
            return;
        }
        let counts = &self.desk.counts;
        let mut counted = Share::new(counts, |counts| &counts.connections);
        let refused = counted.resize(1) > self.desk.limits.max_connections;
        if refused {
            counted = Share::new(counts, |counts| &counts.refusals);
            if counted.resize(1) > REFUSALS {
                return;
            }
        }
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        // Fails only for a connection that is gone already.
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(stream, refused, self.desk.now, counted);
        let (slot, name) = self.slots.insert(connection);
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let added = self.slots.get(slot).map(|connection| {
            let data = epoll::EventData::new_u64(name);
            epoll::add(&self.epoll, &connection.stream, data, flags)
        });
        match added {
            Some(Ok(())) => self.turn(slot),
            _ => drop(self.slots.remove(slot)),
        }
    }

    fn event(&mut self, name: u64, flags: epoll::EventFlags) {
        let Some(connection) = self.slots.by_token(name) else {
            return;
        };
        if flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
            self.remove(slot_of(name));
            return;
        }
        let readable = flags.contains(epoll::EventFlags::IN);
        let hung_up = flags.contains(epoll::EventFlags::RDHUP);
        connection.input.notice(readable, hung_up);
        if flags.contains(epoll::EventFlags::OUT) {
            connection.output.unblock();
        }
        if hung_up {
            connection.peer_is_done();
        }
        self.turn(slot_of(name));
    }

    fn letters(&mut self) {
        let spare = std::mem::take(&mut self.spare);
        let mut letters = self.desk.mailbox.take(spare);
        for (name, wake) in letters.wakes.drain(..) {
            if let Some(connection) = self.slots.get(slot_of(name))
                && connection.woken(name, &wake)
            {
                self.turn(slot_of(name));
            }
        }
        for (name, exchange) in letters.unblocked.drain(..) {
            if let Some(connection) = self.slots.by_token(name) {
                connection.unblocked(exchange);
                self.turn(slot_of(name));
            }
        }
        for accepted in letters.accepted.drain(..) {
            self.insert(accepted);
        }
        if let Some(until) = letters.stop.take() {
            self.stop(until);
        }
        self.spare = letters;
    }

    fn stop(&mut self, until: Instant) {
        self.stop_at = Some(self.stop_at.map_or(until, |known| known.min(until)));
        if self.desk.stopping {
            return;
        }
        self.desk.stopping = true;
        self.switch(false);
        self.acceptor = None;
        for slot in self.slots.all() {
            if let Some(connection) = self.slots.get(slot) {
                connection.wind_down();
                self.turn(slot);
            }
        }
    }

    fn turn(&mut self, slot: u32) {
        let name = self.slots.name(slot);
        let Some(connection) = self.slots.get(slot) else {
            return;
        };
        self.desk.current = name;
        let desk = &mut self.desk;
        // A fault in one connection ends that one only.
        let fate = catch_unwind(AssertUnwindSafe(|| connection.turn(desk)));
        match fate {
            Ok(Fate::Open) => {
                let deadline = connection.deadline(&self.desk.limits);
                self.timers.set(slot, &mut connection.timer, deadline);
            }
            Ok(Fate::Again) => self.again.push(name),
            Ok(Fate::Closed) => self.remove(slot),
            Err(_) => {
                tracing::error!("answering a request panicked");
                self.remove(slot);
            }
        }
    }

    fn remove(&mut self, slot: u32) {
        if let Some(mut connection) = self.slots.remove(slot) {
            self.timers.clear(slot, &mut connection.timer);
        }
    }

    fn overdue(&mut self) {
        if let Some(acceptor) = &mut self.acceptor
            && acceptor.paused.is_some_and(|until| until <= self.desk.now)
        {
            acceptor.paused = None;
            self.switch(true);
        }
        while let Some(slot) = self.timers.due(self.desk.now) {
            let Some(connection) = self.slots.get(slot) else {
                continue;
            };
            connection.timer = None;
            if connection.is_overdue(&self.desk) {
                tracing::debug!("a peer kept the listener waiting too long");
                self.remove(slot);
            } else {
                self.turn(slot);
            }
        }
    }

    /// Arranges the wakes of what waits since this turn. The first of them has the committer take
    /// everything that the turn appended.
    fn hand_over(&mut self) {
        let mut waiting = std::mem::take(&mut self.desk.waiting);
        for slot in waiting.drain(..) {
            self.waits = self.waits.wrapping_add(1);
            let name = crate::slots::token(slot, self.waits);
            if let Some(connection) = self.slots.get(slot) {
                connection.register(&self.sink, name);
            }
        }
        self.desk.waiting = waiting;
    }
}
