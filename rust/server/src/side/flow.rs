//! The two directions of an HTTP/2 stream: the request body, bounded, and the answer, at the pace of
//! who reads it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use durastream_protocol::Response;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{header, request};
use tokio::time::{timeout, timeout_at};

use super::Room;
use crate::asked::Asked;
use crate::limits::{Pace, Patience};
use crate::loops::desk::Share;
use crate::refusal;

/// Neighbours smaller than this are copied together: each would be a frame of its own.
const SMALL: usize = 2 << 10;
/// So many bytes of them at once.
const TOGETHER: usize = 64 << 10;

/// Who sends nothing of an answered body for so long may be waiting to be told that nobody wants it.
const QUIET: Duration = Duration::from_secs(2);

/// The stream is over: its client reset it or stalled, or its connection is gone.
pub(super) struct Over;

impl From<h2::Error> for Over {
    fn from(error: h2::Error) -> Self {
        tracing::debug!(%error, "an HTTP/2 stream ended");
        Self
    }
}

/// What the request bodies of one connection have in common: the link that they come by.
pub(super) struct Link {
    room: Rc<Room>,
    /// How they come, all together, since somebody waits for one.
    pace: Cell<Pace>,
    /// How many are waited for.
    waits: Cell<usize>,
}

impl Link {
    pub(super) fn new(room: Rc<Room>) -> Rc<Self> {
        let pace = Pace::begin(&room.limits, Instant::now());
        Rc::new(Self {
            room,
            pace: Cell::new(pace),
            waits: Cell::new(0),
        })
    }

    /// Whether somebody waits for a body, or for more of one.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waits.get() > 0
    }

    fn go_on(&self, now: Instant, bytes: usize) {
        if self.is_waited_for() {
            let mut pace = self.pace.get();
            pace.go_on(&self.room.limits, now, bytes);
            self.pace.set(pace);
        }
    }
}

/// Somebody waits for a body.
struct Wait<'a> {
    link: &'a Link,
    pace: Pace,
}

impl<'a> Wait<'a> {
    fn begin(link: &'a Link, now: Instant) -> Self {
        let pace = Pace::begin(&link.room.limits, now);
        if link.waits.replace(link.waits.get() + 1) == 0 {
            link.pace.set(pace);
        }
        Self { link, pace }
    }

    fn go_on(&mut self, now: Instant, bytes: usize) {
        self.pace.go_on(&self.link.room.limits, now, bytes);
    }

    fn patience(&self) -> Patience {
        let limits = &self.link.room.limits;
        self.pace.among(&self.link.pace.get(), limits)
    }

    /// What `piece` gives, or why it was not waited for any longer.
    async fn until_late<T>(
        &self,
        mut piece: impl Future<Output = T> + Unpin,
    ) -> Result<T, Patience> {
        loop {
            let patience = self.patience();
            if let Ok(piece) = timeout_at(patience.until().into(), &mut piece).await {
                return Ok(piece);
            }
            // Its neighbours may have come meanwhile.
            if self.patience().until() <= Instant::now() {
                return Err(patience);
            }
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.link.waits.update(|waits| waits - 1);
    }
}

/// A request body.
pub(super) struct Body {
    link: Rc<Link>,
    stream: RecvStream,
    declared: Option<u64>,
    /// What was read of it before anybody waited for it.
    ahead: Option<Bytes>,
    /// How much came, if that is told.
    came: Option<Arc<AtomicU64>>,
}

/// What reading a whole body gave.
pub(super) enum Taken {
    Whole(Bytes),
    /// With its length, if declared.
    TooLarge(Option<u64>),
    Refused(Response),
}

impl Body {
    pub(super) fn new(
        link: Rc<Link>,
        asked: &Asked,
        head: &request::Parts,
        stream: RecvStream,
    ) -> Self {
        let declared = head
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok());
        Self {
            link,
            stream,
            declared,
            ahead: None,
            came: asked.counter(),
        }
    }

    /// Its length, where it is known before it is read.
    pub(super) fn length(&self) -> Option<u64> {
        match self.declared {
            None if self.stream.is_end_stream() => Some(0),
            known => known,
        }
    }

    /// All of it, if it has come already, in one piece that is not longer than `limit`.
    pub(super) fn at_hand(&mut self, limit: usize, now: Instant) -> Result<Option<Bytes>, Over> {
        if self.declared.is_some_and(|length| length > limit as u64) {
            return Ok(None);
        }
        if self.stream.is_end_stream() {
            return Ok(Some(Bytes::new()));
        }
        // Who waits for the rest asks again.
        let mut nobody = Context::from_waker(Waker::noop());
        let piece = match self.stream.poll_data(&mut nobody) {
            Poll::Pending => return Ok(None),
            Poll::Ready(None) => return Ok(Some(Bytes::new())),
            Poll::Ready(Some(piece)) => self.taken(piece?, now)?,
        };
        if piece.len() <= limit && self.stream.is_end_stream() {
            return Ok(Some(kept(piece)));
        }
        self.ahead = Some(piece);
        Ok(None)
    }

