//! The rules on a table: decide, apply, and a log in memory instead of a store.
#![cfg_attr(
    fuzzing,
    allow(dead_code, reason = "fuzzing drives the table, not its tests")
)]

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use bytes::Bytes;
use durastream_storage::{Live, Lsn, Placed};

use super::*;
use crate::body::Encoded;
use crate::errors::{AppendError, ChangeError, CreateError};
use crate::event::Event;
use crate::options::Options;
use crate::retention::{Reconfigure, Retention};
use crate::span::{Held, Part, SealedAppend, Stretch, holding, walk};
use crate::state::{Effect, State};
use crate::stream::{NEVER, Stream};
use crate::types::{Append, Appended, Create, ForkSpec, Producer, StreamInfo};
use crate::wire::{Format, after_messages};
use crate::{Offset, StreamPath};

#[cfg(test)]
mod append;
#[cfg(test)]
mod create;
#[cfg(test)]
mod fork;
#[cfg(test)]
mod lifetime;
mod live;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod retention;
pub(crate) mod script;
#[cfg(test)]
mod snapshot;

pub(super) struct Table {
    pub(super) state: State,
    pub(super) options: Options,
    pub(super) now: u64,
    pub(super) log: Vec<(Event, Bytes, Placed)>,
    pub(super) effects: VecDeque<Effect>,
    payloads: BTreeMap<Lsn, Bytes>,
    /// What was sealed and is alive, by stream and position.
    sealed: BTreeMap<(u64, u64), Bytes>,
    /// What was said to be alive of each stream when dead appends were dropped.
    told: BTreeMap<u64, Live>,
    end: Lsn,
}

