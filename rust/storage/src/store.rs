//! The running store: what callers see of group commit, reads and checkpoints.

mod checkpoints;
mod reads;
mod threads;

use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use crate::backup::{Backup, BackupReport};
use crate::committer::Committer;
use crate::compactor::Compactor;
use crate::error::{BackupError, CommitError, CompactError, OpenError, PushError, Trouble};
use crate::frame::{FrameHead, Placed};
use crate::fs::Fs;
use crate::home::Home;
use crate::log::{GroupLog, LogRead};
use crate::manifest::ManifestFile;
use crate::options::StoreOptions;
use crate::sealed::Sealed;
use crate::sealer::{Sealer, Workplace};
use crate::shelf::Shelf;
use crate::stats::StoreStats;
use crate::tenancy::Tenancy;
use crate::wal::FileWal;
use crate::{CommitObserver, Lsn, checkpoint};

pub use checkpoints::CheckpointWriter;

/// The running log. Cheap to clone; every method may be called from any thread.
///
/// Dropping the last clone without [`Store::close`] commits nothing more: like a crash, but with the
/// lock released.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// Keeps a batch of pushes together; see [`Store::batch`].
#[must_use = "the batch ends when this is dropped"]
pub struct Batch<'s> {
    _whole: MutexGuard<'s, ()>,
}

/// What recovery hands over.
pub(crate) struct Parts {
    pub(crate) home: Home,
    pub(crate) options: StoreOptions,
    pub(crate) lock: Box<dyn Any + Send + Sync>,
    pub(crate) manifest: Arc<ManifestFile>,
    pub(crate) wal: Arc<FileWal>,
    pub(crate) sealed: Sealed,
    pub(crate) observer: Arc<dyn CommitObserver>,
    pub(crate) tenancy: Arc<dyn Tenancy>,
    pub(crate) end: Lsn,
}

struct Inner {
    home: Home,
    committer: Arc<Committer>,
    log: Arc<dyn GroupLog>,
    reader: Arc<dyn LogRead>,
    wal: Arc<FileWal>,
    manifest: Arc<ManifestFile>,
    shelf: Arc<Shelf>,
    sealer: Arc<Sealer>,
    compactor: Arc<Compactor>,
    checkpoints: AtomicU64,
    checkpoint_bytes: AtomicU64,
    reads_hot: AtomicU64,
    reads_cold: AtomicU64,
    /// The committer's, the sealer's, the compactor's.
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
    /// How it was closed, once it was.
    closed: Mutex<Option<Result<(), CommitError>>>,
}

impl Store {
    pub(crate) fn start(parts: Parts) -> Result<Self, OpenError> {
        let dir = parts.home.dir().to_owned();
        let log: Arc<dyn GroupLog> = Arc::clone(&parts.wal) as Arc<dyn GroupLog>;
        let file_bytes = parts.options.sealed_file_bytes;
        let patience = parts.options.unreadable_for;
        let bytes_per_second = parts.options.compaction_bytes_per_second;
        let seal_backlog = parts.options.seal_backlog;
        let committer = Arc::new(Committer::new(
            dir.clone(),
            parts.options,
            Arc::clone(&log),
            parts.observer,
            parts.end,
        ));
        let shelf = Arc::new(Shelf::new(
            parts.home.clone(),
            Arc::clone(&parts.manifest),
            Arc::clone(&parts.wal),
            Arc::clone(&committer),
            parts.sealed,
        ));
        let at = Workplace {
            home: parts.home.clone(),
            manifest: Arc::clone(&parts.manifest),
            wal: Arc::clone(&parts.wal),
            committer: Arc::clone(&committer),
            tenancy: parts.tenancy,
            shelf: Arc::clone(&shelf),
        };
        let sealer = Arc::new(Sealer::new(at.clone(), seal_backlog, patience));
        let compactor = Arc::new(Compactor::new(at, file_bytes, bytes_per_second));
        let store = Self {
            inner: Arc::new(Inner {
                home: parts.home,
                committer: Arc::clone(&committer),
                log,
                reader: Arc::clone(&parts.wal) as Arc<dyn LogRead>,
                wal: parts.wal,
                manifest: parts.manifest,
                shelf,
                sealer: Arc::clone(&sealer),
                compactor: Arc::clone(&compactor),
                checkpoints: AtomicU64::new(0),
                checkpoint_bytes: AtomicU64::new(0),
                reads_hot: AtomicU64::new(0),
                reads_cold: AtomicU64::new(0),
                threads: Mutex::default(),
                lock: Mutex::new(Some(parts.lock)),
                closed: Mutex::new(None),
            }),
        };
        store.spawn("durastream-log", &dir, move || committer.run())?;
        store.spawn(
            "durastream-sealer",
            &dir,
            threads::behind(move || sealer.run()),
        )?;
        store.spawn(
            "durastream-compactor",
            &dir,
            threads::behind(move || compactor.run()),
        )?;
        Ok(store)
    }

