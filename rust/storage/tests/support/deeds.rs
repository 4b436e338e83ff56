//! What a recording of a simulated disk shows of a store's work behind the appends.
#![allow(unreachable_pub, reason = "suites of two crates share it")]

use std::ops::RangeInclusive;

use durastream_storage::fs::SimFs;

/// Background work, as far as it can be told from what was done to the disk.
#[derive(Debug, Clone, Default)]
pub struct Deeds {
    /// Operations of each compaction, one after the other: from the first of the new file, or of the manifest that does
    /// without files in which nothing is alive, to the removal of the last file that it replaced.
    compactions: Vec<RangeInclusive<usize>>,
    /// Sealed files that were created.
    pub sealed: usize,
    /// Sealed files that were unlinked.
    pub unlinked: usize,
    /// Segments that were used again under another number.
    pub recycled: usize,
    /// Checkpoints that were removed, because there were two newer ones.
    pub checkpoints: usize,
    /// Writes that were made durable by themselves.
    pub through: usize,
}

impl Deeds {
    /// Of everything recorded.
    pub fn of(fs: &SimFs) -> Self {
        let mut deeds = Self::default();
        // Where the file began that is being made, the manifest that is being written, and what the last manifest is for.
        let (mut file, mut next, mut listed) = (None, 0, 0);
        for at in 0..fs.op_count() {
            let text = fs.describe(at);
            let (verb, rest) = text.split_once(' ').unwrap_or_default();
            // Of a rename the new name, of a creation the name before the number.
            let name = rest.split(" as #").next().unwrap_or_default();
            match verb {
                "create" if name.ends_with(".sealed") => {
                    file.get_or_insert(at);
                    deeds.sealed += 1;
                }
                "create" if name.ends_with("MANIFEST.next") => next = at,
                "rename" if name.ends_with("MANIFEST") => listed = file.take().unwrap_or(next),
                "rename" if name.ends_with(".wal") => deeds.recycled += 1,
                "sync" if rest.starts_with("of #") => deeds.through += 1,
                "remove" if name.ends_with(".checkpoint") => deeds.checkpoints += 1,
                "remove" if name.ends_with(".sealed") => {
                    deeds.unlinked += 1;
                    match deeds.compactions.last_mut() {
                        Some(last) if *last.start() == listed => *last = listed..=at,
                        _ => deeds.compactions.push(listed..=at),
                    }
                }
                _ => {}
            }
        }
        deeds
    }

    /// How many times sealed files were merged, or removed.
    pub fn compactions(&self) -> usize {
        self.compactions.len()
    }

    /// Whether a compaction is under way when the first `op` operations are done.
    pub fn is_compacting(&self, op: usize) -> bool {
        let under_way = |it: &RangeInclusive<usize>| *it.start() < op && op <= *it.end();
        self.compactions.iter().any(under_way)
    }
}
