//! Opening a directory: lock, manifest, checkpoint, replay.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{During, OpenError};
use crate::fs::Fs;
use crate::home::{Home, LOCK, MANIFEST};
use crate::log::{GroupLog, Replayed};
use crate::manifest::{CheckpointEntry, Manifest, ManifestFile};
use crate::options::StoreOptions;
use crate::sealed::Sealed;
use crate::stats::RecoveryReport;
use crate::store::{Parts, Store};
use crate::survey::{Survey, refuse_orphans};
use crate::tenancy::{EverythingAlive, Tenancy};
use crate::wal::FileWal;
use crate::{CommitObserver, Frame, Lsn, checkpoint};

/// A store that is being recovered: read the checkpoint, replay, then start.
///
/// Nothing but a torn tail's copy is written before `start`, and `start` changes no byte of the log
/// that was replayed, so recovery may be broken off and repeated at any point.
pub struct Recovering {
    home: Home,
    options: StoreOptions,
    lock: Box<dyn Any + Send + Sync>,
    manifest: Arc<ManifestFile>,
    wal: FileWal,
    sealed: Sealed,
    checkpoint: Option<Bytes>,
    replay_from: Lsn,
    /// The newest checkpoint that could not be used, and why.
    damage: Option<(CheckpointEntry, String)>,
    closed_cleanly: bool,
    replayed: Option<Replayed>,
    tenancy: Arc<dyn Tenancy>,
}

impl Recovering {
    /// Opens `dir` (created when missing), takes its lock, reads and verifies manifest and checkpoint.
    ///
    /// `holder` is written into `LOCK` for whoever comes second.
    pub fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: StoreOptions,
        holder: &str,
    ) -> Result<Self, OpenError> {
        let options = options.bounded();
        let home = Home::new(fs, dir);
        home.fs().create_dir_all(dir).during("create", dir)?;
        let lock_path = home.path(LOCK);
        let lock = home
            .fs()
            .lock(&lock_path, holder)
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => OpenError::Locked {
                    dir: dir.to_owned(),
                    holder: error.to_string(),
                },
                _ => OpenError::Io {
                    file: lock_path,
                    source: error,
                },
            })?;
        home.sync_dir()?;
        let listing = home.list()?;
        let mut manifest = if listing.manifest {
            Manifest::load(&home)?
        } else {
            refuse_orphans(&home, &listing)?;
            Manifest::new()
        };
        // IMPORTANT: a left-over may be reused under its old name until it gets a number of its own,
        // so nothing new may have that name.
        manifest.next_number = manifest.next_number.max(listing.next_number());
        let survey = Survey::make(&home, &manifest)?;
        let oldest = survey.segments.first().map(|segment| segment.base);
        manifest.upgrade(oldest);
        if oldest.is_some_and(|oldest| oldest > manifest.sealed) {
            return Err(unsealed(&home, &manifest, oldest));
        }
        let sealed = Sealed::open(&home, &manifest.files)?;
        let restored = restore(&home, &mut manifest, oldest)?;
        // The mark of the session before; every session takes it away when it begins.
        let closed_cleanly = manifest.clean;
        let manifest = Arc::new(ManifestFile::new(home.clone(), manifest));
        let wal = FileWal::new(
            home.clone(),
            Arc::clone(&manifest),
            options.segment_bytes,
            survey,
        );
        Ok(Self {
            home,
            options,
            lock,
            manifest,
            wal,
            sealed,
            checkpoint: restored.checkpoint,
            replay_from: restored.replay_from,
            damage: restored.damage,
            closed_cleanly,
            replayed: None,
            tenancy: Arc::new(EverythingAlive),
        })
    }

    /// The newest checkpoint's payload, verified; `None` in a new directory.
    pub fn checkpoint(&self) -> Option<Bytes> {
        self.checkpoint.clone()
    }

    /// Shows every frame after the checkpoint, in LSN order, verified. Call exactly once.
    ///
    /// A write that did not finish is copied into `torn/` and cut; only what was not synced can be
    /// cut. [`OpenError::Damaged`] when anything that was synced cannot be read back.
    pub fn replay(
        &mut self,
        visit: &mut dyn FnMut(Frame<'_>) -> Result<(), String>,
    ) -> Result<RecoveryReport, OpenError> {
        if let Some(replayed) = self.replayed {
            let detail = "replay was asked for twice".to_owned();
            return Err(OpenError::Replay {
                lsn: replayed.end,
                detail,
            });
        }
        let replayed = self.wal.replay(self.replay_from, visit)?;
        self.replayed = Some(replayed);
        // The checkpoint was read to be applied before: its memory is not needed any more.
        self.checkpoint = None;
        Ok(RecoveryReport {
            replay_from: self.replay_from,
            end: replayed.end,
            frames: replayed.frames,
            torn_bytes: replayed.torn_bytes,
            clean: self.closed_cleanly && replayed.end == self.manifest.synced(),
            checkpoint_damage: self.damage.as_ref().map(|(_, detail)| detail.clone()),
        })
    }

    /// Has `tenancy` say what is alive from `start` on; without, everything is.
    pub fn set_tenancy(&mut self, tenancy: Arc<dyn Tenancy>) {
        self.tenancy = tenancy;
    }

    /// Starts a fresh segment and the committer thread. Replays without showing, when nobody did.
    pub fn start(mut self, observer: Arc<dyn CommitObserver>) -> Result<Store, OpenError> {
        if self.replayed.is_none() {
            self.replay(&mut |_| Ok(()))?;
        }
        let replayed = self.replayed.unwrap_or_default();
        if let Some((entry, _)) = &self.damage {
            self.keep_damaged(entry)?;
        }
        self.wal.start(&replayed, &self.sealed.hurt_segments())?;
        Store::start(Parts {
            home: self.home,
            options: self.options,
            lock: self.lock,
            manifest: self.manifest,
            wal: Arc::new(self.wal),
            sealed: self.sealed,
            observer,
            tenancy: self.tenancy,
            end: replayed.end,
        })
    }
    /// Puts a damaged checkpoint under another name, so that it is not removed as a left-over.
    fn keep_damaged(&self, entry: &CheckpointEntry) -> Result<(), OpenError> {
        let (from, to) = (
            self.home.checkpoint(entry.number),
            self.home.damaged_checkpoint(entry.number),
        );
        match self.home.rename(&from, &to) {
            Err(failure) if failure.source.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(failure) if failure.is_full() => {
                tracing::warn!(%failure, "a damaged checkpoint keeps its name");
                Ok(())
            }
            renamed => Ok(renamed?),
        }
    }
}

