//! A file system in memory: the disk of `:memory:` engines, and a disk that loses power on demand.
//!
//! When told to [`record`](SimFs::record), it keeps every operation with its bytes, and
//! [`crash`](SimFs::crash) builds the disks that a power cut could have left behind. Nothing counts
//! as durable but what `sync_data` and `sync_dir` covered; closing a file syncs nothing.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};
use rustix::io::Errno;

use super::{Fs, FsFile, Open};
use content::Content;
use file::SimFile;
use journal::{FileId, Journal, Op};

mod content;
mod crash;
mod fault;
mod file;
mod journal;

pub use crash::{Crash, Policy};
pub use fault::{Fault, FaultKind, OpClass};

/// A file system in memory. Clones share it.
#[derive(Clone, Default)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
    /// The process that uses it: one of an earlier life gets errors only.
    life: u64,
}

#[derive(Default)]
struct Disk {
    names: BTreeMap<PathBuf, Arc<Inode>>,
    dirs: BTreeSet<PathBuf>,
    locks: HashMap<PathBuf, String>,
    last_id: FileId,
    /// `None` while nothing is recorded.
    journal: Option<Journal>,
    faults: Vec<Fault>,
    capacity: Option<u64>,
    /// Files can be written and made durable in one go.
    through: bool,
    life: u64,
}

struct Inode {
    id: FileId,
    content: RwLock<Content>,
}

struct Held {
    fs: SimFs,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Ok(mut disk) = self.fs.enter() {
            disk.locks.remove(&self.path);
        }
    }
}

impl SimFs {
    /// An empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty file system that records from the start.
    pub fn recording() -> Self {
        let fs = Self::default();
        fs.record();
        fs
    }

    /// Begins to record: what is there now counts as durable, what was recorded before is dropped.
    pub fn record(&self) {
        let mut disk = self.disk.lock();
        let mut journal = Journal::default();
        for (path, inode) in &disk.names {
            journal.names.insert(path.clone(), inode.id);
            journal.files.insert(inode.id, inode.content.read().clone());
        }
        disk.journal = Some(journal);
    }

    /// How many operations were recorded. What was acknowledged by now must survive a crash at
    /// this index or any later one.
    pub fn op_count(&self) -> usize {
        self.disk.lock().journal.as_ref().map_or(0, |j| j.ops.len())
    }

    /// What operation `index` did, for messages.
    pub fn describe(&self, index: usize) -> String {
        let disk = self.disk.lock();
        let op = disk.journal.as_ref().and_then(|j| j.ops.get(index));
        op.map_or_else(|| "nothing".to_owned(), Op::to_string)
    }

    /// The power cuts of what was recorded so far.
    pub fn crash(&self) -> Crash {
        let disk = self.disk.lock();
        let journal = disk.journal.clone().unwrap_or_default();
        Crash::new(journal, disk.dirs.clone(), disk.through)
    }

    /// One disk as a power cut after the first `op_index` operations could have left it.
    pub fn crash_image(&self, op_index: usize, policy: Policy, seed: u64) -> SimFs {
        let mut crash = self.crash();
        crash.advance_to(op_index);
        crash.image(policy, seed)
    }

    /// The process that uses the file system dies, and the next one gets what is returned. What was
    /// written stays, synced or not; locks are free; whatever the dead one still has open, and every
    /// earlier handle to the file system, answers `EIO` and changes nothing.
    pub fn kill(&self) -> SimFs {
        let mut disk = self.disk.lock();
        disk.life += 1;
        disk.locks.clear();
        SimFs {
            disk: Arc::clone(&self.disk),
            life: disk.life,
        }
    }

    /// Arms a fault; several may be armed at once.
    pub fn inject(&self, fault: Fault) {
        self.disk.lock().faults.push(fault);
    }

    /// Disarms every fault; tells how many failures were still to come.
    pub fn heal(&self) -> u64 {
        let faults = std::mem::take(&mut self.disk.lock().faults);
        faults
            .iter()
            .fold(0, |sum, fault| sum.saturating_add(fault.times))
    }

    /// Bounds the sum of all lengths in bytes; beyond it operations answer `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk.lock().capacity = bytes;
    }

    /// Whether [`FsFile::write_through`] is more than a write and a sync, here and on the disks that a power cut leaves.
    pub fn set_write_through(&self, through: bool) {
        self.disk.lock().through = through;
    }

    /// Bytes of memory that written pages take.
    pub fn resident(&self) -> usize {
        let disk = self.disk.lock();
        let sizes = disk.names.values().map(|i| i.content.read().resident());
        sizes.sum()
    }

    fn from_parts(
        dirs: BTreeSet<PathBuf>,
        names: &BTreeMap<PathBuf, FileId>,
        mut content: impl FnMut(FileId) -> Content,
    ) -> Self {
        let mut disk = Disk {
            dirs,
            ..Disk::default()
        };
        // Two names of one file can be left by half a rename; they stay one file.
        let mut inodes: HashMap<FileId, Arc<Inode>> = HashMap::new();
        for (path, &id) in names {
            let inode = inodes.entry(id).or_insert_with(|| {
                Arc::new(Inode {
                    id,
                    content: RwLock::new(content(id)),
                })
            });
            disk.names.insert(path.clone(), Arc::clone(inode));
            disk.last_id = disk.last_id.max(id);
        }
        SimFs {
            disk: Arc::new(Mutex::new(disk)),
            life: 0,
        }
    }

    /// The disk, unless this process is dead.
    fn enter(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk.lock();
        if disk.life == self.life {
            Ok(disk)
        } else {
            Err(Errno::IO.into())
        }
    }
}

