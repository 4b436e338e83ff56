//! One request to the listener behind this one, over its Unix socket.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Says to the other listener how the client reached this one; it believes it from nobody else.
pub(crate) const VIA_SCHEME: HeaderName = HeaderName::from_static("durastream-scheme");

/// Fields that are meant for one connection only (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Bytes of an answer that are read ahead of who takes them.
const BUFFER: usize = 64 << 10;

/// A piece of a request body. One that ends without `End` was cut short.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    End,
}

/// A request body that comes through a channel.
pub(crate) struct Pieces<F> {
    pieces: mpsc::Receiver<Piece>,
    length: Option<u64>,
    ended: bool,
    /// Called when there is room for another piece.
    taken: F,
}

impl<F: FnMut()> Pieces<F> {
    /// A body of `length` bytes, or of any.
    pub(crate) fn new(pieces: mpsc::Receiver<Piece>, length: Option<u64>, taken: F) -> Self {
        Self {
            pieces,
            ended: length == Some(0),
            length,
            taken,
        }
    }
}

impl<F: FnMut() + Unpin> Body for Pieces<F> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(piece) = self.pieces.poll_recv(context) else {
            return Poll::Pending;
        };
        (self.taken)();
        Poll::Ready(match piece {
            Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// Removes the fields that do not go on.
pub(crate) fn strip(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = fields
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        fields.remove(name);
    }
}

/// Makes a client's head that of a request to the other listener.
pub(crate) fn adapt(fields: &mut HeaderMap, scheme: &'static str) {
    strip(fields);
    // Its framing is decided anew, and who expects is told to go on here.
    fields.remove(header::CONTENT_LENGTH);
    fields.remove(header::EXPECT);
    fields.insert(VIA_SCHEME, HeaderValue::from_static(scheme));
    fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// Sends a request and gives the head of its answer, whose body follows at the caller's pace.
///
/// The connection ends when the answer is dropped.
pub(crate) async fn send<B>(socket: &Path, request: Request<B>) -> io::Result<Response<Incoming>>
where
    B: Body<Data = Bytes, Error = io::Error> + 'static,
{
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the other listener");
        }
    });
    let mut response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    strip(response.headers_mut());
    response.headers_mut().remove(header::DATE);
    Ok(response)
}
