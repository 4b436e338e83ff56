//! Sealing: full segments of the log become sealed files, one by one in their order.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Lsn;
use crate::bell::Bell;
use crate::committer::Committer;
use crate::error::{CommitError, CompactError, Failure, ReadError, Trouble};
use crate::home::Home;
use crate::log::GroupLog;
use crate::manifest::ManifestFile;
use crate::sealed::{SealError, SealedFile, Throttle, seal, seal_past};
use crate::segment::Segment;
use crate::shelf::Shelf;
use crate::tenancy::Tenancy;
use crate::wal::FileWal;

/// Bytes a second that are sealed at most while few segments wait: the log's syncs wait behind a burst.
const GENTLE_RATE: u64 = 128 << 20;
/// How long the thread sleeps when nobody wakes it.
const NAP: Duration = Duration::from_secs(5);
/// When it tries again on a full disk.
const FULL_PAUSE: Duration = Duration::from_millis(500);
/// When it looks again at a log that it could not read.
const DAMAGE_PAUSE: Duration = Duration::from_secs(60);

/// A file, if one is needed, and where nothing of the segment could be read: from which LSN up to which.
type Made = (Option<SealedFile>, Vec<(Lsn, Lsn)>);

/// What background work needs.
#[derive(Clone)]
pub(crate) struct Workplace {
    pub(crate) home: Home,
    pub(crate) manifest: Arc<ManifestFile>,
    pub(crate) wal: Arc<FileWal>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) tenancy: Arc<dyn Tenancy>,
    pub(crate) shelf: Arc<Shelf>,
}

/// Seals, on a thread of its own or its caller's.
pub(crate) struct Sealer {
    at: Workplace,
    bell: Arc<Bell>,
    /// While few segments wait.
    gently: Throttle,
    quickly: Throttle,
    /// More segments than these wait: then sealing hurries.
    few: u64,
    /// Held by whoever makes a file.
    job: Mutex<()>,
    halted: Mutex<Option<Halt>>,
    /// The end of the segment that the medium could not read, and since when.
    unreadable: Mutex<Option<(Lsn, Instant)>>,
    /// How long it may fail to.
    patience: Duration,
    written: AtomicU64,
}

/// Why sealing stands still.
#[derive(Clone, PartialEq, Eq)]
enum Halt {
    /// The log cannot be read in the segment that ends here.
    Damaged { detail: String, end: Lsn },
    /// No space, for the time being.
    Full(String),
}

impl Sealer {
    /// Hurries when more than half of `backlog` segments wait; has `patience` with a medium that cannot read.
    pub(crate) fn new(at: Workplace, backlog: u64, patience: Duration) -> Self {
        Self {
            bell: at.wal.filled(),
            at,
            gently: Throttle::new(Some(GENTLE_RATE)),
            quickly: Throttle::new(None),
            few: backlog / 2,
            job: Mutex::default(),
            halted: Mutex::default(),
            unreadable: Mutex::default(),
            patience,
            written: AtomicU64::new(0),
        }
    }

    /// Bytes of sealed files written by sealing.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Why sealing stands still, when it does.
    pub(crate) fn halted(&self) -> Option<String> {
        self.halted.lock().as_ref().map(|halt| match halt {
            Halt::Damaged { detail, .. } | Halt::Full(detail) => detail.clone(),
        })
    }

    /// Whether sealing would go on past damage if there were a newer checkpoint.
    pub(crate) fn waits_for_checkpoint(&self) -> bool {
        match &*self.halted.lock() {
            Some(Halt::Damaged { end, .. }) => self.at.manifest.checkpointed() < *end,
            _ => false,
        }
    }

    /// The thread: works until [`Sealer::stop`].
    pub(crate) fn run(&self) {
        self.take_up();
        while self.quickly.check().is_ok() {
            if let Some(pause) = self.turn() {
                self.bell.wait(pause);
            }
        }
    }

    /// Ends the thread and every job, soon. No file is being made any more when it returns.
    pub(crate) fn stop(&self) {
        self.gently.cancel();
        self.quickly.cancel();
        self.bell.ring();
        drop(self.job.lock());
    }

    /// Gives up what an earlier session could have.
    fn take_up(&self) {
        let _job = self.job.lock();
        if self.quickly.check().is_err() {
            return;
        }
        let shelf = &self.at.shelf;
        let recycled = shelf.alone().map(|_alone| shelf.recycle());
        if let Ok(Err(trouble)) = recycled {
            self.at.committer.trouble(trouble);
        }
    }

    /// Seals a segment; says how long to rest when there is none, or it cannot be.
    fn turn(&self) -> Option<Duration> {
        let _job = self.job.lock();
        if self.at.committer.poisoned().is_some() {
            return Some(NAP);
        }
        let hurry = self.at.wal.backlog() > self.few;
        match self.seal_next(if hurry { &self.quickly } else { &self.gently }) {
            Ok(sealed) => {
                self.goes_on();
                (!sealed).then_some(NAP)
            }
            Err(error) => Some(self.give_way(error)),
        }
    }

