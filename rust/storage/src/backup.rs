//! A copy of a log that goes on being written.
//!
//! Segments are copied, never linked: a dropped one is written anew in place. A copy's last segment is as long as
//! what is in it, so nothing of what is written meanwhile gets into it. Sealed files never change: they are linked
//! where that is possible. They are held open, so that one which is replaced meanwhile can still be copied.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{BackupError, During, Failure};
use crate::fs::{Fs, Open};
use crate::home::Home;
use crate::inspect::{FindingKind, Inspection, Seen};
use crate::log::Export;
use crate::manifest::{CheckpointEntry, Manifest, ManifestFile, SegmentEntry};
use crate::sealed::SealedFile;
use crate::segment::{BLOCK, Birth, Segment};
use crate::window::Window;
use crate::{Lsn, checkpoint};

/// Bytes copied at once.
const SPAN: u64 = 1 << 20;

/// What a backup took.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Everything below is in it.
    pub end: Lsn,
    /// Bytes of its files.
    pub bytes: u64,
    /// Its segments.
    pub segments: u64,
    /// Its sealed files.
    pub sealed_files: u64,
    /// How many of them are hard links: the same bytes on the same medium.
    pub linked: u64,
}

/// Segments that are held until they are copied. Dropped meanwhile, their files are unlinked, not reused.
pub(crate) struct HeldSegments {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) end: Lsn,
}

impl Export for HeldSegments {
    fn copy_to(&self, home: &Home) -> Result<Vec<SegmentEntry>, Failure> {
        let mut entries = Vec::with_capacity(self.segments.len());
        for (index, segment) in self.segments.iter().enumerate() {
            let next = self.segments.get(index + 1).map(|next| next.base);
            let end = next.unwrap_or(self.end).min(self.end);
            if end > segment.base {
                entries.push(copy_segment(home, segment, end)?);
            }
        }
        Ok(entries)
    }
}

fn copy_segment(home: &Home, segment: &Segment, end: Lsn) -> Result<SegmentEntry, Failure> {
    let birth = Birth {
        bytes: segment.offset(end),
        recycled: false,
        ..segment.birth
    };
    let path = home.segment(birth.number);
    let file = home.create(&path)?;
    let write = |bytes: &[u8], at| {
        file.write_all_at(&mut [IoSlice::new(bytes)], at)
            .during("write", &path)
    };
    write(&birth.encode_opened(segment.base), 0)?;
    let mut window = Window::new(segment);
    let mut at = BLOCK;
    while at < birth.bytes {
        let span = SPAN.min(birth.bytes - at);
        let Some(bytes) = window.get(at, span as usize)? else {
            break;
        };
        write(bytes, at)?;
        at += span;
    }
    file.sync_data().during("fdatasync", &path)?;
    Ok(SegmentEntry {
        number: birth.number,
        salt: birth.salt,
        bytes: birth.bytes,
        base: Some(segment.base),
    })
}

/// What a backup consists of, held while it is copied.
pub(crate) struct Backup {
    pub(crate) manifest: Manifest,
    /// The checkpoint's payload; its file may be removed meanwhile.
    pub(crate) checkpoint: Option<(CheckpointEntry, Bytes)>,
    pub(crate) log: Box<dyn Export>,
    /// The files that the manifest lists.
    pub(crate) sealed: Arc<Vec<Arc<SealedFile>>>,
    /// Where these lie.
    pub(crate) home: Home,
    pub(crate) end: Lsn,
}

impl Backup {
    /// Writes everything to `dir`, the manifest last, then verifies it. What was written is removed
    /// when that fails.
    pub(crate) fn write(&self, fs: &Arc<dyn Fs>, dir: &Path) -> Result<BackupReport, BackupError> {
        claim(&**fs, dir)?;
        let home = Home::new(Arc::clone(fs), dir);
        let written = self
            .fill(&home)
            .map_err(BackupError::from)
            .and_then(|linked| verified(fs, dir, self.end, linked));
        if written.is_err() {
            for name in fs.list(dir).unwrap_or_default() {
                fs.remove(&dir.join(name)).ok();
            }
        }
        written
    }