impl Disk {
    /// Fails when a fault is due for an operation of this class.
    fn meet(&mut self, class: OpClass) -> io::Result<()> {
        match self.strike(class) {
            Some(kind) => Err(kind.error()),
            None => Ok(()),
        }
    }

    fn strike(&mut self, class: OpClass) -> Option<FaultKind> {
        // Every armed fault counts the operation, also behind one that strikes.
        let struck = self.faults.iter_mut().filter_map(|f| f.strike(class));
        struck.fold(None, |first, kind| first.or(Some(kind)))
    }

    fn log(&mut self, op: impl FnOnce() -> Op) {
        if let Some(journal) = &mut self.journal {
            journal.ops.push(op());
        }
    }

    fn need_dir(&self, dir: &Path) -> io::Result<()> {
        if self.dirs.contains(dir) || dir.parent().is_none() {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn find(&self, path: &Path) -> io::Result<&Arc<Inode>> {
        self.names
            .get(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&mut self, path: &Path) -> io::Result<Arc<Inode>> {
        if self.names.contains_key(path) || self.dirs.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if let Some(dir) = path.parent() {
            self.need_dir(dir)?;
        }
        self.last_id += 1;
        let inode = Arc::new(Inode {
            id: self.last_id,
            content: RwLock::default(),
        });
        self.names.insert(path.to_owned(), Arc::clone(&inode));
        self.log(|| Op::Create {
            path: path.to_owned(),
            file: inode.id,
        });
        Ok(inode)
    }

    /// Fails when `inode` cannot be `len` long for want of space.
    fn need_space(&self, inode: &Inode, len: u64) -> io::Result<()> {
        let Some(capacity) = self.capacity else {
            return Ok(());
        };
        // A file of two names takes its space once.
        let mut counted = HashSet::from([inode.id]);
        let others = self.names.values().filter(|i| counted.insert(i.id));
        let others: u64 = others.map(|i| i.content.read().len()).sum();
        let present = inode.content.read().len();
        if len > present && others.saturating_add(len) > capacity {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }

    /// Gives the operation's place in the journal, if there is one.
    fn write(&mut self, inode: &Inode, offset: u64, data: Bytes) -> Option<usize> {
        inode.content.write().write(offset, &data);
        self.log(|| Op::Write {
            file: inode.id,
            offset,
            data,
        });
        self.journal.as_ref()?.ops.len().checked_sub(1)
    }
}

impl Fs for SimFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.enter()?;
        disk.meet(OpClass::CreateDir)?;
        if dir.ancestors().any(|d| disk.names.contains_key(d)) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        disk.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn FsFile>> {
        let mut disk = self.enter()?;
        let inode = if how == Open::CreateNew {
            disk.meet(OpClass::Create)?;
            disk.create(path)?
        } else {
            disk.meet(OpClass::Open)?;
            Arc::clone(disk.find(path)?)
        };
        Ok(Arc::new(SimFile {
            fs: self.clone(),
            inode,
            writable: how != Open::Read,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.enter()?;
        disk.meet(OpClass::Rename)?;
        if let Some(dir) = to.parent() {
            disk.need_dir(dir)?;
        }
        let inode = Arc::clone(disk.find(from)?);
        let file = inode.id;
        if disk.names.get(to).is_some_and(|other| other.id == file) {
            // Two names of one file, or one: POSIX has it that nothing is done.
            return Ok(());
        }
        disk.names.remove(from);
        disk.names.insert(to.to_owned(), inode);
        disk.log(|| Op::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            file,
        });
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.enter()?;
        disk.meet(OpClass::Link)?;
        if let Some(dir) = to.parent() {
            disk.need_dir(dir)?;
        }
        let inode = Arc::clone(disk.find(from)?);
        if disk.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = inode.id;
        disk.names.insert(to.to_owned(), inode);
        disk.log(|| Op::Link {
            path: to.to_owned(),
            file,
        });
        Ok(())
    }

    fn identity(&self) -> Option<usize> {
        Some(Arc::as_ptr(&self.disk).addr())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.enter()?;
        disk.meet(OpClass::Remove)?;
        disk.find(path)?;
        disk.names.remove(path);
        disk.log(|| Op::Remove {
            path: path.to_owned(),
        });
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut disk = self.enter()?;
        disk.meet(OpClass::List)?;
        disk.need_dir(dir)?;
        let inside = disk.names.keys().filter(|p| p.parent() == Some(dir));
        let mut names: Vec<PathBuf> = inside
            .filter_map(|p| p.file_name())
            .map(Into::into)
            .collect();
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.enter()?;
        disk.meet(OpClass::SyncDir)?;
        disk.need_dir(dir)?;
        disk.log(|| Op::SyncDir {
            dir: dir.to_owned(),
        });
        Ok(())
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut disk = self.enter()?;
        disk.meet(OpClass::Lock)?;
        if let Some(holder) = disk.locks.get(path) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, holder.clone()));
        }
        let found = disk.find(path).map(Arc::clone);
        let inode = found.or_else(|_| disk.create(path))?;
        inode.content.write().set_len(0);
        disk.log(|| Op::SetLen {
            file: inode.id,
            len: 0,
        });
        disk.write(&inode, 0, Bytes::copy_from_slice(holder.as_bytes()));
        disk.locks.insert(path.to_owned(), holder.to_owned());
        Ok(Box::new(Held {
            fs: self.clone(),
            path: path.to_owned(),
        }))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        // One process has a simulated disk: there is nobody to be kept out.
        match self.enter()?.locks.get(path) {
            Some(holder) => Err(io::Error::new(io::ErrorKind::WouldBlock, holder.clone())),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
