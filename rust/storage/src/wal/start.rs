//! What makes a log that was replayed ready for appends.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::sync::Arc;

use super::FileWal;
use crate::Lsn;
use crate::error::{During, OpenError, Trouble};
use crate::log::Replayed;
use crate::window::Window;

impl FileWal {
    /// Makes ready to append behind what was replayed: the session begins in the manifest, and there
    /// is a reserve.
    ///
    /// Segments that hold nothing are given up, so that no two begin at the same LSN; so are prepared ones that are
    /// longer than they are to be.
    ///
    /// Of segments that an earlier session gave up, those numbered `hurt` are kept aside for people.
    pub(crate) fn start(&self, found: &Replayed, hurt: &BTreeSet<u64>) -> Result<(), OpenError> {
        let end = found.end;
        self.write_again(found.proven, end)?;
        self.tail.lock().end = end;
        self.manifest.note_synced(end);
        let empty: Vec<u64> = {
            let mut segments = self.segments.write();
            let empty = segments.extract_if(.., |segment| segment.base >= end);
            empty.map(|segment| segment.birth.number).collect()
        };
        let oversized = self.reserves.oversized();
        let begun = self.manifest.change(|manifest| {
            manifest.clean = false;
            manifest.segments.retain(|entry| {
                !empty.contains(&entry.number) && !oversized.contains(&entry.number)
            });
            self.note_bases(manifest);
        });
        match begun {
            Ok(()) => self.reserves.forget(&oversized),
            // Nothing to be given up: the old manifest will do until there is space.
            Err(Trouble::Full(failure)) if empty.is_empty() => {
                tracing::warn!(%failure, "no space left; reads go on");
                return Ok(());
            }
            Err(trouble) => return Err(trouble.into()),
        }
        self.adopt_orphans(hurt)?;
        // The small one first: it is what a nearly full disk needs most.
        let prepared = self.reserves.prepare_small(|_| {});
        match prepared.and_then(|()| self.reserves.prepare(0, |_| {})) {
            Err(Trouble::Full(failure)) => {
                tracing::warn!(%failure, "no space left; appends are refused until there is");
                Ok(())
            }
            prepared => Ok(prepared?),
        }
    }

    /// Writes the last bytes of the log again, as they are, and syncs them.
    ///
    /// A sync that failed leaves pages that can be read, but that no later sync writes: what was
    /// replayed from them would be lost with the power. Writing makes them dirty again.
    fn write_again(&self, from: Lsn, end: Lsn) -> Result<(), OpenError> {
        let Some(segment) = self.segments.read().last().map(Arc::clone) else {
            return Ok(());
        };
        let mut at = from.max(segment.base);
        if at >= end {
            return Ok(());
        }
        let mut window = Window::new(&segment);
        while at < end {
            let span = (1 << 20).min(end - at) as usize;
            let Some(bytes) = window.get(segment.offset(at), span)? else {
                break;
            };
            segment.write(&mut [IoSlice::new(bytes)], at)?;
            at += span as u64;
        }
        Ok(segment
            .file
            .sync_data()
            .during("fdatasync", &segment.path)?)
    }

    /// Puts a segment that the manifest does not list any more aside when it is one of those `hurt`; `false` otherwise.
    ///
    /// Should that fail, it is tried again at the next start.
    pub(super) fn keep_aside(&self, number: u64, hurt: &BTreeSet<u64>) -> bool {
        if !hurt.contains(&number) {
            return false;
        }
        match self.home.set_aside(number) {
            Ok(path) => tracing::warn!(file = %path.display(), "a damaged segment is kept here"),
            Err(failure) => tracing::warn!(%failure, "a damaged segment stays where it was"),
        }
        true
    }

    /// Reuses or removes files that the manifest in force does not list.
    fn adopt_orphans(&self, hurt: &BTreeSet<u64>) -> Result<(), OpenError> {
        let listing = self.home.list()?;
        let mut left = listing.unlisted(&self.home, &self.manifest.snapshot());
        for number in hurt {
            let path = self.home.segment(*number);
            let count = left.segments.len();
            left.segments.retain(|other| *other != path);
            if left.segments.len() < count {
                self.keep_aside(*number, hurt);
            }
        }
        self.reserves.adopt(left.segments);
        let old = left.checkpoints.into_iter().chain(left.sealed);
        for path in old.chain(left.left_over) {
            self.home.remove(&path)?;
        }
        Ok(())
    }
}
