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
    bytes: u64,
    is_there: bool,
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
            is_there: false,
            users: Arc::default(),
        }
    }

    /// Makes sure that it is there.
    pub(crate) fn restore(&mut self) -> Result<(), Failure> {
        if self.is_there {
            return Ok(());
        }
        let path = self.home.path(BALLAST);
        if self.users.load(Ordering::Acquire) > 0 {
            let busy = std::io::ErrorKind::StorageFull;
            return Err(busy.into()).during("allocate", &path);
        }
        let left = self.home.open(&path, Open::Read).ok();
        let left = left.and_then(|file| file.len().ok());
        if left != Some(self.bytes) {
            // Not synced: whether it survives a crash, nothing depends on it.
            let file = self.home.create(&path)?;
            let allocated = file.allocate(self.bytes).during("allocate", &path);
            allocated.inspect_err(|_| {
                self.home.remove(&path).ok();
            })?;
        }
        self.is_there = true;
        Ok(())
    }

    /// Frees its space for as long as what is returned is held.
    pub(crate) fn give_up(&mut self) -> Space {
        self.users.fetch_add(1, Ordering::AcqRel);
        if self.is_there {
            self.is_there = false;
            let path = self.home.path(BALLAST);
            if let Err(failure) = self.home.remove(&path) {
                tracing::warn!(%failure, "the space kept back could not be given up");
            }
        }
        Space(Arc::clone(&self.users))
    }
}
