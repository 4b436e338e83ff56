//! Makes a checkpoint while everything goes on: slices of a snapshot under the lock, their bytes to
//! the store outside of it.

use std::time::{Duration, Instant};

use durastream_storage::{CommitError, Lsn};
use parking_lot::MutexGuard;

use crate::core::Core;
use crate::engine::Shared;
use crate::snapshot::Slice;

/// How long one slice holds the lock, about.
const SLICE: Duration = Duration::from_micros(50);

/// No rest follows from more: the thread was kept from running meanwhile.
const LONGEST: Duration = SLICE.saturating_mul(2);

/// Streams written between looks at the clock.
const STRIDE: u32 = 16;

/// How much longer than a slice the lock is left alone after it, so that the checkpoint takes a
/// small part of what others have of the lock and of the processor.
const REST: u32 = 6;

/// Whether others want the lock meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// They do.
    Considerate,
    /// Nobody is there any more, or somebody waits for the checkpoint.
    Urgent,
}

/// Ends the snapshot, however its writing ended.
struct Ending<'c>(&'c Core);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.lock().state.end_snapshot();
    }
}

impl Shared {
    /// Writes the state as it is now, and waits until that is durable.
    pub(crate) fn checkpoint(&self, haste: Haste) -> Result<Lsn, CommitError> {
        let mut checkpointed = self.checkpointed.lock();
        // IMPORTANT: read before anything is encoded. Whatever lies below is listed by the manifest already, and will be
        // by every later one.
        let (sealed, forgettable) = (self.store.sealed(), self.store.forgettable());
        let (lsn, mut out) = {
            let mut inner = self.core.lock();
            inner.state.set_forgettable(forgettable);
            // Nobody pushes without the lock, so the state is that of everything below the end.
            (self.store.end(), inner.state.begin_snapshot(sealed))
        };
        let ending = Ending(&self.core);
        let mut writer = self.store.begin_checkpoint(lsn)?;
        loop {
            let (slice, held) = {
                let mut inner = self.core.lock();
                // What others held it for before is no reason to hold it for less, nor to rest for longer.
                let began = Instant::now();
                let mut since = 0;
                let slice = inner.state.slice(&mut out, |is_full| {
                    since += 1;
                    !is_full && (since % STRIDE != 0 || began.elapsed() < SLICE)
                });
                MutexGuard::unlock_fair(inner);
                (slice, began.elapsed())
            };
            match slice {
                Slice::More => {}
                Slice::Run(run) => out.put_run(&run, |chunk| writer.push(chunk))?,
                Slice::Done => break,
            }
            if out.is_full() {
                writer.push(out.take())?;
            }
            if haste == Haste::Considerate && !self.is_closed() {
                std::thread::sleep(held.min(LONGEST) * REST);
            }
        }
        drop(ending);
        writer.push(out.take())?;
        writer.finish()?;
        *checkpointed = lsn;
        self.store
            .drop_up_to(out.oldest.map_or(lsn, |oldest| oldest.min(lsn)))?;
        Ok(lsn)
    }
}
