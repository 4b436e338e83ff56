//! Making a directory open again: what cannot be kept is copied aside first, then cut.
//!
//! Every step can be repeated, so a repair that is broken off is begun again. The manifest is written
//! last: until then the directory refuses to open, as before.

use std::any::Any;
use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clip::{Tails, clip};
use super::{FindingKind, Found, Inspection, Listed};
use crate::Lsn;
use crate::error::{During, Failure, OpenError};
use crate::fs::{Fs, Open};
use crate::home::{DAMAGED, Home, LOCK, MANIFEST};
use crate::manifest::{CheckpointEntry, Manifest, ManifestFile, SegmentEntry};
use crate::sealed::{Header, SealedFile};
use crate::segment::Segment;
use crate::survey::SMALLEST;

/// Bytes copied at once.
const SPAN: usize = 1 << 20;

/// A directory that nobody else can open while it is being repaired.
pub struct Mending {
    fs: Arc<dyn Fs>,
    inspection: Inspection,
    _lock: Box<dyn Any + Send + Sync>,
}

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mended {
    /// Where copies of everything that was changed or removed are.
    pub aside: Option<PathBuf>,
    /// Files that were changed.
    pub changed: Vec<PathBuf>,
    /// Files that were removed.
    pub removed: Vec<PathBuf>,
}

impl Mending {
    /// Takes the lock of `dir` and looks at it. [`OpenError::Locked`] when somebody has it open.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, holder: &str) -> Result<Self, OpenError> {
        // Looked at before, so that a directory without a log does not get a lock file.
        drop(Inspection::unlocked(Arc::clone(&fs), dir)?);
        let file = dir.join(LOCK);
        let lock = fs.lock(&file, holder).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked {
                dir: dir.to_owned(),
                holder: error.to_string(),
            },
            _ => OpenError::Io {
                file,
                source: error,
            },
        })?;
        Ok(Self {
            inspection: Inspection::unlocked(Arc::clone(&fs), dir)?,
            fs,
            _lock: lock,
        })
    }

    /// What there is.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// Looks again, after [`Mending::carry_out`].
    pub fn again(&self) -> Result<Inspection, OpenError> {
        Inspection::unlocked(Arc::clone(&self.fs), self.inspection.dir())
    }

    /// Removes files that do not count; gives their names.
    pub fn sweep(&self) -> Result<Vec<PathBuf>, OpenError> {
        let home = Home::new(Arc::clone(&self.fs), self.inspection.dir());
        let findings = self.inspection.findings().iter();
        let files = findings.filter(|finding| finding.kind == FindingKind::LeftOver);
        let files: Vec<PathBuf> = files.map(|finding| finding.file.clone()).collect();
        for file in &files {
            home.remove(file)?;
        }
        home.sync_dir()?;
        Ok(files)
    }

    /// Makes the log end at `cut` (which is its end already when that is `None`) and writes whatever
    /// could be worked out in place of what is damaged. With `checkpoint` the next start uses the newest
    /// that can be read; without, it replays all of the log. Copies of the files go to `damaged/<label>/` first.
    ///
    /// Of sealed files, what lies behind the cut goes too: `tails` says how far streams reach then.
    ///
    /// Damage below the checkpoint stays: no start reads it, and reads of it are refused.
    pub fn carry_out(
        &self,
        cut: Option<Lsn>,
        checkpoint: bool,
        tails: &Tails<'_>,
        label: &str,
    ) -> Result<Mended, OpenError> {
        let mut plan = Plan::make(&self.inspection, cut, checkpoint);
        let home = Home::new(Arc::clone(&self.fs), self.inspection.dir());
        let mut mended = Mended::default();
        if plan.changes.is_empty() && plan.removals.is_empty() && !plan.manifest_changes {
            return Ok(mended);
        }
        let aside = home.path(DAMAGED).join(label);
        let files = plan.changes.iter().map(|change| &change.path);
        let manifest = home.path(MANIFEST);
        let mut copied = false;
        for file in files.chain(&plan.removals).chain([&manifest]) {
            copied |= copy(&home, file, &aside)?;
        }
        if copied {
            home.fs().sync_dir(&aside).during("fsync", &aside)?;
            mended.aside = Some(aside);
        }
        for change in &plan.changes {
            change.carry_out(&home)?;
            mended.changed.push(change.path.clone());
        }
        for (file, number) in std::mem::take(&mut plan.clips) {
            let clipped = clip(&home, &file, number, cut.unwrap_or(Lsn::MAX), tails)?;
            plan.manifest.files.extend(clipped);
            mended.changed.push(home.sealed(number));
        }
        home.sync_dir()?;
        ManifestFile::new(home.clone(), plan.manifest)
            .change(|_| {})
            .map_err(Failure::from)?;
        mended.changed.push(manifest);
        for file in plan.removals {
            match home.fs().remove(&file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => {
                    removed.during("remove", &file)?;
                    mended.removed.push(file);
                }
            }
        }
        home.sync_dir()?;
        Ok(mended)
    }
}

