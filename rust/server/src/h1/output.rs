//! Bytes on their way to a peer.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use durastream_engine::storage::{Chunk, FilePart, Piece};

use super::gather::{SLICES, gather};
use crate::socket::Socket;

/// A peer that takes this much within the write deadline counts as alive.
const ALIVE_BYTES: usize = 64 << 10;

/// Bytes of a file that are looked for in the page cache at once, or brought there.
pub(crate) const WARM_BYTES: usize = 512 << 10;
/// How long they are taken to be there.
const WARM_TIME: Duration = Duration::from_secs(1);
/// What a file is read by where the system cannot send it.
const READ_BYTES: usize = 64 << 10;

/// How far a flush came.
#[derive(Debug)]
pub(crate) enum Flushed {
    /// Nothing is left.
    All,
    /// The socket takes no more for now.
    Blocked,
    /// It was allowed no more bytes.
    Spent,
    /// This has to be read from the disk first ([`FilePart::warm`], then [`Output::warmed`]).
    Cold(FilePart),
}

/// What waits to be written. Empty, it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pieces: VecDeque<Piece>,
    /// The socket took less than it was given.
    blocked: bool,
    /// Since when the peer has left us waiting.
    since: Option<Instant>,
    taken: usize,
    warm: Warm,
}

/// Whether the file that is first in line can be sent without waiting for a disk.
#[derive(Debug, Default)]
enum Warm {
    #[default]
    Unknown,
    /// Up to this file offset, when it was looked for.
    Until(u64, Instant),
    /// It is being read.
    Awaited,
    /// It cannot be read.
    Never,
}

impl Output {
    /// Since when the peer has taken nothing that counts.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// The socket takes bytes again.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// What was cold has been read from the disk, or cannot be.
    pub(crate) fn warmed(&mut self, is_there: bool, now: Instant) {
        self.warm = match self.pieces.front() {
            Some(Piece::File(part)) if is_there => {
                Warm::Until(part.offset() + WARM_BYTES as u64, now)
            }
            _ => Warm::Never,
        };
    }

