//! What happens to the log behind the appends: full segments are sealed, their files given back.
//!
//! A thread of the store does it, and [`Store::compact`](crate::Store::compact) on its caller's. Whatever is made is
//! synced, then listed by the manifest, then shown to readers, and only then is what it replaces given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::Lsn;
use crate::bell::Bell;
use crate::committer::Committer;
use crate::error::{CommitError, CompactError, Trouble};
use crate::home::Home;
use crate::log::GroupLog;
use crate::manifest::ManifestFile;
use crate::sealed::{Cancelled, SealError, Sealed, SealedFile, Throttle, seal};
use crate::tenancy::Tenancy;
use crate::wal::FileWal;

/// How long the thread sleeps when nobody wakes it.
const NAP: Duration = Duration::from_secs(5);
/// When it tries again on a full disk.
const FULL_PAUSE: Duration = Duration::from_millis(250);
/// When it looks again at a log that it could not read.
const DAMAGE_PAUSE: Duration = Duration::from_secs(60);

/// Seals. Lock order: `job`, then `ended`.
pub(crate) struct Sealer {
    home: Home,
    manifest: Arc<ManifestFile>,
    wal: Arc<FileWal>,
    committer: Arc<Committer>,
    tenancy: Arc<dyn Tenancy>,
    files: Arc<Sealed>,
    /// The store's: held while files that count are changed; whether it was closed.
    ended: Arc<Mutex<bool>>,
    bell: Arc<Bell>,
    sealing: Throttle,
    /// Held by whoever makes a file.
    job: Mutex<()>,
    /// What readers may rely on.
    sealed: AtomicU64,
    halted: Mutex<Option<Halt>>,
    written: AtomicU64,
}

/// Why sealing stands still.
#[derive(Clone, PartialEq, Eq)]
enum Halt {
    /// The log cannot be read there.
    Damaged(String),
    /// No space, for the time being.
    Full(String),
}

/// What a turn of the thread came to.
enum Turn {
    /// There may be more to do.
    Again,
    /// Nothing to do, or nothing can be done, for about so long.
    Rest(Duration),
}

/// What the sealer works on.
pub(crate) struct Workplace {
    pub(crate) home: Home,
    pub(crate) manifest: Arc<ManifestFile>,
    pub(crate) wal: Arc<FileWal>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) tenancy: Arc<dyn Tenancy>,
    pub(crate) files: Arc<Sealed>,
    pub(crate) ended: Arc<Mutex<bool>>,
}

impl Sealer {
    pub(crate) fn new(at: Workplace) -> Self {
        Self {
            bell: at.wal.filled(),
            sealed: AtomicU64::new(at.manifest.sealed()),
            home: at.home,
            manifest: at.manifest,
            wal: at.wal,
            committer: at.committer,
            tenancy: at.tenancy,
            files: at.files,
            ended: at.ended,
            sealing: Throttle::new(None),
            job: Mutex::default(),
            halted: Mutex::default(),
            written: AtomicU64::new(0),
        }
    }

    /// Everything below is in sealed files, or was dead.
    pub(crate) fn sealed(&self) -> Lsn {
        self.sealed.load(Ordering::Acquire)
    }

    /// Bytes of sealed files written by sealing.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Why sealing stands still, when it does.
    pub(crate) fn halted(&self) -> Option<String> {
        self.halted.lock().as_ref().map(|halt| match halt {
            Halt::Damaged(detail) | Halt::Full(detail) => detail.clone(),
        })
    }

    /// The thread: works until [`Sealer::stop`].
    pub(crate) fn run(&self) {
        self.take_up();
        while self.sealing.check().is_ok() {
            if let Turn::Rest(time) = self.turn() {
                self.bell.wait(time);
            }
        }
    }

    /// Ends the thread and every job, soon. No file is being made any more when it returns.
    pub(crate) fn stop(&self) {
        self.sealing.cancel();
        self.bell.ring();
        drop(self.job.lock());
    }

    /// Gives up what an earlier session could have.
    fn take_up(&self) {
        let _job = self.job.lock();
        if self.sealing.check().is_err() {
            return;
        }
        let recycled = self.alone().map(|_alone| self.recycle());
        if let Ok(Err(trouble)) = recycled {
            self.committer.trouble(trouble);
        }
    }

    fn turn(&self) -> Turn {
        let _job = self.job.lock();
        if self.committer.poisoned().is_some() {
            return Turn::Rest(NAP);
        }
        match self.seal_next() {
            Ok(true) => {
                self.goes_on();
                Turn::Again
            }
            Ok(false) => {
                self.goes_on();
                Turn::Rest(NAP)
            }
            Err(error) => self.give_way(error),
        }
    }

    /// Seals everything that was committed before the call. The caller's thread does it.
    pub(crate) fn compact(&self) -> Result<(), CompactError> {
        let _job = self.job.lock();
        self.committer.roll()?;
        loop {
            match self.seal_next() {
                Ok(true) => self.goes_on(),
                Ok(false) => return Ok(()),
                Err(error) => return Err(self.refuse(error)),
            }
        }
    }

