//! Writing a sealed file, front to back.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Lsn;
use crate::error::{During, Failure};
use crate::fs::FsFile;
use crate::home::Home;
use crate::sealed::SealedEntry;
use crate::sealed::extents::Extents;
use crate::sealed::file::SealedFile;
use crate::sealed::layout::{BLOCK, Footer, HEADER, Header, TRAILER, Trailer, block_crc};
use crate::sealed::lost::Losses;
use crate::sealed::marks::MarksBuilder;
use crate::sealed::throttle::{Cancelled, Throttle};

/// Bytes written at once, a multiple of a block. The disk begins with them at once: the log's syncs wait for what it is
/// busy with, so it is never given much.
const BUFFER: usize = 2 * BLOCK as usize;
/// Bytes after which what was written is synced, so that no flush at the end holds up the log's.
const SYNC_EVERY: u64 = 8 << 20;

/// Why a sealed file was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// Told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// What was to be written contradicts what was before it.
    #[error("stream {stream} has something else already at position {position}")]
    Disorder { stream: u64, position: u64 },
    /// The file system failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A sealed file that is being written: events come in the order of (stream, position).
///
/// Its file has no name in the manifest and no trailer until it is finished; one that is dropped before is a left-over.
/// In memory are the marks and the extents of the file, and a buffer.
pub(crate) struct SealedWriter<'p> {
    throttle: &'p Throttle,
    path: PathBuf,
    file: Arc<dyn FsFile>,
    header: Header,
    /// Bytes of the body that are not written yet, from `flushed` on.
    buffer: Vec<u8>,
    flushed: u64,
    unsynced: u64,
    crcs: Vec<u32>,
    extents: Extents,
    /// The extent that grows, the last one of `extents`.
    open: bool,
    builder: MarksBuilder,
    /// The marks region so far.
    marks: Vec<u8>,
    events: u64,
    streams: u64,
    lost: Losses,
}

impl<'p> SealedWriter<'p> {
    /// Begins file `number`, for the log from `from` to `to`.
    pub(crate) fn create(
        home: &Home,
        number: u64,
        from: Lsn,
        to: Lsn,
        throttle: &'p Throttle,
    ) -> Result<Self, WriteError> {
        Self::create_without(home, number, (from, to), Losses::default(), throttle)
    }

    /// The same for a part of the log of which something is lost.
    pub(crate) fn create_without(
        home: &Home,
        number: u64,
        (from, to): (Lsn, Lsn),
        lost: Losses,
        throttle: &'p Throttle,
    ) -> Result<Self, WriteError> {
        throttle.check()?;
        let path = home.sealed(number);
        let file = home.create(&path)?;
        let entry = SealedEntry {
            number,
            from,
            to,
            bytes: 0,
        };
        let header = Header::of(&entry, lost.len() as u64);
        file.write_all_at(&mut [IoSlice::new(&header.encode())], 0)
            .during("write", &path)?;
        Ok(Self {
            throttle,
            path,
            file,
            header,
            buffer: Vec::with_capacity(BUFFER),
            flushed: 0,
            unsynced: 0,
            crcs: Vec::new(),
            extents: Extents::default(),
            open: false,
            builder: MarksBuilder::default(),
            marks: Vec::new(),
            events: 0,
            streams: 0,
            lost,
        })
    }

    /// Writes an event. An empty one leaves no trace.
    pub(crate) fn event(
        &mut self,
        stream: u64,
        position: u64,
        payload: &[u8],
    ) -> Result<(), WriteError> {
        self.announce(stream, position, payload.len() as u64)?;
        self.data(payload)
    }

