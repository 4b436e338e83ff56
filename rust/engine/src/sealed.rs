//! Asking the store for what the indexes have forgotten. It may read from disk, so never under the lock.

use bytes::Bytes;
use durastream_storage::{Chunk, EventRow, History, ReadError};

use crate::engine::Shared;
use crate::span::{SealedAppend, Stretch};

/// Looks sealed appends up for a decision that is made again and again until it needs no more of them.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    /// What was not there. It was dropped since it was planned, and the state knows that by now; so it is not asked
    /// for again, unless it is missing.
    missed: Option<(u64, u64)>,
}

impl Finder {
    /// The sealed append that a stretch begins in, or what is known of it where it is damaged or lost; `None`: decide
    /// again without.
    pub(crate) fn find_any(
        &mut self,
        shared: &Shared,
        stretch: &Stretch,
    ) -> Result<Option<SealedAppend>, ReadError> {
        let row = shared.store.row_at(stretch.stream, stretch.from)?;
        self.known(shared, stretch, row)
    }

    /// The same for who only has to know whether an append begins where the stretch does: that is also known where
    /// what is lost begins. Within it is an error.
    pub(crate) fn find_start(
        &mut self,
        shared: &Shared,
        stretch: &Stretch,
    ) -> Result<Option<SealedAppend>, ReadError> {
        match self.find_any(shared, stretch)? {
            Some(found) if !found.is_single && found.start != stretch.from => {
                self.find(shared, stretch)
            }
            found => Ok(found),
        }
    }

    /// The sealed append that a stretch begins in; `None`: decide again without.
    pub(crate) fn find(
        &mut self,
        shared: &Shared,
        stretch: &Stretch,
    ) -> Result<Option<SealedAppend>, ReadError> {
        let bounds = shared.store.event_at(stretch.stream, stretch.from)?;
        let single = bounds.map(|(start, end)| EventRow {
            start,
            end,
            is_single: true,
        });
        self.known(shared, stretch, single)
    }

    fn known(
        &mut self,
        shared: &Shared,
        stretch: &Stretch,
        row: Option<EventRow>,
    ) -> Result<Option<SealedAppend>, ReadError> {
        if row.is_none() {
            self.miss(shared, stretch)?;
        }
        Ok(row.map(|row| SealedAppend {
            stream: stretch.stream,
            start: row.start,
            end: row.end,
            is_single: row.is_single,
        }))
    }

    /// All of a stretch that begins and ends with an append or an inherited part of one; `None`: decide again.
    pub(crate) fn read(
        &mut self,
        shared: &Shared,
        stretch: &Stretch,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let history: History<Bytes> = shared.history(stretch, stretch.len())?;
        if (history.start, history.end) == (stretch.from, stretch.to) {
            return Ok(Some(history.chunks.concat()));
        }
        self.miss(shared, stretch)?;
        Ok(None)
    }

    fn miss(&mut self, shared: &Shared, stretch: &Stretch) -> Result<(), ReadError> {
        let place = Some((stretch.stream, stretch.from));
        if self.missed == place {
            return Err(shared.missing(stretch));
        }
        self.missed = place;
        Ok(())
    }
}

impl Shared {
    /// The appends of a stretch from the one that it begins in, up to `max_bytes` but at least one. Empty when that
    /// one was dropped. What is given has the length that its positions say.
    pub(crate) fn history<T: Chunk>(
        &self,
        stretch: &Stretch,
        max_bytes: usize,
    ) -> Result<History<T>, ReadError> {
        let Stretch { stream, from, to } = *stretch;
        let history = T::history(&self.store, stream, from, to, max_bytes)?;
        let bytes: u64 = history.chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let fits = history.start <= from && from <= history.end && history.end <= to;
        if !fits || history.end - history.start != bytes {
            return Err(self.unusable(format!(
                "{bytes} bytes from position {} to {} of stream {stream} were given for {from} to {to}",
                history.start, history.end
            )));
        }
        Ok(history)
    }

    /// Nothing is sealed where something must be.
    pub(crate) fn missing(&self, stretch: &Stretch) -> ReadError {
        let Stretch { stream, from, .. } = stretch;
        self.unusable(format!(
            "nothing is kept of stream {stream} at position {from}"
        ))
    }

    fn unusable(&self, detail: String) -> ReadError {
        let file = self.dir.clone();
        ReadError::Io { file, detail }
    }
}
