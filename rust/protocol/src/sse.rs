//! Server-sent events (protocol section 5.8): pages as data events, each with one control event.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use durastream_engine::{CompletionSink, Page};

use crate::Step;
use crate::cursor::Cursor;
use crate::framecache::{FrameCache, Key};
use crate::frames::{self, Encoding, HEARTBEAT};
use crate::paging::{Paging, Subject, has_data};
use crate::refusal;
use crate::response::{Answer, Manner};

/// Largest page of an event: what one slow subscriber may keep in memory.
pub(crate) const PAGE_BYTES: usize = 256 << 10;

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
    /// When to break the silence.
    beat: Instant,
}

enum Phase {
    /// Nothing was sent: refusals still have a status.
    Opening,
    /// The head was sent; this page is first, and is announced even when empty.
    First(Page),
    /// At least one control event was sent.
    Live,
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
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Opening => self.open(manner),
            Phase::First(page) => self.event(&page, now, frames),
            Phase::Live if hurry || now >= self.pace.end => Step::End,
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

    fn follow(&mut self, now: Instant, frames: &FrameCache) -> Step {
        match self.paging.poll() {
            None => {
                self.phase = Phase::Live;
                Step::Block
            }
            // Deleted, expired or trimmed away: the client hears why when it comes back.
            Some(Err(_)) => Step::End,
            Some(Ok(page)) if has_data(&page) || page.closed => self.event(&page, now, frames),
            Some(Ok(page)) => {
                self.paging.advance(&page);
                self.phase = Phase::Live;
                if now >= self.beat {
                    self.beat = now + self.pace.heartbeat;
                    return Step::Chunk(Bytes::from_static(HEARTBEAT));
                }
                Step::Wait {
                    until: Some(self.beat.min(self.pace.end)),
                }
            }
        }
    }

    /// One data event, unless there is no data, and one control event, in one piece.
    fn event(&mut self, page: &Page, now: Instant, frames: &FrameCache) -> Step {
        self.paging.advance(page);
        self.beat = now + self.pace.heartbeat;
        if !page.closed {
            self.phase = Phase::Live;
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
        let common = page.closed || self.cursor.is_common(wall);
        Step::Chunk(frames.chunk(key, &control, common, || self.encoding.data(page)))
    }

    /// Whether the head was sent, so that nothing can be refused any more.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(self.phase, Phase::Opening)
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

    /// Arranges the wake.
    pub(crate) fn watch(&mut self, sink: &Arc<dyn CompletionSink>, token: u64) {
        self.paging.watch(sink, token);
    }
}
