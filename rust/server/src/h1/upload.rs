//! Reading a request body for an exchange, within what one and all may take.

use std::io;

use bytes::Bytes;

use super::body::Body;
use super::connection::{Connection, Flow, Phase};
use super::head::Refused;
use super::input::Fill;
use crate::limits::Pace;
use crate::loops::desk::{Desk, Share};
use crate::refusal;

/// How much of a declared body is made room for before it arrives.
const BODY_RESERVE: usize = 1 << 20;

impl Connection {
    pub(super) fn read_body(
        &mut self,
        desk: &mut Desk,
        limit: usize,
        mut pace: Pace,
    ) -> io::Result<Flow> {
        if let Body::Length(left) = self.body
            && self.collected.is_empty()
            && let Ok(left) = usize::try_from(left)
            && let Some(whole) = self.input.bytes().get(..left)
        {
            let whole = Bytes::copy_from_slice(whole);
            self.input.consume(left);
            self.body = Body::Ended;
            self.take_body(desk, whole);
            return Ok(Flow::Go);
        }
        if let Body::Length(left) = self.body
            && self.collected.capacity() == 0
        {
            let room = usize::try_from(left).map_or(BODY_RESERVE, |left| left.min(BODY_RESERVE));
            self.collected.reserve_exact(room);
        }
        let taken = self
            .body
            .take(self.input.bytes(), &mut self.collected, limit);
        match taken {
            Ok(used) => self.input.consume(used),
            Err(bad) => {
                self.release_body();
                let detail = bad.0;
                return self.refuse(
                    desk,
                    Refused {
                        status: 400,
                        detail,
                    },
                );
            }
        }
        if self.collected.len() > limit {
            self.release_body();
            if let Some(exchange) = &mut self.exchange {
                exchange.body_too_large(None);
            }
            self.phase = Phase::Running;
            return Ok(Flow::Go);
        }
        if self.body.ended() {
            let mut whole = std::mem::take(&mut self.collected);
            self.release_body();
            // The log may keep it for readers: not with room that nobody uses.
            whole.shrink_to_fit();
            self.take_body(desk, Bytes::from(whole));
            return Ok(Flow::Go);
        }
        let upload = self
            .upload
            .get_or_insert_with(|| Share::new(&desk.counts, |counts| &counts.uploads));
        let total = upload.resize(self.collected.len());
        let most = desk.limits.max_upload_bytes;
        if total > most {
            self.release_body();
            return self.too_many_uploads(desk, total, most);
        }
        match self.fill(desk)? {
            Fill::Some => {
                self.since = desk.now;
                pace.go_on(&desk.limits, desk.now, self.input.bytes().len());
                self.phase = Phase::Body { limit, pace };
                Ok(Flow::Go)
            }
            Fill::Nothing => {
                if pace.until.is_some_and(|until| until <= desk.now) {
                    return self.body_too_slow(desk, pace);
                }
                Ok(Flow::Stop)
            }
            Fill::End => Ok(Flow::Close),
        }
    }

    fn body_too_slow(&mut self, desk: &mut Desk, pace: Pace) -> io::Result<Flow> {
        self.release_body();
        self.exchange = None;
        self.close = true;
        let response = refusal::too_slow(&desk.service, &desk.limits, pace, desk.now);
        self.respond(desk, response)
    }

    fn take_body(&mut self, desk: &Desk, body: Bytes) {
        self.asked.received(&desk.tally, body.len());
        if let Some(exchange) = &mut self.exchange {
            exchange.body(body);
        }
        self.phase = Phase::Running;
    }

    fn release_body(&mut self) {
        self.collected = Vec::new();
        self.upload = None;
    }

    fn too_many_uploads(&mut self, desk: &mut Desk, total: usize, most: usize) -> io::Result<Flow> {
        self.exchange = None;
        let response = refusal::too_many_uploads(&desk.service, total, most);
        self.respond(desk, response)
    }
}