    pub(crate) fn push(&mut self, piece: impl Into<Piece>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Writes `bytes` at once if nothing waits; keeps a copy of what the socket does not take.
    pub(crate) fn write(&mut self, socket: &mut Socket, bytes: &[u8]) -> io::Result<()> {
        let written = self.write_now(socket, bytes)?;
        let rest = bytes.get(written..).unwrap_or_default();
        self.push(Bytes::copy_from_slice(rest));
        Ok(())
    }

    /// The same with a shared piece, of which nothing is copied.
    pub(crate) fn write_piece(&mut self, socket: &mut Socket, mut piece: Bytes) -> io::Result<()> {
        piece.advance(self.write_now(socket, &piece)?);
        self.push(piece);
        Ok(())
    }

    fn write_now(&self, socket: &mut Socket, bytes: &[u8]) -> io::Result<usize> {
        if self.blocked || !self.pieces.is_empty() {
            return Ok(0);
        }
        match socket.write_vectored(&[IoSlice::new(bytes)], false) {
            Err(error) if is_transient(&error) => Ok(0),
            written => written,
        }
    }

    /// Writes what the socket takes, but no more than `allowed` bytes, which become fewer. `scratch` is to copy small
    /// pieces to: so they need no memory of this connection's when the socket takes no more.
    pub(crate) fn flush(
        &mut self,
        socket: &mut Socket,
        scratch: &mut [u8],
        allowed: &mut usize,
        now: Instant,
    ) -> io::Result<Flushed> {
        while !self.blocked {
            let sent = match self.pieces.front_mut() {
                None => break,
                _ if *allowed == 0 => {
                    self.since.get_or_insert(now);
                    return Ok(Flushed::Spent);
                }
                Some(Piece::Bytes(_)) => {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let (count, more) = gather(&self.pieces, scratch, *allowed, &mut slices);
                    socket.write_vectored(slices.get(..count).unwrap_or_default(), more)
                }
                Some(Piece::File(part)) => {
                    let most = self.warm.bytes(part, now)?.min(*allowed);
                    if most == 0 {
                        self.since.get_or_insert(now);
                        let is_told = std::mem::replace(&mut self.warm, Warm::Awaited);
                        return Ok(match is_told {
                            Warm::Awaited => Flushed::Blocked,
                            _ => Flushed::Cold(part.clone()),
                        });
                    }
                    match socket.send_file(part, most) {
                        Err(error) if is_unable(&error) => {
                            let mut first = part.clone();
                            first.truncate(most.min(READ_BYTES));
                            let bytes = first.read().map_err(io::Error::other)?;
                            part.advance(bytes.len());
                            if part.is_empty() {
                                self.pieces.pop_front();
                                self.warm = Warm::Unknown;
                            }
                            self.pieces.push_front(Piece::Bytes(bytes));
                            continue;
                        }
                        sent => sent,
                    }
                }
            };
            match sent {
                Ok(written) => {
                    *allowed = allowed.saturating_sub(written);
                    self.drop_front(written);
                    self.note_taken(written);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(error) => return Err(error),
            }
        }
        if self.pieces.is_empty() && socket.drain()? {
            if self.pieces.capacity() > 0 {
                self.pieces = VecDeque::new();
            }
            self.since = None;
            self.taken = 0;
            return Ok(Flushed::All);
        }
        self.since.get_or_insert(now);
        Ok(Flushed::Blocked)
    }

    fn note_taken(&mut self, size: usize) {
        self.taken += size;
        if self.taken >= ALIVE_BYTES {
            self.taken = 0;
            self.since = None;
        }
    }

    fn drop_front(&mut self, mut size: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            let len = piece.len();
            if len > size {
                match piece {
                    Piece::Bytes(bytes) => bytes.advance(size),
                    Piece::File(part) => part.advance(size),
                }
                return;
            }
            size -= len;
            if let Some(Piece::File(_)) = self.pieces.pop_front() {
                self.warm = Warm::Unknown;
            }
        }
    }
}

impl Warm {
    /// How many bytes of `part` can be sent now; looks for some of them when it does not know.
    fn bytes(&mut self, part: &FilePart, now: Instant) -> io::Result<usize> {
        match self {
            Self::Awaited => return Ok(0),
            Self::Never => return Err(io::Error::other("a sealed file cannot be read")),
            Self::Until(end, then) if *end > part.offset() && now < *then + WARM_TIME => {
                let known = usize::try_from(*end - part.offset()).unwrap_or(usize::MAX);
                return Ok(known.min(part.len()));
            }
            Self::Until(..) | Self::Unknown => {}
        }
        if !part.is_cached(WARM_BYTES) {
            return Ok(0);
        }
        *self = Self::Until(part.offset() + WARM_BYTES as u64, now);
        Ok(part.len().min(WARM_BYTES))
    }
}

/// Whether the system cannot send this file to this socket.
fn is_unable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::Unsupported
    )
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::socket::Plain;

    fn output(sizes: &[usize]) -> (Output, Vec<u8>) {
        let mut output = Output::default();
        let mut whole = Vec::new();
        for (number, size) in (0_u8..).zip(sizes) {
            output.push(Bytes::from(vec![number; *size]));
            whole.extend(vec![number; *size]);
        }
        (output, whole)
    }

    fn pair() -> (Socket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Socket::Plain(Plain::Unix(ours)), theirs)
    }

    #[test]
    fn no_more_leaves_than_is_allowed_and_the_rest_follows() {
        let (mut output, whole) = output(&[50_000, 10, 10, 10, 5000]);
        let (mut socket, mut peer) = pair();
        let (mut scratch, now) = ([0; 64], Instant::now());
        let mut flush = |allowed: usize| {
            let mut left = allowed;
            let how = output.flush(&mut socket, &mut scratch, &mut left, now);
            (how.unwrap(), allowed - left)
        };
        assert!(matches!(flush(7000), (Flushed::Spent, 7000)));
        assert!(matches!(flush(43_015), (Flushed::Spent, 43_015)));
        assert!(matches!(flush(1 << 20), (Flushed::All, 5015)));
        let mut got = vec![0; whole.len()];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got, whole);
    }
}
