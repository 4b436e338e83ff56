//! Compaction: sealed files are merged, those without anything alive removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Lsn;
use crate::bell::Bell;
use crate::compact::{self, Aim, PlanOptions, plan};
use crate::error::{CompactError, ReadError, Trouble};
use crate::log::GroupLog;
use crate::sealed::{SealError, Throttle};
use crate::sealer::Workplace;

/// Events that are merged into one file: 32 to 64 MiB of memory while that is made.
const FILE_EVENTS: u64 = 32 << 20;
/// How often it looks for work when nobody calls, at least.
const NAP: Duration = Duration::from_secs(5);
/// How long nothing is done after it was found out what is alive, at least, ...
const REST: Duration = Duration::from_millis(20);
/// ... and as a multiple of the time that took.
const EASE: u32 = 50;
/// How often it is looked for space on a full disk, at most.
const FULL_PAUSE: Duration = Duration::from_millis(250);
/// When it tries again after it could not read or write.
const PAUSE: Duration = Duration::from_secs(10);

/// Merges, on a thread of its own or its caller's.
pub(crate) struct Compactor {
    at: Workplace,
    file_bytes: u64,
    bell: Arc<Bell>,
    /// As fast as the options say.
    gently: Throttle,
    /// As fast as it goes, for those who wait for it.
    quickly: Throttle,
    /// Held by whoever makes a file.
    job: Mutex<()>,
    /// The last thing that kept it from working, so that it is told once.
    told: Mutex<Option<String>>,
    /// When there was no space for a merge, and what was alive then.
    no_space: Mutex<Option<(Instant, u64)>>,
    compactions: AtomicU64,
    written: AtomicU64,
}

