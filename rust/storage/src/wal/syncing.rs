//! Making what was written durable, with a memory of what failed.

use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::FileWal;
use crate::Lsn;
use crate::error::{During, Failure};
use crate::group::Group;
use crate::segment::Segment;

impl FileWal {
    /// Syncs `segment`, which makes everything below `end` synced.
    ///
    /// IMPORTANT: one at a time, and none after one that failed. The kernel tells of a failure once:
    /// of two syncs the other would succeed, and prove nothing.
    pub(super) fn sync_segment(&self, segment: &Segment, end: Lsn) -> Result<(), Failure> {
        let mut failed = self.sync_failed.lock();
        if *failed {
            return Err(Failure {
                file: segment.path.clone(),
                operation: "fdatasync",
                source: std::io::Error::other("an earlier sync failed"),
            });
        }
        if self.manifest.synced() >= end {
            return Ok(());
        }
        let begun = Instant::now();
        let synced = segment.file.sync_data();
        *failed = synced.is_err();
        synced.during("fdatasync", &segment.path)?;
        self.note_sync(begun, end);
        Ok(())
    }

    /// Writes and syncs a group in one go; `false`, with nothing done, where that cannot be, or when there is more to be
    /// synced. For failures see [`Self::sync_segment`].
    pub(super) fn write_through(
        &self,
        segment: &Segment,
        slices: &mut [IoSlice<'_>],
        group: &Group,
    ) -> Result<bool, Failure> {
        let mut failed = self.sync_failed.lock();
        if *failed || self.manifest.synced() != group.start {
            return Ok(false);
        }
        let begun = Instant::now();
        let Some(written) = segment.write_through(slices, group.start) else {
            return Ok(false);
        };
        *failed = written.is_err();
        written?;
        self.note_sync(begun, group.end);
        Ok(true)
    }

    fn note_sync(&self, begun: Instant, end: Lsn) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_times.record(begun.elapsed().as_nanos() as u64);
        self.manifest.note_synced(end);
    }
}
