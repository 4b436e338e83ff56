//! Streams by path: in order, and by hash.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::StreamPath;
use crate::stream::Stream;
use crate::streams::Streams;

/// Every path in use and the id of its stream.
///
/// The hash table has no copy of the path, 12 bytes a stream: the stream itself tells whether it is
/// the one. The part of the hash that is kept spares most looks at others, and all when it grows.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    ordered: BTreeMap<StreamPath, u64>,
    hashed: HashTable<Slot>,
    /// Paths come from strangers: hashed with a key.
    keys: RandomState,
}

/// An id in two halves, so that a slot has no padding.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    id: [u32; 2],
}

impl Slot {
    fn new(hash: u32, id: u64) -> Self {
        Self {
            hash,
            id: [id as u32, (id >> 32) as u32],
        }
    }

    fn id(self) -> u64 {
        u64::from(self.id[0]) | u64::from(self.id[1]) << 32
    }

    /// For the table, which wants its topmost bits to be random, too.
    fn spread(&self) -> u64 {
        spread(self.hash)
    }
}

fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Directory {
    /// In byte-wise order.
    pub(crate) fn ordered(&self) -> &BTreeMap<StreamPath, u64> {
        &self.ordered
    }

    /// The stream at a path.
    pub(crate) fn find<'s>(&self, path: &StreamPath, streams: &'s Streams) -> Option<&'s Stream> {
        let hash = self.hash(path);
        let mut found = None;
        self.hashed.find(spread(hash), |slot| {
            let stream = (slot.hash == hash).then(|| streams.get(slot.id()));
            found = stream.flatten().filter(|stream| stream.path == *path);
            found.is_some()
        });
        found
    }

    /// Adds a path that is not in use.
    pub(crate) fn insert(&mut self, path: &StreamPath, id: u64) {
        let slot = Slot::new(self.hash(path), id);
        self.hashed.insert_unique(slot.spread(), slot, Slot::spread);
        self.ordered.insert(path.clone(), id);
    }

    pub(crate) fn remove(&mut self, path: &StreamPath) {
        let Some(id) = self.ordered.remove(path) else {
            return;
        };
        let hash = spread(self.hash(path));
        if let Ok(slot) = self.hashed.find_entry(hash, |slot| slot.id() == id) {
            slot.remove();
        }
    }

    /// Many paths, sorted, at once.
    pub(crate) fn of(sorted: Vec<(StreamPath, u64)>) -> Self {
        let mut directory = Self::default();
        directory.hashed.reserve(sorted.len(), Slot::spread);
        for (path, id) in &sorted {
            let slot = Slot::new(directory.hash(path), *id);
            directory
                .hashed
                .insert_unique(slot.spread(), slot, Slot::spread);
        }
        // From a sorted source it is built bottom-up.
        directory.ordered = sorted.into_iter().collect();
        directory
    }

    fn hash(&self, path: &StreamPath) -> u32 {
        self.keys.hash_one(path) as u32
    }
}
