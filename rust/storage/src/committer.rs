//! Group commit: one leader at a time writes and syncs a group while the next one fills.
//!
//! Whoever waits becomes the leader when there is none, so a single writer pays no hand-over; the
//! committer thread leads for those who do not wait. Locks, outermost first: the caller's own, then
//! `whole`, `turn`, `filling`. The observer is called by the leader with none of them held.

mod background;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::brake::Brake;
use crate::error::{CommitError, Failure, PushError, Trouble};
use crate::filling::{Filling, REFERENCED};
use crate::frame::{self, FrameHead, Placed};
use crate::group::Group;
use crate::histogram::Histogram;
use crate::hot::Hot;
use crate::log::GroupLog;
use crate::options::{Durability, StoreOptions};
use crate::{CommitObserver, Lsn};

/// With every quicker group a slow one counts less by one part in so many.
const PACE_GROUPS: u64 = 8;
/// Groups of up to 2^8 bytes are counted together.
const GROUP_BYTES_FROM: u32 = 8;

/// Everything around committing.
pub(crate) struct Committer {
    dir: PathBuf,
    options: StoreOptions,
    log: Arc<dyn GroupLog>,
    observer: Arc<dyn CommitObserver>,
    pub(crate) hot: Hot,
    pub(crate) brake: Brake,
    filling: Mutex<Filling>,
    /// Held by who pushes a batch, and by the leader while it takes a group out.
    whole: Mutex<()>,
    /// Acknowledged.
    durable: AtomicU64,
    /// Behind everything pushed.
    end: AtomicU64,
    /// Nanoseconds that the log took for a group: the slowest of late.
    pace: AtomicU64,
    poison: OnceLock<CommitError>,
    /// The observer heard of the poison.
    told: AtomicBool,
    turn: Mutex<Turn>,
    /// Waiters for the group of an even and of an odd epoch.
    settled: [Condvar; 2],
    thread: Condvar,
    pub(crate) groups: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) group_frames: Histogram,
    pub(crate) group_bytes: Histogram,
}

/// Who is at it.
#[derive(Default)]
struct Turn {
    /// There is a leader.
    leading: bool,
    /// Counts groups; the one being committed, or the last.
    epoch: u64,
    /// Where the group being committed ends.
    target: Lsn,
    /// The committer thread shall lead.
    kicked: bool,
    /// The committer thread shall prepare room.
    prepare: bool,
    /// The committer thread shall leave a mark behind what was committed, once no more comes.
    mark: bool,
    /// Something was written that an interval must sync, since then.
    unsynced: Option<Instant>,
    stopped: bool,
}

impl Committer {
    pub(crate) fn new(
        dir: PathBuf,
        options: StoreOptions,
        log: Arc<dyn GroupLog>,
        observer: Arc<dyn CommitObserver>,
        end: Lsn,
    ) -> Self {
        Self {
            dir,
            hot: Hot::new(options.hot_bytes),
            brake: Brake::new(options.seal_backlog),
            filling: Mutex::new(Filling::new(end, options.segment_bytes, options.hot_bytes)),
            whole: Mutex::default(),
            durable: AtomicU64::new(end),
            end: AtomicU64::new(end),
            pace: AtomicU64::new(0),
            poison: OnceLock::new(),
            told: AtomicBool::new(false),
            turn: Mutex::default(),
            settled: [Condvar::new(), Condvar::new()],
            thread: Condvar::new(),
            groups: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            group_frames: Histogram::new(0),
            group_bytes: Histogram::new(GROUP_BYTES_FROM),
            options,
            log,
            observer,
        }
    }

    pub(crate) fn durable(&self) -> Lsn {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) -> Lsn {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn poisoned(&self) -> Option<CommitError> {
        self.poison.get().cloned()
    }

    /// See [`crate::Store::push`].
    pub(crate) fn push(&self, head: &FrameHead<'_>, payload: &Bytes) -> Result<Placed, PushError> {
        if payload.len() > self.options.frame_bytes {
            let (limit, value) = (self.options.frame_bytes, payload.len());
            return Err(PushError::TooLarge { limit, value });
        }
        let head_bytes = frame::head_bytes(head).map_err(|field| PushError::TooLarge {
            limit: field.limit,
            value: field.value,
        })?;
        // Large ones without the lock.
        let crc = if payload.len() >= REFERENCED {
            crc32c::crc32c(payload)
        } else {
            0
        };
        let mut filling = self.filling.lock();
        if let Some(cause) = self.poison.get() {
            return Err(cause.clone().into());
        }
        if filling.closed {
            return Err(CommitError::Closed.into());
        }
        let pending = (filling.end() - self.durable()) as usize;
        let (limit, value) = (
            self.options.pending_bytes,
            pending + head_bytes + payload.len(),
        );
        if pending > 0 && value > limit {
            return Err(PushError::Overloaded { limit, value });
        }
        let pushed = filling.push(&*self.log, head, head_bytes, payload, crc);
        self.end.store(filling.end(), Ordering::Release);
        drop(filling);
        pushed.map_err(|trouble| self.trouble(trouble).into())
    }

    /// See [`crate::Store::batch`].
    pub(crate) fn batch(&self) -> MutexGuard<'_, ()> {
        self.whole.lock()
    }

