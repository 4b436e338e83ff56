//! The operating system's files.

mod lock;

use std::any::Any;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::{DirSync, Fs, FsFile, Open};

/// Most slices the kernel takes in one vectored write (`UIO_MAXIOV`).
const IOV_MAX: usize = 1024;

/// Bytes that are read ahead in one request.
const AHEAD: usize = 512 << 10;

/// Of so many bytes one is looked for in the page cache. What the system reads and gives up together is of this order.
const PROBE: usize = 64 << 10;

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFs;

struct OsFile(File);

impl Fs for OsFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir
            .ancestors()
            .take_while(|d| !d.as_os_str().is_empty() && !d.exists())
            .collect();
        for dir in missing.into_iter().rev() {
            match DirBuilder::new().mode(0o750).create(dir) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(full(e)),
                _ => self.sync_dir(parent(dir))?,
            }
        }
        if dir.is_dir() {
            Ok(())
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn FsFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Write => _ = options.write(true),
            Open::CreateNew => _ = options.write(true).create_new(true),
        }
        Ok(Arc::new(OsFile(options.open(path).map_err(full)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to).map_err(full)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to).map_err(full)
    }

    fn identity(&self) -> Option<usize> {
        Some(0)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(PathBuf::from(entry.file_name()));
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.will_sync_dir(dir)?()
    }

    fn will_sync_dir<'a>(&'a self, dir: &'a Path) -> io::Result<DirSync<'a>> {
        let dir = File::open(dir).map_err(full)?;
        Ok(Box::new(move || dir.sync_all().map_err(full)))
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        lock::exclusive(path, holder)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        lock::shared(path)
    }
}

impl OsFile {
    fn write_all(
        &self,
        mut slices: &mut [IoSlice<'_>],
        mut offset: u64,
        flags: ReadWriteFlags,
    ) -> io::Result<()> {
        // Empty slices at the front would make a write of nothing look like a refusal.
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let batch = &slices[..slices.len().min(IOV_MAX)];
            match rustix::io::pwritev2(&self.0, batch, offset, flags) {
                Ok(0) if batch.iter().all(|s| s.is_empty()) => {
                    let empty = batch.len();
                    slices = &mut slices[empty..];
                }
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut slices, written);
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(full(e.into())),
            }
        }
        Ok(())
    }
}

impl FsFile for OsFile {
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.write_all(slices, offset, ReadWriteFlags::empty())
    }

    fn write_through(&self, slices: &mut [IoSlice<'_>], offset: u64) -> Option<io::Result<()>> {
        // In several calls each would wait for the disk.
        if slices.len() > IOV_MAX {
            return None;
        }
        match self.write_all(slices, offset, ReadWriteFlags::DSYNC) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
            written => Some(written),
        }
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn will_need(&self, offset: u64, len: u64) {
        // A request is there as a whole or not at all: the first piece can be used while the next ones are read.
        for at in (0..len).step_by(AHEAD) {
            let piece = NonZeroU64::new((len - at).min(AHEAD as u64));
            rustix::fs::fadvise(&self.0, offset + at, piece, Advice::WillNeed).ok();
        }
    }

    fn start_writing(&self, offset: u64, len: u64) {
        // What the kernel is to forget it writes first, and it forgets nothing that is still being written.
        rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(len), Advice::DontNeed).ok();
    }

    fn is_cached(&self, offset: u64, len: u64) -> bool {
        let mut byte = [0];
        (0..len).step_by(PROBE).chain(len.checked_sub(1)).all(|at| {
            let mut place = [IoSliceMut::new(&mut byte)];
            let read =
                rustix::io::preadv2(&self.0, &mut place, offset + at, ReadWriteFlags::NOWAIT);
            // A file system that cannot tell says so.
            !matches!(read, Err(Errno::AGAIN))
        })
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let before = self.len()?;
        loop {
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                // A file system that cannot reserve still gets the length; a full disk then shows
                // at the write.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return self.set_len(before.max(len));
                }
                Err(e) => {
                    // Whatever was reserved before space ran out goes back, or the disk stays full.
                    self.set_len(before).ok();
                    return Err(full(e.into()));
                }
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len).map_err(full)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data().map_err(full)
    }
}

