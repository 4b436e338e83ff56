//! What an event does to the state. Total for events that were decided on that very state; says so
//! when a replayed one was not.

use std::collections::VecDeque;

use durastream_storage::Placed;

use crate::event::{Appending, Configuring, Creation, Event};
use crate::index::Index;
use crate::retention::Ledger;
use crate::state::{Effect, EffectKind, State};
use crate::stream::{Lifetime, NEVER, Phase, Progress, Stream};
use crate::wire::Format;

/// An event that cannot have been decided on this state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream {id}: {what}")]
pub(crate) struct Impossible {
    pub(crate) id: u64,
    pub(crate) what: &'static str,
}

/// Applies an event whose payload has `len` bytes and whose frame is at `placed`. What readers may
/// see only once the frame is durable is added to `effects`.
pub(crate) fn apply(
    state: &mut State,
    event: &Event,
    len: usize,
    placed: Placed,
    effects: &mut VecDeque<Effect>,
) -> Result<(), Impossible> {
    let (id, kind) = match event {
        Event::Create(creation) => {
            create(state, creation, len, placed)?;
            (creation.id, EffectKind::Changed)
        }
        Event::Append(event) => {
            append(state, event, len, placed)?;
            (event.id, EffectKind::Changed)
        }
        Event::Delete { id, .. } => return delete(state, *id, placed, effects),
        Event::Trim { id, floor } => {
            let stream = live(state, *id)?;
            let tail = stream.tail();
            if *floor < stream.reserved_floor() || *floor > tail {
                return Err(Impossible {
                    id: *id,
                    what: "a trim outside the stream",
                });
            }
            let forks = stream.forks;
            let extra = stream.extra_mut();
            extra.pending_floor = Some(*floor);
            if forks == 0 {
                extra.kept = *floor;
            }
            if let Some(ledger) = &mut extra.ledger {
                ledger.trim(*floor, tail);
            }
            stream.last_end = placed.end;
            if stream.ledger().is_some() {
                state.await_age(*id);
            }
            (*id, EffectKind::Trimmed(*floor))
        }
        Event::Touch { id, at } => {
            if let Some(lifetime) = &mut live(state, *id)?.lifetime {
                lifetime.log(*at);
            }
            return Ok(());
        }
        Event::Configure(event) => {
            configure(state, event, placed)?;
            (event.id, EffectKind::Configured)
        }
    };
    effects.push_back(Effect {
        end: placed.end,
        id,
        kind,
    });
    Ok(())
}

fn live(state: &mut State, id: u64) -> Result<&mut Stream, Impossible> {
    match state.change(id) {
        Some(stream) if stream.phase == Phase::Live => Ok(stream),
        _ => Err(Impossible {
            id,
            what: "an event on a stream that does not exist",
        }),
    }
}

fn create(
    state: &mut State,
    creation: &Creation,
    len: usize,
    placed: Placed,
) -> Result<(), Impossible> {
    let id = creation.id;
    let impossible = |what| Impossible { id, what };
    if id < state.next_id {
        return Err(impossible("created with a used number"));
    }
    if state.at(&creation.path).is_some() {
        return Err(impossible("created at a path in use"));
    }
    let (root, start, floor) = match &creation.fork {
        None => (id, 0, 0),
        Some(origin) => {
            let source = live(state, origin.source)
                .map_err(|_| impossible("forked from a stream that does not exist"))?;
            if origin.point > source.tail() || origin.point < source.reserved_floor() {
                return Err(impossible("forked outside its source"));
            }
            source.forks += 1;
            (source.root(), origin.point, source.reserved_floor())
        }
    };
    let mut stream = Box::new(Stream {
        id,
        path: creation.path.clone(),
        content_type: state.intern(&creation.content_type),
        created_at: creation.created_at,
        created_end: placed.end,
        last_end: placed.end,
        closed_end: if creation.closed { placed.end } else { NEVER },
        index: Index::new(start),
        forks: 0,
        phase: Phase::Live,
        format: Format::of(&creation.content_type),
        round: state.round,
        lifetime: creation.expiry.map(|expiry| {
            Box::new(Lifetime::new(
                expiry,
                creation.expiry_inherited,
                creation.created_at,
            ))
        }),
        extra: None,
    });
    if creation.fork.is_some() {
        let extra = stream.extra_mut();
        extra.fork = creation.fork.clone();
        extra.root = Some(root);
        extra.floor = floor;
        extra.kept = floor;
    }
    if !creation.retention.is_unlimited() {
        let held = stream.held();
        let mut ledger = Box::<Ledger>::default();
        ledger.set(creation.retention, held, creation.created_at);
        stream.extra_mut().ledger = Some(ledger);
    }
    if len > 0 {
        stream.note(Some(creation.created_at));
        stream.push(len as u64, placed.lsn, state.forgettable);
    }
    state.excess.note(&mut stream);
    if let Some(lifetime) = &stream.lifetime {
        state.deadlines.insert((lifetime.queued, id));
    }
    state.next_id = id + 1;
    state.directory.insert(&creation.path, id);
    state.streams.insert(stream);
    // From here on its source may be trimmed.
    state.note_needs(id);
    Ok(())
}

