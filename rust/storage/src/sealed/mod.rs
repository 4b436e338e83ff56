//! Sealed files: history clustered by stream, immutable, verified block by block.
//!
//! A sealed file holds the payloads of a range of the log, sorted by (stream, position) without the frames
//! around them, so that what a stream has in it is one run of wire bytes. `docs/format.md` describes every byte.

use crate::Lsn;

mod body;
mod damage;
mod extent;
mod extents;
mod file;
mod history;
mod layout;
mod liveness;
mod lost;
mod marks;
#[cfg(test)]
pub(crate) mod model;
mod part;
mod past;
mod seal;
#[cfg(test)]
mod tests;
mod throttle;
mod writer;

pub(crate) use body::BodyWindow;
pub(crate) use extent::Extent;
pub(crate) use file::{Flaw, SealedFile};
pub use history::{EventRow, History};
pub(crate) use history::{Sealed, SealedFigures};
pub(crate) use layout::{HEADER, Header, TRAILER, Trailer, VERSION};
pub(crate) use liveness::Lives;
pub use lost::Trace;
pub(crate) use lost::{Losses, Lost};
pub(crate) use marks::Marks;
pub use part::{Chunk, FilePart, Piece};
pub(crate) use past::{Passed, seal_past};
pub(crate) use seal::{SealError, seal};
pub(crate) use throttle::{Cancelled, Throttle};
pub(crate) use writer::{SealedWriter, WriteError};

/// What `crate::fuzzing` takes apart.
#[cfg(fuzzing)]
pub(crate) mod fuzzing {
    pub(crate) use super::extent::{EXTENT, Extent};
    pub(crate) use super::layout::{BLOCK, Footer, Header, Trailer, block_crc};
    pub(crate) use super::lost::LOST;
    pub(crate) use super::marks::plain::Plain;
}

/// A sealed file, as the manifest lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedEntry {
    pub(crate) number: u64,
    /// It holds what was alive of the log from here ...
    pub(crate) from: Lsn,
    /// ... up to here.
    pub(crate) to: Lsn,
    /// Length of the file.
    pub(crate) bytes: u64,
}
