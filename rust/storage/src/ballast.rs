//! Space that is kept for giving space back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{During, Failure};
use crate::fs::Open;
use crate::home::{BALLAST, Home};

/// The most that is kept back.
const MOST_BYTES: u64 = 32 << 20;

/// A file without content. It goes when there is no space for what will free some, and comes back before anything
/// else gets space.
pub(crate) struct Ballast {
    home: Home,
    /// How many are to be kept back.
    bytes: u64,
    /// How many are.
    kept: u64,
    users: Arc<AtomicUsize>,
}

/// While it is held, the ballast does not come back.
#[must_use = "the space is kept back again when this is dropped"]
pub(crate) struct Space(Arc<AtomicUsize>);

impl Drop for Space {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Ballast {
    pub(crate) fn new(home: Home, segment_bytes: u64) -> Self {
        Self {
            home,
            bytes: segment_bytes.min(MOST_BYTES),
            kept: 0,
            users: Arc::default(),
        }
    }

    /// Whether somebody was given its space and may not have used it yet.
    pub(crate) fn is_lent(&self) -> bool {
        self.users.load(Ordering::Acquire) > 0
    }

    /// How many bytes it has when it is whole.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes sure that it is there, and whole.
    pub(crate) fn restore(&mut self) -> Result<(), Failure> {
        if self.kept == self.bytes {
            return Ok(());
        }
        let path = self.home.path(BALLAST);
        if self.is_lent() {
            let busy = std::io::ErrorKind::StorageFull;
            return Err(busy.into()).during("allocate", &path);
        }
        let left = self.home.open(&path, Open::Write).ok();
        let left = left.and_then(|file| Some((file.len().ok()?, file)));
        // Not synced: whether it survives a crash, nothing depends on it.
        let (file, kept) = match left {
            Some((len, file)) if len <= self.bytes => (file, len),
            _ => (self.home.create(&path)?, 0),
        };
        self.kept = kept;
        if kept < self.bytes {
            let allocated = file.allocate(self.bytes).during("allocate", &path);
            allocated.inspect_err(|_| {
                // What was kept is better than nothing; an empty one is not.
                if file.set_len(kept).is_err() || kept == 0 {
                    self.kept = 0;
                    self.home.remove(&path).ok();
                }
            })?;
            self.kept = self.bytes;
        }
        Ok(())
    }

    /// Frees so many bytes of it, and keeps `rest` at least; `None`, with nothing done, when it has not as many.
    pub(crate) fn lend(&mut self, bytes: u64, rest: u64) -> Option<Space> {
        let left = self.kept.checked_sub(bytes).filter(|left| *left >= rest)?;
        let file = self.home.open(&self.home.path(BALLAST), Open::Write).ok()?;
        file.set_len(left).ok()?;
        self.kept = left;
        Some(self.hold())
    }

    /// Keeps it from growing for as long as what is returned is held.
    pub(crate) fn hold(&self) -> Space {
        self.users.fetch_add(1, Ordering::AcqRel);
        Space(Arc::clone(&self.users))
    }

    /// Frees its space for as long as what is returned is held.
    pub(crate) fn give_up(&mut self) -> Space {
        let space = self.hold();
        if self.kept > 0 {
            self.kept = 0;
            let path = self.home.path(BALLAST);
            if let Err(failure) = self.home.remove(&path) {
                tracing::warn!(%failure, "the space kept back could not be given up");
            }
        }
        space
    }
}
