//! A disk that says it did what it did not: faults planted beneath a suite that must find them, or it proves nothing.
#![allow(dead_code, unreachable_pub, reason = "every suite plants some of them")]

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use durastream_storage::fs::{Fs, FsFile, SimFs};

use crate::meddled::{Meddled, Meddler, Through};

/// What is wrong.
#[derive(Debug, Clone, Copy)]
pub enum Lie {
    /// Nothing.
    None,
    /// `fdatasync` of files with this in their name is forgotten, from the `nth` on, so many times.
    Sync {
        ending: &'static str,
        nth: u64,
        times: u64,
    },
    /// `fdatasync` of files with this in their name says it is done, and is, when the next one is asked for: what
    /// waits for it is told before it is durable.
    Late { ending: &'static str },
    /// What is written through, from the `nth` time on, is only written.
    Through { nth: u64 },
    /// Every `fsync` of a directory is forgotten from the `nth` on.
    SyncDir { nth: u64 },
    /// The last byte of every write to files with this in their name is left out.
    ShortWrite { ending: &'static str },
}

/// A file system that lies.
pub type LyingFs = Meddled<Liar>;

/// Who makes it lie.
#[derive(Clone)]
pub struct Liar {
    lie: Lie,
    count: Arc<AtomicU64>,
    late: Arc<Mutex<Option<Arc<dyn FsFile>>>>,
}

pub fn lying(disk: SimFs, lie: Lie) -> LyingFs {
    let liar = Liar {
        lie,
        count: Arc::default(),
        late: Arc::default(),
    };
    Meddled::new(disk, liar)
}

impl Liar {
    /// Whether the next of the things counted, from `nth` on and so many times, is forgotten.
    fn forgets(&self, nth: u64, times: u64) -> bool {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        count >= nth && count - nth < times
    }
}

impl Meddler for Liar {
    fn sync_dir(&self, disk: &SimFs, dir: &Path) -> io::Result<()> {
        match self.lie {
            Lie::SyncDir { nth } if self.forgets(nth, u64::MAX) => Ok(()),
            _ => disk.sync_dir(dir),
        }
    }

    fn write(&self, file: &Through<Self>, slices: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        match self.lie {
            Lie::ShortWrite { ending } if file.is_called(ending) => {
                let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
                let mut data: Vec<u8> = bytes.collect();
                data.pop();
                file.inner.write_all_at(&mut [IoSlice::new(&data)], at)
            }
            _ => file.inner.write_all_at(slices, at),
        }
    }

    /// Lies about writes and syncs are told of them one by one.
    fn write_through(
        &self,
        file: &Through<Self>,
        slices: &mut [IoSlice<'_>],
        at: u64,
    ) -> Option<io::Result<()>> {
        match self.lie {
            Lie::None | Lie::SyncDir { .. } => file.inner.write_through(slices, at),
            Lie::Through { nth } if self.forgets(nth, u64::MAX) => {
                Some(file.inner.write_all_at(slices, at))
            }
            Lie::Through { .. } => file.inner.write_through(slices, at),
            Lie::Sync { .. } | Lie::Late { .. } | Lie::ShortWrite { .. } => None,
        }
    }

    fn sync(&self, file: &Through<Self>) -> io::Result<()> {
        match self.lie {
            Lie::Sync { ending, nth, times }
                if file.is_called(ending) && self.forgets(nth, times) =>
            {
                Ok(())
            }
            Lie::Late { ending } if file.is_called(ending) => {
                let mut late = self.late.lock().unwrap();
                let due = late.replace(Arc::clone(&file.inner));
                due.map_or(Ok(()), |due| due.sync_data())
            }
            _ => file.inner.sync_data(),
        }
    }
}