/// The log must reach down to where it was sealed.
fn unsealed(home: &Home, manifest: &Manifest, oldest: Option<Lsn>) -> OpenError {
    OpenError::Damaged {
        file: home.path(MANIFEST),
        offset: 88,
        detail: format!(
            "the log was sealed up to LSN {}, but begins at {}",
            manifest.sealed,
            oldest.unwrap_or(0)
        ),
    }
}

/// Where recovery begins.
struct Restored {
    checkpoint: Option<Bytes>,
    replay_from: Lsn,
    damage: Option<(CheckpointEntry, String)>,
}

/// Reads the newest checkpoint, or what stands in for it when it is damaged: the one before it, or all of the log if
/// it begins at 0. `manifest` loses what could not be used.
fn restore(
    home: &Home,
    manifest: &mut Manifest,
    oldest: Option<Lsn>,
) -> Result<Restored, OpenError> {
    let Some(newest) = manifest.checkpoint else {
        return Ok(Restored {
            checkpoint: None,
            replay_from: 0,
            damage: None,
        });
    };
    let refusal = match checkpoint::read(home, &newest) {
        Ok(payload) => {
            return Ok(Restored {
                checkpoint: Some(payload),
                replay_from: newest.lsn,
                damage: None,
            });
        }
        Err(refusal @ OpenError::Damaged { .. }) => refusal,
        Err(refusal) => return Err(refusal),
    };
    let synced = manifest.synced;
    let reaches = |lsn: Lsn| oldest.map_or(synced <= lsn, |oldest| oldest <= lsn);
    let checkpoint = match manifest.previous {
        Some(previous) if reaches(previous.lsn) => match checkpoint::read(home, &previous) {
            Ok(payload) => Some((previous, payload)),
            Err(OpenError::Damaged { .. }) if reaches(0) => None,
            Err(OpenError::Damaged { .. }) => return Err(refusal),
            Err(other) => return Err(other),
        },
        _ if reaches(0) => None,
        _ => return Err(refusal),
    };
    let replay_from = checkpoint.as_ref().map_or(0, |(entry, _)| entry.lsn);
    tracing::error!(%refusal, replay_from, "the newest checkpoint is damaged; recovering from what came before it");
    manifest.checkpoint = checkpoint.as_ref().map(|(entry, _)| *entry);
    manifest.previous = None;
    Ok(Restored {
        checkpoint: checkpoint.map(|(_, payload)| payload),
        replay_from,
        damage: Some((newest, refusal.to_string())),
    })
}