/// The directory that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// An exhausted quota is a full disk to us, as is a want of descriptors.
fn full(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
            io::Error::new(io::ErrorKind::StorageFull, error)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(dir: &tempfile::TempDir, name: &str) -> Arc<dyn FsFile> {
        OsFs.open(&dir.path().join(name), Open::CreateNew).unwrap()
    }

    #[test]
    fn more_slices_than_the_kernel_takes_at_once_are_all_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = create(&dir, "f");
        let parts: Vec<Vec<u8>> = (0..3000_usize).map(|i| vec![i as u8; i % 5]).collect();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
        file.write_all_at(&mut slices, 10).unwrap();

        let mut expected = vec![0; 10];
        expected.extend(parts.concat());
        let mut got = vec![0; expected.len()];
        file.read_exact_at(&mut got, 0).unwrap();
        assert_eq!(got, expected);
        assert_eq!(file.len().unwrap(), expected.len() as u64);
    }

    #[test]
    fn slices_that_are_all_empty_are_written_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = create(&dir, "f");
        file.write_all_at(&mut [IoSlice::new(b""), IoSlice::new(b"")], 5)
            .unwrap();
        file.write_all_at(&mut [], 5).unwrap();
        assert!(file.is_empty().unwrap());
    }

    #[test]
    fn allocate_lengthens_never_shortens_and_reads_as_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let file = create(&dir, "f");
        file.write_all_at(&mut [IoSlice::new(b"abc")], 0).unwrap();
        file.allocate(8192).unwrap();
        assert_eq!(file.len().unwrap(), 8192);
        file.allocate(10).unwrap();
        assert_eq!(file.len().unwrap(), 8192);
        let mut got = [1; 8];
        file.read_exact_at(&mut got, 0).unwrap();
        assert_eq!(&got, b"abc\0\0\0\0\0");
    }

    #[test]
    fn a_refused_allocation_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = create(&dir, "f");
        file.set_len(3).unwrap();
        // Larger than a file can be: no disk tries, and fills up, on the way.
        assert!(file.allocate(u64::MAX >> 1).is_err());
        assert_eq!(file.len().unwrap(), 3);
    }

    #[test]
    fn what_was_just_written_is_cached_and_can_be_sent() {
        let dir = tempfile::tempdir().unwrap();
        let file = create(&dir, "f");
        file.write_all_at(&mut [IoSlice::new(&[7; 300_000])], 0)
            .unwrap();
        assert!(file.is_cached(0, 300_000) && file.is_cached(299_999, 1) && file.is_cached(5, 0));
        assert!(file.descriptor().is_some());
    }

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        let file = OsFs.open(Path::new("/dev/full"), Open::Write).unwrap();
        let refused = file.write_all_at(&mut [IoSlice::new(b"a")], 0).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn the_second_to_lock_is_told_who_holds_it_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let held = OsFs.lock(&path, "the first, a long text").unwrap();
        let refused = OsFs.lock(&path, "second").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(refused.to_string(), "the first, a long text");
        drop(held);
        let held = OsFs.lock(&path, "second").unwrap();
        let refused = OsFs.lock(&path, "third").unwrap_err();
        assert_eq!(refused.to_string(), "second");
        drop(held);
    }

    #[test]
    fn create_new_refuses_a_file_that_exists_and_the_others_one_that_does_not() {
        let dir = tempfile::tempdir().unwrap();
        drop(create(&dir, "f"));
        let again = OsFs.open(&dir.path().join("f"), Open::CreateNew);
        assert_eq!(again.err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        for how in [Open::Read, Open::Write] {
            let missing = OsFs.open(&dir.path().join("g"), how);
            assert_eq!(missing.err().unwrap().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_linked_file_has_two_names_and_outlives_either() {
        let dir = tempfile::tempdir().unwrap();
        let file = create(&dir, "one");
        file.write_all_at(&mut [IoSlice::new(b"abc")], 0).unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        OsFs.link(&one, &two).unwrap();
        let taken = OsFs.link(&one, &two).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        OsFs.remove(&one).unwrap();
        assert_eq!(std::fs::read(two).unwrap(), b"abc");
    }

    #[test]
    fn directories_are_made_with_parents_and_listed_without_subdirectories() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        OsFs.create_dir_all(&deep).unwrap();
        OsFs.create_dir_all(&deep).unwrap();
        OsFs.open(&deep.join("2"), Open::CreateNew).unwrap();
        OsFs.open(&deep.join("1"), Open::CreateNew).unwrap();
        OsFs.create_dir_all(&deep.join("sub")).unwrap();
        assert_eq!(
            OsFs.list(&deep).unwrap(),
            [PathBuf::from("1"), PathBuf::from("2")]
        );
        OsFs.rename(&deep.join("2"), &deep.join("1")).unwrap();
        OsFs.sync_dir(&deep).unwrap();
        assert_eq!(OsFs.list(&deep).unwrap(), [PathBuf::from("1")]);
        OsFs.remove(&deep.join("1")).unwrap();
        assert!(OsFs.list(&deep).unwrap().is_empty());
    }
}
