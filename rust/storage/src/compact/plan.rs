//! Which sealed files to rewrite.

use std::sync::Arc;

use crate::Lsn;
use crate::sealed::SealedFile;

/// Files of about equal size that are merged at least.
const FEWEST: usize = 4;
/// And at most.
const MOST: usize = 16;
/// The same when everything is to be merged.
const MOST_FORCED: usize = 128;
/// The largest file of a merge has at most one part in this many of its bytes: so a byte is written again only when
/// its file becomes that much larger, or it gets rid of dead ones.
const GROWTH: u64 = 3;
/// A file is rewritten alone when more than one part in this many of it is dead.
const DEAD_SHARE: u64 = 3;

/// On a full disk a file is rewritten alone when one part in this many of it is dead.
const WORTH: u64 = 16;

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Few files, and not too much dead in them, for little work.
    Order,
    /// Bytes, on a full disk: whatever is dead goes, where the least must be written for it first.
    Space,
    /// Merge whatever can be, and leave nothing dead, whatever it costs.
    All,
}

/// What may be planned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanOptions {
    /// Payload bytes that a merged file may have.
    pub(crate) file_bytes: u64,
    /// Events that it may have: where they begin and end is in memory while it is written, a byte or two for each.
    pub(crate) file_events: u64,
    /// What for.
    pub(crate) aim: Aim,
    /// Files of the log below this LSN are looked at.
    pub(crate) upto: Lsn,
    /// When all are merged: files with this number or a higher one were made for it, so that what died in them since
    /// is left to another time. Whoever trims all the time would be waited for without end.
    pub(crate) made_from: u64,
}

/// Files to be replaced by one, or by none.
#[derive(Clone)]
pub(crate) struct Job {
    /// Neighbours in the log, in its order.
    pub(crate) files: Vec<Arc<SealedFile>>,
}

impl Job {
    /// Payload bytes that have to be written again.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.live_bytes()).sum()
    }

    /// Whether its files take less space after it, and by far.
    pub(crate) fn frees(&self) -> bool {
        let sum = |of: fn(&SealedFile) -> u64| self.files.iter().map(|file| of(file)).sum::<u64>();
        sum(dead) >= sum(SealedFile::payload_bytes) / WORTH && sum(dead) > 0
    }
}

/// What to do next, `None` when everything is as it should be. What is dead was found out by
/// [`Sealed::weigh`](crate::sealed::Sealed::weigh).
///
/// `files` are in LSN order. One that holds something damaged which is alive is left as it is, and the others are merged
/// around it; where nothing is alive, damage keeps nobody.
pub(crate) fn plan(files: &[Arc<SealedFile>], options: PlanOptions) -> Option<Job> {
    let files = &files[..files.partition_point(|file| file.entry().to <= options.upto)];
    let runs = || files.split(|file| file.is_blocked());
    let run = gone(files)
        .or_else(|| {
            if options.aim == Aim::Space {
                return easiest(files);
            }
            runs()
                .filter_map(|run| mostly_dead(run, options))
                .max_by_key(|run| dead(&run[0]))
        })
        .or_else(|| match options.aim {
            Aim::Space => None,
            Aim::All => runs().find_map(|run| as_many_as_fit(run, options)),
            Aim::Order => {
                let windows = runs().filter_map(|run| cheapest(run, options));
                windows.min_by_key(|run| cost(run))
            }
        })?;
    Some(Job {
        files: run.to_vec(),
    })
}

/// What a merged file would have, at most.
#[derive(Default)]
struct Sum {
    bytes: u64,
    events: u64,
}

impl Sum {
    fn add(&mut self, file: &SealedFile) {
        self.bytes = self.bytes.saturating_add(file.live_bytes());
        self.events = self.events.saturating_add(file.events());
    }

    fn fits(&self, options: PlanOptions) -> bool {
        self.bytes <= options.file_bytes && self.events <= options.file_events
    }
}

/// Bytes that a rewrite would get rid of.
fn dead(file: &SealedFile) -> u64 {
    let kept = file.live_bytes().saturating_add(file.stuck_bytes());
    file.payload_bytes().saturating_sub(kept)
}

/// The file with the least to be written again among those of which a part is dead that is worth it.
fn easiest(files: &[Arc<SealedFile>]) -> Option<&[Arc<SealedFile>]> {
    let candidates = files.chunks(1).filter(|file| {
        let file = &file[0];
        !file.is_blocked() && dead(file) > 0 && dead(file) >= file.payload_bytes() / WORTH
    });
    candidates.min_by_key(|file| file[0].live_bytes())
}

/// The first neighbours without anything alive.
fn gone(files: &[Arc<SealedFile>]) -> Option<&[Arc<SealedFile>]> {
    let is_gone = |file: &Arc<SealedFile>| !file.is_needed();
    let from = files.iter().position(is_gone)?;
    let count = files[from..]
        .iter()
        .take_while(|file| is_gone(file))
        .count();
    Some(&files[from..from + count])
}

/// The file with the most dead bytes, when they are too many; but a forced merge gets rid of those it takes anyway.
fn mostly_dead(files: &[Arc<SealedFile>], options: PlanOptions) -> Option<&[Arc<SealedFile>]> {
    let alone = |file: &Arc<SealedFile>| {
        if options.aim == Aim::All {
            dead(file) > 0
                && file.entry().number < options.made_from
                && as_many_as_fit(files, options).is_none()
        } else {
            dead(file) > file.payload_bytes() / DEAD_SHARE
        }
    };
    let candidates = files.chunks(1).filter(|file| alone(&file[0]));
    candidates.max_by_key(|file| dead(&file[0]))
}

/// The first neighbours that fit into one file, as many as do.
fn as_many_as_fit(files: &[Arc<SealedFile>], options: PlanOptions) -> Option<&[Arc<SealedFile>]> {
    (0..files.len()).find_map(|from| {
        let mut sum = Sum::default();
        let fits = |file: &&Arc<SealedFile>| {
            sum.add(file);
            sum.fits(options)
        };
        let count = files[from..]
            .iter()
            .take(MOST_FORCED)
            .take_while(fits)
            .count();
        (count > 1).then(|| &files[from..from + count])
    })
}

/// The neighbours of about equal size whose merge saves the most files for its bytes.
fn cheapest(files: &[Arc<SealedFile>], options: PlanOptions) -> Option<&[Arc<SealedFile>]> {
    let mut best: Option<&[Arc<SealedFile>]> = None;
    for from in 0..files.len() {
        let (mut sum, mut largest) = (Sum::default(), 0);
        for (index, file) in files.iter().enumerate().skip(from).take(MOST) {
            sum.add(file);
            largest = largest.max(file.live_bytes());
            if !sum.fits(options) {
                break;
            }
            let run = &files[from..=index];
            if run.len() >= FEWEST
                && largest <= sum.bytes / GROWTH
                && best.is_none_or(|best| cost(run) < cost(best))
            {
                best = Some(run);
            }
        }
    }
    best
}

/// Bytes to be written for each file that there is less.
fn cost(files: &[Arc<SealedFile>]) -> u64 {
    let bytes: u64 = files.iter().map(|file| file.live_bytes()).sum();
    bytes / files.len().saturating_sub(1).max(1) as u64
}
