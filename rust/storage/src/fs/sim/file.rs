//! An open file of a simulated disk.

use std::io::{self, IoSlice};
use std::sync::Arc;

use rustix::io::Errno;

use super::journal::Op;
use super::{Inode, OpClass, SimFs};
use crate::fs::FsFile;

pub(super) struct SimFile {
    pub(super) fs: SimFs,
    pub(super) inode: Arc<Inode>,
    pub(super) writable: bool,
}

impl SimFile {
    fn need_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(Errno::BADF.into())
        }
    }

    /// Writes; gives the operation's place in the journal, if there is one.
    fn write(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<Option<usize>> {
        let total: usize = slices.iter().map(|s| s.len()).sum();
        if total == 0 {
            return Ok(None);
        }
        self.need_writable()?;
        let mut disk = self.fs.enter()?;
        let end = offset.checked_add(total as u64).ok_or(Errno::FBIG)?;
        let fault = disk.strike(OpClass::Write);
        if let Some(kind) = fault.filter(|kind| !kind.is_short()) {
            return Err(kind.error());
        }
        disk.need_space(&self.inode, end)?;
        if disk.journal.is_none() && fault.is_none() {
            let mut content = self.inode.content.write();
            let mut at = offset;
            for slice in slices.iter() {
                content.write(at, slice);
                at += slice.len() as u64;
            }
            return Ok(None);
        }
        let mut data = Vec::with_capacity(total);
        slices
            .iter()
            .for_each(|slice| data.extend_from_slice(slice));
        if fault.is_some() {
            data.truncate(total / 2);
        }
        let place = disk.write(&self.inode, offset, data.into());
        fault.map_or(Ok(place), |kind| Err(kind.error()))
    }

    /// Logs what makes something durable, unless that fails.
    fn sync(&self, op: Op) -> io::Result<()> {
        let mut disk = self.fs.enter()?;
        let file = self.inode.id;
        let failed = disk.strike(OpClass::Sync);
        disk.log(|| failed.map_or(op, |_| Op::SyncFailed { file }));
        failed.map_or(Ok(()), |kind| Err(kind.error()))
    }
}

impl FsFile for SimFile {
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.write(slices, offset).map(drop)
    }

    /// Nothing else that was written becomes durable by it.
    fn write_through(&self, slices: &mut [IoSlice<'_>], offset: u64) -> Option<io::Result<()>> {
        match self.fs.enter() {
            Ok(disk) if !disk.through => return None,
            Ok(_) => {}
            Err(dead) => return Some(Err(dead)),
        }
        let file = self.inode.id;
        let written = self.write(slices, offset).and_then(|place| {
            place.map_or(Ok(()), |write| self.sync(Op::SyncWrite { file, write }))
        });
        Some(written)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.fs.enter()?.meet(OpClass::Read)?;
        self.inode.content.read().read_exact(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.content.read().len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.need_writable()?;
        let mut disk = self.fs.enter()?;
        disk.meet(OpClass::Allocate)?;
        disk.need_space(&self.inode, len)?;
        self.inode.content.write().extend(len);
        disk.log(|| Op::Allocate {
            file: self.inode.id,
            len,
        });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !self.writable {
            return Err(Errno::INVAL.into());
        }
        let mut disk = self.fs.enter()?;
        disk.meet(OpClass::SetLen)?;
        disk.need_space(&self.inode, len)?;
        self.inode.content.write().set_len(len);
        disk.log(|| Op::SetLen {
            file: self.inode.id,
            len,
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let file = self.inode.id;
        self.sync(Op::Sync { file })
    }
}
