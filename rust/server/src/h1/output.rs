//! Bytes on their way to a peer.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::time::Instant;

use bytes::{Buf, Bytes};

use crate::socket::Socket;

/// Pieces handed to the system in one call, those that are copied together counting as one.
const PIECES: usize = 64;
/// Neighbours smaller than this are copied together: the system would spend more on each of them.
const SMALL: usize = 2 << 10;
/// A peer that takes this much within the write deadline counts as alive.
const ALIVE_BYTES: usize = 64 << 10;

/// How far a flush came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left.
    All,
    /// The socket takes no more for now.
    Blocked,
    /// It was allowed no more bytes.
    Spent,
}

/// What waits to be written. Empty, it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pieces: VecDeque<Bytes>,
    /// The socket took less than it was given.
    blocked: bool,
    /// Since when the peer has left us waiting.
    since: Option<Instant>,
    taken: usize,
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

    pub(crate) fn push(&mut self, piece: Bytes) {
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
        match socket.write_vectored(&[IoSlice::new(bytes)]) {
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
        while !self.pieces.is_empty() && !self.blocked {
            if *allowed == 0 {
                self.since.get_or_insert(now);
                return Ok(Flushed::Spent);
            }
            let mut slices = [IoSlice::new(&[]); PIECES];
            let count = gather(&self.pieces, scratch, *allowed, &mut slices);
            match socket.write_vectored(slices.get(..count).unwrap_or_default()) {
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
            if piece.len() > size {
                piece.advance(size);
                return;
            }
            size -= piece.len();
            self.pieces.pop_front();
        }
    }
}

/// The first of `pieces` as `slices`, at most `most` bytes, and how many slices that are. Small neighbours are copied to
/// `scratch`, as long as it has room.
fn gather<'p>(
    pieces: &'p VecDeque<Bytes>,
    mut scratch: &'p mut [u8],
    mut most: usize,
    slices: &mut [IoSlice<'p>; PIECES],
) -> usize {
    let mut pieces = pieces.iter().peekable();
    let mut count = 0;
    for slice in slices {
        let mut copied = 0;
        while let Some(piece) = pieces.next_if(|piece| {
            let end = copied + piece.len();
            piece.len() < SMALL && end <= scratch.len() && end <= most
        }) {
            let end = copied + piece.len();
            if let Some(place) = scratch.get_mut(copied..end) {
                place.copy_from_slice(piece);
            }
            copied = end;
        }
        *slice = if copied > 0 {
            let (full, free) = std::mem::take(&mut scratch).split_at_mut(copied);
            scratch = free;
            IoSlice::new(full)
        } else if let Some(piece) = pieces.next()
            && most > 0
        {
            IoSlice::new(piece.get(..most).unwrap_or(piece))
        } else {
            break;
        };
        most -= slice.len();
        count += 1;
    }
    count
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

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
    fn small_neighbours_are_one_slice_and_large_pieces_are_not_copied() {
        let (output, _) = output(&[20, 30, 0, 40, 9000, 50, 60]);
        let large = output.pieces.iter().find(|piece| piece.len() == 9000);
        let mut scratch = [0; 4096];
        let mut slices = [IoSlice::new(&[]); PIECES];
        let count = gather(&output.pieces, &mut scratch, usize::MAX, &mut slices);
        let sizes: Vec<usize> = slices[..count].iter().map(|slice| slice.len()).collect();
        assert_eq!(sizes, [90, 9000, 110]);
        assert_eq!(slices[1].as_ptr(), large.unwrap().as_ptr());
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
        assert_eq!(flush(7000), (Flushed::Spent, 7000));
        assert_eq!(flush(43_015), (Flushed::Spent, 43_015));
        assert_eq!(flush(1 << 20), (Flushed::All, 5015));
        let mut got = vec![0; whole.len()];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got, whole);
    }

    proptest! {
        #[test]
        fn what_is_gathered_is_the_beginning_of_what_waits(
            sizes in prop::collection::vec(0..3 * SMALL, 1..200), room in 0..70_000_usize, most in 1..300_000_usize,
        ) {
            let (output, whole) = output(&sizes);
            prop_assume!(!output.pieces.is_empty());
            let mut scratch = vec![0; room];
            let mut slices = [IoSlice::new(&[]); PIECES];
            let count = gather(&output.pieces, &mut scratch, most, &mut slices);
            let gathered: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            prop_assert!(count > 0 && slices[..count].iter().all(|slice| !slice.is_empty()));
            prop_assert!(gathered.len() <= most && whole.starts_with(&gathered));
            prop_assert!(count == PIECES || gathered.len() == whole.len().min(most));
        }
    }
}