fn append(
    state: &mut State,
    event: &Appending,
    len: usize,
    placed: Placed,
) -> Result<(), Impossible> {
    let forgettable = state.forgettable;
    let stream = live(state, event.id)?;
    if stream.is_closed() {
        return Err(Impossible {
            id: event.id,
            what: "an append to a closed stream",
        });
    }
    if event.position != stream.tail() {
        return Err(Impossible {
            id: event.id,
            what: "an append that does not begin at the tail",
        });
    }
    if len > 0 {
        stream.note(event.at);
        stream.push(len as u64, placed.lsn, forgettable);
    }
    stream.last_end = placed.end;
    if event.close {
        stream.closed_end = placed.end;
    }
    if let (Some(at), Some(lifetime)) = (event.at, &mut stream.lifetime) {
        lifetime.log(at);
    }
    if let Some(producer) = &event.producer {
        let progress = Progress {
            epoch: producer.epoch,
            seq: producer.seq,
        };
        let extra = stream.extra_mut();
        match extra.producers.get_mut(producer.id.as_str()) {
            Some(known) => *known = progress,
            None => {
                extra
                    .producers
                    .insert(producer.id.as_str().into(), progress);
            }
        }
        if event.close {
            extra.closing = Some(producer.clone());
        }
    }
    if let Some(seq) = &event.stream_seq {
        stream.extra_mut().stream_seq = Some(seq.as_ref().into());
    }
    if stream.ledger().is_some() {
        state.note_excess(event.id);
    }
    Ok(())
}

/// Changes how much is kept, and lets the reaper look at what is there.
fn configure(state: &mut State, event: &Configuring, placed: Placed) -> Result<(), Impossible> {
    state.forget_excess(event.id);
    let stream = live(state, event.id)?;
    let held = stream.held();
    let ledger = stream.extra_mut().ledger.get_or_insert_default();
    ledger.change(event.retention, held, event.at, placed.end);
    stream.last_end = placed.end;
    state.note_excess(event.id);
    Ok(())
}

/// Removes a stream and whatever was kept only for it, or keeps it for its forks.
fn delete(
    state: &mut State,
    id: u64,
    placed: Placed,
    effects: &mut VecDeque<Effect>,
) -> Result<(), Impossible> {
    state.forget_excess(id);
    let stream = live(state, id)?;
    stream.last_end = placed.end;
    stream.extra_mut().gone_end = Some(placed.end);
    let queued = stream.lifetime.as_ref().map(|lifetime| lifetime.queued);
    if stream.forks > 0 {
        stream.phase = Phase::Soft;
        // A soft-deleted stream has no writers any more.
        if let Some(extra) = &mut stream.extra {
            extra.producers = Default::default();
            extra.closing = None;
            extra.stream_seq = None;
            extra.ledger = None;
        }
        state.soft_deleted += 1;
        effects.push_back(Effect {
            end: placed.end,
            id,
            kind: EffectKind::Softened,
        });
    } else {
        let mut next = Some(id);
        while let Some(id) = next {
            next = remove(state, id, placed, effects);
        }
    }
    if let Some(queued) = queued {
        state.deadlines.remove(&(queued, id));
    }
    Ok(())
}

/// Removes one stream; gives the soft-deleted source that has thereby lost its last fork.
fn remove(
    state: &mut State,
    id: u64,
    placed: Placed,
    effects: &mut VecDeque<Effect>,
) -> Option<u64> {
    let stream = state.change(id)?;
    let was_soft = stream.phase == Phase::Soft;
    stream.phase = Phase::Removed;
    stream.last_end = placed.end;
    let path = stream.path.clone();
    let source = stream.origin().map(|origin| origin.source);
    if was_soft {
        state.soft_deleted -= 1;
    }
    state.directory.remove(&path);
    effects.push_back(Effect {
        end: placed.end,
        id,
        kind: EffectKind::Removed,
    });
    let source = state.change(source?)?;
    source.forks -= 1;
    let (forks, floor) = (source.forks, source.reserved_floor());
    if forks == 0 {
        source.extra_mut().kept = floor;
    }
    (source.forks == 0 && source.phase == Phase::Soft).then_some(source.id)
}