pub(super) fn path(text: &str) -> StreamPath {
    StreamPath::new(text).unwrap()
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            state: State::default(),
            options: Options::default(),
            now: 1_000_000,
            log: Vec::new(),
            effects: VecDeque::new(),
            payloads: BTreeMap::new(),
            sealed: BTreeMap::new(),
            told: BTreeMap::new(),
            end: 4096,
        }
    }

    pub(super) fn record(&mut self, event: Event, payload: Bytes) {
        let lsn = self.end;
        self.end += 64 + (payload.len() as u64).next_multiple_of(8);
        let placed = Placed { lsn, end: self.end };
        let len = payload.len();
        apply(&mut self.state, &event, len, placed, &mut self.effects).unwrap();
        self.payloads.insert(lsn, payload.clone());
        self.log.push((event, payload, placed));
    }

    /// Behind everything so far.
    #[cfg(test)]
    pub(super) fn end(&self) -> Lsn {
        self.end
    }

    /// Makes everything so far durable: then nothing is indexed any more that could have been forgotten.
    pub(super) fn commit(&mut self) {
        self.settle(usize::MAX);
        let ids: Vec<u64> = self.state.streams.values().map(|it| it.id).collect();
        for id in ids {
            let starts = |table: &Self| table.state.stream(id).unwrap().index.start();
            let start = starts(self);
            self.state.drop_unused(id);
            assert_eq!(start, starts(self), "stream {id}");
        }
    }

    /// Makes the first events of those that are not durable so.
    pub(super) fn settle(&mut self, events: usize) {
        for effect in self.effects.drain(..events.min(self.effects.len())) {
            self.state.settle(&effect);
        }
    }

    /// Seals everything, drops what is dead, and forgets every append.
    pub(super) fn seal(&mut self) {
        // Only what is durable is sealed.
        self.commit();
        for (event, payload, placed) in &self.log {
            let place = match event {
                Event::Create(event) => (event.id, event.fork.as_ref().map_or(0, |it| it.point)),
                Event::Append(event) => (event.id, event.position),
                _ => continue,
            };
            if placed.lsn >= self.state.forgettable && !payload.is_empty() {
                self.sealed.insert(place, payload.clone());
            }
        }
        self.drop_dead();
        self.state.set_forgettable(self.end);
        let forgettable = self.state.forgettable;
        for stream in self.state.streams.values_mut() {
            stream.index.forget(|entry| entry.lsn < forgettable);
        }
    }

    /// The sealed append that a stretch begins in: it must be there.
    fn find(&self, stretch: &Stretch) -> SealedAppend {
        let Stretch { stream, from, .. } = *stretch;
        let ((_, start), payload) = (self.sealed.range(..=(stream, from)).next_back())
            .filter(|((id, _), _)| *id == stream)
            .unwrap_or_else(|| panic!("{stretch:?} was dropped"));
        let (start, end) = (*start, start + payload.len() as u64);
        assert!(from < end, "{stretch:?} was dropped");
        SealedAppend {
            stream,
            start,
            end,
            is_single: true,
        }
    }

    fn payload(&self, part: Part) -> Bytes {
        match part {
            Part::Append(span) => {
                let payload = &self.payloads[&span.frame.lsn];
                assert_eq!(payload.len(), span.frame.len as usize);
                payload.slice(..span.len())
            }
            Part::History(stretch) => {
                let payload = &self.sealed[&(stretch.stream, stretch.from)];
                payload.slice(..payload.len().min(stretch.len()))
            }
        }
    }

    fn expire(&mut self, path: &StreamPath) {
        if let Some(stream) = self.state.at(path)
            && stream.is_expired(self.now)
        {
            let id = stream.id;
            self.record(Event::Delete { id, expired: true }, Bytes::new());
        }
    }

    pub(super) fn create(
        &mut self,
        at: &str,
        create: Create,
    ) -> Result<(bool, StreamInfo), CreateError> {
        let at = path(at);
        self.expire(&at);
        if let Some(spec) = &create.fork {
            self.expire(&spec.source.clone());
        }
        let mut request = CreateRequest {
            path: &at,
            content_type: create.content_type.as_deref().map(Into::into),
            expiry: create.expiry,
            closed: create.closed,
            body: Encoded::new(Format::Bytes, &create.body, &self.options),
            fork: create.fork.as_ref(),
            sub: None,
            known: None,
            retention: create.retention,
        };
        loop {
            match decide_create(&self.state, self.now, &request, &self.options) {
                CreateDecision::Recode(format) => {
                    request.body = Encoded::new(format, &create.body, &self.options);
                }
                CreateDecision::Find(stretch) => request.known = Some(self.find(&stretch)),
                CreateDecision::Resolve {
                    source,
                    anchor,
                    append,
                } => {
                    let messages = create.fork.as_ref().unwrap().sub_offset;
                    let point = after_messages(&self.payload(append), messages);
                    request.sub = Some(SubPoint {
                        source,
                        anchor,
                        point: point.map(|len| anchor + len as u64),
                    });
                }
                CreateDecision::Refuse(_, error) => return Err(error),
                CreateDecision::Exists(_) => return Ok((false, self.info(at.as_str()))),
                CreateDecision::Accept(event, payload) => {
                    self.record(event, payload);
                    return Ok((true, self.info(at.as_str())));
                }
            }
        }
    }

    pub(super) fn append(&mut self, at: &str, append: Append) -> Result<Appended, AppendError> {
        let at = path(at);
        self.expire(&at);
        let mut body = Encoded::new(Format::Bytes, &append.body, &self.options);
        loop {
            match decide_append(&self.state, self.now, &at, &append, &body, &self.options) {
                AppendDecision::Recode(format) => {
                    body = Encoded::new(format, &append.body, &self.options);
                }
                AppendDecision::Refuse(_, error) => return Err(error),
                AppendDecision::Duplicate(_, _, appended) => return Ok(appended),
                AppendDecision::Accept(event, payload, appended) => {
                    self.record(event, payload);
                    return Ok(appended);
                }
            }
        }
    }

    pub(super) fn delete(&mut self, at: &str) -> Result<(), ChangeError> {
        self.expire(&path(at));
        let event = decide_delete(&self.state, &path(at)).map_err(|(_, error)| error)?;
        self.record(event, Bytes::new());
        Ok(())
    }

    pub(super) fn trim(&mut self, at: &str, before: Offset) -> Result<Offset, ChangeError> {
        self.expire(&path(at));
        let mut known = None;
        loop {
            let decision = decide_trim(&self.state, &path(at), before, known);
            match decision.map_err(|(_, error)| error)? {
                TrimDecision::Already(_, floor) => return Ok(floor),
                TrimDecision::Accept(event, floor) => {
                    self.record(event, Bytes::new());
                    return Ok(floor);
                }
                TrimDecision::Find(stretch) => known = Some(self.find(&stretch)),
            }
        }
    }

    pub(super) fn configure(
        &mut self,
        at: &str,
        change: Reconfigure,
    ) -> Result<Retention, ChangeError> {
        self.expire(&path(at));
        match decide_configure(&self.state, self.now, &path(at), change).map_err(|(_, e)| e)? {
            ConfigureDecision::Already(_, retention) => Ok(retention),
            ConfigureDecision::Accept(event, retention) => {
                self.record(event, Bytes::new());
                Ok(retention)
            }
        }
    }

    /// What the reaper does for retention; gives the streams that it looked at.
    pub(super) fn retain(&mut self) -> Vec<u64> {
        let mut seen = self.state.excess.take_over();
        seen.extend(self.state.excess.take_aged(self.now, usize::MAX));
        for goal in self.state.goals(&seen, self.now) {
            let stream = self.state.stream(goal.id).unwrap();
            let reserved = stream.reserved_floor();
            let held = |known| holding(&self.state, stream, goal.beyond, goal.tail, known);
            let held = match held(None) {
                _ if goal.beyond <= reserved => Held::Nothing,
                Held::Unknown(stretch) => held(Some(self.find(&stretch))),
                held => held,
            };
            let floor = goal.floor(&held);
            if floor > reserved {
                let id = goal.id;
                self.record(Event::Trim { id, floor }, Bytes::new());
            }
        }
        seen
    }

    pub(super) fn stream(&self, at: &str) -> &Stream {
        lookup(&self.state, &path(at)).unwrap()
    }

    pub(super) fn exists(&self, at: &str) -> bool {
        lookup(&self.state, &path(at)).is_ok_and(|stream| !stream.is_expired(self.now))
    }

    pub(super) fn info(&self, at: &str) -> StreamInfo {
        info(self.stream(at), NEVER - 1)
    }

    /// Every append from a position on, as its readers get it.
    pub(super) fn appends(&self, at: &str, from: u64) -> Vec<String> {
        let stream = self.stream(at);
        let from = from.max(stream.floor());
        let mut appends = Vec::new();
        let mut add = |part| {
            let payload = self.payload(part);
            appends.push(String::from_utf8(payload.to_vec()).unwrap());
        };
        walk(&self.state, stream, from, stream.tail(), |part| {
            match part {
                Part::Append(_) => add(part),
                Part::History(mut stretch) => {
                    while stretch.from < stretch.to {
                        let append = self.find(&stretch);
                        stretch.from = append.start;
                        add(Part::History(stretch));
                        stretch.from = append.end;
                    }
                }
            }
            ControlFlow::Continue(())
        });
        appends
    }

    pub(super) fn content(&self, at: &str) -> String {
        self.appends(at, self.stream(at).reserved_floor()).concat()
    }
}

