//! One request being answered: a state machine without I/O.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use durastream_engine::storage::{CommitError, Lsn, Piece};
use durastream_engine::{CompletionSink, Reader, StreamPath};

use crate::cors::{self, METHODS};
use crate::get::{CatchUp, Read};
use crate::head::Headers;
use crate::hold::{Hold, Retried, missing};
use crate::longpoll::LongPoll;
use crate::paging::{Paging, Spot, SpotWatch, Subject};
use crate::post::{Post, Style, Tried};
use crate::problem::{Problem, shown};
use crate::put::Put;
use crate::query::Live;
use crate::response::{Answer, Manner};
use crate::route::Target;
use crate::service::Shared;
use crate::sse::{self, Pace, Sse};
use crate::{RequestHead, Response, Step, metadata, put, refusal, retention, values};

/// One request being answered. Dropping it withdraws its watches.
pub struct Exchange {
    shared: Arc<Shared>,
    manner: Manner,
    state: State,
}

enum State {
    /// The answer is known.
    Answered(Response),
    /// Waits for the request body.
    Upload(Upload, Option<Bytes>),
    /// Looks up the stream at the first step.
    Lookup(Read),
    /// An answer that may be told once everything below the LSN is durable.
    Settling(Lsn, Response),
    /// A read that may begin once everything below the LSN is durable.
    Opening(Lsn, Reader, Read),
    /// An early producer sequence.
    Holding(Hold, Style),
    CatchingUp(CatchUp),
    /// The same for a listener that can send parts of files.
    Sending(CatchUp<Piece>),
    Polling(LongPoll),
    Streaming(Sse),
    /// Over.
    Done,
}

/// A request whose body matters.
enum Upload {
    Put(Put),
    Post(Post),
}

/// A larger body is looked through where blocking is allowed: JSON takes 30 ms a MiB.
const SMALL_BODY: usize = 64 << 10;

impl Upload {
    fn may_block(&self, body: &Bytes) -> bool {
        let looks_up = matches!(self, Self::Put(put) if put.may_block());
        looks_up || body.len() > SMALL_BODY
    }
}

/// What to do after a state was looked at.
enum Next {
    /// Tell the listener; the state stays.
    Say(Step, State),
    /// Look again.
    Go(State),
}

impl Exchange {
    pub(crate) fn begin(shared: Arc<Shared>, head: &RequestHead<'_>) -> Self {
        let headers = Headers::of(head);
        let origin = headers.all("origin").next();
        let manner = Manner {
            grant: shared.cors.grant(origin),
            bodiless: head.method == "HEAD",
            private: headers.has("authorization"),
        };
        let state = match open(&shared, head, headers, &manner) {
            Ok(state) => state,
            Err(problem) => State::Answered(problem.answer().finish(&manner)),
        };
        Self {
            shared,
            manner,
            state,
        }
    }

    /// What to do next. Never blocks.
    pub fn step(&mut self, now: Instant) -> Step {
        loop {
            if let Some(step) = self.rests() {
                return step;
            }
            let state = std::mem::replace(&mut self.state, State::Done);
            match self.advance(state, now) {
                Next::Go(state) => self.state = state,
                Next::Say(step, state) => {
                    // What ends the exchange also withdraws its watches.
                    if !matches!(step, Step::Respond(_) | Step::Send(_) | Step::End) {
                        self.state = state;
                    }
                    return step;
                }
            }
        }
    }

    /// What to say of a state that stays as it is. It is large: moving it out and back costs more than all else here.
    fn rests(&self) -> Option<Step> {
        let engine = &self.shared.engine;
        match &self.state {
            State::Upload(_, None) => {
                let limit = engine.options().max_append_bytes;
                Some(Step::NeedBody { limit })
            }
            State::Settling(lsn, _) | State::Opening(lsn, ..) if !engine.is_durable(*lsn) => {
                Some(Step::Wait { until: None })
            }
            _ => None,
        }
    }

