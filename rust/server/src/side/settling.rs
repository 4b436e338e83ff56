//! The requests of one HTTP/2 connection that are being answered. Those that wait for nothing but the log, such as appends
//! whose body is there when their head is read, have no task: a commit group wakes the connection once for all of them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use durastream_engine::storage::Lsn;
use durastream_protocol::Response;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use tokio::task::{JoinError, JoinSet};

use super::Room;
use super::flow::Link;
use super::stream::{self, Asks, Call, Next};
use super::wakes::Bell;

/// The requests of a connection that are being answered.
pub(super) struct Streams<'a> {
    room: &'a Rc<Room>,
    /// The connection's scheme and its peer.
    from: (&'static str, &'a str),
    pub(super) link: Rc<Link>,
    /// Those that take their time.
    pub(super) tasks: JoinSet<()>,
    /// Those that wait for the log alone, in LSN order.
    settling: VecDeque<(Lsn, Box<Call>)>,
    /// The lowest LSN that they wait for since the bell was told.
    first: Option<Lsn>,
    /// What is sent behind all that a turn's requests do, so that it leaves together.
    answers: Vec<(Box<Call>, Response)>,
    pub(super) bell: Bell<'a>,
}

impl<'a> Streams<'a> {
    pub(super) fn new(room: &'a Rc<Room>, from: (&'static str, &'a str)) -> Self {
        Self {
            room,
            from,
            link: Link::new(Rc::clone(room)),
            tasks: JoinSet::new(),
            settling: VecDeque::new(),
            first: None,
            answers: Vec::new(),
            bell: room.wakes.bell(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len() + self.settling.len() + self.answers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets tasks that have ended, the first of which gave `ended`.
    pub(super) fn join(&mut self, ended: Option<Result<(), JoinError>>) {
        let others = std::iter::from_fn(|| self.tasks.try_join_next());
        for ended in ended.into_iter().chain(others) {
            if ended.is_err_and(|error| error.is_panic()) {
                tracing::error!("answering a request panicked");
            }
        }
    }

    /// Gives them all up.
    pub(super) fn abort(&mut self) {
        self.tasks.abort_all();
        self.settling.clear();
        self.answers.clear();
    }

    /// Begins to answer a request; [`Self::begun`] follows.
    pub(super) fn begin(
        &mut self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        now: Instant,
    ) {
        match stream::take(self.room, self.from, &self.link, request, respond, now) {
            Asks::Elsewhere(task) => {
                self.tasks.spawn_local(task);
            }
            Asks::Call(mut call) => {
                let next = call.advance(now);
                if let Next::Log(lsn) = next {
                    self.first = Some(self.first.map_or(lsn, |known| known.min(lsn)));
                }
                self.place(call, next);
            }
        }
    }

    /// Sends what is known of the answers to all that was begun, and asks for what they wait for.
    pub(super) fn begun(&mut self) {
        if let Some(lsn) = self.first.take() {
            self.bell.ring_at(lsn);
        }
        self.answer();
    }

    /// Answers those whose LSN is durable, and the others if the log failed.
    pub(super) fn settle(&mut self) {
        let now = Instant::now();
        let failure = self.bell.failure();
        let engine = self.room.service.engine();
        while let Some((lsn, mut call)) = self
            .settling
            .pop_front_if(|(lsn, _)| failure.is_some() || engine.is_durable(*lsn))
        {
            if let Some(cause) = &failure
                && !engine.is_durable(lsn)
            {
                call.fail(cause);
            }
            let next = call.advance(now);
            self.place(call, next);
        }
        self.answer();
        // A group may have taken only the first part of a turn's appends.
        if let Some((lsn, _)) = self.settling.front() {
            self.bell.ring_at(*lsn);
        }
    }

    fn place(&mut self, call: Box<Call>, next: Next) {
        match next {
            Next::Log(lsn) => {
                let before = self.settling.iter().rposition(|(other, _)| *other <= lsn);
                let place = before.map_or(0, |before| before + 1);
                self.settling.insert(place, (lsn, call));
            }
            Next::Task(step) => {
                self.tasks.spawn_local(call.run(step));
            }
            Next::Answer(response) => self.answers.push((call, response)),
            Next::Over => {}
        }
    }

    fn answer(&mut self) {
        let now = Instant::now();
        for (call, response) in std::mem::take(&mut self.answers) {
            call.answer(response, now);
        }
    }
}