    /// All of it, unless it is longer than `limit`.
    pub(super) async fn whole(&mut self, limit: usize) -> Result<Taken, Over> {
        if let Some(length) = self.declared
            && length > limit as u64
        {
            return Ok(Taken::TooLarge(Some(length)));
        }
        let link = Rc::clone(&self.link);
        let room = &link.room;
        let mut upload = Share::new(&room.counts, |counts| &counts.uploads);
        let most = room.limits.max_upload_bytes;
        let mut whole = Vec::new();
        let mut wait = Wait::begin(&link, Instant::now());
        loop {
            let piece = match wait.until_late(pin!(self.piece())).await {
                Ok(piece) => piece?,
                Err(Patience::Silent(_)) => return Err(silent()),
                Err(Patience::Slow(_)) => {
                    let refusal =
                        refusal::too_slow(&room.service, &room.limits, wait.pace, Instant::now());
                    return Ok(Taken::Refused(refusal));
                }
            };
            let Some(piece) = piece else { break };
            wait.go_on(Instant::now(), piece.len());
            if piece.len() + whole.len() > limit {
                return Ok(Taken::TooLarge(None));
            }
            if whole.is_empty() && self.stream.is_end_stream() {
                return Ok(Taken::Whole(kept(piece)));
            }
            whole.extend_from_slice(&piece);
            let total = upload.resize(whole.len());
            if total > most {
                let refusal = refusal::too_many_uploads(&room.service, total, most);
                return Ok(Taken::Refused(refusal));
            }
        }
        whole.shrink_to_fit();
        Ok(Taken::Whole(Bytes::from(whole)))
    }