    /// Announces an event of `len` bytes, which come by [`data`](Self::data): in any pieces, and maybe behind further
    /// announced events.
    pub(crate) fn announce(
        &mut self,
        stream: u64,
        position: u64,
        len: u64,
    ) -> Result<(), WriteError> {
        let disorder = WriteError::Disorder { stream, position };
        if position.checked_add(len).is_none() {
            return Err(disorder);
        }
        if len == 0 {
            return Ok(());
        }
        let before = self.extents.last().map(|last| (last.stream, last.end));
        match before {
            Some(before) if self.open && before == (stream, position) => self.extents.grow(len),
            before => {
                if before.is_some_and(|before| before > (stream, position)) {
                    return Err(disorder);
                }
                if before.is_none_or(|(before, _)| before != stream) {
                    self.streams += 1;
                }
                self.close_extent();
                self.extents.push(stream, position, len);
                self.builder.begin(position);
                self.open = true;
            }
        }
        self.builder.push(len);
        self.events += 1;
        Ok(())
    }

    /// Writes payload bytes of what was announced.
    pub(crate) fn data(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Bytes of the body that were taken so far.
    pub(crate) fn written(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Writes the rest and syncs the file (not its directory); `None` when there was no event and nothing is lost, and
    /// no file is left.
    pub(crate) fn finish(mut self, home: &Home) -> Result<Option<SealedFile>, WriteError> {
        self.close_extent();
        if self.extents.is_empty() && self.lost.is_empty() {
            home.remove(&self.path)?;
            return Ok(None);
        }
        let data = self.written();
        if let Some(last) = self.extents.last()
            && self.extents.data() != data
        {
            let (stream, position) = (last.stream, last.end);
            return Err(WriteError::Disorder { stream, position });
        }
        self.extents.finish(data);
        let marks = std::mem::take(&mut self.marks);
        self.data(&marks)?;
        self.flush()?;
        let footer = Footer {
            crcs: std::mem::take(&mut self.crcs),
            extents: std::mem::take(&mut self.extents),
            lost: std::mem::take(&mut self.lost),
        };
        let mut end = footer.encode();
        let trailer = Trailer {
            number: self.header.number,
            data,
            marks: marks.len() as u64,
            extents: footer.extents.len() as u64,
            events: self.events,
            streams: self.streams,
            footer_crc: crc32c::crc32c(&end),
            lost: footer.lost.len() as u64,
        };
        end.extend_from_slice(&trailer.encode());
        let bytes = HEADER + self.flushed + end.len() as u64;
        debug_assert_eq!(
            trailer.places(bytes).map(|places| places.footer + TRAILER),
            Some(end.len() as u64)
        );
        self.throttle.spend(end.len() as u64)?;
        self.file
            .write_all_at(&mut [IoSlice::new(&end)], HEADER + self.flushed)
            .during("write", &self.path)?;
        self.file.sync_data().during("fdatasync", &self.path)?;
        let entry = SealedEntry {
            number: self.header.number,
            from: self.header.from,
            to: self.header.to,
            bytes,
        };
        Ok(Some(SealedFile::assemble(
            entry, self.path, self.file, footer, &trailer,
        )))
    }

    fn close_extent(&mut self) {
        if !self.open {
            return;
        }
        self.open = false;
        let marks_at = self.marks.len() as u64;
        if self.builder.finish(&mut self.marks) {
            self.extents.mark(marks_at);
        }
    }

    /// Writes what is buffered; only the last time a part of a block.
    fn flush(&mut self) -> Result<(), WriteError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.throttle.spend(self.buffer.len() as u64)?;
        for (index, block) in (self.flushed / BLOCK..).zip(self.buffer.chunks(BLOCK as usize)) {
            self.crcs.push(block_crc(self.header.number, index, block));
        }
        self.file
            .write_all_at(&mut [IoSlice::new(&self.buffer)], HEADER + self.flushed)
            .during("write", &self.path)?;
        self.file
            .start_writing(HEADER + self.flushed, self.buffer.len() as u64);
        self.flushed += self.buffer.len() as u64;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        if self.unsynced >= SYNC_EVERY {
            self.file.sync_data().during("fdatasync", &self.path)?;
            self.unsynced = 0;
        }
        Ok(())
    }
}