impl Compactor {
    pub(crate) fn new(at: Workplace, file_bytes: u64, bytes_per_second: u64) -> Self {
        Self {
            bell: at.wal.tidy(),
            at,
            file_bytes,
            gently: Throttle::new(Some(bytes_per_second)),
            quickly: Throttle::new(None),
            job: Mutex::default(),
            told: Mutex::default(),
            no_space: Mutex::default(),
            compactions: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    /// How many times files were merged or removed.
    pub(crate) fn compactions(&self) -> u64 {
        self.compactions.load(Ordering::Relaxed)
    }

    /// Bytes of sealed files written by merges.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The thread: works until [`Compactor::stop`].
    pub(crate) fn run(&self) {
        loop {
            let begun = Instant::now();
            let weighed = self.weigh(&self.gently);
            let rest = REST.max(begun.elapsed() * EASE);
            let mut pause = match weighed.and_then(|()| self.merge_some()) {
                Ok(pause) => pause,
                Err(SealError::Cancelled(_)) => return,
                Err(error) => self.give_way(error),
            };
            if self.at.wal.full().is_some() && self.at.committer.poisoned().is_none() {
                self.help_a_full_disk();
                pause = pause.min(FULL_PAUSE);
            }
            if self.gently.sleep(rest).is_err() {
                return;
            }
            self.bell.wait(pause);
        }
    }

    /// Ends the thread and every job, soon. No file is being made any more when it returns.
    pub(crate) fn stop(&self) {
        self.gently.cancel();
        self.quickly.cancel();
        self.bell.ring();
        drop(self.job.lock());
    }

    /// Merges until there is nothing to be merged, or it is time to find out again what is alive; says how long to
    /// wait then.
    fn merge_some(&self) -> Result<Duration, SealError> {
        let begun = Instant::now();
        let live = self.at.shelf.files().figures().live_bytes;
        let last = *self.no_space.lock();
        if last.is_some_and(|(at, alive)| alive == live && at.elapsed() < PAUSE) {
            return Ok(PAUSE);
        }
        while begun.elapsed() < NAP {
            let _job = self.job.lock();
            if self.at.committer.poisoned().is_some() {
                return Ok(PAUSE);
            }
            let aim = match self.at.wal.full() {
                Some(_) => Aim::Space,
                None => Aim::Order,
            };
            if !self.merge(self.any(aim), &self.gently)? {
                return Ok(NAP);
            }
            *self.told.lock() = None;
        }
        Ok(Duration::ZERO)
    }

    /// Gives up what can be of the log, and looks whether there is space for more of it.
    fn help_a_full_disk(&self) {
        let Workplace { shelf, wal, .. } = &self.at;
        let Ok(_alone) = shelf.alone() else { return };
        let prepared = shelf.recycle().and_then(|()| wal.prepare());
        if let Err(broken @ Trouble::Broken(_)) = prepared {
            self.at.committer.trouble(broken);
        }
    }

    /// Deals with what kept files from being merged; says when to try again.
    fn give_way(&self, error: SealError) -> Duration {
        if let SealError::Trouble(broken @ Trouble::Broken(_)) = error {
            self.at.committer.trouble(broken);
            return PAUSE;
        }
        if let SealError::Trouble(Trouble::Full(_)) = error {
            let live = self.at.shelf.files().figures().live_bytes;
            *self.no_space.lock() = Some((Instant::now(), live));
        }
        if let SealError::Damaged(damage @ ReadError::Damaged { .. }) = &error {
            tracing::error!(%damage, "a sealed file is left as it is until what is damaged is deleted or trimmed");
            // The others are merged around it.
            return Duration::ZERO;
        }
        let text = error.to_string();
        let mut told = self.told.lock();
        if told.as_ref() != Some(&text) {
            tracing::warn!(%error, "sealed files could not be merged; it is tried again");
            *told = Some(text);
        }
        PAUSE
    }

    /// Merges as much as can be, and leaves nothing dead. The caller's thread does it.
    ///
    /// Damaged files are left as they are, and told of when everything else is done.
    pub(crate) fn merge_all(&self) -> Result<(), CompactError> {
        let _job = self.job.lock();
        let told = |error: SealError| error.refusal(&self.at.committer);
        // What is sealed from here on waits for another time.
        let files = self.at.shelf.files().files();
        let options = PlanOptions {
            upto: files.last().map_or(0, |file| file.entry().to),
            made_from: self.at.manifest.number(),
            ..self.any(Aim::All)
        };
        loop {
            self.weigh(&self.quickly).map_err(told)?;
            match self.merge(options, &self.quickly) {
                // Damage is not met again: its file is left out from here on.
                Ok(true) | Err(SealError::Damaged(ReadError::Damaged { .. })) => {}
                Ok(false) => break,
                Err(error) => return Err(told(error)),
            }
        }
        let files = self.at.shelf.files().files();
        match files.iter().find_map(|file| file.hindrance()) {
            Some(damage) => Err(CompactError::Damaged(damage)),
            None => Ok(()),
        }
    }

    fn weigh(&self, throttle: &Throttle) -> Result<(), SealError> {
        throttle.check()?;
        self.at.shelf.weigh(&*self.at.tenancy, throttle)
    }

    /// Whatever there is to be done.
    fn any(&self, aim: Aim) -> PlanOptions {
        PlanOptions {
            file_bytes: self.file_bytes,
            file_events: FILE_EVENTS,
            aim,
            upto: Lsn::MAX,
            made_from: u64::MAX,
        }
    }

    /// Makes one file of some, or none; `false` when all is as it should be.
    fn merge(&self, options: PlanOptions, throttle: &Throttle) -> Result<bool, SealError> {
        throttle.check()?;
        let files = self.at.shelf.files().files();
        let Some(job) = plan(&files, options) else {
            return Ok(false);
        };
        let number = self.at.manifest.number();
        let run = || compact::run(&self.at.home, &job, number, &*self.at.tenancy, throttle);
        let merged = match run() {
            // Not for what would not fit even then.
            Err(SealError::Trouble(Trouble::Full(_)))
                if job.frees() && job.live_bytes() < self.at.wal.kept_back() =>
            {
                let _space = self.at.wal.make_space();
                run()
            }
            merged => merged,
        }?;
        let out: Vec<u64> = job.files.iter().map(|file| file.entry().number).collect();
        self.at.shelf.install(&out, merged.file, None)?;
        self.compactions.fetch_add(1, Ordering::Relaxed);
        self.written
            .fetch_add(merged.written_bytes, Ordering::Relaxed);
        Ok(true)
    }
}