/// What has to be done to a directory.
struct Plan {
    changes: Vec<Change>,
    removals: BTreeSet<PathBuf>,
    /// Sealed files of which only a part is kept, each with the number of the file that takes its place.
    clips: Vec<(Arc<SealedFile>, u64)>,
    manifest: Manifest,
    manifest_changes: bool,
}

/// What becomes of one segment's or sealed file.
struct Change {
    path: PathBuf,
    /// A new header block.
    header: Vec<u8>,
    /// New length of the file: what lies behind is cut, what is missing reads as zeros.
    bytes: u64,
}

impl Plan {
    fn make(inspection: &Inspection, cut: Option<Lsn>, checkpoint: bool) -> Self {
        let before = &inspection.manifest;
        let mut plan = Self {
            changes: Vec::new(),
            removals: inspection.useless.iter().cloned().collect(),
            clips: Vec::new(),
            manifest: before.clone(),
            manifest_changes: false,
        };
        let end = cut.unwrap_or(Lsn::MAX);
        let (kept, dropped): (Vec<&Found>, Vec<&Found>) = inspection
            .segments
            .iter()
            .partition(|found| found.segment.base < end);
        let gone = dropped.iter().map(|found| found.segment.path.clone());
        plan.removals.extend(gone);
        for (index, found) in kept.iter().enumerate() {
            let segment = &*found.segment;
            let next = kept.get(index + 1).map(|next| next.segment.base);
            plan.keep(segment, next, cut, found.mend);
        }
        let removed = |number: u64| plan.removals.contains(&inspection.home.segment(number));
        plan.manifest
            .segments
            .retain(|entry| !removed(entry.number));
        plan.name_checkpoints(inspection, checkpoint);
        plan.keep_sealed(inspection);
        if let Some(cut) = cut {
            plan.cut_sealed(inspection, cut);
            plan.manifest.synced = before.synced.min(cut);
        }
        if plan.manifest != *before || plan.manifest_unreadable(inspection) {
            plan.manifest.clean = false;
            plan.manifest_changes = true;
        }
        plan
    }

    /// Names the checkpoints that can be read, or none at all; the others go.
    fn name_checkpoints(&mut self, inspection: &Inspection, keep: bool) {
        let before = [self.manifest.checkpoint, self.manifest.previous];
        let readable = |entry: &&CheckpointEntry| {
            keep && !inspection.damaged_checkpoints.contains(&entry.number)
        };
        let mut kept = before.iter().flatten().filter(readable).copied();
        self.manifest.checkpoint = kept.next();
        self.manifest.previous = kept.next();
        let gone = before.iter().flatten().filter(|entry| !readable(entry));
        let files = gone.map(|entry| inspection.home.checkpoint(entry.number));
        self.removals.extend(files);
    }