    /// Puts a frame into the filling group. Order of calls is order of LSNs.
    ///
    /// A payload of 64 KiB or more is referenced, not copied. Somebody must `wait` or `kick`.
    ///
    /// No I/O as a rule: segments are prepared ahead by the committer thread. Only when a burst
    /// outruns it, or a frame is larger than a segment, one is allocated here. A frame that was taken
    /// always has its room: [`CommitError::StorageFull`] comes from here, before anything was taken,
    /// and goes away by itself when there is space again (asked for at most every 20 ms). The last of
    /// the room is kept for frames without payload.
    pub fn push(&self, head: &FrameHead<'_>, payload: &Bytes) -> Result<Placed, PushError> {
        self.inner.committer.push(head, payload)
    }

    /// Until it is dropped, what is pushed is not taken out to be committed: frames of one batch share
    /// a group, but for those that a segment has no more room for. Do not `wait` meanwhile.
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            _whole: self.inner.committer.batch(),
        }
    }

    /// Blocks until everything below `lsn` is acknowledged, or `timeout`: `false`.
    ///
    /// The caller commits on its own thread when nobody else is at it (leader and followers), so a
    /// single writer pays no hand-over.
    pub fn wait(&self, lsn: Lsn, timeout: Option<Duration>) -> Result<bool, CommitError> {
        self.inner.committer.wait(lsn, timeout)
    }

    /// Has the committer thread commit what is pending; the observer hears of it.
    pub fn kick(&self) {
        self.inner.committer.kick();
    }

    /// Commits what is pending on the caller's thread, if nobody is at it and groups of late took no more than `at_most`;
    /// `false` with nothing done otherwise, then `kick`. The observer hears of it before this returns.
    ///
    /// For those who have more to do than to wait, but for whom a quick disk costs less than a change of threads.
    pub fn commit_if_quick(&self, at_most: Duration) -> bool {
        self.inner.committer.commit_if_quick(at_most)
    }

    /// The acknowledged LSN.
    pub fn durable(&self) -> Lsn {
        self.inner.committer.durable()
    }

    /// The LSN behind everything pushed.
    pub fn end(&self) -> Lsn {
        self.inner.committer.end()
    }

    /// Everything below is in sealed files, or was dead: reads of it by stream and position are
    /// [`Store::history`]'s.
    pub fn sealed(&self) -> Lsn {
        self.inner.shelf.sealed()
    }

    /// Below this LSN, knowing where single frames lie gains nothing: they are sealed and not hot.
    pub fn forgettable(&self) -> Lsn {
        let sealed = self.sealed();
        let hot = self.inner.committer.hot.oldest();
        hot.map_or(sealed, |oldest| oldest.min(sealed))
    }

    /// Seals everything that was committed before the call, merges sealed files as far as can be, and drops what is
    /// dead. Blocks until that is done; appends go on.
    pub fn compact(&self) -> Result<(), CompactError> {
        let sealed = self.inner.sealer.seal_all();
        if let Err(CompactError::Commit(_)) = sealed {
            return sealed;
        }
        // Damage to the log, too, keeps nobody from merging what is sealed.
        self.inner.compactor.merge_all().and(sealed)
    }

    /// Says that payloads have become dead: the store's own thread looks soon whether files can go.
    pub fn tidy(&self) {
        self.inner.wal.tidy().ring();
    }

    /// Why payloads are refused, when there was no space for more of the log at the last try. Frames without payload
    /// are taken all the same, space that comes free is noticed within a second.
    pub fn full(&self) -> Option<String> {
        self.inner.log.full()
    }

    /// Whether a checkpoint is wanted soon: the disk is full and one, maybe two, would have some of the log given up,
    /// or the log is damaged where it is to be sealed, and must not be needed for a recovery before it is sealed past
    /// the damage.
    pub fn wants_checkpoint(&self) -> bool {
        let inner = &*self.inner;
        inner.sealer.waits_for_checkpoint()
            || self.full().is_some() && inner.wal.waits_for_checkpoint()
    }

    /// Gives up segments that are sealed and that no recovery would replay, as happens by itself.
    pub fn drop_up_to(&self, _lsn: Lsn) -> Result<(), CommitError> {
        let inner = &*self.inner;
        let _alone = inner.alone()?;
        if let Some(cause) = inner.committer.poisoned() {
            return Err(cause);
        }
        let recycled = inner.shelf.recycle();
        recycled.map_err(|trouble| inner.committer.trouble(trouble))
    }

    /// Copies the log as it is now, synced, into `dir` on `fs`: a directory that does not exist, or is
    /// empty. Everything that was acknowledged before the call is in it. It is read back and verified.
    ///
    /// Appends, checkpoints and closing go on meanwhile.
    pub fn backup(&self, fs: &Arc<dyn Fs>, dir: &Path) -> Result<BackupReport, BackupError> {
        let inner = &*self.inner;
        let backup = {
            let _alone = inner.alone()?;
            let end = inner.committer.sync()?;
            let manifest = inner.manifest.snapshot();
            let checkpoint = match manifest.checkpoint {
                None => None,
                Some(entry) => Some((entry, checkpoint::read(&inner.home, &entry)?)),
            };
            // The copy has one checkpoint: nothing of what is sealed and lies below it would ever be read.
            let needed = manifest.sealed.min(inner.manifest.checkpointed());
            Backup {
                manifest,
                checkpoint,
                log: inner.log.export(needed, end),
                // Which files there are is changed together with the manifest, by whoever is `alone`.
                sealed: inner.shelf.files().files(),
                home: inner.home.clone(),
                end,
            }
        };
        backup.write(fs, dir)
    }

    /// Counters now.
    pub fn stats(&self) -> StoreStats {
        let inner = &*self.inner;
        let log = inner.log.figures();
        let sealed = inner.shelf.files().figures();
        let (durable_lsn, end_lsn) = (self.durable(), self.end());
        StoreStats {
            groups: inner.committer.groups.load(Ordering::Relaxed),
            frames: inner.committer.frames.load(Ordering::Relaxed),
            bytes: log.bytes,
            syncs: log.syncs,
            sync_nanos: log.sync_times.sum,
            sync_times: log.sync_times,
            group_frames: inner.committer.group_frames.snapshot(),
            group_bytes: inner.committer.group_bytes.snapshot(),
            pending_bytes: end_lsn.saturating_sub(durable_lsn),
            hot_bytes: inner.committer.hot.bytes() as u64,
            segments: log.segments,
            recycled: log.recycled,
            checkpoints: inner.checkpoints.load(Ordering::Relaxed),
            checkpoint_bytes: inner.checkpoint_bytes.load(Ordering::Relaxed),
            checkpoint_lsn: inner
                .manifest
                .snapshot()
                .checkpoint
                .map_or(0, |entry| entry.lsn),
            durable_lsn,
            end_lsn,
            storage_full: self.full(),
            sealed_lsn: self.sealed(),
            sealed_files: sealed.files,
            sealed_bytes: sealed.bytes,
            sealed_live_bytes: sealed.live_bytes,
            sealed_files_damaged: sealed.damaged_files,
            lost_bytes: sealed.lost_bytes,
            sealing_backlog: inner.log.backlog(),
            sealing_halted: inner.sealer.halted(),
            slowed_nanos: inner.committer.brake.nanos(),
            sealed_written_bytes: inner.sealer.written(),
            compactions: inner.compactor.compactions(),
            compacted_bytes: inner.compactor.written(),
            blocks_verified: sealed.blocks_verified,
            reads_hot: inner.reads_hot.load(Ordering::Relaxed),
            reads_cold: inner.reads_cold.load(Ordering::Relaxed),
        }
    }

    /// The first cause, when the log is poisoned.
    pub fn poisoned(&self) -> Option<CommitError> {
        self.inner.committer.poisoned()
    }

    /// Commits what is pending, marks the end as clean, releases the lock. Idempotent.
    ///
    /// The lock is released and the committer thread ended even when it fails.
    pub fn close(&self) -> Result<(), CommitError> {
        let mut closed = self.inner.closed.lock();
        if let Some(how) = &*closed {
            return how.clone();
        }
        let how = self.inner.close();
        *closed = Some(how.clone());
        how
    }
}

