//! Requests that a loop hands over for the other listener: the body goes in pieces one way, the
//! answer the other, each at the pace of who reads it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::upstream::{self, Piece, Pieces};
use crate::loops::mailbox::Mailbox;

/// A request of a loop's connection.
pub(crate) struct Job {
    pub(crate) socket: PathBuf,
    /// Its fields adapted.
    pub(crate) request: Request<()>,
    pub(crate) length: Option<u64>,
    pub(crate) pieces: mpsc::Receiver<Piece>,
    /// Names the connection.
    pub(crate) token: u64,
    pub(crate) mailbox: Arc<Mailbox>,
    /// One permit for each piece of the answer that was written.
    pub(crate) written: Arc<Semaphore>,
    /// Ends when the connection does.
    pub(crate) gone: oneshot::Receiver<()>,
}

/// What becomes of a request handed over.
#[derive(Debug)]
pub(crate) enum Relayed {
    /// There is room for another piece of the body.
    Room,
    /// The head of the answer.
    Head(u16, HeaderMap),
    /// A piece of its body.
    Piece(Bytes),
    /// The end of it.
    End,
    /// There will be no answer, or no more of it.
    Failed,
}

pub(super) async fn relay(job: Job) {
    let Job {
        socket,
        request,
        length,
        pieces,
        token,
        mailbox,
        written,
        gone,
    } = job;
    let post = |event| mailbox.put(|letters| letters.relayed.push((token, event)));
    let exchange = async {
        let taken = {
            let mailbox = Arc::clone(&mailbox);
            move || mailbox.put(|letters| letters.relayed.push((token, Relayed::Room)))
        };
        let request = request.map(|()| Pieces::new(pieces, length, taken));
        let response = match upstream::send(&socket, request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(%error, "the listener of the control APIs does not answer");
                return post(Relayed::Failed);
            }
        };
        let (head, mut body) = response.into_parts();
        post(Relayed::Head(head.status.as_u16(), head.headers));
        loop {
            match body.frame().await {
                None => return post(Relayed::End),
                Some(Err(error)) => {
                    tracing::warn!(%error, "the listener of the control APIs broke off");
                    return post(Relayed::Failed);
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    post(Relayed::Piece(data));
                    match written.acquire().await {
                        Ok(permit) => permit.forget(),
                        Err(_) => return,
                    }
                }
            }
        }
    };
    tokio::select! {
        () = exchange => {}
        _ = gone => {}
    }
}
