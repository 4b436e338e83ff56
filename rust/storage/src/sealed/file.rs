//! A sealed file that is open for reading.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::codec::Undecodable;
use crate::error::{During, Failure, OpenError, ReadError};
use crate::fs::{FsFile, Open};
use crate::home::Home;
use crate::sealed::SealedEntry;
use crate::sealed::body::BodyWindow;
use crate::sealed::damage::Damage;
use crate::sealed::extent::Extent;
use crate::sealed::extents::Extents;
use crate::sealed::layout::{BLOCK, Footer, HEADER, Header, TRAILER, Trailer, VERSION, block_crc};
use crate::sealed::lost::Losses;
use crate::sealed::marks::Marks;
use crate::tenancy::Tenancy;

/// Bytes read ahead of a look into the marks.
const LOOK: usize = 4 << 10;
/// Bytes that `verify` reads at once, a multiple of a block.
const SWEEP: u64 = 1 << 20;

/// An open sealed file: its extents in memory, everything else read and verified on demand.
pub(crate) struct SealedFile {
    entry: SealedEntry,
    path: PathBuf,
    pub(super) file: Arc<dyn FsFile>,
    extents: Extents,
    pub(super) crcs: Vec<u32>,
    data: u64,
    body: u64,
    events: u64,
    streams: u64,
    /// A bit for each block that was verified since the file was opened.
    pub(super) verified: Vec<AtomicU64>,
    pub(super) blocks_verified: AtomicU64,
    /// Payload bytes that are alive, as far as is known.
    live: AtomicU64,
    /// Payload bytes that are dead but cannot be dropped, because their event is alive; known of files that this
    /// session wrote.
    stuck: AtomicU64,
    pub(super) damage: Damage,
    /// What was damaged in the log before it was sealed.
    lost: Losses,
    /// What of that somebody may still ask for, as far as is known.
    missed: Mutex<Losses>,
}

/// Bytes of a sealed file that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// File offset.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) detail: String,
    /// What lies there: streams, each with the positions from and to which it is concerned.
    pub(crate) lost: Vec<(u64, u64, u64)>,
}

impl SealedFile {
    /// Opens the file that the manifest lists as `entry`: header, trailer and footer verified.
    ///
    /// It is not synced first, unlike what the log may still have in the page cache only: a manifest lists a sealed
    /// file after its sync succeeded.
    pub(crate) fn open(home: &Home, entry: &SealedEntry) -> Result<Self, OpenError> {
        Self::open_by(home, entry, true)
    }

    /// The same without a look at the header, which says nothing that `entry` does not say.
    pub(crate) fn open_headless(home: &Home, entry: &SealedEntry) -> Result<Self, OpenError> {
        Self::open_by(home, entry, false)
    }

    fn open_by(home: &Home, entry: &SealedEntry, headed: bool) -> Result<Self, OpenError> {
        let path = home.sealed(entry.number);
        let damaged = |offset: u64, detail: &str| OpenError::Damaged {
            file: path.clone(),
            offset,
            detail: detail.to_owned(),
        };
        let file = match home.open(&path, Open::Read) {
            Err(failure) if failure.source.kind() == std::io::ErrorKind::NotFound => {
                return Err(damaged(
                    0,
                    "the sealed file that the manifest lists is missing",
                ));
            }
            opened => opened?,
        };
        let len = file.len().during("stat", &path)?;
        if len != entry.bytes || len < HEADER + TRAILER {
            return Err(damaged(
                len.min(entry.bytes),
                "the sealed file is not as long as the manifest says",
            ));
        }
        let read = |at: u64, len: u64| -> Result<Vec<u8>, OpenError> {
            let mut bytes = vec![0; len as usize];
            file.read_exact_at(&mut bytes, at).during("read", &path)?;
            Ok(bytes)
        };
        let within = |at: u64, wrong: Undecodable| match wrong {
            Undecodable::Damaged { offset, detail } => damaged(at + offset, &detail),
            version => version.into_open(&path, VERSION),
        };
        let header = match headed {
            true => Some(Header::decode(&read(0, HEADER)?).map_err(|wrong| within(0, wrong))?),
            false => None,
        };
        let trailer_at = len - TRAILER;
        let trailer = Trailer::decode(&read(trailer_at, TRAILER)?)
            .map_err(|wrong| within(trailer_at, wrong))?;
        let expected = Header::of(entry, trailer.lost);
        if header.is_some_and(|header| header != expected) || trailer.number != entry.number {
            return Err(damaged(
                16,
                "this is another sealed file than the manifest lists",
            ));
        }
        let Some(places) = trailer.places(len) else {
            return Err(damaged(trailer_at, "the trailer does not fit the file"));
        };
        let footer = read(places.footer_at, places.footer)?;
        let footer =
            Footer::decode(&footer, &trailer).map_err(|wrong| within(places.footer_at, wrong))?;
        Ok(Self::assemble(*entry, path, file, footer, &trailer))
    }