    /// Seals the oldest full segment; `false` when there is none.
    fn seal_next(&self) -> Result<bool, SealError> {
        self.sealing.check()?;
        let Some((segment, end)) = self.wal.full(self.sealed()) else {
            return Ok(false);
        };
        let number = self.manifest.number();
        let file = seal(
            &self.home,
            &segment,
            end,
            number,
            &*self.tenancy,
            &self.sealing,
        )?;
        // Held any longer, its file could not be used again.
        drop(segment);
        let bytes = file.as_ref().map_or(0, |file| file.entry().bytes);
        self.install(&[], file, Some(end))?;
        self.written.fetch_add(bytes, Ordering::Relaxed);
        Ok(true)
    }

    /// Makes the manifest list `file`, which is synced, instead of those numbered `out`, and everything below `sealed`
    /// count as sealed; then shows it to readers, then gives up what it replaces.
    fn install(
        &self,
        out: &[u64],
        file: Option<SealedFile>,
        sealed: Option<Lsn>,
    ) -> Result<(), SealError> {
        let _alone = self.alone()?;
        let entry = file.as_ref().map(SealedFile::entry);
        // What made payloads dead may be acknowledged and not synced: it must not be lost before they are.
        if self.committer.sync().is_err() {
            return Err(Cancelled.into());
        }
        let synced = match &file {
            Some(_) => self.home.sync_dir().map_err(Trouble::from),
            None => Ok(()),
        };
        let listed = synced.and_then(|()| {
            self.manifest.change(|manifest| {
                manifest.files.retain(|it| !out.contains(&it.number));
                manifest.files.extend(entry);
                manifest.sealed = sealed.unwrap_or(manifest.sealed);
            })
        });
        if let Err(trouble) = listed {
            // After any other failure nobody knows which manifest counts: both files stay.
            if let (Trouble::Full(_), Some(entry)) = (&trouble, entry) {
                self.remove(&[entry.number]);
            }
            return Err(trouble.into());
        }
        self.files.swap(out, file);
        if let Some(sealed) = sealed {
            self.sealed.store(sealed, Ordering::Release);
        }
        self.remove(out);
        Ok(self.recycle()?)
    }

    /// Gives up segments that are sealed and that no recovery would replay. The caller holds `ended`, or is alone.
    pub(crate) fn recycle(&self) -> Result<(), Trouble> {
        let replayable = self.manifest.snapshot().replayable();
        match self.wal.drop_up_to(self.sealed().min(replayable)) {
            // With the next segment, then.
            Err(Trouble::Full(_)) => Ok(()),
            dropped => dropped,
        }
    }

    fn alone(&self) -> Result<MutexGuard<'_, bool>, Cancelled> {
        let ended = self.ended.lock();
        if *ended { Err(Cancelled) } else { Ok(ended) }
    }

    fn remove(&self, numbers: &[u64]) {
        for number in numbers {
            if let Err(failure) = self.home.remove(&self.home.sealed(*number)) {
                tracing::warn!(%failure, "a sealed file was left behind");
            }
        }
    }

    fn goes_on(&self) {
        if self.halted.lock().take().is_some() {
            tracing::info!("sealing goes on");
        }
        self.committer.brake.sealing_goes_on(true);
    }

    /// Deals with what kept a file from being made; says when to try again.
    fn give_way(&self, error: SealError) -> Turn {
        let halt = match error {
            SealError::Cancelled(_) => return Turn::Rest(NAP),
            SealError::Damaged(damage) => Halt::Damaged(damage.to_string()),
            SealError::Trouble(Trouble::Full(failure)) => Halt::Full(failure.to_string()),
            SealError::Trouble(broken) => {
                self.committer.trouble(broken);
                return Turn::Rest(NAP);
            }
        };
        let mut halted = self.halted.lock();
        if halted.as_ref() != Some(&halt) {
            match &halt {
                Halt::Damaged(detail) => {
                    tracing::error!(%detail, "the log cannot be sealed from here on; run `durable-streams check`");
                }
                Halt::Full(detail) => tracing::warn!(%detail, "no space to seal the log"),
            }
        }
        let pause = match halt {
            Halt::Damaged(_) => DAMAGE_PAUSE,
            Halt::Full(_) => FULL_PAUSE,
        };
        *halted = Some(halt);
        // Waiting helps nobody.
        self.committer.brake.sealing_goes_on(false);
        Turn::Rest(pause)
    }

    fn refuse(&self, error: SealError) -> CompactError {
        match error {
            SealError::Cancelled(_) => CommitError::Closed.into(),
            SealError::Damaged(damage) => CompactError::Damaged(damage),
            SealError::Trouble(trouble) => self.committer.trouble(trouble).into(),
        }
    }
}
