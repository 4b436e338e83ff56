//! The embedded engine: takes the lock, decides, logs, applies, and says on what that depends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use durastream_storage::fs::Fs;
use durastream_storage::{
    BackupError, BackupReport, CommitError, CompactError, Lsn, OpenError, RecoveryReport, Store,
};
use parking_lot::Mutex;

use crate::core::Core;
use crate::errors::{AppendError, ChangeError, CreateError, LookupError};
use crate::housekeeping::{self, Stop};
use crate::list;
use crate::moment::{Millis, millis};
use crate::options::Options;
use crate::reader::Reader;
use crate::recovery::recover;
use crate::retention::{Reconfigure, Retention};
use crate::rules::{info, lookup};
use crate::save::Haste;
use crate::stats::EngineStats;
use crate::types::{Append, Appended, Clock, Create, Created, Listing, StreamInfo, Ticket};
use crate::watch::{CompletionSink, Wake, Wakes};
use crate::{Offset, StreamPath};

/// The embedded engine. Cheap to clone; every method may be called from any thread; none but
/// `wait`, `commit_if_quick`, `wait_readable`, `checkpoint`, `compact`, `backup`, `close`, cold `page`s, and creations of forks and trims at offsets in
/// old data blocks on I/O.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What engines and readers share.
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    pub(crate) store: Store,
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where the log is, for errors.
    pub(crate) dir: PathBuf,
    /// LSN of the newest checkpoint; held while one is made.
    pub(crate) checkpointed: Mutex<Lsn>,
    report: RecoveryReport,
    stop: Arc<Stop>,
    closed: AtomicBool,
    /// Held while it is being closed.
    closing: Mutex<()>,
}

