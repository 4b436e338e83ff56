//! The newest groups, kept in memory for reads.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::Lsn;
use crate::frame::{FrameRef, Outline};
use crate::group::{Group, Part};

/// Memory of a part beside its bytes, about.
const PART_COST: usize = 64;

/// Committed groups in LSN order, the oldest dropped when they get too large.
pub(crate) struct Hot {
    limit: usize,
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    groups: VecDeque<Group>,
    cost: usize,
}

impl Hot {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: RwLock::default(),
        }
    }

    /// Adds the newest group.
    pub(crate) fn insert(&self, group: Group) {
        let mut dropped = Vec::new();
        let mut kept = self.kept.write();
        kept.cost += cost(&group);
        kept.groups.push_back(group);
        while kept.cost > self.limit {
            let Some(oldest) = kept.groups.pop_front() else {
                break;
            };
            kept.cost -= cost(&oldest);
            dropped.push(oldest);
        }
        // Memory is given back without the lock.
        drop(kept);
    }

    /// Whether all of `frames` are here.
    pub(crate) fn holds(&self, frames: &[FrameRef]) -> bool {
        let kept = self.kept.read();
        let (Some(first), Some(last)) = (kept.groups.front(), kept.groups.back()) else {
            return frames.is_empty();
        };
        frames
            .iter()
            .all(|frame| frame.lsn >= first.start && frame.lsn < last.end)
    }

    /// The payloads of `frames`, as shared slices; `None` for those that are not here as asked.
    pub(crate) fn read(&self, frames: &[FrameRef]) -> Vec<Option<Bytes>> {
        let kept = self.kept.read();
        // One behind the other, most of them are in the group of the one before, or the next.
        let mut near = 0;
        let payloads = frames.iter().map(|frame| {
            near = kept.group_of(frame.lsn, near)?;
            kept.payload(frame, kept.groups.get(near)?)
        });
        payloads.collect()
    }

    /// The lowest LSN that is here.
    pub(crate) fn oldest(&self) -> Option<Lsn> {
        self.kept.read().groups.front().map(|group| group.start)
    }

    /// Bytes kept now.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.read().cost
    }
}

impl Kept {
    /// The number of the group that holds `lsn`, which may be about `near`.
    fn group_of(&self, lsn: Lsn, near: usize) -> Option<usize> {
        let holds = |index: &usize| {
            let group = self.groups.get(*index);
            group.is_some_and(|group| group.start <= lsn && lsn < group.end)
        };
        [near, near + 1].into_iter().find(holds).or_else(|| {
            let behind = self.groups.partition_point(|group| group.start <= lsn);
            behind.checked_sub(1).filter(holds)
        })
    }

    fn payload(&self, wanted: &FrameRef, group: &Group) -> Option<Bytes> {
        let index = group
            .parts
            .partition_point(|part| part.lsn <= wanted.lsn)
            .checked_sub(1)?;
        let part = group.parts.get(index)?;
        let at = usize::try_from(wanted.lsn - part.lsn).ok()?;
        let outline = Outline::read(part.bytes.get(at..)?).ok()?;
        outline.is(wanted).ok()?;
        let range = outline.payload_range();
        let (start, end) = (at + range.start, at + range.end);
        if end <= part.bytes.len() {
            return Some(part.bytes.slice(start..end));
        }
        // A referenced payload is the part behind its head.
        let next = group.parts.get(index + 1)?;
        (start == part.bytes.len() && next.bytes.len() == range.len()).then(|| next.bytes.clone())
    }
}

fn cost(group: &Group) -> usize {
    group
        .parts
        .iter()
        .map(|Part { bytes, .. }| bytes.len() + PART_COST)
        .sum()
}
