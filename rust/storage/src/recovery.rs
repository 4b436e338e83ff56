//! Opening a directory: lock, manifest, checkpoint, replay.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{During, OpenError};
use crate::fs::Fs;
use crate::home::{Home, LOCK};
use crate::log::{GroupLog, Replayed};
use crate::manifest::{Manifest, ManifestFile};
use crate::options::StoreOptions;
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
    checkpoint: Option<Bytes>,
    replay_from: Lsn,
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
            Manifest {
                next_number: 1,
                ..Manifest::default()
            }
        };
        // IMPORTANT: a left-over may be reused under its old name until it gets a number of its own,
        // so nothing new may have that name.
        manifest.next_number = manifest.next_number.max(listing.next_number());
        let survey = Survey::make(&home, &manifest)?;
        let checkpoint = match &manifest.checkpoint {
            Some(entry) => Some(checkpoint::read(&home, entry)?),
            None => None,
        };
        let replay_from = manifest.checkpoint.map_or(0, |entry| entry.lsn);
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
            checkpoint,
            replay_from,
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
            checkpoint_damage: None,
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
        self.wal.start(&replayed)?;
        Store::start(Parts {
            home: self.home,
            options: self.options,
            lock: self.lock,
            manifest: self.manifest,
            wal: Arc::new(self.wal),
            observer,
            tenancy: self.tenancy,
            end: replayed.end,
        })
    }
}
