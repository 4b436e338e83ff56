//! All streams: by path, by id, by deadline. Changed by `apply` and `settle` only, so that a replay
//! arrives at the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use durastream_storage::{Live, Lsn};
use rustc_hash::FxHashSet;

use crate::StreamPath;
use crate::directory::Directory;
use crate::moment::Millis;
use crate::needs::{Asked, Needs};
use crate::retention::{Ledger, Queue};
use crate::snapshot::Snapshot;
use crate::stream::{Phase, Stream};
use crate::streams::Streams;

/// Every stream there is.
#[derive(Debug)]
pub(crate) struct State {
    /// The next stream's id; ids are never reused.
    pub(crate) next_id: u64,
    /// Live, soft-deleted and removed (until that is durable) ones.
    pub(crate) streams: Streams,
    /// Live and soft-deleted ones.
    pub(crate) directory: Directory,
    /// Live ones that end by themselves, by the deadline they are queued under.
    pub(crate) deadlines: BTreeSet<(Millis, u64)>,
    /// Live ones that may have more than their retention keeps.
    pub(crate) excess: Queue,
    pub(crate) soft_deleted: u64,
    /// What forks read of the streams that they come from.
    pub(crate) needs: Needs,
    /// How many times payloads have become dead, durably.
    pub(crate) freed: u64,
    types: FxHashSet<Arc<str>>,
    /// A checkpoint's view, while it is written.
    pub(crate) snapshot: Option<Snapshot>,
    /// Number of the newest snapshot.
    pub(crate) round: u16,
    /// Payloads of frames below need no entry in an index; not raised while there is a snapshot.
    pub(crate) forgettable: Lsn,
}

/// What follows from an event once it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effect {
    /// End of the event's frame.
    pub(crate) end: Lsn,
    pub(crate) id: u64,
    pub(crate) kind: EffectKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EffectKind {
    /// There is more to read, or it is closed.
    Changed,
    /// Nothing below this position is left.
    Trimmed(u64),
    /// It has another retention.
    Configured,
    /// Only forks may read it now.
    Softened,
    /// Nothing is left of it.
    Removed,
}

impl Default for State {
    fn default() -> Self {
        Self {
            next_id: 1,
            streams: Streams::default(),
            directory: Directory::default(),
            deadlines: BTreeSet::new(),
            excess: Queue::default(),
            soft_deleted: 0,
            needs: Needs::default(),
            freed: 0,
            types: FxHashSet::default(),
            snapshot: None,
            round: 0,
            forgettable: 0,
        }
    }
}

impl State {
    pub(crate) fn stream(&self, id: u64) -> Option<&Stream> {
        self.streams.get(id)
    }

    pub(crate) fn stream_mut(&mut self, id: u64) -> Option<&mut Stream> {
        self.streams.get_mut(id)
    }

    /// The live or soft-deleted stream at a path.
    pub(crate) fn at(&self, path: &StreamPath) -> Option<&Stream> {
        self.directory.find(path, &self.streams)
    }

    /// Live and soft-deleted streams, in the order of paths.
    pub(crate) fn paths(&self) -> &BTreeMap<StreamPath, u64> {
        self.directory.ordered()
    }

    /// Frames below need not be known one by one any more. Not while a snapshot may have to show them.
    pub(crate) fn set_forgettable(&mut self, lsn: Lsn) {
        if self.snapshot.is_none() {
            self.forgettable = self.forgettable.max(lsn);
        }
    }

    /// One shared copy of a content type.
    pub(crate) fn intern(&mut self, content_type: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.types.get(content_type) {
            return Arc::clone(known);
        }
        let owned: Arc<str> = content_type.as_ref().into();
        self.types.insert(Arc::clone(&owned));
        owned
    }

