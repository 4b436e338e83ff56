//! Whether a stream may be deleted, trimmed or configured (protocol sections 4.2 and 5.4).

use durastream_storage::Lsn;

use crate::errors::ChangeError;
use crate::event::{Configuring, Event};
use crate::moment::Millis;
use crate::retention::{Reconfigure, Retention};
use crate::rules::lookup;
use crate::span::{Held, SealedAppend, Stretch, holding};
use crate::state::State;
use crate::{Offset, StreamPath};

/// A refusal and the LSN it depends on; `None`: for the absence of a stream.
type Refusal = (Option<Lsn>, ChangeError);

/// What becomes of a trim.
#[derive(Debug)]
pub(crate) enum TrimDecision {
    /// Log this event; then the floor is there.
    Accept(Event, Offset),
    /// The floor is there already, by the events up to the LSN.
    Already(Lsn, Offset),
    /// Look up the sealed append that this begins in, then decide again.
    Find(Stretch),
}

/// What becomes of a change of the retention.
#[derive(Debug)]
pub(crate) enum ConfigureDecision {
    /// Log this event; then the retention is this.
    Accept(Event, Retention),
    /// It is so already, by the events up to the LSN.
    Already(Lsn, Retention),
}

pub(crate) fn decide_delete(state: &State, path: &StreamPath) -> Result<Event, Refusal> {
    let stream = lookup(state, path).map_err(|(lsn, error)| (lsn, error.into()))?;
    Ok(Event::Delete {
        id: stream.id,
        expired: false,
    })
}

/// The new floor is the start of the append that holds `before`, so that reads stay whole. `known`: what was
/// looked up; appends that cannot be told apart, only when `before` is where they begin.
pub(crate) fn decide_trim(
    state: &State,
    path: &StreamPath,
    before: Offset,
    known: Option<SealedAppend>,
) -> Result<TrimDecision, Refusal> {
    let stream = lookup(state, path).map_err(|(lsn, error)| (lsn, error.into()))?;
    let position = match stream.position(before) {
        Some(position) if position <= stream.tail() => position,
        _ => {
            return Err((
                Some(stream.last_end),
                ChangeError::Offset {
                    asked: before,
                    tail: stream.offset(stream.tail()),
                },
            ));
        }
    };
    let reserved = stream.reserved_floor();
    let already = || {
        Ok(TrimDecision::Already(
            stream.last_end,
            stream.offset(reserved),
        ))
    };
    // Below it nothing may be left to look at.
    if position <= reserved {
        return already();
    }
    let floor = match holding(state, stream, position, stream.tail(), known) {
        Held::Nothing => stream.tail(),
        Held::Append(start, ..) | Held::Blurred(start) => start,
        Held::Unknown(stretch) => return Ok(TrimDecision::Find(stretch)),
    };
    if floor <= reserved {
        return already();
    }
    Ok(TrimDecision::Accept(
        Event::Trim {
            id: stream.id,
            floor,
        },
        stream.offset(floor),
    ))
}

/// Needs no access: configuring a stream does not keep it from expiring.
pub(crate) fn decide_configure(
    state: &State,
    now: Millis,
    path: &StreamPath,
    change: Reconfigure,
) -> Result<ConfigureDecision, Refusal> {
    let stream = lookup(state, path).map_err(|(lsn, error)| (lsn, error.into()))?;
    let current = stream.retention();
    let retention = change.of(current).rounded();
    if let Some(why) = change.of(current).fault() {
        return Err((Some(0), ChangeError::Retention { why }));
    }
    if retention == current {
        return Ok(ConfigureDecision::Already(stream.last_end, current));
    }
    let event = Event::Configure(Configuring {
        id: stream.id,
        at: now,
        retention,
    });
    Ok(ConfigureDecision::Accept(event, retention))
}
