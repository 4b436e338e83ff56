//! Server-sent events (protocol section 5.8): pages as data events, each with one control event.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use durastream_engine::storage::Lsn;
use durastream_engine::{CompletionSink, Page};

use crate::Step;
use crate::cursor::Cursor;
use crate::framecache::{FrameCache, Key, Moment};
use crate::frames::{self, DataEvent, Encoding, HEARTBEAT, data_bytes};
use crate::paging::{Paging, Spot, Subject, has_data};
use crate::refusal;
use crate::response::{Answer, Manner};

/// Largest page of an event: what one slow subscriber may keep in memory.
pub(crate) const PAGE_BYTES: usize = 256 << 10;

/// So many bytes of a larger page, which is one append, are made into a part of its event at once: what one subscriber
/// may keep the others waiting for.
const SLICE: usize = 64 << 10;

/// When an event stream ends and how often it says something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Ends at the first event boundary after this.
    pub(crate) end: Instant,
    /// Longest silence.
    pub(crate) heartbeat: Duration,
}

/// An event stream under way.
pub(crate) struct Sse {
    paging: Paging,
    subject: Subject,
    encoding: Encoding,
    cursor: Cursor,
    pace: Pace,
    phase: Phase,
    /// The rest of a long event.
    long: Option<Long>,
    /// When to break the silence.
    beat: Instant,
}

/// A data event that is sent in slices.
struct Long {
    key: Key,
    /// The slice that is next.
    number: usize,
    data: DataEvent,
    /// What comes behind it.
    control: Vec<u8>,
}

enum Phase {
    /// Nothing was sent: refusals still have a status.
    Opening,
    /// The head was sent; this page is first, and is announced even when empty.
    First(Page),
    /// At least one control event was sent.
    Live,
    /// The same, and the last one said that there is no more, when this was durable: while it stays the same, so it is.
    AtTail(Lsn),
    /// The last event was sent.
    Over,
}

impl Sse {
    /// Begins for a client that echoes `cursor`.
    pub(crate) fn new(
        paging: Paging,
        subject: Subject,
        cursor: Option<u64>,
        pace: Pace,
        now: Instant,
    ) -> Self {
        Self {
            encoding: Encoding::of(&subject.content_type, subject.format),
            paging,
            subject,
            cursor: Cursor::begin(cursor, SystemTime::now()),
            beat: now + pace.heartbeat,
            pace,
            phase: Phase::Opening,
            long: None,
        }
    }

