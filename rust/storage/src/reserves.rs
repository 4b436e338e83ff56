//! Segments that are prepared ahead of need, so that a group that was taken always has room.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::ballast::{Ballast, Space};
use crate::bell::Bell;
use crate::error::{During, Failure, Trouble};
use crate::fs::{FsFile, Open};
use crate::home::Home;
use crate::manifest::{Manifest, ManifestFile, SegmentEntry};
use crate::segment::{BLOCK, Birth, Reserve};

/// Dropped segments kept for reuse.
const SPARES: usize = 2;
/// Largest size of the small reserve; half a segment when that is less.
const SMALL_BYTES: u64 = 256 << 10;
/// How long a full disk is not asked again.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// A file that was a segment once. Not listed in the manifest, so nobody's if we die.
struct Spare {
    path: PathBuf,
    file: Arc<dyn FsFile>,
}

/// Prepared segments, and what is needed to prepare more.
pub(crate) struct Reserves {
    home: Home,
    manifest: Arc<ManifestFile>,
    segment_bytes: u64,
    small_bytes: u64,
    /// One of them, the small one, is for frames without payload on a full disk only.
    ready: Mutex<VecDeque<Reserve>>,
    /// Held during all of a preparation, so that nobody prepares twice.
    workshop: Mutex<Workshop>,
    /// What was said when there was no space for more of the log, until there is.
    full: Mutex<Option<String>>,
    /// Rung when the disk is full.
    tidy: Arc<Bell>,
    recycled: AtomicU64,
}

struct Workshop {
    ballast: Ballast,
    spares: Vec<Spare>,
    full: Option<Full>,
}

/// The last refusal for lack of space.
struct Full {
    until: Instant,
    file: PathBuf,
    operation: &'static str,
    detail: String,
}

impl Reserves {
    pub(crate) fn new(
        home: Home,
        manifest: Arc<ManifestFile>,
        segment_bytes: u64,
        ready: Vec<Reserve>,
        tidy: Arc<Bell>,
    ) -> Self {
        let workshop = Workshop {
            ballast: Ballast::new(home.clone(), segment_bytes),
            spares: Vec::new(),
            full: None,
        };
        Self {
            home,
            manifest,
            segment_bytes,
            small_bytes: (segment_bytes / 2).min(SMALL_BYTES).next_multiple_of(BLOCK),
            ready: Mutex::new(ready.into()),
            workshop: Mutex::new(workshop),
            full: Mutex::default(),
            tidy,
            recycled: AtomicU64::new(0),
        }
    }

    /// How many are ready, the small one not counted.
    pub(crate) fn count(&self) -> usize {
        let ready = self.ready.lock();
        ready
            .iter()
            .filter(|reserve| !self.is_small(reserve))
            .count()
    }

    /// Whether the small one is ready.
    pub(crate) fn has_small(&self) -> bool {
        let ready = self.ready.lock();
        ready.iter().any(|reserve| self.is_small(reserve))
    }

    fn is_small(&self, reserve: &Reserve) -> bool {
        reserve.birth.bytes <= self.small_bytes
    }

    /// Why there is no space for more of the log, when there was none at the last try.
    pub(crate) fn full(&self) -> Option<String> {
        self.full.lock().clone()
    }

    /// Makes what space there is to be had, for what will free more.
    pub(crate) fn make_space(&self) -> Space {
        let mut workshop = self.workshop.lock();
        let space = workshop.ballast.give_up();
        self.give_up_spares(&mut workshop);
        space
    }

    /// Whether such space was given to somebody who may not have used it yet.
    pub(crate) fn is_space_lent(&self) -> bool {
        self.workshop.lock().ballast.is_lent()
    }

    /// How many dropped segments were reused.
    pub(crate) fn recycled(&self) -> u64 {
        self.recycled.load(Ordering::Relaxed)
    }

    /// Takes a prepared segment with at least `room` bytes.
    pub(crate) fn take(&self, room: u64) -> Option<Reserve> {
        self.take_if(|reserve| !self.is_small(reserve) && reserve.room() >= room)
    }

    /// Takes the small one, when it has at least `room` bytes.
    pub(crate) fn take_small(&self, room: u64) -> Option<Reserve> {
        self.take_if(|reserve| self.is_small(reserve) && reserve.room() >= room)
    }

    fn take_if(&self, suits: impl Fn(&Reserve) -> bool) -> Option<Reserve> {
        let mut ready = self.ready.lock();
        let index = ready.iter().position(suits)?;
        ready.remove(index)
    }