impl Inner {
    /// Keeps others from changing which files there are, until the store is closed.
    fn alone(&self) -> Result<MutexGuard<'_, bool>, CommitError> {
        self.shelf.alone().map_err(|_| CommitError::Closed)
    }

    fn close(&self) -> Result<(), CommitError> {
        // They want to be alone too, and leave nothing to the next owner of the directory.
        self.sealer.stop();
        self.compactor.stop();
        let mut ended = self.shelf.ended();
        let how = self
            .committer
            .finish()
            .and_then(|()| self.committer.sync())
            .and_then(|_| {
                match self.manifest.change(|manifest| manifest.clean = true) {
                    // Only the mark is missing: the next start takes longer.
                    Err(Trouble::Full(failure)) => {
                        tracing::warn!(%failure, "no space to mark the end as clean");
                        Ok(())
                    }
                    changed => changed.map_err(|trouble| self.committer.trouble(trouble)),
                }
            });
        // IMPORTANT: said and let go before the threads are waited for: one of them may be about to ask.
        *ended = true;
        drop(ended);
        self.stop();
        // From here on the directory may be somebody else's.
        drop(self.lock.lock().take());
        how
    }

    fn stop(&self) {
        self.committer.stop();
        self.sealer.stop();
        self.compactor.stop();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // The observer may have held the last clone: then this is the committer thread itself.
            if thread.thread().id() != thread::current().id() {
                thread.join().ok();
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