    /// See [`crate::Store::wait`].
    pub(crate) fn wait(&self, lsn: Lsn, timeout: Option<Duration>) -> Result<bool, CommitError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if self.durable() >= lsn {
            return Ok(true);
        }
        let mut turn = self.turn.lock();
        loop {
            if self.durable() >= lsn {
                return Ok(true);
            }
            if let Some(cause) = self.poison.get() {
                return Err(cause.clone());
            }
            if turn.stopped {
                return Err(CommitError::Closed);
            }
            // Before the deadline is looked at: this may be the one that was woken to lead.
            if !turn.leading && !self.filling.lock().is_empty() {
                turn = self.lead(turn, true);
                continue;
            }
            let epoch = if turn.leading && lsn <= turn.target {
                turn.epoch
            } else {
                turn.epoch + 1
            };
            let settled = &self.settled[(epoch & 1) as usize];
            match deadline {
                None => settled.wait(&mut turn),
                Some(deadline) if Instant::now() >= deadline => {
                    // The leader counts on a waiter for the next group; this one leaves, the thread stays.
                    turn.kicked |= turn.leading && !self.filling.lock().is_empty();
                    return Ok(false);
                }
                Some(deadline) => {
                    settled.wait_until(&mut turn, deadline);
                }
            }
        }
    }

    /// See [`crate::Store::kick`].
    pub(crate) fn kick(&self) {
        let mut turn = self.turn.lock();
        turn.kicked = true;
        if !turn.leading {
            self.thread.notify_one();
        }
    }

    /// See [`crate::Store::commit_if_quick`].
    pub(crate) fn commit_if_quick(&self, at_most: Duration) -> bool {
        if u128::from(self.pace.load(Ordering::Relaxed)) > at_most.as_nanos()
            || self.brake.delays(self.log.backlog())
        {
            return false;
        }
        let turn = self.turn.lock();
        if turn.leading || turn.stopped || self.poison.get().is_some() {
            return false;
        }
        drop(self.lead(turn, false));
        true
    }

    /// Commits one group, unless poisoned; then tells the observer, if it was not told. Does
    /// nothing when another came to lead meanwhile, or the end. `marks`: leaves a mark if nothing more has come; else the
    /// committer thread does, a little later.
    fn lead<'a>(&'a self, mut turn: MutexGuard<'a, Turn>, marks: bool) -> MutexGuard<'a, Turn> {
        let whole = match self.whole.try_lock() {
            Some(whole) => whole,
            None => {
                // Whoever pushes a batch may want the turn, to kick.
                drop(turn);
                let whole = self.whole.lock();
                turn = self.turn.lock();
                if turn.leading || turn.stopped {
                    return turn;
                }
                whole
            }
        };
        turn.leading = true;
        turn.epoch += 1;
        let group = {
            let mut filling = self.filling.lock();
            let group = if self.poison.get().is_none() {
                filling.take()
            } else {
                None
            };
            turn.kicked = !filling.is_empty() && self.poison.get().is_none();
            group
        };
        drop(whole);
        turn.target = group.as_ref().map_or(0, |group| group.end);
        let epoch = turn.epoch;
        drop(turn);

        let interval = matches!(self.options.durability, Durability::Interval(_));
        let unsynced = interval && group.is_some();
        if let Some(group) = group
            && let Err(failure) = self.commit(group)
        {
            self.latch(&failure);
        }
        if let Some(cause) = self.poison.get()
            && !self.told.swap(true, Ordering::AcqRel)
        {
            self.observer.poisoned(cause);
        }
        // A waiter looks and parks under this lock: taken once, none can miss the call.
        drop(self.turn.lock());
        self.settled[(epoch & 1) as usize].notify_all();
        if marks {
            self.mark();
        }
        let wants_preparation = self.log.wants_preparation();

        let mut turn = self.turn.lock();
        turn.leading = false;
        turn.prepare |= wants_preparation;
        let begins = unsynced && turn.unsynced.is_none();
        if begins {
            turn.unsynced = Some(Instant::now());
        }
        if self.poison.get().is_some() {
            self.settled.iter().for_each(|settled| {
                settled.notify_all();
            });
            turn.kicked |= !self.told.load(Ordering::Acquire);
        } else if !self.filling.lock().is_empty() {
            self.settled[((epoch + 1) & 1) as usize].notify_one();
        }
        let leaves_mark = !marks && !std::mem::replace(&mut turn.mark, true);
        if turn.kicked || turn.prepare || begins || turn.stopped || leaves_mark {
            self.thread.notify_one();
        }
        turn
    }

    fn commit(&self, group: Group) -> Result<(), Failure> {
        let frames = group.frames;
        let bytes = group.end - group.start;
        let _span = tracing::debug_span!("commit_group", frames, bytes).entered();
        let backlog = self.log.backlog();
        if let Some(delay) = self.brake.delay(backlog, bytes) {
            thread::sleep(delay);
        }
        let begun = Instant::now();
        let end = self
            .log
            .append(&group, self.options.durability == Durability::Sync)?;
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // One leader at a time, so that nothing is lost between the two.
        let pace = self.pace.load(Ordering::Relaxed);
        let pace = took.max(pace - pace / PACE_GROUPS);
        self.pace.store(pace, Ordering::Relaxed);
        // Readers look here from the moment the observer knows.
        self.hot.insert(group);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.frames.fetch_add(frames.into(), Ordering::Relaxed);
        self.group_frames.record(frames.into());
        self.group_bytes.record(bytes);
        self.durable.store(end, Ordering::Release);
        self.observer.committed(end);
        Ok(())
    }

    /// Sorts trouble beside the log: a full disk is told, anything else poisons.
    pub(crate) fn trouble(&self, trouble: Trouble) -> CommitError {
        match trouble {
            Trouble::Full(failure) => CommitError::StorageFull {
                dir: self.dir.clone(),
                detail: failure.to_string(),
            },
            Trouble::Broken(failure) => {
                let cause = self.latch(&failure);
                // The observer is the leader's to call; the caller may hold locks it wants.
                self.kick();
                cause
            }
        }
    }

    /// Latches the first cause and gives it. A sync that failed is never tried again.
    fn latch(&self, failure: &Failure) -> CommitError {
        tracing::error!(%failure, "the log failed and takes no more writes");
        self.poison
            .get_or_init(|| CommitError::Poisoned {
                cause: failure.to_string(),
            })
            .clone()
    }

    /// Syncs what is written, in every durability.
    pub(crate) fn sync(&self) -> Result<Lsn, CommitError> {
        if let Some(cause) = self.poison.get() {
            return Err(cause.clone());
        }
        self.log
            .sync()
            .map_err(|failure| self.trouble(Trouble::Broken(failure)))
    }

    /// Has the log go on in another segment, so that everything committed by now is in full ones. Nothing is done when
    /// there is no space for one.
    pub(crate) fn roll(&self) -> Result<(), CommitError> {
        loop {
            self.wait(self.end(), None)?;
            let turn = self.turn.lock();
            let mut filling = self.filling.lock();
            if turn.stopped || filling.closed {
                return Err(CommitError::Closed);
            }
            // Nobody comes to lead meanwhile, so that the log ends where the filling group begins.
            if !turn.leading && filling.is_empty() {
                let rolled = filling.roll(&*self.log);
                drop(filling);
                drop(turn);
                // Whatever acknowledged means, what is sealed must not be ahead of the log on the disk.
                self.sync()?;
                return match rolled {
                    Err(Trouble::Full(_)) => Ok(()),
                    rolled => rolled.map_err(|trouble| self.trouble(trouble)),
                };
            }
            drop(filling);
            drop(turn);
            thread::yield_now();
        }
    }

    /// Takes no more frames and commits those that were taken.
    pub(crate) fn finish(&self) -> Result<(), CommitError> {
        self.filling.lock().closed = true;
        self.wait(self.end(), None).map(|_| ())
    }

    /// Ends the committer thread and every wait, committing nothing.
    pub(crate) fn stop(&self) {
        self.filling.lock().closed = true;
        let mut turn = self.turn.lock();
        turn.stopped = true;
        self.thread.notify_all();
        self.settled.iter().for_each(|settled| {
            settled.notify_all();
        });
    }
}