    /// The next piece, at any rate; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Over> {
        let link = Rc::clone(&self.link);
        let mut wait = Wait::begin(&link, Instant::now());
        wait.pace.until = None;
        let piece = wait.until_late(pin!(self.piece())).await;
        piece.unwrap_or_else(|_| Err(silent()))
    }

    /// Whether all of it was read.
    pub(super) fn is_over(&self) -> bool {
        self.ahead.is_none() && self.stream.is_end_stream()
    }

    /// Reads and drops what still comes of it behind its answer, within bounds: many clients look for an answer only when
    /// they have sent everything. Who is not done by then has the stream reset.
    pub(super) async fn drain(mut self) {
        let room = Rc::clone(&self.link.room);
        let until = Instant::now() + room.limits.linger;
        let mut left = room.limits.linger_bytes;
        let mut stopping = room.stopping.clone();
        let drained = async {
            while left > 0
                && let Ok(Ok(Some(piece))) = timeout(QUIET, self.piece()).await
            {
                left = left.saturating_sub(piece.len() as u64);
            }
        };
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep_until(until.into()) => {}
            _ = stopping.wait_for(Option::is_some) => {}
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Over> {
        if let Some(piece) = self.ahead.take() {
            return Ok(Some(piece));
        }
        match self.stream.data().await.transpose()? {
            Some(piece) => self.taken(piece, Instant::now()).map(Some),
            None => Ok(None),
        }
    }

    /// Makes room for as much again.
    fn taken(&mut self, piece: Bytes, now: Instant) -> Result<Bytes, Over> {
        self.stream.flow_control().release_capacity(piece.len())?;
        self.link.room.tally.received(piece.len());
        self.link.go_on(now, piece.len());
        if let Some(came) = &self.came {
            came.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Ok(piece)
    }
}

fn silent() -> Over {
    tracing::debug!("a peer kept the listener waiting for a body");
    Over
}

/// A whole body that the log may keep: not a slice, or it would keep the buffer of the connection with it.
fn kept(piece: Bytes) -> Bytes {
    Bytes::copy_from_slice(&piece)
}

/// Where the answer goes.
pub(super) struct Outlet {
    room: Rc<Room>,
    respond: SendResponse<Bytes>,
    asked: Asked,
    /// The body of the answer, once its head was sent.
    body: Option<SendStream<Bytes>>,
}

impl Outlet {
    pub(super) fn new(room: Rc<Room>, respond: SendResponse<Bytes>, asked: Asked) -> Self {
        Self {
            room,
            respond,
            asked,
            body: None,
        }
    }

    pub(super) fn room(&self) -> &Rc<Room> {
        &self.room
    }

    /// Sends a whole answer.
    pub(super) async fn respond(&mut self, mut response: Response) -> Result<(), Over> {
        let body = std::mem::take(&mut response.body);
        let ends = body.is_empty();
        self.start(response, ends, Instant::now())?;
        if ends {
            return Ok(());
        }
        self.send(body, true).await
    }

    /// Sends the head of an answer; `ends`: it has no body.
    pub(super) fn start(
        &mut self,
        response: Response,
        ends: bool,
        now: Instant,
    ) -> Result<(), Over> {
        let head = self.room.fields.borrow_mut().head(response);
        self.dispatch(head, ends, now)
    }

    /// The same for the answer of another listener.
    pub(super) fn pass_on(&mut self, mut head: http::Response<()>, ends: bool) -> Result<(), Over> {
        let date = self.room.fields.borrow_mut().date();
        head.headers_mut().insert(header::DATE, date);
        self.dispatch(head, ends, Instant::now())
    }

    fn dispatch(&mut self, head: http::Response<()>, ends: bool, now: Instant) -> Result<(), Over> {
        let status = head.status().as_u16();
        self.asked.answered(&self.room.tally, status, now);
        self.body = Some(self.respond.send_response(head, ends)?);
        if ends {
            self.asked.finished();
        }
        Ok(())
    }

    /// Sends pieces of the body as the client makes room for them.
    pub(super) async fn send(
        &mut self,
        pieces: impl Into<VecDeque<Bytes>>,
        last: bool,
    ) -> Result<(), Over> {
        let Some(body) = &mut self.body else {
            return Err(Over);
        };
        let mut pieces = pieces.into();
        let mut left = pieces.iter().map(Bytes::len).sum();
        while left > 0 {
            body.reserve_capacity(left);
            // What is there already is not told again.
            if body.capacity() == 0 {
                let more = poll_fn(|context| body.poll_capacity(context));
                let Ok(more) = timeout(self.room.limits.stall, more).await else {
                    tracing::debug!("a peer kept the listener waiting for room to answer");
                    return Err(Over);
                };
                more.ok_or(Over)??;
            }
            let data = take(&mut pieces, body.capacity());
            left -= data.len();
            self.asked.sent(&self.room.tally, data.len());
            body.send_data(data, last && left == 0)?;
            if last && left == 0 {
                self.asked.finished();
                return Ok(());
            }
        }
        if last {
            body.send_data(Bytes::new(), true)?;
            self.asked.finished();
        }
        Ok(())
    }

    /// Ends an answer that cannot be finished, for no fault of its client.
    pub(super) fn break_off(&mut self) {
        if let Some(body) = &mut self.body {
            body.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    /// Returns when the client wants the answer no more.
    pub(super) async fn reset_by_client(&mut self) {
        // An error says that the connection is gone.
        let _ = poll_fn(|context| match &mut self.body {
            Some(body) => body.poll_reset(context),
            None => self.respond.poll_reset(context),
        })
        .await;
    }
}

/// Takes what goes into one or more frames, at most `most` bytes; small neighbours are copied together.
fn take(pieces: &mut VecDeque<Bytes>, most: usize) -> Bytes {
    while pieces.front().is_some_and(Bytes::is_empty) {
        pieces.pop_front();
    }
    let alone = pieces.len() == 1;
    match pieces.front_mut() {
        None => Bytes::new(),
        Some(first) if first.len() > most => first.split_to(most),
        Some(first) if alone || first.len() >= SMALL => std::mem::take(first),
        Some(_) => {
            let most = most.min(TOGETHER);
            let mut together = Vec::with_capacity(most);
            while let Some(piece) = pieces.front()
                && piece.len() < SMALL
                && together.len() + piece.len() <= most
            {
                together.extend_from_slice(piece);
                pieces.pop_front();
            }
            Bytes::from(together)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_pieces_leave_in_order_and_small_ones_together(
            sizes in prop::collection::vec(0..3 * SMALL, 0..300), most in 1..200_000_usize,
        ) {
            let mut pieces: VecDeque<Bytes> = (0_u8..=255).cycle().zip(&sizes).map(|(n, size)| vec![n; *size].into()).collect();
            let whole: Vec<u8> = pieces.iter().flatten().copied().collect();
            let mut got = Vec::new();
            let mut before = SMALL;
            while got.len() < whole.len() {
                let data = take(&mut pieces, most);
                prop_assert!(!data.is_empty() && data.len() <= most);
                // Two small ones in a row would have had room in one.
                prop_assert!(before + data.len() >= SMALL.min(most));
                before = data.len();
                got.extend_from_slice(&data);
            }
            prop_assert_eq!(got, whole);
        }
    }
}