    /// Goes on from a state that does not rest: the LSN that it depends on is durable.
    fn advance(&self, state: State, now: Instant) -> Next {
        let stopping = self.shared.is_stopping();
        match state {
            State::Answered(response) => Next::Say(Step::Respond(response), State::Done),
            State::Upload(_, None) => Next::Go(state),
            State::Upload(upload, Some(body)) if upload.may_block(&body) => {
                Next::Say(Step::Block, State::Upload(upload, Some(body)))
            }
            State::Upload(upload, Some(body)) => Next::Go(self.write(upload, body, now)),
            State::Lookup(read) => Next::Go(self.look_up(read)),
            State::Settling(_, response) => Next::Say(Step::Respond(response), State::Done),
            State::Opening(_, reader, read) => Next::Go(self.open_read(reader, read, now)),
            State::Holding(mut hold, style) => match hold.retry(&self.shared.engine, now) {
                Retried::Early(until) => {
                    let until = Some(until);
                    Next::Say(Step::Wait { until }, State::Holding(hold, style))
                }
                Retried::Done(tried) => Next::Go(self.settle_append(tried, style)),
            },
            State::CatchingUp(mut read) => {
                Next::Say(read.step(&self.manner), State::CatchingUp(read))
            }
            State::Sending(mut read) => Next::Say(read.step(&self.manner), State::Sending(read)),
            State::Polling(mut poll) => {
                let step = poll.step(now, stopping, &self.manner);
                Next::Say(step, State::Polling(poll))
            }
            State::Streaming(mut sse) => {
                let step = sse.step(now, stopping, &self.shared.frames, &self.manner);
                Next::Say(step, State::Streaming(sse))
            }
            State::Done => Next::Say(Step::End, State::Done),
        }
    }

    fn write(&self, upload: Upload, body: Bytes, now: Instant) -> State {
        let engine = &self.shared.engine;
        match upload {
            Upload::Put(put) => self.create(put, body),
            Upload::Post(post) => match post.with_body(engine, body) {
                Err(refused) => self.settle(refused.lsn, refused.problem.answer()),
                Ok(attempt) => {
                    let style = attempt.style();
                    let config = &self.shared.config;
                    let again = (attempt.may_be_early() && !config.hold_time.is_zero())
                        .then(|| attempt.clone());
                    let tried = attempt.run(engine);
                    if let Some(again) = again
                        && missing(&tried).is_some_and(|n| n <= config.hold_count as u64)
                        && let Some(hold) = Hold::begin(
                            engine,
                            &self.shared.held,
                            again,
                            tried.lsn,
                            now + config.hold_time,
                        )
                    {
                        return State::Holding(hold, style);
                    }
                    self.settle_append(tried, style)
                }
            },
        }
    }

    fn create(&self, mut put: Put, body: Bytes) -> State {
        put.create.body = body;
        let ticket = self.shared.engine.create(&put.path, put.create);
        self.settle(ticket.lsn, put::answer(ticket.outcome, put.location))
    }

    fn settle_append(&self, tried: Tried, style: Style) -> State {
        self.settle(tried.lsn, style.answer(tried.outcome))
    }

    fn look_up(&self, read: Read) -> State {
        let ticket = self.shared.engine.reader(&read.path);
        match ticket.outcome {
            Ok(reader) => State::Opening(ticket.lsn, reader, read),
            Err(error) => self.settle(ticket.lsn, refusal::lookup(&error).answer()),
        }
    }

    fn open_read(&self, reader: Reader, read: Read, now: Instant) -> State {
        let config = &self.shared.config;
        let live = read.query.live;
        let max_bytes = match live {
            Live::Sse => config.page_bytes.min(sse::PAGE_BYTES),
            Live::No | Live::LongPoll => config.page_bytes,
        };
        let subject = match Subject::of(&reader) {
            Ok(subject) => subject,
            Err(error) => return self.answered(refusal::lookup(&error).answer()),
        };
        let (from, sending) = (read.query.from, &self.shared.sending);
        if live == Live::No && read.files {
            let paging = Paging::new(reader, from, max_bytes, sending);
            return State::Sending(CatchUp::new(paging, subject, read));
        }
        let paging = Paging::new(reader, from, max_bytes, sending);
        match live {
            Live::No => State::CatchingUp(CatchUp::new(paging, subject, read)),
            Live::LongPoll => {
                let deadline = now + config.long_poll_timeout;
                State::Polling(LongPoll::new(paging, subject, read, deadline))
            }
            Live::Sse => {
                let pace = Pace {
                    end: now + config.sse_max,
                    heartbeat: config.sse_heartbeat,
                };
                let cursor = read.query.cursor;
                State::Streaming(Sse::new(paging, subject, cursor, pace, now))
            }
        }
    }