    /// What of a stream's own payloads anybody can read, its own readers or those of forks, by what is durable.
    ///
    /// IMPORTANT: what is dead once stays dead. A fork begins between the floor and the tail of a stream that is not
    /// deleted, with that one's floor, so it reads nothing that its source does not.
    pub(crate) fn live(&self, id: u64) -> Live {
        let mut asked = self.ask_live(id);
        let mut most = usize::MAX;
        self.needs.answer(&mut asked, &mut most);
        asked.live()
    }

    /// The same question, for [`Needs::answer`].
    pub(crate) fn ask_live(&self, id: u64) -> Asked {
        // A removed stream is there until that is durable.
        let stream = self.stream(id).filter(|stream| stream.is_read());
        Asked::new(id, stream.map_or(u64::MAX, Stream::floor))
    }

    /// Carries out what waited for an event to be durable.
    pub(crate) fn settle(&mut self, effect: &Effect) {
        match effect.kind {
            EffectKind::Changed => {}
            EffectKind::Trimmed(floor) => {
                self.freed += 1;
                self.trimmed(effect.id, floor);
            }
            EffectKind::Softened => {
                self.freed += 1;
                self.softened(effect.id);
            }
            EffectKind::Configured => {
                if let Some(stream) = self.stream_mut(effect.id)
                    && stream.ledger_mut().is_some_and(Ledger::settle)
                {
                    stream.extra_mut().ledger = None;
                }
            }
            EffectKind::Removed => {
                self.freed += 1;
                self.forget(effect.id);
            }
        }
    }

    fn trimmed(&mut self, id: u64, floor: u64) {
        if let Some(stream) = self.streams.get(id) {
            self.needs.remove(stream, &self.streams);
        }
        if let Some(stream) = self.streams.get_mut(id) {
            let extra = stream.extra_mut();
            extra.floor = floor;
            if extra.pending_floor == Some(floor) {
                extra.pending_floor = None;
            }
        }
        self.note_needs(id);
        self.drop_unused(id);
    }

    fn softened(&mut self, id: u64) {
        if let Some(stream) = self.streams.get(id) {
            self.needs.remove(stream, &self.streams);
        }
        if let Some(stream) = self.streams.get_mut(id) {
            stream.extra_mut().softened = true;
        }
    }

    /// Notes what a fork reads of the streams that it comes from.
    pub(crate) fn note_needs(&mut self, id: u64) {
        if let Some(stream) = self.streams.get(id).filter(|stream| stream.is_read()) {
            self.needs.add(stream, &self.streams);
        }
    }

    /// Forgets payloads that neither readers nor forks can reach, as far as checkpoints leave them out.
    pub(crate) fn drop_unused(&mut self, id: u64) {
        let lowest = self.needs.lowest(id).unwrap_or(u64::MAX);
        if let Some(stream) = self.streams.get_mut(id) {
            let unused = stream.kept().min(stream.floor()).min(lowest);
            stream.index.forget(|entry| entry.end <= unused);
        }
    }

    fn forget(&mut self, id: u64) {
        let Some(stream) = self.streams.remove(id) else {
            return;
        };
        debug_assert_eq!(stream.phase, Phase::Removed);
        if let Some(origin) = stream.origin() {
            self.needs.remove(&stream, &self.streams);
            // Of those further up nothing is left out before they have no forks: then this source goes, too.
            self.drop_unused(origin.source);
        }
        // Two left: the set's and this stream's.
        if Arc::strong_count(&stream.content_type) == 2 {
            self.types.remove(&stream.content_type);
        }
    }

    /// After a replay: everything is durable, and accesses may have gone unlogged.
    pub(crate) fn recovered(&mut self) {
        self.deadlines.clear();
        let forgettable = self.forgettable;
        for stream in self.streams.values_mut() {
            stream.index.forget(|entry| entry.lsn < forgettable);
            stream.index.shrink_to_fit();
            self.excess.note(stream);
            if let Some(lifetime) = &mut stream.lifetime
                && stream.phase == Phase::Live
            {
                lifetime.recover();
                self.deadlines.insert((lifetime.queued, stream.id));
            }
        }
    }
}
