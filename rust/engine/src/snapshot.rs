//! The state as it was at one moment, written in slices while it changes: a checkpoint does not keep
//! anybody waiting for long.
//!
//! Streams are written in the order of paths. One that is about to change before its turn is kept as
//! it was (an [`Image`]); one that was born after the moment is left out. So what is written is what
//! one hold of the lock at that moment would have given.

use std::collections::BTreeMap;
use std::ops::Bound;

use durastream_storage::Lsn;

use crate::StreamPath;
use crate::checkpoint::{Encoder, Image};
use crate::index::Run;
use crate::state::State;
use crate::stream::{Phase, Stream};

/// A snapshot being written.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Payloads below are left out: the store finds them by position.
    sealed: Lsn,
    /// Every stream up to this path was written.
    written: Option<StreamPath>,
    /// Streams behind it that have changed since, as they were.
    images: BTreeMap<StreamPath, Image>,
}

/// Why a slice ended.
#[derive(Debug)]
pub(crate) enum Slice {
    /// It was long enough.
    More,
    /// These entries come next: many, and they do not change, so they are written without the lock.
    Run(Run),
    /// Everything was written.
    Done,
}

impl State {
    /// Takes a snapshot of what writers see now. The one before must have been ended.
    pub(crate) fn begin_snapshot(&mut self, sealed: Lsn) -> Encoder {
        // Nothing may be forgotten that an image has to show.
        let sealed = sealed.max(self.forgettable);
        self.round = self.round.wrapping_add(1);
        self.snapshot = Some(Snapshot {
            sealed,
            written: None,
            images: BTreeMap::new(),
        });
        Encoder::begin(self.next_id, self.paths().len() as u64)
    }

    /// Forgets the snapshot, done or not.
    pub(crate) fn end_snapshot(&mut self) {
        self.snapshot = None;
    }

    /// A stream, to be changed in what a checkpoint shows of it.
    pub(crate) fn change(&mut self, id: u64) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(id)?;
        if let Some(snapshot) = &mut self.snapshot
            && stream.round != self.round
            && stream.phase != Phase::Removed
        {
            stream.round = self.round;
            let image = Image::of(stream, snapshot.sealed);
            // Streams that change while others are written would never get their turn otherwise.
            let forgettable = self.forgettable;
            stream.index.forget(|entry| entry.lsn < forgettable);
            snapshot.images.insert(stream.path.clone(), image);
        }
        Some(stream)
    }

    /// Writes on, as long as there is `more` time: asked after each stream, and told whether a chunk
    /// is full.
    pub(crate) fn slice(&mut self, out: &mut Encoder, mut more: impl FnMut(bool) -> bool) -> Slice {
        let Some(snapshot) = &mut self.snapshot else {
            return Slice::Done;
        };
        let written = snapshot.written.clone();
        let behind = written.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let paths = self.directory.ordered();
        for (path, id) in paths.range::<StreamPath, _>((behind, Bound::Unbounded)) {
            if let Some(slice) = snapshot.write_images(Some(path), out, &mut more) {
                return slice;
            }
            let mut run = None;
            // Otherwise it is there as an image, or was born later.
            if let Some(stream) = self.streams.get_mut(*id)
                && stream.round != self.round
            {
                stream.round = self.round;
                let forgettable = self.forgettable;
                stream.index.forget(|entry| entry.lsn < forgettable);
                run = out.put(stream, snapshot.sealed);
            }
            if run.is_some() || !more(out.is_full()) {
                snapshot.written = Some(path.clone());
                return run.map_or(Slice::More, Slice::Run);
            }
        }
        snapshot
            .write_images(None, out, &mut more)
            .unwrap_or(Slice::Done)
    }
}

impl Snapshot {
    /// Writes the images up to a path; gives how the slice ended when it did.
    fn write_images(
        &mut self,
        up_to: Option<&StreamPath>,
        out: &mut Encoder,
        more: &mut impl FnMut(bool) -> bool,
    ) -> Option<Slice> {
        while let Some(first) = self.images.first_entry()
            && up_to.is_none_or(|path| first.key() <= path)
        {
            let (path, image) = first.remove_entry();
            let run = out.put_image(image);
            if run.is_some() || !more(out.is_full()) {
                self.written = Some(path);
                return Some(run.map_or(Slice::More, Slice::Run));
            }
        }
        None
    }
}
