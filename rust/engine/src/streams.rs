//! All streams by id. The table has no copy of the ids, 8 bytes a stream and as many for each free place: the stream
//! itself tells its own.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::stream::Stream;

/// Streams, each found by its id.
#[derive(Debug, Default)]
pub(crate) struct Streams(HashTable<Box<Stream>>);

/// Ids are counted up by the log, not chosen by strangers: spreading them is enough.
fn hash(id: u64) -> u64 {
    let spread = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    spread ^ spread >> 32
}

impl Streams {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn reserve(&mut self, more: usize) {
        self.0.reserve(more, |stream| hash(stream.id));
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Stream> {
        let found = self.0.find(hash(id), |stream| stream.id == id);
        found.map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Stream> {
        let found = self.0.find_mut(hash(id), |stream| stream.id == id);
        found.map(Box::as_mut)
    }

    /// Adds a stream; `false`, and nothing changed, when there is one of that id.
    pub(crate) fn insert(&mut self, stream: Box<Stream>) -> bool {
        let id = stream.id;
        let entry = self
            .0
            .entry(hash(id), |known| known.id == id, |it| hash(it.id));
        match entry {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(stream);
                true
            }
        }
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Box<Stream>> {
        let found = self.0.find_entry(hash(id), |stream| stream.id == id);
        found.ok().map(|entry| entry.remove().0)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Stream> {
        self.0.iter().map(Box::as_ref)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.0.iter_mut().map(Box::as_mut)
    }
}