/// A plain-text stream.
pub(super) fn text() -> Create {
    Create {
        content_type: Some("text/plain".to_owned()),
        ..Create::default()
    }
}

pub(super) fn json() -> Create {
    Create {
        content_type: Some("application/json".to_owned()),
        ..Create::default()
    }
}

pub(super) fn holding_bytes(create: Create, body: &str) -> Create {
    Create {
        body: body.as_bytes().to_vec().into(),
        ..create
    }
}

pub(super) fn fork_of(source: &str) -> Create {
    Create {
        fork: Some(ForkSpec {
            source: path(source),
            offset: None,
            sub_offset: 0,
        }),
        ..Create::default()
    }
}

pub(super) fn fork_at(source: &str, position: u64, sub_offset: u64) -> Create {
    Create {
        fork: Some(ForkSpec {
            source: path(source),
            offset: Some(Offset {
                incarnation: 0,
                position,
            }),
            sub_offset,
        }),
        ..Create::default()
    }
}

pub(super) fn body(body: &str) -> Append {
    Append {
        body: body.as_bytes().to_vec().into(),
        ..Append::default()
    }
}

pub(super) fn close() -> Append {
    Append {
        close: true,
        ..Append::default()
    }
}

pub(super) fn by(append: Append, id: &str, epoch: u64, seq: u64) -> Append {
    Append {
        producer: Some(Producer {
            id: id.to_owned(),
            epoch,
            seq,
        }),
        ..append
    }
}
