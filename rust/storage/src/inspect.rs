//! Looking at a data directory without changing a byte of it: what is in it, what is wrong with it.
//!
//! The readers are those of recovery, over a file system that refuses to write. Where recovery refuses
//! and stops, an inspection notes a [`Finding`] and goes on with what else can be read.

mod clip;
mod finding;
mod history;
mod mend;
mod salvage;
mod scan;
mod version;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

pub use clip::Tails;
pub use finding::{Finding, FindingKind, Lost};
pub use history::{ExtentFacts, Gap, SealedFacts};
pub use mend::{Mended, Mending};
pub use scan::{Scanned, Seen};

pub use crate::sealed::Trace;

use crate::cold;
use crate::error::{During, OpenError, ReadError};
use crate::frame::FrameRef;
use crate::fs::Fs;
use crate::fs::readonly::ReadOnly;
use crate::home::{Home, LOCK, Listing, MANIFEST};
use crate::manifest::{CheckpointEntry, Manifest};
use crate::sealed::{Sealed, SealedEntry};
use crate::segment::Segment;
use crate::survey::{Survey, refuse_orphans};
use crate::{Lsn, checkpoint};

/// A segment that can be read.
pub(crate) struct Found {
    pub(crate) segment: Arc<Segment>,
    /// Its header is not what it should be; what is in `segment` was worked out.
    pub(crate) mend: bool,
}

/// A sealed file that the manifest lists and that cannot be opened as it is.
#[derive(Clone, Copy)]
pub(crate) enum Listed {
    /// Without its header all of it can be read; with the number of its lost parts.
    Headless(SealedEntry, u64),
    /// It is missing, or what is in it cannot be found.
    Lost(SealedEntry),
}

/// A segment in use, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentFacts {
    /// Its file.
    pub file: PathBuf,
    /// LSN of its first group.
    pub base: Lsn,
    /// Length of the file in bytes.
    pub bytes: u64,
}

/// What lies in a data directory, as far as it can be read.
pub struct Inspection {
    home: Home,
    manifest: Manifest,
    /// Readable, in LSN order; there may be gaps between them.
    segments: Vec<Found>,
    reserves: usize,
    /// Segments that are listed but of no use: their files, if there are any.
    useless: Vec<PathBuf>,
    checkpoint: Option<(CheckpointEntry, Bytes)>,
    /// The sealed files that can be read.
    sealed: Sealed,
    /// Those that are not as they should be.
    listed: Vec<Listed>,
    /// Checkpoints that the manifest names and that cannot be read: file numbers.
    damaged_checkpoints: Vec<u64>,
    findings: Vec<Finding>,
    holder: Option<String>,
    /// Keeps others from opening the directory meanwhile.
    _held: Option<Box<dyn Any + Send + Sync>>,
}