    /// The next piece, or a wait. `hurry`: end at the next event boundary.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        hurry: bool,
        frames: &FrameCache,
        manner: &Manner,
    ) -> Step {
        if let Some(long) = self.long.take() {
            return self.slice(long, now, frames);
        }
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Opening => self.open(manner),
            Phase::First(page) => self.event(&page, None, now, frames),
            Phase::Live | Phase::AtTail(_) if hurry || now >= self.pace.end => Step::End,
            Phase::AtTail(then) if then == self.paging.durable() && now < self.beat => self.rest(),
            Phase::AtTail(_) => self.follow(now, frames),
            Phase::Live => self.follow(now, frames),
            Phase::Over => Step::End,
        }
    }

    fn open(&mut self, manner: &Manner) -> Step {
        match self.paging.poll() {
            None => {
                self.phase = Phase::Opening;
                Step::Block
            }
            Some(Err(error)) => Step::Respond(refusal::page(error).answer().finish(manner)),
            Some(Ok(page)) => {
                self.phase = Phase::First(page);
                Step::Start(self.head().open(manner))
            }
        }
    }

    fn head(&self) -> Answer {
        Answer::new(200)
            .header("content-type", Bytes::from_static(b"text/event-stream"))
            // `no-transform` and the hint keep middlemen from holding events back.
            .header(
                "cache-control",
                Bytes::from_static(b"no-cache, no-transform"),
            )
            .header("x-accel-buffering", Bytes::from_static(b"no"))
            .maybe(
                "stream-sse-data-encoding",
                (self.encoding == Encoding::Base64).then_some(Bytes::from_static(b"base64")),
            )
    }

    /// Waits for news, or for the time to break the silence.
    fn rest(&mut self) -> Step {
        self.phase = Phase::Live;
        Step::Wait {
            until: Some(self.beat.min(self.pace.end)),
        }
    }

    fn follow(&mut self, now: Instant, frames: &FrameCache) -> Step {
        if let Some(chunk) = self.shared_event(now, frames) {
            return Step::Chunk(chunk);
        }
        // Before the page, which may show more than this but not less.
        let durable = self.paging.durable();
        match self.paging.poll() {
            None => {
                self.phase = Phase::Live;
                Step::Block
            }
            // Deleted, expired or trimmed away: the client hears why when it comes back.
            Some(Err(_)) => Step::End,
            Some(Ok(page)) if has_data(&page) || page.closed => {
                self.event(&page, Some(durable), now, frames)
            }
            Some(Ok(page)) => {
                self.paging.advance(&page);
                if now >= self.beat {
                    self.phase = Phase::Live;
                    self.beat = now + self.pace.heartbeat;
                    return Step::Chunk(Bytes::from_static(HEARTBEAT));
                }
                self.rest()
            }
        }
    }

    /// The event that another subscriber at the same place got, while it is still what this one would get.
    fn shared_event(&mut self, now: Instant, frames: &FrameCache) -> Option<Bytes> {
        let wall = SystemTime::now();
        if !self.cursor.is_common(wall) {
            return None;
        }
        let moment = Moment {
            durable: self.paging.durable(),
            cursor: self.cursor.at(wall),
        };
        let (chunk, next) = frames.last(self.subject.id, self.paging.place()?, moment)?;
        self.paging.skip(next);
        self.beat = now + self.pace.heartbeat;
        self.phase = Phase::AtTail(moment.durable);
        Some(chunk)
    }

    /// One data event, unless there is no data, and one control event, in one piece. `durable`: what was durable
    /// when the page was read, when that is known.
    fn event(
        &mut self,
        page: &Page,
        durable: Option<Lsn>,
        now: Instant,
        frames: &FrameCache,
    ) -> Step {
        self.paging.advance(page);
        self.beat = now + self.pace.heartbeat;
        let last = page.up_to_date && !page.closed;
        if !page.closed {
            self.phase = match durable {
                Some(durable) if last => Phase::AtTail(durable),
                _ => Phase::Live,
            };
        }
        let wall = SystemTime::now();
        let cursor = (!page.closed).then(|| self.cursor.at(wall));
        let control = frames::control(page.next, cursor, page.up_to_date, page.closed);
        if !has_data(page) {
            return Step::Chunk(Bytes::from(control));
        }
        let key = Key {
            stream: self.subject.id,
            start: page.start.position,
            end: page.next.position,
        };
        if data_bytes(page) > PAGE_BYTES {
            let long = Long {
                key,
                number: 0,
                data: DataEvent::new(self.encoding, page),
                control,
            };
            return self.slice(long, now, frames);
        }
        let common = page.closed || self.cursor.is_common(wall);
        let chunk = frames.chunk(key, &control, common, || self.encoding.data(page));
        if let (Some(cursor), Some(durable)) = (cursor.filter(|_| last && common), durable) {
            let moment = Moment { durable, cursor };
            frames.keep_last(self.subject.id, page.start, page.next, moment, &chunk);
        }
        Step::Chunk(chunk)
    }

    /// The next part of a long event.
    fn slice(&mut self, mut long: Long, now: Instant, frames: &FrameCache) -> Step {
        self.beat = now + self.pace.heartbeat;
        let place = (long.key, long.number);
        long.number += 1;
        if let Some((slice, carry)) = frames.slices().get(&place) {
            long.data.skip(SLICE, carry);
            self.long = Some(long);
            return Step::Chunk(slice);
        }
        let mut out = Vec::with_capacity(2 * SLICE);
        if !long.data.write(SLICE, &mut out) {
            out.extend_from_slice(&long.control);
            return Step::Chunk(Bytes::from(out));
        }
        out.shrink_to_fit();
        let slice = Bytes::from(out);
        frames.slices().keep(place, &slice, long.data.carry());
        self.long = Some(long);
        Step::Chunk(slice)
    }

    /// Whether the head was sent, so that nothing can be refused any more.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(self.phase, Phase::Opening)
    }

    /// The wake has come.
    pub(crate) fn woken(&mut self) {
        self.paging.woken();
    }

    /// Goes on without wakes.
    pub(crate) fn deafened(mut self) -> Self {
        self.paging.deafen();
        self
    }

    /// Does the cold read.
    pub(crate) fn block(&mut self) {
        self.paging.block();
    }

    /// What it reads, and where it waits.
    pub(crate) fn waiting(&self) -> (&Paging, Option<Spot>) {
        (&self.paging, self.paging.spot(self.subject.id))
    }

    /// Arranges the wake.
    pub(crate) fn watch(&mut self, sink: &Arc<dyn CompletionSink>, token: u64) {
        self.paging.watch(sink, token);
    }
}
