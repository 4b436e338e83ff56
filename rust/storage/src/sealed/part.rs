//! Parts of sealed files that the system can send by itself.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::Store;
use crate::error::{During, ReadError};
use crate::fs::FsFile;
use crate::sealed::History;
use crate::sealed::file::SealedFile;
use crate::sealed::layout::HEADER;

/// A smaller part is read: it costs less than to have the system send it.
pub(crate) const LEAST: u64 = 64 << 10;
/// Bytes that are read at once; a multiple of a block.
const STEP: usize = 256 << 10;

/// Bytes of a sealed file, every block of which was verified. Nobody ever writes to such a file, so what a socket was
/// given of it stays as it is; and it stays readable as long as this is held, also when its name is gone.
#[derive(Clone)]
pub struct FilePart {
    file: Arc<SealedFile>,
    /// File offset.
    at: u64,
    len: u64,
}

impl FilePart {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it begins, in bytes from the file's start.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The file, for [`FilePart::offset`] and [`FilePart::len`] to be sent of; `None` on a disk that is none of the
    /// system's.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.file().descriptor()
    }

    /// The file's name, for people.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Leaves out the first `bytes`.
    pub fn advance(&mut self, bytes: usize) {
        let bytes = (bytes as u64).min(self.len);
        self.at += bytes;
        self.len -= bytes;
    }

    /// Leaves out what is behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len as u64);
    }

    /// Whether the first `bytes` can be sent without waiting for a disk, as far as a few of them tell.
    pub fn is_cached(&self, bytes: usize) -> bool {
        let len = (bytes as u64).min(self.len);
        self.file.file().is_cached(self.at, len)
    }

    /// Waits until the first `bytes` have been read from the disk.
    pub fn warm(&self, bytes: usize) -> Result<(), ReadError> {
        let mut left = bytes.min(self.len());
        let mut buffer = vec![0; STEP.min(left)];
        let mut at = self.at;
        while left > 0 {
            let piece = buffer.get_mut(..left.min(STEP)).unwrap_or_default();
            self.file
                .file()
                .read_exact_at(piece, at)
                .during("read", self.file.path())?;
            left -= piece.len();
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// The bytes themselves.
    pub fn read(&self) -> Result<Bytes, ReadError> {
        self.file.read(self.at - HEADER, self.len)
    }
}

impl fmt::Debug for FilePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes at {} of {}",
            self.len,
            self.at,
            self.path().display()
        )
    }
}

/// Payload bytes, in memory or where they lie.
#[derive(Debug, Clone)]
pub enum Piece {
    /// In memory.
    Bytes(Bytes),
    /// In a sealed file.
    File(FilePart),
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// What payload bytes are given as: [`Bytes`] by those who want them in memory, [`Piece`] for those who can have the
/// system send a file.
pub trait Chunk: From<Bytes> + Into<Piece> {
    /// Whether large parts of sealed files are left there.
    const LOCATES: bool;
    /// Length in bytes.
    fn len(&self) -> usize;
    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Leaves out what is behind the first `len` bytes.
    fn truncate(&mut self, len: usize);
    /// The bytes, where they are in memory.
    fn in_memory(&mut self) -> Option<&mut Bytes>;
    /// [`Store::history`] in this form.
    fn history(
        store: &Store,
        stream: u64,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<History<Self>, ReadError>;
}

impl Chunk for Bytes {
    const LOCATES: bool = false;

    fn len(&self) -> usize {
        self.len()
    }

    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }

    fn in_memory(&mut self) -> Option<&mut Bytes> {
        Some(self)
    }

    fn history(
        store: &Store,
        stream: u64,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<History, ReadError> {
        store.history(stream, from, to, max_bytes)
    }
}

impl Chunk for Piece {
    const LOCATES: bool = true;

    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(part) => part.len(),
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Self::Bytes(bytes) => bytes.truncate(len),
            Self::File(part) => part.truncate(len),
        }
    }

    fn in_memory(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::File(_) => None,
        }
    }

    fn history(
        store: &Store,
        stream: u64,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<History<Self>, ReadError> {
        store.history_pieces(stream, from, to, max_bytes)
    }
}

impl SealedFile {
    /// The `len` bytes at offset `at` of the body, verified: a part of the file if that pays, or read.
    pub(super) fn piece(self: &Arc<Self>, at: u64, len: u64) -> Result<Piece, ReadError> {
        if len < LEAST || self.file().descriptor().is_none() {
            return self.read(at, len).map(Piece::Bytes);
        }
        let end = at.saturating_add(len);
        if !self.file().is_cached(HEADER + at, 1) {
            self.file().will_need(HEADER + at, len);
        }
        // In steps, to hold no more in memory than one of them.
        let mut begun = at;
        while begun < end {
            let behind = ((begun / STEP as u64 + 1) * STEP as u64).min(end);
            if !self.are_verified(begun, behind) {
                self.read(begun, behind - begun)?;
            }
            begun = behind;
        }
        Ok(self.part(at, len))
    }

    fn part(self: &Arc<Self>, at: u64, len: u64) -> Piece {
        Piece::File(FilePart {
            file: Arc::clone(self),
            at: HEADER + at,
            len,
        })
    }
}
