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
use super::stream::{self, Asks, Call, Next};
use super::wakes::Bell;

/// A request and where its answer goes.
pub(super) type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

/// The requests of a connection that are being answered.
pub(super) struct Streams<'a> {
    room: &'a Rc<Room>,
    /// The connection's scheme and its peer.
    from: (&'static str, &'a str),
    /// Those that take their time.
    pub(super) tasks: JoinSet<()>,
    /// Those that wait for the log alone, in LSN order.
    settling: VecDeque<(Lsn, Call)>,
    pub(super) bell: Bell<'a>,
}

impl<'a> Streams<'a> {
    pub(super) fn new(room: &'a Rc<Room>, from: (&'static str, &'a str)) -> Self {
        Self {
            room,
            from,
            tasks: JoinSet::new(),
            settling: VecDeque::new(),
            bell: room.wakes.bell(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len() + self.settling.len()
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
    }

    /// Begins to answer requests. What is known of the answers is sent behind all that the requests do.
    pub(super) fn begin(&mut self, accepted: impl Iterator<Item = Accepted>) {
        let now = Instant::now();
        let mut answers = Vec::new();
        let mut first = None;
        for (request, respond) in accepted {
            match stream::take(self.room, self.from, request, respond, now) {
                Asks::Elsewhere(task) => {
                    self.tasks.spawn_local(task);
                }
                Asks::Call(mut call) => {
                    let next = call.advance(now);
                    if let Next::Log(lsn) = next {
                        first = Some(first.map_or(lsn, |known: Lsn| known.min(lsn)));
                    }
                    answers.extend(self.place(call, next));
                }
            }
        }
        if let Some(lsn) = first {
            self.bell.ring_at(lsn);
        }
        answer(answers);
    }

    /// Answers those whose LSN is durable, and the others if the log failed.
    pub(super) fn settle(&mut self) {
        let now = Instant::now();
        let failure = self.bell.failure();
        let engine = self.room.service.engine();
        let mut answers = Vec::new();
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
            answers.extend(self.place(call, next));
        }
        answer(answers);
        // A group may have taken only the first part of a turn's appends.
        if let Some((lsn, _)) = self.settling.front() {
            self.bell.ring_at(*lsn);
        }
    }

    fn place(&mut self, call: Call, next: Next) -> Option<(Call, Response)> {
        match next {
            Next::Log(lsn) => {
                let before = self.settling.iter().rposition(|(other, _)| *other <= lsn);
                let place = before.map_or(0, |before| before + 1);
                self.settling.insert(place, (lsn, call));
            }
            Next::Task(step) => {
                self.tasks.spawn_local(call.run(step));
            }
            Next::Answer(response) => return Some((call, response)),
            Next::Over => {}
        }
        None
    }
}

fn answer(answers: Vec<(Call, Response)>) {
    let now = Instant::now();
    for (call, response) in answers {
        call.answer(response, now);
    }
}