    /// Seals everything that was committed before the call. The caller's thread does it.
    pub(crate) fn seal_all(&self) -> Result<(), CompactError> {
        let _job = self.job.lock();
        self.at.committer.roll()?;
        while self
            .seal_next(&self.quickly)
            .map_err(|error| error.refusal(&self.at.committer))?
        {
            self.goes_on();
        }
        Ok(())
    }

    /// Seals the oldest full segment; `false` when there is none.
    fn seal_next(&self, throttle: &Throttle) -> Result<bool, SealError> {
        throttle.check()?;
        let Workplace {
            manifest,
            wal,
            shelf,
            ..
        } = &self.at;
        let Some((segment, end)) = wal.full_segment(shelf.sealed()) else {
            return Ok(false);
        };
        let gives_back = manifest.snapshot().replayable() >= end;
        if !gives_back && (wal.is_space_lent() || wal.full().is_some()) {
            // What there is belongs to the checkpoints that have the log given back: then there is space for this, too.
            let full = Failure {
                file: segment.path.clone(),
                operation: "seal",
                source: io::ErrorKind::StorageFull.into(),
            };
            return Err(full.into());
        }
        let number = manifest.number();
        let make = || self.make(&segment, end, number, throttle);
        let (file, passed) = match make() {
            // Only when the segment goes at once for it.
            Err(SealError::Trouble(Trouble::Full(_))) if gives_back => {
                let _space = wal.make_space();
                make()
            }
            made => made,
        }?;
        let path = segment.path.clone();
        // Held any longer, its file could not be used again.
        drop(segment);
        let bytes = file.as_ref().map_or(0, |file| file.entry().bytes);
        let lost = file.as_ref().map_or(0, |file| file.lost().bytes());
        shelf.install(&[], file, Some(end))?;
        if !passed.is_empty() {
            tracing::error!(
                file = %path.display(), holes = ?passed, lost,
                "the log was damaged there: the rest is sealed, what is lost (bytes) is refused to readers"
            );
        }
        self.written.fetch_add(bytes, Ordering::Relaxed);
        self.at.wal.tidy().ring();
        Ok(true)
    }

    /// Seals a segment, past damage if need be: gives the file, and where there was damage.
    fn make(
        &self,
        segment: &Arc<Segment>,
        end: Lsn,
        number: u64,
        throttle: &Throttle,
    ) -> Result<Made, SealError> {
        let Workplace { home, tenancy, .. } = &self.at;
        let damage = match seal(home, segment, end, number, &**tenancy, throttle) {
            Err(SealError::Damaged(damage)) => damage,
            sealed => return Ok((sealed?, Vec::new())),
        };
        // What its frames did must be known without them.
        if self.at.manifest.checkpointed() < end || self.may_pass(&damage, end) {
            self.halt(Halt::Damaged {
                detail: damage.to_string(),
                end,
            });
            return Err(SealError::Damaged(damage));
        }
        let passed = seal_past(home, segment, end, number, &**tenancy, throttle)?;
        Ok((passed.file, passed.holes))
    }

    /// Whether the damage in the segment that ends here may pass by itself: a medium that fails to read may succeed later.
    fn may_pass(&self, damage: &ReadError, end: Lsn) -> bool {
        if matches!(damage, ReadError::Damaged { .. }) {
            return false;
        }
        let mut unreadable = self.unreadable.lock();
        let known = unreadable.filter(|(at, _)| *at == end);
        let (_, since) = *unreadable.insert(known.unwrap_or((end, Instant::now())));
        since.elapsed() < self.patience
    }

    fn goes_on(&self) {
        if self.halted.lock().take().is_some() {
            tracing::info!("sealing goes on");
        }
        self.at.committer.brake.sealing_goes_on(true);
    }

    /// Deals with what kept a segment from being sealed; says when to try again.
    fn give_way(&self, error: SealError) -> Duration {
        match error {
            SealError::Cancelled(_) => NAP,
            SealError::Damaged(_) => DAMAGE_PAUSE,
            SealError::Trouble(Trouble::Full(failure)) => {
                self.halt(Halt::Full(failure.to_string()));
                FULL_PAUSE
            }
            SealError::Trouble(broken) => {
                self.at.committer.trouble(broken);
                NAP
            }
        }
    }

    fn halt(&self, halt: Halt) {
        let mut halted = self.halted.lock();
        if halted.as_ref() != Some(&halt) {
            match &halt {
                Halt::Damaged { detail, .. } => {
                    tracing::error!(%detail, "the log cannot be sealed here until there is a newer checkpoint");
                }
                Halt::Full(detail) => tracing::warn!(%detail, "no space to seal the log"),
            }
        }
        *halted = Some(halt);
        // Waiting helps nobody.
        self.at.committer.brake.sealing_goes_on(false);
    }
}

impl SealError {
    /// What to tell who asked for the work.
    pub(crate) fn refusal(self, committer: &Committer) -> CompactError {
        match self {
            Self::Cancelled(_) => committer.poisoned().unwrap_or(CommitError::Closed).into(),
            Self::Damaged(damage) => CompactError::Damaged(damage),
            Self::Trouble(trouble) => committer.trouble(trouble).into(),
        }
    }
}
