//! Checkpoints of a running store.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{Inner, Store};
use crate::Lsn;
use crate::ballast::Space;
use crate::checkpoint::CheckpointFile;
use crate::error::{CommitError, Trouble};

/// A checkpoint being written, a bit at a time, while everything else goes on. Dropped before it is
/// finished, it was never there.
#[must_use = "it counts only once it is finished"]
pub struct CheckpointWriter {
    store: Store,
    number: u64,
    lsn: Lsn,
    _space: Option<Space>,
    /// Until it is finished.
    file: Option<CheckpointFile>,
}

impl Store {
    /// Begins the checkpoint of everything below `lsn`: the start or end of a frame, which need not be
    /// durable yet. It is written with [`CheckpointWriter::push`] and counts from its `finish` on.
    pub fn begin_checkpoint(&self, lsn: Lsn) -> Result<CheckpointWriter, CommitError> {
        let inner = &*self.inner;
        drop(inner.alone()?);
        // On a full disk it is what lets the log be given up.
        let space = inner.log.full().map(|_| inner.log.make_space());
        let number = inner.manifest.number();
        let file = CheckpointFile::create(&inner.home, number, lsn);
        Ok(CheckpointWriter {
            store: self.clone(),
            number,
            lsn,
            _space: space,
            file: Some(file.map_err(|failure| inner.committer.trouble(failure.into()))?),
        })
    }

    /// Makes `payload` the newest checkpoint, like [`Store::begin_checkpoint`] and what follows it.
    pub fn write_checkpoint(&self, lsn: Lsn, payload: &[Bytes]) -> Result<(), CommitError> {
        let mut writer = self.begin_checkpoint(lsn)?;
        for piece in payload {
            writer.push(piece.clone())?;
        }
        writer.finish()
    }
}

impl CheckpointWriter {
    /// Adds to the payload. Blocks while it is written.
    pub fn push(&mut self, payload: Bytes) -> Result<(), CommitError> {
        let inner = &*self.store.inner;
        drop(inner.alone()?);
        let Some(file) = &mut self.file else {
            return Err(CommitError::Closed);
        };
        file.push(payload)
            .map_err(|failure| inner.committer.trouble(failure.into()))
    }

    /// Makes it the newest checkpoint, once everything below its LSN is durable.
    ///
    /// Synced, then swapped in by manifest. The one before is kept, and the log from there on, in case this one should
    /// turn out to be damaged. One that is older than the newest is ignored.
    pub fn finish(mut self) -> Result<(), CommitError> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let inner = &*self.store.inner;
        match inner.swap_checkpoint(self.lsn, file) {
            Ok(true) => {
                if inner.sealer.halted().is_some() {
                    inner.wal.filled().ring();
                }
                inner.recycle()
            }
            Ok(false) => {
                inner.remove_checkpoint(self.number);
                Ok(())
            }
            Err(error) => {
                // When the log is poisoned, nobody knows which manifest counts: all checkpoints stay.
                if !matches!(error, CommitError::Poisoned { .. }) {
                    inner.remove_checkpoint(self.number);
                }
                Err(error)
            }
        }
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            self.store.inner.remove_checkpoint(self.number);
        }
    }
}

impl Inner {
    /// `true` when the checkpoint counts now, `false` when there is a newer one.
    fn swap_checkpoint(&self, lsn: Lsn, file: CheckpointFile) -> Result<bool, CommitError> {
        let _alone = self.alone()?;
        let before = self.manifest.snapshot();
        if before.checkpoint.is_some_and(|newest| newest.lsn > lsn) {
            return Ok(false);
        }
        let end = self.committer.end();
        self.committer.wait(lsn.min(end), None)?;
        // Whatever acknowledged means, a checkpoint must not be ahead of the log on the disk.
        if self.committer.sync()? < lsn {
            let detail = format!("LSN {lsn} is beyond the log's end");
            return Err(CommitError::Poisoned { cause: detail });
        }
        file.finish()
            .and_then(|entry| self.home.sync_dir().map(|()| entry))
            .map_err(Trouble::from)
            .and_then(|entry| {
                self.manifest.change(|manifest| {
                    manifest.previous = manifest.checkpoint;
                    manifest.checkpoint = Some(entry);
                })
            })
            .map_err(|trouble| self.committer.trouble(trouble))?;
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        let entry = self.manifest.snapshot().checkpoint;
        let bytes = entry.map_or(0, |entry| entry.bytes);
        self.checkpoint_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(oldest) = before.previous {
            self.remove_checkpoint(oldest.number);
        }
        Ok(true)
    }

    /// Gives up what no recovery needs any more.
    fn recycle(&self) -> Result<(), CommitError> {
        let _alone = self.alone()?;
        self.shelf
            .recycle()
            .map_err(|trouble| self.committer.trouble(trouble))
    }

    fn remove_checkpoint(&self, number: u64) {
        if let Err(failure) = self.home.remove(&self.home.checkpoint(number)) {
            tracing::warn!(%failure, "a checkpoint file was left behind");
        }
    }
}