/// The time of this machine.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl Shared {
    pub(crate) fn now(&self) -> Millis {
        millis(self.clock.now())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl Engine {
    /// Opens a data directory, recovering it first.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let fs = Arc::new(durastream_storage::fs::OsFs);
        Self::open_with(fs, dir, options, Arc::new(SystemClock))
    }

    /// An engine without a disk, for tests and caches.
    pub fn in_memory(options: Options) -> Result<Self, OpenError> {
        let fs = Arc::new(durastream_storage::fs::SimFs::new());
        Self::open_with(fs, Path::new("memory"), options, Arc::new(SystemClock))
    }

    /// Opens over any file system and clock.
    pub fn open_with(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let recovered = recover(fs, dir, options.store.clone())?;
        let stop = Arc::new(Stop::default());
        let shared = Arc::new(Shared {
            core: recovered.core,
            store: recovered.store,
            options,
            clock,
            dir: dir.to_owned(),
            checkpointed: Mutex::new(recovered.report.replay_from),
            report: recovered.report,
            stop: Arc::clone(&stop),
            closed: AtomicBool::new(false),
            closing: Mutex::new(()),
        });
        housekeeping::start(&shared, stop).map_err(|source| OpenError::Io {
            file: dir.to_owned(),
            source,
        })?;
        Ok(Self { shared })
    }

    /// What recovery found at open.
    pub fn recovery(&self) -> RecoveryReport {
        self.shared.report.clone()
    }

    /// The options in force.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Creates a stream or a fork, or confirms that it exists just so. Blocks when the append at a fork's offset has to
    /// be read.
    pub fn create(
        &self,
        path: &StreamPath,
        create: Create,
    ) -> Ticket<Result<Created, CreateError>> {
        self.shared.create(path, create)
    }

    /// Appends, closes, or both.
    pub fn append(
        &self,
        path: &StreamPath,
        append: Append,
    ) -> Ticket<Result<Appended, AppendError>> {
        self.shared.append(path, &append)
    }

    /// Appends to many streams in one go, in order, so that one commit group takes them all (two or
    /// more when a log segment has not room for all). Stops at the first refusal, which is the last outcome given.
    pub fn append_many(
        &self,
        appends: Vec<(StreamPath, Append)>,
    ) -> Vec<Ticket<Result<Appended, AppendError>>> {
        self.shared.append_many(&appends)
    }

    /// Deletes: at once, or softly while forks live.
    pub fn delete(&self, path: &StreamPath) -> Ticket<Result<(), ChangeError>> {
        self.shared.delete(path)
    }

    /// Raises the floor to the start of the append that holds `before`; gives the new floor. Blocks when that append
    /// has to be looked up.
    pub fn trim(&self, path: &StreamPath, before: Offset) -> Ticket<Result<Offset, ChangeError>> {
        self.shared.trim(path, before)
    }

    /// Changes how much of a stream is kept; gives what is in force then. What the stream holds counts as
    /// one append made now, where a limit is new to it. Trimming follows within the reap interval.
    pub fn configure(
        &self,
        path: &StreamPath,
        change: Reconfigure,
    ) -> Ticket<Result<Retention, ChangeError>> {
        self.shared.configure(path, change)
    }

    /// Describes a stream without resetting its TTL.
    pub fn head(&self, path: &StreamPath) -> Ticket<Result<StreamInfo, LookupError>> {
        let shared = &self.shared;
        let mut wakes = Wakes::default();
        let ticket = {
            let mut inner = shared.core.lock();
            let inner = &mut *inner;
            let expired = inner.expire_at(&shared.store, path, shared.now(), &mut wakes);
            match lookup(&inner.state, path) {
                Ok(stream) if expired.is_ok() => Ticket {
                    lsn: stream.created_end,
                    outcome: Ok(info(stream, inner.durable.max(stream.created_end))),
                },
                Ok(_) => Ticket {
                    lsn: 0,
                    outcome: Err(LookupError::NotFound { path: path.clone() }),
                },
                Err((lsn, error)) => Ticket {
                    lsn: lsn.unwrap_or_else(|| inner.absence()),
                    outcome: Err(error),
                },
            }
        };
        wakes.deliver();
        ticket
    }

    /// Finds a stream for reading; resets its TTL.
    pub fn reader(&self, path: &StreamPath) -> Ticket<Result<Reader, LookupError>> {
        let shared = &self.shared;
        let mut wakes = Wakes::default();
        let mut touched = false;
        let found = {
            let mut inner = shared.core.lock();
            let inner = &mut *inner;
            let now = shared.now();
            let expired = inner.expire_at(&shared.store, path, now, &mut wakes);
            let found = match lookup(&inner.state, path) {
                Ok(stream) if expired.is_ok() => Ok((stream.id, stream.created_end)),
                Ok(_) => Err((Some(0), LookupError::NotFound { path: path.clone() })),
                Err(refusal) => Err(refusal),
            };
            if let Ok((id, _)) = found {
                touched = inner.touch(&shared.store, id, now, &mut wakes);
            }
            found.map_err(|(lsn, error)| (lsn.unwrap_or_else(|| inner.absence()), error))
        };
        wakes.deliver();
        if touched {
            shared.store.kick();
        }
        match found {
            Ok((id, lsn)) => Ticket {
                lsn,
                outcome: Ok(Reader {
                    shared: Arc::clone(shared),
                    id,
                    path: path.clone(),
                }),
            },
            Err((lsn, error)) => Ticket {
                lsn,
                outcome: Err(error),
            },
        }
    }

    /// Streams whose path begins with `prefix`, after `cursor`; at most 10,000 of them. Shows the
    /// durable view, but no stream whose deletion is under way. A page may have fewer streams than
    /// asked for and still have a cursor.
    pub fn list(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Listing {
        let inner = self.shared.core.lock();
        list::list(&inner, self.shared.now(), prefix, cursor, limit)
    }

    /// Blocks until `lsn` is durable, or `timeout`: `false`. Commits on this thread when it can.
    pub fn wait(&self, lsn: Lsn, timeout: Option<Duration>) -> Result<bool, CommitError> {
        if self.is_durable(lsn) {
            return Ok(true);
        }
        let durable = self.shared.store.wait(lsn, timeout)?;
        if durable && !self.is_durable(lsn) {
            // The store's word has not reached the state yet; what this thread reads next must show it.
            let mut wakes = Wakes::default();
            let core = &self.shared.core;
            core.advance(self.shared.store.durable(), &mut wakes);
            wakes.deliver();
        }
        Ok(durable)
    }

    /// Whether `lsn` is durable.
    pub fn is_durable(&self, lsn: Lsn) -> bool {
        self.shared.core.durable() >= lsn
    }

    /// Commits what is pending on the caller's thread, if nobody is at it and the disk has lately been quick: groups took
    /// no more than `at_most`. `false` when nothing was done; then [`Self::notify`].
    pub fn commit_if_quick(&self, at_most: Duration) -> bool {
        self.shared.store.commit_if_quick(at_most)
    }

    /// Tells `sink` when `lsn` is durable (at once when it is), in a batch with its neighbours.
    pub fn notify(&self, lsn: Lsn, sink: &Arc<dyn CompletionSink>, token: u64) {
        let mut wakes = Wakes::default();
        {
            let mut inner = self.shared.core.lock();
            if inner.durable >= lsn {
                wakes.add(sink, token, Wake::Ready);
            } else if let Some(cause) = self.poisoned() {
                wakes.add(sink, token, Wake::Failed(cause));
            } else if self.shared.is_closed() {
                wakes.add(sink, token, Wake::Failed(CommitError::Closed));
            } else {
                inner.notices.add(lsn, sink, token);
                drop(inner);
                self.shared.store.kick();
            }
        }
        wakes.deliver();
    }

    /// Writes a checkpoint now; gives its LSN.
    pub fn checkpoint(&self) -> Result<Lsn, CommitError> {
        self.shared.checkpoint(Haste::Considerate)
    }

    /// Gives back what space can be: everything committed is sealed, sealed files are merged without what nobody can
    /// read any more, and the log is dropped. Blocks until that is done; everything else goes on meanwhile.
    ///
    /// [`CompactError::Damaged`] when a file had to be left as it is; everything else was done then.
    pub fn compact(&self) -> Result<(), CompactError> {
        let mut merged = self.shared.store.compact();
        if matches!(merged, Err(CompactError::Damaged(_))) && self.shared.store.wants_checkpoint() {
            self.shared.checkpoint(Haste::Considerate)?;
            merged = self.shared.store.compact();
        }
        if let Err(refused @ CompactError::Commit(_)) = merged {
            return Err(refused);
        }
        // The log is kept from the older one on.
        for _ in 0..2 {
            self.shared.checkpoint(Haste::Considerate)?;
        }
        merged
    }

    /// Makes a checkpoint, then copies the log into `dir`: one that does not exist, or is empty.
    /// Everything that was acknowledged before the call is in the copy, which is read back and verified.
    /// Everything else goes on meanwhile. A log in memory is copied to the disk.
    pub fn backup(&self, dir: &Path) -> Result<BackupReport, BackupError> {
        self.backup_to(
            &(Arc::new(durastream_storage::fs::OsFs) as Arc<dyn Fs>),
            dir,
        )
    }

    /// The same on any file system.
    pub fn backup_to(&self, fs: &Arc<dyn Fs>, dir: &Path) -> Result<BackupReport, BackupError> {
        self.shared.checkpoint(Haste::Considerate)?;
        self.shared.store.backup(fs, dir)
    }

    /// Counters now.
    pub fn stats(&self) -> EngineStats {
        let store = self.shared.store.stats();
        let inner = self.shared.core.lock();
        let counts = inner.counts;
        EngineStats {
            store,
            streams: inner.state.paths().len() as u64,
            soft_deleted: inner.state.soft_deleted,
            appends: counts.appends,
            append_bytes: counts.append_bytes,
            duplicates: counts.duplicates,
            refusals: counts.refusals,
            reads: counts.reads,
            read_bytes: counts.read_bytes,
            watches: inner.watches.len() as u64,
            expired: counts.expired,
            retention_trims: counts.retention_trims,
        }
    }

    /// Why appends with data are refused for want of space, while they are.
    pub fn full(&self) -> Option<String> {
        self.shared.store.full()
    }

    /// The first cause, when the log is poisoned.
    pub fn poisoned(&self) -> Option<CommitError> {
        self.shared.store.poisoned()
    }

    /// Commits, checkpoints, marks the end as clean, releases the lock, wakes every watcher. Idempotent.
    pub fn close(&self) -> Result<(), CommitError> {
        let shared = &self.shared;
        // Whoever comes second waits for the last checkpoint of the first.
        let closing = shared.closing.lock();
        if shared.closed.swap(true, Ordering::AcqRel) {
            return shared.store.close();
        }
        shared.stop.stop();
        let grown = shared.store.end() > *shared.checkpointed.lock();
        if grown && let Err(error) = shared.checkpoint(Haste::Urgent) {
            tracing::warn!(%error, "no checkpoint at the end; the next start replays the log");
        }
        let closed = shared.store.close();
        drop(closing);
        let mut wakes = Wakes::default();
        {
            let mut inner = shared.core.lock();
            inner.watches.fire_all(&mut wakes);
            inner.notices.fail(&CommitError::Closed, &mut wakes);
        }
        wakes.deliver();
        closed
    }
}