    fn settle(&self, lsn: Lsn, answer: Answer) -> State {
        State::Settling(lsn, answer.finish(&self.manner))
    }

    fn answered(&self, answer: Answer) -> State {
        State::Answered(answer.finish(&self.manner))
    }

    /// Says, before the first step, that the listener can send parts of files: [`Step::Send`] may come.
    pub fn take_files(&mut self) {
        if let State::Lookup(read) = &mut self.state {
            read.files = true;
        }
    }

    /// Hands over the request body after `NeedBody`.
    pub fn body(&mut self, body: Bytes) {
        if let State::Upload(_, slot) = &mut self.state {
            *slot = Some(body);
        }
    }

    /// Says that the body is larger than the limit: `size` when a length was declared.
    pub fn body_too_large(&mut self, size: Option<u64>) {
        if matches!(self.state, State::Upload(..)) {
            let limit = self.shared.engine.options().max_append_bytes as u64;
            self.state = self.answered(refusal::too_large(limit, size).answer());
        }
    }

    /// The LSN that has to be durable, when the last `Wait` was about that alone. Who hears of the log's progress by
    /// other means needs no [`Exchange::register`] then.
    pub fn awaits(&self) -> Option<Lsn> {
        match &self.state {
            State::Settling(lsn, _) | State::Opening(lsn, ..) => Some(*lsn),
            _ => None,
        }
    }

    /// Arranges the wake that the last `Wait` is about. Exactly one wake arrives, unless the
    /// exchange steps or drops first (then none or one).
    pub fn register(&mut self, sink: &Arc<dyn CompletionSink>, token: u64) {
        match &mut self.state {
            State::Settling(lsn, _) | State::Opening(lsn, ..) => {
                self.shared.engine.notify(*lsn, sink, token);
            }
            State::Holding(hold, _) => hold.watch(sink, token),
            State::Polling(poll) => poll.watch(sink, token),
            State::Streaming(sse) => sse.watch(sink, token),
            State::Answered(_)
            | State::Upload(..)
            | State::Lookup(_)
            | State::CatchingUp(_)
            | State::Sending(_)
            | State::Done => {}
        }
    }

    /// Where the last `Wait` waits for news of a stream, if that is what it is about. Who has a [`SpotWatch`] of the same
    /// spot needs no [`Exchange::register`]: its wake is the wake of all who wait there.
    pub fn spot(&self) -> Option<Spot> {
        self.live().and_then(|(_, spot)| spot)
    }

    /// Arranges one wake for all that wait at the same [`Exchange::spot`]. It outlives the exchange.
    pub fn watch_spot(&self, sink: &Arc<dyn CompletionSink>, token: u64) -> Option<SpotWatch> {
        let (paging, spot) = self.live()?;
        Some(paging.watch_spot(spot?, sink, token))
    }

    fn live(&self) -> Option<(&Paging, Option<Spot>)> {
        match &self.state {
            State::Polling(poll) => Some(poll.waiting()),
            State::Streaming(sse) => Some(sse.waiting()),
            _ => None,
        }
    }

    /// Tells that the wake has come ([`durastream_engine::Wake::Ready`]). Not a must: it saves the withdrawal of what
    /// the wake was about.
    pub fn woken(&mut self) {
        match &mut self.state {
            State::Polling(poll) => poll.woken(),
            State::Streaming(sse) => sse.woken(),
            _ => {}
        }
    }

    /// Tells that the wake was a failure ([`durastream_engine::Wake::Failed`]): a write is answered
    /// with 503 or 507 at the next step.
    ///
    /// A live read goes on without wakes until its time is over when the log failed (what is stored
    /// can be read). When the log was closed it is refused, or ends if it has begun to answer.
    pub fn fail(&mut self, cause: &CommitError) {
        let log_failed = !matches!(cause, CommitError::Closed);
        self.state = match std::mem::replace(&mut self.state, State::Done) {
            State::Done => State::Done,
            State::Polling(poll) if log_failed => State::Polling(poll.deafened()),
            State::Streaming(sse) if log_failed => State::Streaming(sse.deafened()),
            State::Streaming(sse) if sse.has_begun() => State::Done,
            _ => self.answered(refusal::commit(cause).answer()),
        };
    }

