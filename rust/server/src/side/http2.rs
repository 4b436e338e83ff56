//! HTTP/2 connections (RFC 9113): frames by the h2 crate.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::Room;
use super::settling::Streams;
use crate::loops::desk::Share;
use crate::socket::Plain;

/// What a client may send of a body before it is read.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 2 << 20;
/// Bytes of an answer that wait for the socket, per stream.
const SEND_BUFFER: usize = 256 << 10;
const FRAME_BYTES: u32 = 16 << 10;
/// What is in flight when a connection leaves is answered in this time, or clients are told to go elsewhere meanwhile. Not
/// told before, because many take GOAWAY for the end of what they have in flight (Python's h2, and httpx with it). While a body
/// is under way, which nobody may be able to send again, they are told after half of the time that is left to it.
const AT_ONCE: Duration = Duration::from_millis(250);

/// Serves a connection whose preface a loop saw.
pub(super) async fn serve_plain(room: Rc<Room>, plain: Plain, read: Vec<u8>, counted: Share) {
    let peer = plain.peer().into();
    let lost = match plain {
        Plain::Tcp(stream) => match TcpStream::from_std(stream) {
            Ok(socket) => return serve(&room, socket, read, ("http", peer), counted).await,
            Err(error) => error,
        },
        Plain::Unix(stream) => match UnixStream::from_std(stream) {
            Ok(socket) => return serve(&room, socket, read, ("http", peer), counted).await,
            Err(error) => error,
        },
    };
    tracing::debug!(error = %lost, "connection lost");
}

/// Serves a connection until it ends; `read` was read of it already, `from` is its scheme and its peer.
pub(super) async fn serve<S>(
    room: &Rc<Room>,
    socket: S,
    read: Vec<u8>,
    from: (&'static str, Rc<str>),
    counted: Share,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = &room.limits;
    let streams = u32::try_from(limits.max_streams_per_connection).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(streams);
    let stuck = Rc::new(Cell::new(false));
    let wire = Wire {
        read,
        socket,
        stuck: Rc::clone(&stuck),
    };
    let handshake = builder.handshake(wire);
    let ended = match tokio::time::timeout(limits.keep_alive, handshake).await {
        Ok(Ok(connection)) => run(room, connection, &stuck, from).await,
        Ok(Err(error)) => Err(error),
        Err(_) => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP/2 connection ended");
    }
    drop(counted);
}

async fn run<S>(
    room: &Rc<Room>,
    mut connection: Connection<S, Bytes>,
    stuck: &Cell<bool>,
    (scheme, peer): (&'static str, Rc<str>),
) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = &room.limits;
    let mut streams = Streams::new(room, (scheme, &peer));
    let mut stopping = room.stopping.clone();
    let mut idle_since = Instant::now();
    let mut course = Course::Open;
    let mut leaving_since = idle_since;
    // Opened while the connection leaves.
    let mut late = Vec::new();
    loop {
        let patience = match course {
            Course::Open => limits.keep_alive,
            // What was answered last must be on its way: GOAWAY leaves nothing behind it.
            Course::Leaving | Course::Told if !stuck.get() => Duration::ZERO,
            Course::Leaving | Course::Told | Course::Left => limits.stall,
        };
        let telling = tells_at(room, &streams, leaving_since);
        tokio::select! {
            biased;
            ended = streams.tasks.join_next(), if !streams.tasks.is_empty() => {
                streams.join(ended);
                idle_since = Instant::now();
            }
            () = streams.bell.rung() => {
                streams.settle();
                idle_since = Instant::now();
            }
            _ = stopping.wait_for(Option::is_some), if course == Course::Open => {
                course = Course::Leaving;
                idle_since = Instant::now();
                leaving_since = idle_since;
            }
            () = tokio::time::sleep_until(telling.into()),
                if course == Course::Leaving && !streams.is_empty() =>
            {
                // A body may be waited for since then.
                if Instant::now() < tells_at(room, &streams, leaving_since) {
                    continue;
                }
                refuse(&mut late);
                connection.graceful_shutdown();
                course = Course::Told;
            }
            mut accepted = connection.accept() => {
                // All that has come at once.
                let now = Instant::now();
                loop {
                    match accepted {
                        None => return Ok(()),
                        Some(Err(error)) => return Err(error),
                        // Streams that are reset as soon as they are opened leave what was begun for them behind.
                        Some(Ok(_)) if streams.len() + late.len() >= 2 * limits.max_streams_per_connection => {
                            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                            streams.abort();
                        }
                        Some(Ok((_, respond))) if course != Course::Open => {
                            late.push(respond);
                        }
                        Some(Ok((request, respond))) => {
                            streams.begin(request, respond, now);
                            idle_since = now;
                        }
                    }
                    match at_hand(&mut connection).await {
                        Poll::Ready(another) => accepted = another,
                        Poll::Pending => break,
                    }
                }
                streams.begun();
                if course != Course::Leaving {
                    refuse(&mut late);
                }
            },
            () = tokio::time::sleep_until((idle_since + patience).into()), if streams.is_empty() => {
                match course {
                    Course::Open => course = Course::Leaving,
                    Course::Leaving | Course::Told if stuck.get() && idle_since.elapsed() < limits.stall => continue,
                    Course::Leaving | Course::Told => {
                        // On their way before GOAWAY, which ends what is not.
                        refuse(&mut late);
                        while let Poll::Ready(Some(opened)) = at_hand(&mut connection).await {
                            let (_, respond) = opened?;
                            late.push(respond);
                            refuse(&mut late);
                        }
                        course = Course::Left;
                        connection.abrupt_shutdown(Reason::NO_ERROR);
                    }
                    Course::Left => break,
                }
                idle_since = Instant::now();
            }
        }
    }
    Ok(())
}

/// When a connection that leaves since `since` tells its client to go elsewhere, if it has streams in flight by then.
fn tells_at(room: &Room, streams: &Streams<'_>, since: Instant) -> Instant {
    let until = *room.stopping.borrow();
    let until = until.filter(|_| streams.link.is_waited_for());
    let half = until.map(|until| until.saturating_duration_since(since) / 2);
    since + half.unwrap_or_default().max(AT_ONCE)
}

/// A stream that has been opened, if there is one. What waits to be sent is sent before.
async fn at_hand<S>(
    connection: &mut Connection<S, Bytes>,
) -> Poll<Option<Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|context| Poll::Ready(pin!(connection.accept()).poll(context))).await
}

/// Refuses streams of which nothing was done: they are safe to be tried again elsewhere.
fn refuse(streams: &mut Vec<SendResponse<Bytes>>) {
    for mut stream in streams.drain(..) {
        stream.send_reset(Reason::REFUSED_STREAM);
    }
}

/// How far a connection is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Open,
    /// Leaves once those in flight are answered, most of which are at once. New streams wait for it.
    Leaving,
    /// The same, and has said that new streams belong elsewhere. They are refused.
    Told,
    /// Has said goodbye.
    Left,
}

/// The socket of a connection, of which the beginning was read already.
struct Wire<S> {
    read: Vec<u8>,
    socket: S,
    /// The peer has left no room for what was to be written last.
    stuck: Rc<Cell<bool>>,
}

impl<S> Wire<S> {
    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        self.stuck.set(written.is_pending());
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.socket).poll_read(context, buffer);
        }
        let size = self.read.len().min(buffer.remaining());
        buffer.put_slice(self.read.get(..size).unwrap_or_default());
        self.read.drain(..size);
        if self.read.is_empty() {
            self.read = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