    /// The numbers of those that are longer than segments are to be: of a session with larger ones, or for a frame that
    /// did not come.
    pub(crate) fn oversized(&self) -> Vec<u64> {
        let ready = self.ready.lock();
        let oversized = ready.iter().map(|reserve| reserve.birth);
        let oversized = oversized.filter(|birth| birth.bytes > self.segment_bytes);
        oversized.map(|birth| birth.number).collect()
    }

    /// Forgets those with these numbers, which the manifest does not list any more.
    pub(crate) fn forget(&self, numbers: &[u64]) {
        let mut ready = self.ready.lock();
        ready.retain(|reserve| !numbers.contains(&reserve.birth.number));
    }

    /// Gives one back that was not used after all.
    pub(crate) fn give_back(&self, reserve: Reserve) {
        self.ready.lock().push_front(reserve);
    }

    /// Makes sure that one with at least `room` bytes is ready; `also` changes the manifest with it.
    pub(crate) fn prepare(
        &self,
        room: u64,
        also: impl FnOnce(&mut Manifest),
    ) -> Result<(), Trouble> {
        let bytes = self
            .segment_bytes
            .max((BLOCK + room).next_multiple_of(BLOCK));
        let suits = |reserve: &Reserve| !self.is_small(reserve) && reserve.room() >= room;
        let prepared = self.prepare_if_none(suits, bytes, also);
        match &prepared {
            Ok(()) => *self.full.lock() = None,
            Err(Trouble::Full(failure)) => {
                let before = self.full.lock().replace(failure.to_string());
                if before.is_none() {
                    self.tidy.ring();
                }
            }
            Err(Trouble::Broken(_)) => {}
        }
        prepared
    }

    /// Makes sure that the small one is ready; `also` changes the manifest with it.
    pub(crate) fn prepare_small(&self, also: impl Fn(&mut Manifest)) -> Result<(), Trouble> {
        let suits = |reserve: &Reserve| self.is_small(reserve);
        if self.is_space_lent() && !self.has_small() {
            // What there is was made for what gives more back than a small one does.
            let full: io::Result<()> = Err(io::ErrorKind::StorageFull.into());
            return full
                .during("allocate", self.home.dir())
                .map_err(Trouble::from);
        }
        match self.prepare_if_none(suits, self.small_bytes, &also) {
            Err(Trouble::Full(failure)) => {
                // What goes in frees more.
                let Some(_space) = self.make_space_for_small() else {
                    return Err(Trouble::Full(failure));
                };
                self.prepare_if_none(suits, self.small_bytes, also)
            }
            prepared => prepared,
        }
    }

    /// Makes space for the small one, but leaves as much as a checkpoint takes, which is what gives the log's space back:
    /// without one, a second small segment would gain nothing. `None` when there is not as much.
    fn make_space_for_small(&self) -> Option<Space> {
        let checkpoint = self.manifest.snapshot().checkpoint;
        let checkpoint = checkpoint.map_or(0, |entry| entry.bytes);
        let rest = checkpoint + checkpoint / 4 + BLOCK;
        let mut workshop = self.workshop.lock();
        if rest > workshop.ballast.bytes() {
            drop(workshop);
            return Some(self.make_space());
        }
        let space = if workshop.spares.is_empty() {
            // With its entries in the directory and the manifest.
            workshop.ballast.lend(self.small_bytes + BLOCK, rest)?
        } else {
            workshop.ballast.hold()
        };
        self.give_up_spares(&mut workshop);
        Some(space)
    }

    /// Removes all of them; then the disk is to be asked again.
    fn give_up_spares(&self, workshop: &mut Workshop) {
        workshop.full = None;
        for spare in workshop.spares.drain(..) {
            remove_segment(&self.home, &spare.path);
        }
    }

    /// Bytes that are kept back for what frees more.
    pub(crate) fn kept_back(&self) -> u64 {
        self.workshop.lock().ballast.bytes()
    }

    fn prepare_if_none(
        &self,
        suits: impl Fn(&Reserve) -> bool,
        bytes: u64,
        also: impl FnOnce(&mut Manifest),
    ) -> Result<(), Trouble> {
        let mut workshop = self.workshop.lock();
        if self.ready.lock().iter().any(suits) {
            return Ok(());
        }
        if let Some(full) = workshop
            .full
            .as_ref()
            .filter(|full| Instant::now() < full.until)
        {
            return Err(Trouble::Full(Failure {
                file: full.file.clone(),
                operation: full.operation,
                source: io::Error::new(io::ErrorKind::StorageFull, full.detail.clone()),
            }));
        }
        let prepared = self.make(&mut workshop, bytes, also);
        if let Err(Trouble::Full(failure)) = &prepared
            && workshop.full.is_none()
        {
            tracing::warn!(%failure, "no space for more of the log");
        }
        workshop.full = match &prepared {
            Err(Trouble::Full(failure)) => Some(Full {
                until: Instant::now() + FULL_PAUSE,
                file: failure.file.clone(),
                operation: failure.operation,
                detail: failure.source.to_string(),
            }),
            _ => None,
        };
        self.ready.lock().push_back(prepared?);
        Ok(())
    }