    /// Gives the number of files that were linked.
    fn fill(&self, home: &Home) -> Result<u64, Failure> {
        let mut manifest = Manifest {
            segments: self.log.copy_to(home)?,
            checkpoint: None,
            previous: None,
            synced: self.end,
            clean: true,
            ..self.manifest.clone()
        };
        if let Some((entry, payload)) = &self.checkpoint {
            let copied =
                checkpoint::write(home, entry.number, entry.lsn, std::slice::from_ref(payload))?;
            manifest.checkpoint = Some(copied);
        }
        let mut linked = 0;
        for file in self.sealed.iter() {
            linked += u64::from(self.take_sealed(home, file)?);
        }
        home.sync_dir()?;
        ManifestFile::new(home.clone(), manifest)
            .change(|_| {})
            .map_err(Failure::from)?;
        Ok(linked)
    }

    /// Links a sealed file, or copies it: whether it was linked.
    fn take_sealed(&self, home: &Home, file: &SealedFile) -> Result<bool, Failure> {
        let target = home.sealed(file.entry().number);
        let same = self.home.fs().identity();
        // A file's name is gone once it was replaced, and its number is never given to another one.
        if same.is_some()
            && same == home.fs().identity()
            && home.fs().link(file.path(), &target).is_ok()
        {
            return Ok(true);
        }
        let copy = home.create(&target)?;
        let (mut buffer, mut at) = (Vec::new(), 0);
        while at < file.entry().bytes {
            buffer.resize(SPAN.min(file.entry().bytes - at) as usize, 0);
            let source = file.file();
            source
                .read_exact_at(&mut buffer, at)
                .during("read", file.path())?;
            copy.write_all_at(&mut [IoSlice::new(&buffer)], at)
                .during("write", &target)?;
            at += buffer.len() as u64;
        }
        copy.sync_data().during("fdatasync", &target)?;
        Ok(false)
    }
}

/// Makes the directory, or takes one that is empty.
fn claim(fs: &dyn Fs, dir: &Path) -> Result<(), BackupError> {
    let found = match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.during("list", dir)?,
    };
    if !found.is_empty() {
        return Err(BackupError::Occupied {
            dir: dir.to_owned(),
        });
    }
    Ok(fs.create_dir_all(dir).during("create", dir)?)
}

/// Reads all of a backup back.
fn verified(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    end: Lsn,
    linked: u64,
) -> Result<BackupReport, BackupError> {
    let damaged = |file: PathBuf, offset, detail| BackupError::Damaged {
        file,
        offset,
        detail,
    };
    let inspection = Inspection::open(Arc::clone(fs), dir)?;
    let mut findings = inspection.findings().to_vec();
    let scanned = inspection.scan(inspection.oldest().unwrap_or(0), &mut |seen| {
        if let Seen::Finding(finding) = seen {
            findings.push(finding);
        }
        Ok(())
    })?;
    inspection.verify_history(&mut |finding| findings.push(finding))?;
    if let Some(finding) = findings
        .into_iter()
        .find(|finding| finding.kind != FindingKind::LeftOver)
    {
        return Err(damaged(finding.file, finding.offset, finding.detail));
    }
    if scanned.end != end {
        let detail = format!("it ends at LSN {}, not at {end}", scanned.end);
        return Err(damaged(dir.to_owned(), 0, detail));
    }
    let mut bytes = 0;
    for name in fs.list(dir).during("list", dir)? {
        let path = dir.join(name);
        let file = fs.open(&path, Open::Read).during("open", &path)?;
        bytes += file.len().during("stat", &path)?;
    }
    Ok(BackupReport {
        end,
        bytes,
        segments: inspection.segments().len() as u64,
        sealed_files: inspection.sealed_files().len() as u64,
        linked,
    })
}
