//! Reads of a running store: payloads by their frames, and history by stream and position.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{Inner, Store};
use crate::error::ReadError;
use crate::frame::FrameRef;
use crate::sealed::{EventRow, History, Piece};

impl Store {
    /// Whether every one of `frames` can be read without touching the disk.
    pub fn is_hot(&self, frames: &[FrameRef]) -> bool {
        self.inner.committer.hot.holds(frames)
    }

    /// Reads payloads back, in the order asked: hot ones as shared slices, cold ones verified from disk.
    ///
    /// Frames that are neighbours on disk are read together. Only acknowledged frames can be read.
    pub fn read(&self, frames: &[FrameRef]) -> Result<Vec<Bytes>, ReadError> {
        let hot = self.inner.committer.hot.read(frames);
        let cold: Vec<FrameRef> = hot
            .iter()
            .zip(frames)
            .filter_map(|(payload, frame)| payload.is_none().then_some(*frame))
            .collect();
        let inner = &*self.inner;
        let hits = (frames.len() - cold.len()) as u64;
        inner.reads_hot.fetch_add(hits, Ordering::Relaxed);
        inner
            .reads_cold
            .fetch_add(cold.len() as u64, Ordering::Relaxed);
        let mut cold = inner.read_cold(&cold)?.into_iter();
        // As many cold payloads came as there are gaps.
        Ok(hot
            .into_iter()
            .filter_map(|payload| payload.or_else(|| cold.next()))
            .collect())
    }

    /// The same without touching the disk; `None` unless all of them are in memory.
    pub fn read_hot(&self, frames: &[FrameRef]) -> Option<Vec<Bytes>> {
        let payloads = self.inner.committer.hot.read(frames);
        let payloads: Vec<Bytes> = payloads.into_iter().collect::<Option<_>>()?;
        self.inner
            .reads_hot
            .fetch_add(frames.len() as u64, Ordering::Relaxed);
        Some(payloads)
    }

    /// Sealed events of `stream`, whole ones: the first holds the byte at `from`; as many as fit into `max_bytes`, but
    /// at least one. One that reaches beyond `to` is clipped there. Blocks; nothing that fails its CRC is given.
    ///
    /// Empty, with `start` and `end` at `from`, when nothing of the stream is sealed there.
    pub fn history(
        &self,
        stream: u64,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<History, ReadError> {
        self.inner
            .shelf
            .files()
            .history(stream, from, to, max_bytes)
    }

    /// The same with large pieces left where they are in their files, verified.
    pub(crate) fn history_pieces(
        &self,
        stream: u64,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<History<Piece>, ReadError> {
        let files = self.inner.shelf.files();
        files.pieces(stream, from, to, max_bytes)
    }

    /// Start and end of the sealed event of `stream` that holds the byte at `position`.
    pub fn event_at(&self, stream: u64, position: u64) -> Result<Option<(u64, u64)>, ReadError> {
        self.inner.shelf.files().event_at(stream, position)
    }

    /// The shortest row of whole sealed events of `stream` that is known to hold the byte at `position`: one event, or,
    /// where it is damaged or lost where events begin, all of what is damaged or lost together.
    pub fn row_at(&self, stream: u64, position: u64) -> Result<Option<EventRow>, ReadError> {
        self.inner.shelf.files().row_at(stream, position)
    }

    /// How many sealed events of `stream` have a byte between `from` and `to`.
    pub fn history_events(&self, stream: u64, from: u64, to: u64) -> Result<u64, ReadError> {
        self.inner.shelf.files().events(stream, from, to)
    }
}

impl Inner {
    /// Reads from the log, and what it does not keep any more from the sealed files.
    fn read_cold(&self, frames: &[FrameRef]) -> Result<Vec<Bytes>, ReadError> {
        let found = self.reader.read(frames)?;
        let payloads = found.into_iter().zip(frames).map(|(payload, frame)| {
            let payload = match payload {
                Some(payload) => Some(payload),
                // Nothing is sealed of a frame without payload.
                None if frame.len == 0 => Some(Bytes::new()),
                None => self.shelf.files().payload(frame)?,
            };
            payload.ok_or_else(|| ReadError::Io {
                file: self.home.dir().to_owned(),
                detail: format!("nothing is kept at LSN {} any more", frame.lsn),
            })
        });
        payloads.collect()
    }
}