    /// Creation: header, fsync, directory fsync, manifest, and only then use.
    fn make(
        &self,
        workshop: &mut Workshop,
        bytes: u64,
        also: impl FnOnce(&mut Manifest),
    ) -> Result<Reserve, Trouble> {
        if bytes > self.small_bytes {
            self.restore_ballast(workshop)?;
        }
        let number = self.manifest.number();
        let path = self.home.segment(number);
        let spare = if bytes == self.segment_bytes {
            workshop.spares.pop()
        } else {
            None
        };
        let birth = Birth {
            number,
            salt: salt(),
            bytes,
            recycled: spare.is_some(),
        };
        let file = match spare {
            Some(spare) => match self.rewrite(&spare, &birth) {
                Ok(()) => spare.file,
                Err(failure) => {
                    workshop.spares.push(spare);
                    return Err(failure.into());
                }
            },
            None => self.create(&birth).inspect_err(|_| {
                self.home.remove(&path).ok();
            })?,
        };
        let listed = self.home.sync_dir().map_err(Trouble::from).and_then(|()| {
            self.manifest.change(|manifest| {
                also(manifest);
                manifest.segments.push(SegmentEntry {
                    number,
                    salt: birth.salt,
                    bytes,
                    base: None,
                });
            })
        });
        match listed {
            Ok(()) => {}
            Err(Trouble::Full(failure)) => {
                self.home.remove(&path).ok();
                return Err(Trouble::Full(failure));
            }
            Err(broken) => return Err(broken),
        }
        if birth.recycled {
            self.recycled.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Reserve { birth, path, file })
    }

    /// IMPORTANT: before any space for payloads, or a full disk could not be helped.
    fn restore_ballast(&self, workshop: &mut Workshop) -> Result<(), Failure> {
        loop {
            match workshop.ballast.restore() {
                Err(failure) if failure.is_full() => match workshop.spares.pop() {
                    Some(spare) => remove_segment(&self.home, &spare.path),
                    None => return Err(failure),
                },
                restored => return restored,
            }
        }
    }

    fn create(&self, birth: &Birth) -> Result<Arc<dyn FsFile>, Failure> {
        let path = self.home.segment(birth.number);
        let file = self.home.create(&path)?;
        file.allocate(birth.bytes).during("allocate", &path)?;
        file.write_all_at(&mut [IoSlice::new(&birth.encode())], 0)
            .during("write", &path)?;
        file.sync_data().during("fdatasync", &path)?;
        Ok(file)
    }

    fn rewrite(&self, spare: &Spare, birth: &Birth) -> Result<(), Failure> {
        let header = birth.encode();
        spare
            .file
            .write_all_at(&mut [IoSlice::new(&header)], 0)
            .during("write", &spare.path)?;
        spare.file.sync_data().during("fdatasync", &spare.path)?;
        self.home
            .rename(&spare.path, &self.home.segment(birth.number))
    }

    /// Takes files that the manifest does not list (any more) for reuse, or removes them.
    pub(crate) fn recycle(
        &self,
        files: impl IntoIterator<Item = (PathBuf, Option<Arc<dyn FsFile>>)>,
    ) {
        let mut workshop = self.workshop.lock();
        for (path, file) in files {
            match file {
                Some(file)
                    if workshop.spares.len() < SPARES
                        && file.len().is_ok_and(|len| len == self.segment_bytes) =>
                {
                    workshop.spares.push(Spare { path, file });
                }
                _ => remove_segment(&self.home, &path),
            }
        }
    }

    /// Takes what an earlier session left behind for reuse, or removes it.
    pub(crate) fn adopt(&self, orphans: Vec<PathBuf>) {
        let files = orphans.into_iter().map(|path| {
            let file = self.home.open(&path, Open::Write).ok();
            (path, file)
        });
        self.recycle(files.collect::<Vec<_>>());
    }
}

/// Left over, it would be found again at the next start.
fn remove_segment(home: &Home, path: &Path) {
    if let Err(failure) = home.remove(path) {
        tracing::warn!(%failure, "a dropped segment was left behind");
    }
}

/// A random number; the standard library seeds its hash maps with one.
fn salt() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(u64::from(std::process::id()));
    hasher.finish()
}
