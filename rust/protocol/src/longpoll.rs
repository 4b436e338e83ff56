//! Long-poll (protocol section 5.7): the first news, or 204 at the deadline.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use durastream_engine::{CompletionSink, Page};

use crate::Step;
use crate::cursor::Cursor;
use crate::get::{Read, Reply};
use crate::paging::{Paging, Spot, Subject, has_data};
use crate::refusal::{self, offset_value};
use crate::response::{Answer, Manner};

/// A long-poll under way.
pub(crate) struct LongPoll {
    paging: Paging,
    subject: Subject,
    reply: Reply,
    cursor: Cursor,
    deadline: Instant,
}

impl LongPoll {
    /// Begins; waits no longer than `deadline`.
    pub(crate) fn new(paging: Paging, subject: Subject, read: Read, deadline: Instant) -> Self {
        Self {
            paging,
            subject,
            cursor: Cursor::begin(read.query.cursor, SystemTime::now()),
            reply: Reply::of(read),
            deadline,
        }
    }

    /// Answers or waits. `hurry`: answer now, whatever there is.
    pub(crate) fn step(&mut self, now: Instant, hurry: bool, manner: &Manner) -> Step {
        let page = match self.paging.poll() {
            None => return Step::Block,
            Some(Err(error)) => {
                return Step::Respond(refusal::page(error).answer().finish(manner));
            }
            Some(Ok(page)) => page,
        };
        if has_data(&page) {
            let cursor = self.cursor_unless(page.closed);
            let answer = self
                .reply
                .page(&self.subject, page, manner.private)
                .maybe("stream-cursor", cursor);
            return Step::Respond(answer.finish(manner));
        }
        if page.closed || hurry || now >= self.deadline {
            return Step::Respond(self.nothing(&page).finish(manner));
        }
        self.paging.advance(&page);
        Step::Wait {
            until: Some(self.deadline),
        }
    }

    /// 204: nothing new, or nothing ever again.
    fn nothing(&self, page: &Page) -> Answer {
        Answer::new(204)
            .header("stream-next-offset", offset_value(page.next))
            .flag("stream-up-to-date", true)
            .flag("stream-closed", page.closed)
            .maybe("stream-cursor", self.cursor_unless(page.closed))
            .header("cache-control", Bytes::from_static(b"no-store"))
    }

    /// Nobody polls a closed stream again.
    fn cursor_unless(&self, closed: bool) -> Option<String> {
        (!closed).then(|| self.cursor.at(SystemTime::now()).to_string())
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
