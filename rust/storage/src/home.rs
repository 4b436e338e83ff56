//! The data directory: names of its files, and file operations whose errors say what and where.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{During, Failure};
use crate::fs::{DirSync, Fs, FsFile, Open};
use crate::manifest::Manifest;

/// The name of the lock file.
pub(crate) const LOCK: &str = "LOCK";
/// The name of the manifest.
pub(crate) const MANIFEST: &str = "MANIFEST";
/// The name of a manifest that is being written.
pub(crate) const MANIFEST_NEXT: &str = "MANIFEST.next";
/// The name of the file that keeps space back.
pub(crate) const BALLAST: &str = "BALLAST";
/// The directory of cut tails.
pub(crate) const TORN: &str = "torn";
/// The directory of what is kept although it does not count.
pub(crate) const DAMAGED: &str = "damaged";
const SEGMENT_EXTENSION: &str = "wal";
const CHECKPOINT_EXTENSION: &str = "checkpoint";
const SEALED_EXTENSION: &str = "sealed";
/// Put behind the name of a checkpoint that was found to be damaged.
const DAMAGED_EXTENSION: &str = "damaged";

/// A data directory on a file system.
#[derive(Clone)]
pub(crate) struct Home {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
}

impl Home {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        Self {
            fs,
            dir: dir.to_owned(),
        }
    }

    pub(crate) fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:016}.{SEGMENT_EXTENSION}"))
    }

    pub(crate) fn checkpoint(&self, number: u64) -> PathBuf {
        self.dir
            .join(format!("{number:016}.{CHECKPOINT_EXTENSION}"))
    }

    pub(crate) fn sealed(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:016}.{SEALED_EXTENSION}"))
    }

    /// What a damaged checkpoint is renamed to, for people.
    pub(crate) fn damaged_checkpoint(&self, number: u64) -> PathBuf {
        let mut path = self.checkpoint(number);
        path.add_extension(DAMAGED_EXTENSION);
        path
    }

    /// Where a segment is kept for people once the log has given it up.
    pub(crate) fn aside(&self, number: u64) -> PathBuf {
        let name = format!("{number:016}.{SEGMENT_EXTENSION}");
        self.dir.join(DAMAGED).join(name)
    }

    /// Moves a segment that does not count any more to where it is kept for people; gives where.
    pub(crate) fn set_aside(&self, number: u64) -> Result<PathBuf, Failure> {
        let (from, to) = (self.segment(number), self.aside(number));
        let aside = self.dir.join(DAMAGED);
        self.fs.create_dir_all(&aside).during("create", &aside)?;
        self.rename(&from, &to)?;
        self.fs.sync_dir(&aside).during("fsync", &aside)?;
        Ok(to)
    }

    pub(crate) fn open(&self, path: &Path, how: Open) -> Result<Arc<dyn FsFile>, Failure> {
        self.fs.open(path, how).during("open", path)
    }

    /// Creates a file, replacing a left-over of the same name.
    pub(crate) fn create(&self, path: &Path) -> Result<Arc<dyn FsFile>, Failure> {
        match self.fs.open(path, Open::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(path)?;
                self.open(path, Open::CreateNew)
            }
            opened => opened.during("create", path),
        }
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<(), Failure> {
        self.fs.remove(path).during("remove", path)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), Failure> {
        self.fs.rename(from, to).during("rename", from)
    }

    pub(crate) fn sync_dir(&self) -> Result<(), Failure> {
        self.fs.sync_dir(&self.dir).during("fsync", &self.dir)
    }

    /// The same, to be done later; it cannot fail then for want of anything but the disk.
    pub(crate) fn will_sync_dir(&self) -> Result<DirSync<'_>, Failure> {
        self.fs.will_sync_dir(&self.dir).during("open", &self.dir)
    }

    /// Segments, checkpoints and sealed files found, by kind.
    pub(crate) fn list(&self) -> Result<Listing, Failure> {
        let mut listing = Listing::default();
        for path in self.fs.list(&self.dir).during("list", &self.dir)? {
            let Some(name) = path.file_name() else {
                continue;
            };
            let path = self.dir.join(name);
            let extension = path.extension().and_then(|extension| extension.to_str());
            if name == MANIFEST {
                listing.manifest = true;
            } else if name == MANIFEST_NEXT {
                listing.left_over = Some(path);
            } else if extension == Some(SEGMENT_EXTENSION) {
                listing.segments.push(path);
            } else if extension == Some(CHECKPOINT_EXTENSION) {
                listing.checkpoints.push(path);
            } else if extension == Some(SEALED_EXTENSION) {
                listing.sealed.push(path);
            }
        }
        listing.segments.sort();
        listing.checkpoints.sort();
        listing.sealed.sort();
        Ok(listing)
    }
}

/// What lies in a data directory. Files of other names are nobody's business.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) manifest: bool,
    pub(crate) left_over: Option<PathBuf>,
    pub(crate) segments: Vec<PathBuf>,
    pub(crate) checkpoints: Vec<PathBuf>,
    pub(crate) sealed: Vec<PathBuf>,
}

impl Listing {
    /// Files that `manifest` does not list.
    pub(crate) fn unlisted(mut self, home: &Home, manifest: &Manifest) -> Self {
        let segments = manifest.segments.iter().map(|it| home.segment(it.number));
        let checkpoints = [manifest.checkpoint, manifest.previous].into_iter();
        let checkpoints = checkpoints.flatten().map(|it| home.checkpoint(it.number));
        let files = manifest.files.iter().map(|it| home.sealed(it.number));
        let listed: HashSet<PathBuf> = segments.chain(checkpoints).chain(files).collect();
        for paths in [&mut self.segments, &mut self.checkpoints, &mut self.sealed] {
            paths.retain(|path| !listed.contains(path));
        }
        self
    }

    /// A number above that of every file, also of those that no manifest lists.
    pub(crate) fn next_number(&self) -> u64 {
        let paths = self.segments.iter().chain(&self.checkpoints);
        let paths = paths.chain(&self.sealed);
        let stems = paths.filter_map(|path| path.file_stem()?.to_str());
        let numbers = stems.filter_map(|stem| match stem.len() {
            16 => stem.parse::<u64>().ok(),
            _ => None,
        });
        numbers.max().map_or(0, |highest| highest + 1)
    }
}
