//! One loop: events in, turns of connections, one hand-over to the committer at the end.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use durastream_engine::{CompletionSink, Wake};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::acceptor::Acceptor;
use super::acks::Acks;
use super::crowds::Crowds;
use super::desk::{Desk, Share};
use super::mailbox::{Accepted, Letters};
use super::slots::{self, LOG, Slots, crowd_of, slot_of};
use super::timers::Timers;
use crate::h1::connection::{Connection, Fate};
use crate::side::Order;
use crate::socket::Socket;

/// Events taken at once.
const EVENTS: usize = 1024;
/// Connections over the limit that are told so at once; others are just closed.
const REFUSALS: usize = 64;
/// A loop with so few connections commits itself: with more of them, working on while the committer syncs gains more than
/// a change of threads costs, and a disk that stalls would stop them all.
const FEW: usize = 2;
/// How long a group may have taken of late for that.
const QUICK: Duration = Duration::from_micros(500);
/// No token of a connection: generations have 31 bits.
const LETTERS: u64 = u64::MAX;
/// Members of a crowd that have their turn before the loop looks for other events.
const ROUSED: usize = 256;

/// One loop.
pub(crate) struct EventLoop {
    epoll: OwnedFd,
    sink: Arc<dyn CompletionSink>,
    acceptor: Option<Acceptor>,
    slots: Slots,
    timers: Timers,
    desk: Desk,
    acks: Acks,
    crowds: Crowds,
    /// Members of crowds whose wake has come and who had no turn since.
    roused: VecDeque<(Wake, std::vec::IntoIter<u64>)>,
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
            acks: Acks::default(),
            crowds: Crowds::default(),
            roused: VecDeque::new(),
            waits: 0,
            again: Vec::new(),
            spare: Letters::default(),
            stop_at: None,
        };
        if let Some(acceptor) = &this.acceptor {
            acceptor.watch(&this.epoll, true)?;
        }
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
                    name if Acceptor::is_named(name) => self.accept(name),
                    name => self.event(name, event.flags),
                }
            }
            for name in std::mem::take(&mut self.again) {
                if let Some(connection) = self.slots.by_token(name) {
                    connection.again = false;
                    self.turn(slot_of(name));
                }
            }
            self.rouse();
            self.overdue();
            self.settle();
            self.commit();
            self.desk.chunks.forget();
            if let Some(until) = self.stop_at
                && (self.slots.is_empty() || until <= self.desk.now)
            {
                return;
            }
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        if !self.again.is_empty() || !self.roused.is_empty() {
            return Some(Timespec::default());
        }
        let paused = self.acceptor.as_ref().and_then(Acceptor::paused);
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

    fn accept(&mut self, name: u64) {
        let Some(acceptor) = &mut self.acceptor else {
            return;
        };
        let kept = acceptor.accept(name, &self.desk.mailbox, self.desk.now);
        if acceptor.paused().is_some() {
            self.watch_sockets(false);
        }
        for accepted in kept {
            self.insert(accepted);
        }
    }

    fn watch_sockets(&self, on: bool) {
        if let Some(acceptor) = &self.acceptor
            && let Err(error) = acceptor.watch(&self.epoll, on)
        {
            tracing::error!(%error, "the listening sockets cannot be watched");
        }
    }

    fn insert(&mut self, accepted: Accepted) {
        if self.desk.stopping {
            return;
        }
        let counts = &self.desk.counts;
        let (counted, refused) = match accepted.counted {
            Some(counted) => (counted, false),
            None => {
                self.desk.tally.accepted();
                let mut counted = Share::new(counts, |counts| &counts.connections);
                let refused = counted.resize(1) > self.desk.limits.max_connections;
                if refused {
                    self.desk.tally.refused();
                    counted = Share::new(counts, |counts| &counts.refusals);
                    // Who begins with a handshake cannot be told.
                    if counted.resize(1) > REFUSALS || accepted.tls {
                        return;
                    }
                }
                if accepted.socket.plain().prepare().is_err() {
                    return;
                }
                (counted, refused)
            }
        };
        if accepted.tls {
            if let Socket::Plain(plain) = accepted.socket {
                self.hand_aside(Order::Handshake(plain, counted));
            }
            return;
        }
        let connection = Connection::new(accepted.socket, refused, self.desk.now, counted);
        let (slot, name) = self.slots.insert(connection);
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let added = self.slots.get(slot).map(|connection| {
            let data = epoll::EventData::new_u64(name);
            epoll::add(&self.epoll, &connection.socket, data, flags)
        });
        match added {
            Some(Ok(())) => self.turn(slot),
            _ => drop(self.slots.remove(slot)),
        }
    }

    fn hand_aside(&self, order: Order) {
        if self.desk.side.send(order).is_err() {
            tracing::error!("the side thread has ended");
        }
    }

    /// Leaves a connection to the side thread.
    fn leave(&mut self, slot: u32) {
        let Some(mut connection) = self.slots.remove(slot) else {
            return;
        };
        self.timers.clear(slot, &mut connection.timer);
        if let Err(error) = epoll::delete(&self.epoll, &connection.socket) {
            tracing::error!(%error, "a connection cannot be handed over");
            return;
        }
        let read = connection.take_input();
        if let Some((plain, counted)) = connection.into_plain() {
            self.hand_aside(Order::Http2(plain, read, counted));
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
            connection.peer_is_done(self.desk.now);
        }
        self.turn(slot_of(name));
    }

    fn letters(&mut self) {
        let spare = std::mem::take(&mut self.spare);
        let mut letters = self.desk.mailbox.take(spare);
        for (name, wake) in letters.wakes.drain(..) {
            if name == LOG {
                self.settle();
                if let Wake::Failed(_) = wake {
                    while let Some(name) = self.acks.any() {
                        self.wake(name, &wake);
                    }
                }
            } else if let Some(number) = crowd_of(name) {
                let names = self.crowds.woken(number);
                self.roused.push_back((wake, names.into_iter()));
            } else {
                self.wake(name, &wake);
            }
        }
        for (name, done) in letters.unblocked.drain(..) {
            if let Some(connection) = self.slots.by_token(name) {
                connection.unblocked(done, self.desk.now);
                self.turn(slot_of(name));
            }
        }
        for (name, event) in letters.relayed.drain(..) {
            if let Some(connection) = self.slots.by_token(name) {
                connection.relayed(event, self.desk.now);
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

    /// Steps those whose LSN is durable.
    fn settle(&mut self) {
        while let Some(name) = {
            let engine = self.desk.service.engine();
            self.acks.due(|lsn| engine.is_durable(lsn))
        } {
            self.wake(name, &Wake::Ready);
        }
    }

    /// Steps some of those whose crowd was woken: a large one leaves time to the other connections.
    fn rouse(&mut self) {
        for _ in 0..ROUSED {
            let Some((wake, names)) = self.roused.front_mut() else {
                return;
            };
            match names.next() {
                Some(name) => {
                    let wake = wake.clone();
                    self.wake(name, &wake);
                }
                None => {
                    self.roused.pop_front();
                }
            }
        }
    }

    fn wake(&mut self, name: u64, wake: &Wake) {
        if let Some(connection) = self.slots.get(slot_of(name))
            && connection.woken(name, wake)
        {
            self.turn(slot_of(name));
        }
    }

    fn stop(&mut self, until: Instant) {
        self.stop_at = Some(self.stop_at.map_or(until, |known| known.min(until)));
        if self.desk.stopping {
            return;
        }
        self.desk.stopping = true;
        // Closed, they are watched no more.
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
            Ok(Fate::Again) => {
                if !std::mem::replace(&mut connection.again, true) {
                    self.again.push(name);
                }
            }
            Ok(Fate::Closed) => self.remove(slot),
            Ok(Fate::Http2) => self.leave(slot),
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
            && acceptor.resume(self.desk.now)
        {
            self.watch_sockets(true);
        }
        while let Some(slot) = self.timers.due(self.desk.now) {
            let Some(connection) = self.slots.get(slot) else {
                continue;
            };
            connection.timer = None;
            match connection.deadline(&self.desk.limits) {
                None => {}
                // It has moved since: nobody has a turn before its time.
                Some(later) if later > self.desk.now => {
                    let timer = &mut connection.timer;
                    self.timers.set(slot, timer, Some(later));
                }
                Some(_) if connection.is_overdue(&self.desk) => {
                    tracing::debug!("a peer kept the listener waiting too long");
                    self.remove(slot);
                }
                Some(_) => self.turn(slot),
            }
        }
    }

    /// Sees to it that what the turn appended becomes durable, by the committer or here.
    fn commit(&mut self) {
        self.arrange();
        let engine = self.desk.service.engine();
        if self.slots.len() <= FEW && self.acks.is_waiting() && engine.commit_if_quick(QUICK) {
            self.settle();
            self.arrange();
        }
        let engine = self.desk.service.engine();
        if let Some(lsn) = self.acks.ask(|lsn| engine.is_durable(lsn)) {
            engine.notify(lsn, &self.sink, LOG);
        }
    }

    /// Arranges the wakes of what waits since this turn.
    fn arrange(&mut self) {
        let mut waiting = std::mem::take(&mut self.desk.waiting);
        for slot in waiting.drain(..) {
            self.waits = self.waits.wrapping_add(1);
            let name = slots::token(slot, self.waits);
            if let Some(connection) = self.slots.get(slot)
                && let Some(lsn) =
                    connection.register(&self.sink, name, &mut self.crowds, &self.desk.tally)
            {
                self.acks.add(lsn, name);
            }
        }
        self.desk.waiting = waiting;
        let slots = &mut self.slots;
        self.crowds.tidy(|name| {
            slots
                .get(slot_of(name))
                .is_some_and(|connection| connection.awaits(name))
        });
        self.desk.tally.crowds(self.crowds.len());
    }
}
