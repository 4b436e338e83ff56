//! Chunks on the wire (RFC 9112 section 7.1), framed once for all connections of a loop that send them.

use bytes::Bytes;

/// Longer pieces are framed around, not copied.
const COPIED_BYTES: usize = 64 << 10;
/// Framed chunks that are remembered: the live readers of some streams ask in turn.
const REMEMBERED: usize = 8;

/// The last chunks framed.
#[derive(Debug, Default)]
pub(crate) struct Framed {
    /// What was framed, held so that its address stays its own, and the result.
    recent: [(Bytes, Bytes); REMEMBERED],
    next: usize,
}

impl Framed {
    /// `data` as a chunk, in one piece, when it is short enough for that.
    pub(crate) fn whole(&mut self, data: &Bytes) -> Option<Bytes> {
        if data.len() > COPIED_BYTES {
            return None;
        }
        let same = |known: &Bytes| known.as_ptr() == data.as_ptr() && known.len() == data.len();
        if let Some((_, framed)) = self.recent.iter().find(|(known, _)| same(known)) {
            return Some(framed.clone());
        }
        let mut framed = Vec::with_capacity(data.len() + 10);
        framed.extend_from_slice(&size_line(data.len()));
        framed.extend_from_slice(data);
        framed.extend_from_slice(b"\r\n");
        let framed = Bytes::from(framed);
        if let Some(place) = self.recent.get_mut(self.next) {
            *place = (data.clone(), framed.clone());
        }
        self.next = (self.next + 1) % REMEMBERED;
        Some(framed)
    }

    /// Forgets what was framed, and what it holds in memory.
    pub(crate) fn forget(&mut self) {
        if self.next != 0 || !self.recent.iter().all(|(known, _)| known.is_empty()) {
            *self = Self::default();
        }
    }
}

/// The line before a chunk of this many bytes.
pub(crate) fn size_line(size: usize) -> Vec<u8> {
    format!("{size:x}\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_connection_shares_what_the_first_one_framed() {
        let mut framed = Framed::default();
        let data = Bytes::from_static(b"event");
        let first = framed.whole(&data).unwrap();
        assert_eq!(first, "5\r\nevent\r\n");
        assert_eq!(
            framed.whole(&data.clone()).unwrap().as_ptr(),
            first.as_ptr()
        );
        let other = Bytes::copy_from_slice(b"event");
        assert_ne!(framed.whole(&other).unwrap().as_ptr(), first.as_ptr());
    }

    #[test]
    fn long_pieces_are_not_copied() {
        let long = Bytes::from(vec![0; COPIED_BYTES + 1]);
        assert_eq!(Framed::default().whole(&long), None);
    }
}