    /// Keeps the sealed files that can be read, with the headers that they should have.
    fn keep_sealed(&mut self, inspection: &Inspection) {
        for listed in &inspection.listed {
            match listed {
                Listed::Headless(entry, lost) => {
                    let header = Header::of(entry, *lost);
                    self.changes.push(Change {
                        path: inspection.home.sealed(entry.number),
                        header: header.encode(),
                        bytes: entry.bytes,
                    });
                }
                Listed::Lost(entry) => {
                    self.manifest.files.retain(|it| it.number != entry.number);
                    self.removals.insert(inspection.home.sealed(entry.number));
                }
            }
        }
        // Where the log does not reach down to it any more, whatever was between is lost.
        let oldest = self.manifest.segments.iter().filter_map(|it| it.base).min();
        let sealed = &mut self.manifest.sealed;
        *sealed = oldest.map_or(*sealed, |oldest| oldest.max(*sealed));
    }

    /// Gives up what sealed files have behind `cut`.
    fn cut_sealed(&mut self, inspection: &Inspection, cut: Lsn) {
        self.manifest.sealed = self.manifest.sealed.min(cut);
        for file in inspection.sealed.files().iter() {
            let entry = file.entry();
            if entry.to <= cut {
                continue;
            }
            self.manifest.files.retain(|it| it.number != entry.number);
            self.removals.insert(file.path().to_owned());
            if entry.from < cut {
                self.clips.push((Arc::clone(file), self.manifest.number()));
            }
        }
    }

    /// Keeps a segment that the one at `next` follows, or the log's end.
    fn keep(&mut self, segment: &Segment, next: Option<Lsn>, cut: Option<Lsn>, mend: bool) {
        let mut birth = segment.birth;
        birth.bytes = match (next, cut) {
            // Where something is missing before the next one, zeros stand for it: they never verify.
            (Some(next), _) => birth.bytes.max(segment.offset(next)),
            (None, Some(cut)) => segment.offset(cut).max(SMALLEST),
            (None, None) => birth.bytes,
        };
        if !mend && birth == segment.birth {
            return;
        }
        self.changes.push(Change {
            path: segment.path.clone(),
            header: birth.encode_opened(segment.base),
            bytes: birth.bytes,
        });
        for entry in &mut self.manifest.segments {
            if entry.number == birth.number {
                *entry = SegmentEntry {
                    bytes: birth.bytes,
                    base: Some(segment.base),
                    ..*entry
                };
            }
        }
    }

    /// Whether what the plan has instead of a manifest was worked out.
    fn manifest_unreadable(&self, inspection: &Inspection) -> bool {
        let file = inspection.manifest_file();
        let mut findings = inspection.findings.iter();
        findings.any(|finding| finding.file == file)
    }
}

impl Change {
    fn carry_out(&self, home: &Home) -> Result<(), Failure> {
        let file = home.open(&self.path, Open::Write)?;
        file.set_len(self.bytes).during("resize", &self.path)?;
        file.write_all_at(&mut [IoSlice::new(&self.header)], 0)
            .during("write", &self.path)?;
        file.sync_data().during("fdatasync", &self.path)
    }
}

/// Copies a file into `aside`, durably; `false` when it is missing, which is fine.
fn copy(home: &Home, path: &Path, aside: &Path) -> Result<bool, Failure> {
    let from = match home.fs().open(path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.during("open", path)?,
    };
    home.fs().create_dir_all(aside).during("create", aside)?;
    let Some(name) = path.file_name() else {
        return Ok(false);
    };
    let target = aside.join(name);
    let to = home.create(&target)?;
    let len = from.len().during("stat", path)?;
    to.set_len(len).during("resize", &target)?;
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < len {
        buffer.resize((SPAN as u64).min(len - at) as usize, 0);
        from.read_exact_at(&mut buffer, at).during("read", path)?;
        // What was never written stays a hole.
        if buffer.iter().any(|byte| *byte != 0) {
            to.write_all_at(&mut [IoSlice::new(&buffer)], at)
                .during("write", &target)?;
        }
        at += buffer.len() as u64;
    }
    to.sync_data().during("fdatasync", &target)?;
    Ok(true)
}