    /// Does the blocking part: a cold read, a large body, or a fork whose point must be read from its source.
    pub fn block(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Done) {
            State::Upload(upload, Some(body)) => self.write(upload, body, Instant::now()),
            mut state => {
                match &mut state {
                    State::CatchingUp(read) => read.block(),
                    State::Sending(read) => read.block(),
                    State::Polling(poll) => poll.block(),
                    State::Streaming(sse) => sse.block(),
                    _ => {}
                }
                state
            }
        };
    }
}

/// Checks the head: all that can be refused without a body or a stream.
fn open(
    shared: &Shared,
    head: &RequestHead<'_>,
    headers: Headers<'_>,
    manner: &Manner,
) -> Result<State, Problem> {
    // Before the path: a page must be allowed to ask in order to see a refusal.
    if head.method == "OPTIONS" {
        return Ok(State::Answered(cors::options().finish(manner)));
    }
    let path = match shared.router.resolve(head.path)? {
        None => return Err(no_such_path(head.path)),
        Some(Target::Control) => return Err(no_control()),
        Some(Target::Stream(path)) => path,
    };
    Ok(match head.method {
        "GET" => State::Lookup(Read::parse(path, head.query, headers)?),
        "HEAD" => {
            let ticket = shared.engine.head(&path);
            State::Settling(ticket.lsn, metadata::head(ticket.outcome).finish(manner))
        }
        "DELETE" => delete(shared, &path, manner),
        "PUT" => {
            let put = Put::parse(path, head, headers, &shared.router)?;
            check_length(shared, headers)?;
            State::Upload(Upload::Put(put), None)
        }
        "POST" => {
            let post = Post::parse(path, headers)?;
            check_length(shared, headers)?;
            State::Upload(Upload::Post(post), None)
        }
        "PATCH" => {
            let ticket = shared
                .engine
                .configure(&path, retention::of_patch(headers)?);
            let answer = retention::answer(ticket.outcome);
            State::Settling(ticket.lsn, answer.finish(manner))
        }
        other => return Err(method_not_allowed(other)),
    })
}

fn delete(shared: &Shared, path: &StreamPath, manner: &Manner) -> State {
    let ticket = shared.engine.delete(path);
    State::Settling(ticket.lsn, metadata::delete(ticket.outcome).finish(manner))
}

/// Refuses a declared length over the limit before any of the body is read.
fn check_length(shared: &Shared, headers: Headers<'_>) -> Result<(), Problem> {
    let Some(raw) = headers.single("content-length")? else {
        return Ok(());
    };
    let limit = shared.engine.options().max_append_bytes as u64;
    match std::str::from_utf8(raw)
        .ok()
        .and_then(|t| t.parse::<u64>().ok())
    {
        Some(length) if length > limit => Err(refusal::too_large(limit, Some(length))),
        Some(_) => Ok(()),
        None if !raw.is_empty() && raw.iter().all(u8::is_ascii_digit) => {
            Err(refusal::too_large(limit, None))
        }
        None => Err(Problem::header(
            "content-length",
            format!(
                "Content-Length is a number of bytes: {}",
                values::integer(raw, u64::MAX).err().unwrap_or_default()
            ),
        )),
    }
}

fn no_such_path(path: &[u8]) -> Problem {
    Problem::new(
        404,
        "no-such-path",
        "No such path",
        format!("{} is below none of this server's base paths", shown(path)),
    )
}

fn no_control() -> Problem {
    Problem::new(
        501,
        "reserved",
        "Reserved path",
        "paths below __ds are reserved for the subscription APIs, which this server does not have yet",
    )
}

fn method_not_allowed(method: &str) -> Problem {
    Problem::new(
        405,
        "method",
        "Method not allowed",
        format!(
            "a stream does not take {}; use {}",
            shown(method.as_bytes()),
            String::from_utf8_lossy(METHODS)
        ),
    )
    .with("allow", Bytes::from_static(METHODS))
}