    /// The file of which all is known, because it was just written or decoded.
    pub(super) fn assemble(
        entry: SealedEntry,
        path: PathBuf,
        file: Arc<dyn FsFile>,
        footer: Footer,
        trailer: &Trailer,
    ) -> Self {
        let words = footer.crcs.len().div_ceil(64);
        Self {
            entry,
            path,
            file,
            extents: footer.extents,
            crcs: footer.crcs,
            data: trailer.data,
            body: trailer.data + trailer.marks,
            events: trailer.events,
            streams: trailer.streams,
            verified: (0..words).map(|_| AtomicU64::new(0)).collect(),
            blocks_verified: AtomicU64::new(0),
            live: AtomicU64::new(trailer.data),
            stuck: AtomicU64::new(0),
            damage: Damage::default(),
            missed: Mutex::new(footer.lost.clone()),
            lost: footer.lost,
        }
    }

    pub(crate) fn entry(&self) -> SealedEntry {
        self.entry
    }

    /// Its bytes, also when its name is gone.
    pub(crate) fn file(&self) -> &Arc<dyn FsFile> {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything in it, sorted by (stream, start).
    pub(crate) fn extents(&self) -> &Extents {
        &self.extents
    }

    /// Bytes of payload.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.data
    }

    /// Bytes of payload that are alive, as [`Sealed::weigh`](super::Sealed::weigh) last found.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    pub(super) fn set_live_bytes(&self, bytes: u64) {
        self.live.store(bytes, Ordering::Relaxed);
    }

    /// Payload bytes that were dead when it was written, but whose event was alive.
    pub(crate) fn stuck_bytes(&self) -> u64 {
        self.stuck.load(Ordering::Relaxed)
    }

    pub(crate) fn set_stuck_bytes(&self, bytes: u64) {
        self.stuck.store(bytes, Ordering::Relaxed);
    }

    /// What it should have and has not.
    pub(crate) fn lost(&self) -> &Losses {
        &self.lost
    }

    /// What of that is alive, as [`Sealed::weigh`](super::Sealed::weigh) last found.
    pub(crate) fn missed(&self) -> Losses {
        self.missed.lock().clone()
    }

    pub(super) fn weigh_losses(&self, tenancy: &dyn Tenancy) {
        if !self.lost.is_empty() {
            *self.missed.lock() = self.lost.alive(tenancy);
        }
    }

    /// Whether anything in it, or that should be in it, is alive, as far as is known.
    pub(crate) fn is_needed(&self) -> bool {
        self.live_bytes() > 0 || !self.missed.lock().is_empty()
    }

    /// Length of the body: data and marks.
    pub(crate) fn body(&self) -> u64 {
        self.body
    }

    /// Number of events.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Number of streams.
    pub(crate) fn streams(&self) -> u64 {
        self.streams
    }

    /// Blocks verified since it was opened.
    pub(crate) fn blocks_verified(&self) -> u64 {
        self.blocks_verified.load(Ordering::Relaxed)
    }

    /// Bounds of the event of `extent` that holds the byte at `position`, and its number in the extent.
    pub(crate) fn event(
        &self,
        extent: &Extent,
        position: u64,
    ) -> Result<super::marks::Event, ReadError> {
        if extent.is_single() {
            return Ok(super::marks::Event {
                index: 0,
                start: extent.start,
                end: extent.end,
            });
        }
        let mut window = BodyWindow::new(self, LOOK);
        Marks::open(&mut window, extent, self.body)?.find(&mut window, position)
    }

    /// Number of events in `extent`.
    pub(crate) fn events_in(&self, extent: &Extent) -> Result<u64, ReadError> {
        if extent.is_single() {
            return Ok(1);
        }
        let mut window = BodyWindow::new(self, LOOK);
        Ok(Marks::open(&mut window, extent, self.body)?.events())
    }

    /// Reads everything and shows what is not as it was written. Nothing that was verified before is trusted.
    pub(crate) fn verify(&self, show: &mut dyn FnMut(Flaw)) -> Result<(), Failure> {
        let mut flawed = false;
        let mut buffer = Vec::new();
        let mut at = 0;
        while at < self.body {
            buffer.resize(SWEEP.min(self.body - at) as usize, 0);
            self.file
                .read_exact_at(&mut buffer, HEADER + at)
                .during("read", &self.path)?;
            for (index, bytes) in (at / BLOCK..).zip(buffer.chunks(BLOCK as usize)) {
                if self.crcs.get(index as usize)
                    != Some(&block_crc(self.entry.number, index, bytes))
                {
                    flawed = true;
                    show(Flaw {
                        offset: HEADER + index * BLOCK,
                        bytes: bytes.len() as u64,
                        detail: format!("block {index} does not match its CRC"),
                        lost: self.tenants(index * BLOCK, bytes.len() as u64),
                    });
                }
            }
            at += buffer.len() as u64;
        }
        // Marks in flawed blocks cannot be read, and were shown.
        if !flawed {
            self.verify_marks(show);
        }
        Ok(())
    }

    fn verify_marks(&self, show: &mut dyn FnMut(Flaw)) {
        let mut window = BodyWindow::new(self, SWEEP as usize);
        let mut whole = |extent: &Extent| -> Result<(), ReadError> {
            Marks::open(&mut window, extent, self.body)?.verify(&mut window)
        };
        for extent in self.extents.iter().filter(|extent| !extent.is_single()) {
            if let Err(wrong) = whole(&extent) {
                show(Flaw {
                    offset: HEADER + extent.marks_at,
                    bytes: 0,
                    detail: wrong.to_string(),
                    lost: vec![(extent.stream, extent.start, extent.end)],
                });
            }
        }
    }

    /// Whose data or marks lie in `len` bytes of the body at `at`, with the positions concerned.
    pub(super) fn tenants(&self, at: u64, len: u64) -> Vec<(u64, u64, u64)> {
        let end = at + len;
        let data = self
            .extents
            .range(self.extents.before(at)..self.extents.len())
            .take_while(|extent| extent.data_at < end)
            .map(|extent| {
                let from = at.saturating_sub(extent.data_at);
                let to = (end - extent.data_at).min(extent.len());
                (extent.stream, extent.start + from, extent.start + to)
            });
        // Marks end where the next ones begin: those before `at` may reach into it.
        let mut lost: Vec<_> = data.collect();
        if end > self.data {
            let mut with_marks = self
                .extents
                .iter()
                .filter(|extent| !extent.is_single())
                .peekable();
            while let Some(extent) = with_marks.next() {
                let behind = with_marks.peek().map_or(self.body, |next| next.marks_at);
                if extent.marks_at < end && behind > at {
                    lost.push((extent.stream, extent.start, extent.end));
                }
            }
        }
        lost
    }
}
