//! The two directions of an HTTP/2 stream: the request body, bounded, and the answer, at the pace of
//! who reads it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use durastream_protocol::Response;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderName, HeaderValue, StatusCode, header, request};
use tokio::time::timeout;

use super::Room;
use crate::asked::Asked;
use crate::loops::desk::Share;
use crate::refusal;

/// Neighbours smaller than this are copied together: each would be a frame of its own.
const SMALL: usize = 2 << 10;
/// So many bytes of them at once.
const TOGETHER: usize = 64 << 10;

/// The stream is over: its client reset it or stalled, or its connection is gone.
pub(super) struct Over;

impl From<h2::Error> for Over {
    fn from(error: h2::Error) -> Self {
        tracing::debug!(%error, "an HTTP/2 stream ended");
        Self
    }
}

/// A request body.
pub(super) struct Body {
    room: Rc<Room>,
    stream: RecvStream,
    declared: Option<u64>,
}

/// What reading a whole body gave.
pub(super) enum Taken {
    Whole(Bytes),
    /// With its length, if declared.
    TooLarge(Option<u64>),
    Refused(Response),
}

impl Body {
    pub(super) fn new(room: Rc<Room>, head: &request::Parts, stream: RecvStream) -> Self {
        let declared = head
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok());
        Self {
            room,
            stream,
            declared,
        }
    }

    /// Its length, where it is known before it is read.
    pub(super) fn length(&self) -> Option<u64> {
        match self.declared {
            None if self.stream.is_end_stream() => Some(0),
            known => known,
        }
    }

    /// All of it, unless it is longer than `limit`.
    pub(super) async fn whole(&mut self, limit: usize) -> Result<Taken, Over> {
        if let Some(length) = self.declared
            && length > limit as u64
        {
            return Ok(Taken::TooLarge(Some(length)));
        }
        let room = Rc::clone(&self.room);
        let mut upload = Share::new(&room.counts, |counts| &counts.uploads);
        let most = room.limits.max_upload_bytes;
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if piece.len() + whole.len() > limit {
                return Ok(Taken::TooLarge(None));
            }
            if whole.is_empty() && self.stream.is_end_stream() {
                // Not a slice: the log may keep it, and the buffer it is part of with it.
                return Ok(Taken::Whole(Bytes::copy_from_slice(&piece)));
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

    /// The next piece; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Over> {
        let Ok(piece) = timeout(self.room.limits.stall, self.stream.data()).await else {
            tracing::debug!("a peer kept the listener waiting for a body");
            return Err(Over);
        };
        let Some(piece) = piece.transpose()? else {
            return Ok(None);
        };
        self.stream.flow_control().release_capacity(piece.len())?;
        self.room.tally.received(piece.len());
        Ok(Some(piece))
    }
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
    /// So many bytes came of the request's body.
    pub(super) fn brought(&mut self, bytes: usize) {
        self.asked.brought(bytes);
    }

    pub(super) fn new(room: Rc<Room>, respond: SendResponse<Bytes>, asked: Asked) -> Self {
        Self {
            room,
            respond,
            asked,
            body: None,
        }
    }

    /// Sends a whole answer.
    pub(super) async fn respond(&mut self, response: Response) -> Result<(), Over> {
        let ends = response.body.is_empty();
        self.start(&response, ends)?;
        if ends {
            return Ok(());
        }
        self.send(response.body, true).await
    }

    /// Sends the head of an answer; `ends`: it has no body.
    pub(super) fn start(&mut self, response: &Response, ends: bool) -> Result<(), Over> {
        let mut head = http::Response::new(());
        *head.status_mut() = StatusCode::from_u16(response.status).unwrap_or_default();
        for (name, value) in &response.headers {
            if let Ok(value) = HeaderValue::from_maybe_shared(value.clone()) {
                head.headers_mut()
                    .append(HeaderName::from_static(name), value);
            }
        }
        self.send_head(head, ends)
    }

    pub(super) fn send_head(
        &mut self,
        mut head: http::Response<()>,
        ends: bool,
    ) -> Result<(), Over> {
        let status = head.status().as_u16();
        self.asked
            .answered(&self.room.tally, status, Instant::now());
        if let Ok(date) = HeaderValue::from_str(self.room.clock.borrow_mut().now()) {
            head.headers_mut().insert(header::DATE, date);
        }
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