impl Inspection {
    /// Looks at `dir`. While it lives nobody can open the directory; when somebody has it open,
    /// [`Inspection::holder`] says who, and what is seen may be of different moments.
    ///
    /// [`OpenError::Io`] when the directory cannot be read or has no log in it, [`OpenError::Version`] when a file that
    /// counts is of another format version. That a version is damaged is believed only when the rest of its file
    /// verifies as one of ours.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, OpenError> {
        let lock = dir.join(LOCK);
        let (held, holder) = match fs.lock_shared(&lock) {
            Ok(held) => (held, None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (None, Some(error.to_string()))
            }
            Err(source) => return Err(OpenError::Io { file: lock, source }),
        };
        let mut inspection = Self::unlocked(fs, dir)?;
        inspection.holder = holder;
        inspection._held = held;
        Ok(inspection)
    }

    /// The same for whoever has the lock.
    pub(crate) fn unlocked(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, OpenError> {
        let home = Home::new(Arc::new(ReadOnly(fs)), dir);
        let listing = home.list()?;
        let mut inspection = Self {
            manifest: Manifest::new(),
            segments: Vec::new(),
            reserves: 0,
            useless: Vec::new(),
            checkpoint: None,
            sealed: Sealed::of(&home, Vec::new()),
            listed: Vec::new(),
            damaged_checkpoints: Vec::new(),
            findings: Vec::new(),
            holder: None,
            _held: None,
            home,
        };
        let home = inspection.home.clone();
        let loaded = if listing.manifest {
            Manifest::load(&home)
        } else if listing.segments.is_empty()
            && listing.checkpoints.is_empty()
            && listing.sealed.is_empty()
        {
            Err(io::Error::new(
                io::ErrorKind::NotFound,
                "there is no log in this directory",
            ))
            .during("look", dir)?
        } else {
            refuse_orphans(&home, &listing).map(|()| Manifest::new())
        };
        inspection.manifest = match loaded {
            Ok(manifest) => manifest,
            Err(refusal @ OpenError::Damaged { .. }) => {
                inspection.findings.push(Finding::of(refusal)?);
                salvage::manifest(&home, &listing)?
            }
            Err(refusal) => return Err(refusal),
        };
        inspection.take_segments()?;
        let oldest = inspection.oldest();
        inspection.manifest.upgrade(oldest);
        inspection.take_files()?;
        inspection.note_left_overs(listing);
        inspection.take_checkpoint()?;
        Ok(inspection)
    }

    fn note_left_overs(&mut self, listing: Listing) {
        let left = listing.unlisted(&self.home, &self.manifest);
        let unlisted = left.segments.into_iter().chain(left.checkpoints);
        let unlisted = unlisted
            .chain(left.sealed)
            .map(|path| Finding::left_over(path, "the manifest does not list it"));
        let next = left
            .left_over
            .into_iter()
            .map(|path| Finding::left_over(path, "a manifest that was not finished"));
        self.findings.extend(unlisted.chain(next));
    }

    fn take_segments(&mut self) -> Result<(), OpenError> {
        for entry in self.manifest.segments.clone() {
            let mut survey = Survey::default();
            if let Err(refusal) = survey.add(&self.home, &entry) {
                let salvaged = salvage::segment(&self.home, &entry)?;
                if matches!(refusal, OpenError::Version { .. })
                    && !version::segment_is_ours(&self.home, &entry, salvaged.as_ref())?
                {
                    return Err(refusal);
                }
                let mut finding = Finding::of(refusal)?;
                // Without a base and without a group it was waiting for its use.
                finding.acknowledged = entry.base.is_some() || salvaged.is_some();
                self.findings.push(finding);
                match salvaged {
                    Some(segment) => self.segments.push(Found {
                        segment: Arc::new(segment),
                        mend: true,
                    }),
                    None => self.useless.push(self.home.segment(entry.number)),
                }
            }
            self.reserves += survey.reserves.len();
            let found = survey.segments.into_iter().map(|segment| Found {
                segment,
                mend: false,
            });
            self.segments.extend(found);
        }
        self.segments.sort_by_key(|found| found.segment.base);
        // No two begin at one LSN; of those that say so, the later file is as good as any.
        let mut useless = Vec::new();
        self.segments.dedup_by(|next, one| {
            let same = next.segment.base == one.segment.base;
            if same {
                useless.push(next.segment.path.clone());
            }
            same
        });
        for path in useless {
            let detail = "two segments begin at the same LSN";
            self.findings
                .push(Finding::damage(path.clone(), 512, detail));
            self.useless.push(path);
        }
        Ok(())
    }

    /// Reads the checkpoint that recovery would use: the newest, or the one before it if the log reaches down to it.
    fn take_checkpoint(&mut self) -> Result<(), OpenError> {
        let oldest = self.oldest();
        let reaches = |lsn: Lsn| oldest.map_or(self.manifest.synced <= lsn, |it| it <= lsn);
        let mut damaged = Vec::new();
        for entry in [self.manifest.checkpoint, self.manifest.previous] {
            let Some(entry) = entry else { break };
            match checkpoint::read(&self.home, &entry) {
                Ok(payload) => {
                    // The newest is believed: where the log does not begin early enough, that is damage of the log.
                    let stands_in = self.checkpoint.is_none();
                    if stands_in && (damaged.is_empty() || reaches(entry.lsn)) {
                        self.checkpoint = Some((entry, payload));
                    }
                }
                // A later version's: nothing in it, and nothing beside it, is for this program to judge.
                Err(refusal @ OpenError::Version { .. }) if self.checkpoint.is_none() => {
                    return Err(refusal);
                }
                Err(refusal) => {
                    self.damaged_checkpoints.push(entry.number);
                    damaged.push(Finding::of(refusal)?);
                }
            }
        }
        // With another one to recover from, nothing acknowledged is hurt.
        let stands_in = self.checkpoint.as_ref().map(|(entry, _)| entry.lsn);
        self.findings.extend(damaged.into_iter().map(|mut finding| {
            if let Some(lsn) = stands_in {
                finding.acknowledged = false;
                finding.detail += &format!("; the one at LSN {lsn} serves instead");
            }
            finding
        }));
        Ok(())
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.home.dir()
    }

    /// Who has the directory open, as the holder wrote it.
    pub fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    /// What was found so far: all but what [`Inspection::scan`] shows.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// LSN of the newest checkpoint that can be read, or of one that cannot when there is no other.
    pub fn checkpoint_lsn(&self) -> Option<Lsn> {
        self.checkpoint_entry().map(|entry| entry.lsn)
    }

    /// The file of that checkpoint.
    pub fn checkpoint_file(&self) -> Option<PathBuf> {
        let entry = self.checkpoint_entry()?;
        Some(self.home.checkpoint(entry.number))
    }

    /// The checkpoint's payload, verified; `None` when there is none, or none that can be read.
    pub fn checkpoint(&self) -> Option<Bytes> {
        let (_, payload) = self.checkpoint.as_ref()?;
        Some(payload.clone())
    }

    fn checkpoint_entry(&self) -> Option<CheckpointEntry> {
        let read = self.checkpoint.as_ref().map(|(entry, _)| *entry);
        read.or(self.manifest.checkpoint)
    }

    /// Where recovery begins to replay: the checkpoint's LSN.
    pub fn replay_from(&self) -> Lsn {
        self.checkpoint_lsn().unwrap_or(0)
    }

    /// The LSN below which everything was synced, as the manifest says.
    pub fn synced(&self) -> Lsn {
        self.manifest.synced
    }

    /// Whether the last session closed the log.
    pub fn closed_cleanly(&self) -> bool {
        self.manifest.clean
    }

    /// LSN of the first group that is kept.
    pub fn oldest(&self) -> Option<Lsn> {
        self.segments.first().map(|found| found.segment.base)
    }

    /// Segments in use, in LSN order.
    pub fn segments(&self) -> Vec<SegmentFacts> {
        let facts = self.segments.iter().map(|found| SegmentFacts {
            file: found.segment.path.clone(),
            base: found.segment.base,
            bytes: found.segment.birth.bytes,
        });
        facts.collect()
    }

    /// Segments prepared for use.
    pub fn reserves(&self) -> usize {
        self.reserves
    }

    /// The manifest's file.
    pub fn manifest_file(&self) -> PathBuf {
        self.home.path(MANIFEST)
    }

    /// Reads payloads back from the files, verified, in the order asked: from the log, and what it does not keep any
    /// more from the sealed files.
    pub fn read(&self, frames: &[FrameRef]) -> Result<Vec<Bytes>, ReadError> {
        let segments: Vec<_> = frames
            .iter()
            .map(|frame| self.segment_of(frame.lsn))
            .collect();
        let placed = segments.iter().zip(frames);
        let placed: Vec<_> = placed
            .filter_map(|(segment, frame)| Some((Arc::clone(segment.as_ref()?), *frame)))
            .collect();
        let mut from_log = cold::read(&placed)?.into_iter();
        let payloads = segments.iter().zip(frames).map(|(segment, frame)| {
            let found = segment.as_ref().and_then(|_| from_log.next());
            found.map_or_else(|| self.read_sealed(frame), Ok)
        });
        payloads.collect()
    }

    fn segment_of(&self, lsn: Lsn) -> Option<Arc<Segment>> {
        let behind = self
            .segments
            .partition_point(|found| found.segment.base <= lsn);
        let found = self.segments.get(behind.checked_sub(1)?)?;
        (lsn < found.segment.limit()).then(|| Arc::clone(&found.segment))
    }
}
