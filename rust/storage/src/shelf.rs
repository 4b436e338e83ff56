//! The sealed files that count, and how others come in their place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::Lsn;
use crate::committer::Committer;
use crate::error::{During, Trouble};
use crate::home::Home;
use crate::log::GroupLog;
use crate::manifest::{Manifest, ManifestFile};
use crate::sealed::{Cancelled, SealError, Sealed, SealedFile, Throttle};
use crate::tenancy::Tenancy;
use crate::wal::FileWal;

/// Whatever is made is synced, then listed by the manifest, then shown to readers, and only then is what it replaces
/// given up.
pub(crate) struct Shelf {
    home: Home,
    manifest: Arc<ManifestFile>,
    wal: Arc<FileWal>,
    committer: Arc<Committer>,
    files: Sealed,
    /// What readers may rely on.
    sealed: AtomicU64,
    /// Held while the files that count are changed or the store closed; whether it was.
    ended: Mutex<bool>,
}

impl Shelf {
    pub(crate) fn new(
        home: Home,
        manifest: Arc<ManifestFile>,
        wal: Arc<FileWal>,
        committer: Arc<Committer>,
        files: Sealed,
    ) -> Self {
        Self {
            home,
            committer,
            sealed: AtomicU64::new(manifest.sealed()),
            manifest,
            wal,
            files,
            ended: Mutex::new(false),
        }
    }

    /// The files, for readers.
    pub(crate) fn files(&self) -> &Sealed {
        &self.files
    }

    /// Everything below is in sealed files, or was dead.
    pub(crate) fn sealed(&self) -> Lsn {
        self.sealed.load(Ordering::Acquire)
    }

    /// Keeps others from changing which files count, and the store from being closed.
    pub(crate) fn alone(&self) -> Result<MutexGuard<'_, bool>, Cancelled> {
        let ended = self.ended();
        if *ended { Err(Cancelled) } else { Ok(ended) }
    }

    /// The same, open or closed; who closes the store makes it `true`.
    pub(crate) fn ended(&self) -> MutexGuard<'_, bool> {
        self.ended.lock()
    }

    /// Puts `file`, which is synced, in the place of those numbered `out`, and has everything below `sealed` count as
    /// sealed.
    pub(crate) fn install(
        &self,
        out: &[u64],
        file: Option<SealedFile>,
        sealed: Option<Lsn>,
    ) -> Result<(), SealError> {
        let _alone = self.alone()?;
        // What made payloads dead may be acknowledged and not synced: it must not be lost before they are.
        if self.committer.sync().is_err() {
            return Err(Cancelled.into());
        }
        let entry = file.as_ref().map(SealedFile::entry);
        let change = |manifest: &mut Manifest| {
            manifest.files.retain(|it| !out.contains(&it.number));
            manifest.files.extend(entry);
            manifest.sealed = sealed.unwrap_or(manifest.sealed);
        };
        let list = || {
            if entry.is_some() {
                // IMPORTANT: after a sync that failed, for whatever reason, nobody knows whether the name is there.
                let sync_dir = self.home.will_sync_dir()?;
                let synced = sync_dir().during("fsync", self.home.dir());
                synced.map_err(Trouble::Broken)?;
            }
            self.manifest.change(change)
        };
        let listed = match list() {
            Err(Trouble::Full(_)) => {
                let _space = self.wal.make_space();
                list()
            }
            listed => listed,
        };
        if let Err(trouble) = listed {
            // After any other failure nobody knows which manifest counts: all files stay.
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

    /// Gives up segments that are sealed and that no recovery would replay. The caller is [alone](Shelf::alone).
    pub(crate) fn recycle(&self) -> Result<(), Trouble> {
        let replayable = self.manifest.snapshot().replayable();
        let lsn = self.sealed().min(replayable);
        let hurt = self.files.hurt_segments();
        let dropped = match self.wal.drop_up_to(lsn, &hurt) {
            Err(Trouble::Full(_)) => {
                let _space = self.wal.make_space();
                self.wal.drop_up_to(lsn, &hurt)
            }
            dropped => dropped,
        };
        match dropped {
            // With the next segment, then.
            Err(Trouble::Full(_)) => Ok(()),
            dropped => dropped,
        }
    }

    /// Finds out what is alive, and gives up segments that were kept aside for what is not.
    pub(crate) fn weigh(
        &self,
        tenancy: &dyn Tenancy,
        throttle: &Throttle,
    ) -> Result<(), SealError> {
        let before = self.files.hurt_segments();
        self.files.weigh(tenancy, throttle)?;
        let after = self.files.hurt_segments();
        if before.is_subset(&after) {
            return Ok(());
        }
        let _alone = self.alone()?;
        for number in before.difference(&after) {
            // It is not there when the log still has it.
            self.home.remove(&self.home.aside(*number)).ok();
        }
        Ok(())
    }

    fn remove(&self, numbers: &[u64]) {
        for number in numbers {
            if let Err(failure) = self.home.remove(&self.home.sealed(*number)) {
                tracing::warn!(%failure, "a sealed file was left behind");
            }
        }
    }
}
