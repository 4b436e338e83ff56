//! Creations: what is prepared outside the lock, what happens under it, and what is looked up in between.

use std::time::SystemTime;

use durastream_storage::{FrameRef, PushError};

use crate::StreamPath;
use crate::body::{Encoded, within};
use crate::core::Inner;
use crate::engine::Shared;
use crate::errors::CreateError;
use crate::moment::Millis;
use crate::retention::Retention;
use crate::rules::{CreateDecision, CreateRequest, DEFAULT_TYPE, SubPoint, decide_create, info};
use crate::sealed::Finder;
use crate::span::{Part, Stretch};
use crate::stream::{NEVER, Phase};
use crate::types::{Create, Created, Expiry, Ticket};
use crate::watch::Wakes;
use crate::wire::{self, Format, is_content_type};

/// Streams removed to make room for a creation at a path that expired streams hold.
const REAP: usize = 10_000;

impl Shared {
    pub(crate) fn create(
        &self,
        path: &StreamPath,
        create: Create,
    ) -> Ticket<Result<Created, CreateError>> {
        if let Err(error) = self.check(&create) {
            self.core.lock().counts.refusals += 1;
            return Ticket {
                lsn: 0,
                outcome: Err(error),
            };
        }
        let format = match (&create.content_type, &create.fork) {
            (Some(content_type), _) => Format::of(content_type),
            (None, Some(spec)) => self.format_at(&spec.source),
            (None, None) => Format::of(DEFAULT_TYPE),
        };
        let mut request = CreateRequest {
            path,
            content_type: create.content_type.as_deref().map(Into::into),
            expiry: create.expiry.map(from_epoch),
            closed: create.closed,
            body: Encoded::new(format, &create.body, &self.options),
            fork: create.fork.as_ref(),
            sub: None,
            known: None,
            retention: create.retention.map(Retention::rounded),
        };
        let mut looking = Looking::default();
        loop {
            let mut wakes = Wakes::default();
            let step = {
                let mut inner = self.core.lock();
                self.create_locked(&mut inner, &request, &mut wakes)
            };
            wakes.deliver();
            match step {
                Step::Done(ticket) => return ticket,
                Step::Recode(format) => {
                    request.body = Encoded::new(format, &create.body, &self.options);
                }
                Step::Look(wanted) => {
                    if let Err(error) = self.look(&wanted, &mut request, &mut looking) {
                        return Ticket {
                            lsn: 0,
                            outcome: Err(error),
                        };
                    }
                }
            }
        }
    }

    fn check(&self, create: &Create) -> Result<(), CreateError> {
        let options = &self.options;
        let limit = options.max_append_bytes;
        within("body bytes", "max_append_bytes", limit, create.body.len())?;
        if let Some(content_type) = &create.content_type {
            let limit = options.max_content_type_bytes;
            let value = content_type.len();
            within("content type bytes", "max_content_type_bytes", limit, value)?;
            if !is_content_type(content_type) {
                return Err(CreateError::ContentType {
                    got: content_type.clone(),
                });
            }
        }
        if let Some(why) = create.retention.as_ref().and_then(Retention::fault) {
            return Err(CreateError::Retention { why });
        }
        Ok(())
    }

    fn create_locked(
        &self,
        inner: &mut Inner,
        request: &CreateRequest<'_>,
        wakes: &mut Wakes,
    ) -> Step {
        let now = self.now();
        let decision = match self.expire_for(inner, request, now, wakes) {
            Ok(()) => decide_create(&inner.state, now, request, &self.options),
            Err(error) => CreateDecision::Refuse(Some(0), error.into()),
        };
        let (lsn, outcome) = match decision {
            CreateDecision::Recode(format) => return Step::Recode(format),
            CreateDecision::Find(stretch) => return Step::Look(Wanted::Bounds(stretch)),
            CreateDecision::Resolve {
                source,
                anchor,
                append,
            } => return Step::Look(Wanted::Messages(source, anchor, append)),
            CreateDecision::Refuse(lsn, error) => {
                (lsn.unwrap_or_else(|| inner.absence()), Err(error))
            }
            CreateDecision::Exists(id) => (0, Ok((id, false))),
            CreateDecision::Accept(event, payload) => {
                let id = inner.state.next_id;
                match inner.record(&self.store, &event, &payload, wakes) {
                    Ok(_) => (0, Ok((id, true))),
                    Err(error) => (0, Err(error.into())),
                }
            }
        };
        if outcome.is_err() {
            inner.counts.refusals += 1;
        }
        let described = outcome.and_then(|(id, created)| {
            let stream = inner.state.stream(id);
            let path = request.path.clone();
            let missing = CreateError::SourceNotFound { path };
            let stream = stream.ok_or(missing)?;
            // The reserved view: the ticket waits for all of it.
            let info = info(stream, NEVER - 1);
            Ok((stream.last_end, Created { created, info }))
        });
        Step::Done(match described {
            Ok((lsn, created)) => Ticket {
                lsn,
                outcome: Ok(created),
            },
            Err(error) => Ticket {
                lsn,
                outcome: Err(error),
            },
        })
    }

    /// Removes what the clock has ended at the paths concerned, forks that keep a path included.
    fn expire_for(
        &self,
        inner: &mut Inner,
        request: &CreateRequest<'_>,
        now: Millis,
        wakes: &mut Wakes,
    ) -> Result<(), PushError> {
        inner.expire_at(&self.store, request.path, now, wakes)?;
        if let Some(spec) = request.fork {
            inner.expire_at(&self.store, &spec.source, now, wakes)?;
        }
        let held = inner.state.at(request.path);
        if held.is_some_and(|stream| stream.phase == Phase::Soft) {
            inner.reap(&self.store, now, REAP, wakes)?;
        }
        Ok(())
    }

    /// Finds out what the decision about a fork needs. Blocks when that is cold or not durable yet.
    fn look(
        &self,
        wanted: &Wanted,
        request: &mut CreateRequest<'_>,
        looking: &mut Looking,
    ) -> Result<(), CreateError> {
        match wanted {
            Wanted::Bounds(stretch) => {
                let finder = &mut looking.finder;
                let takes_part = request.fork.is_some_and(|spec| spec.sub_offset > 0);
                request.known = match takes_part {
                    true => finder.find(self, stretch)?,
                    false => finder.find_start(self, stretch)?,
                };
            }
            Wanted::Messages(source, anchor, append) => {
                let Some(payload) = self.payload(append, looking)? else {
                    request.known = None;
                    return Ok(());
                };
                let messages = request.fork.map_or(0, |spec| spec.sub_offset);
                let point = wire::after_messages(&payload, messages).map(|len| anchor + len as u64);
                request.sub = Some(SubPoint {
                    source: *source,
                    anchor: *anchor,
                    point,
                });
            }
        }
        Ok(())
    }

    /// The bytes of an append of a fork's source. `None`: they were dropped meanwhile; decide again.
    fn payload(
        &self,
        append: &Part,
        looking: &mut Looking,
    ) -> Result<Option<Vec<u8>>, CreateError> {
        let span = match append {
            Part::History(stretch) => return Ok(looking.finder.read(self, stretch)?),
            Part::Append(span) => span,
        };
        // Durable beyond the frame's begin is durable beyond its end.
        self.store
            .wait(span.frame.lsn + 1, None)
            .map_err(PushError::from)?;
        match self.store.read(&[span.frame]) {
            Ok(chunks) => {
                let mut payload = chunks.concat();
                payload.truncate(span.len());
                Ok(Some(payload))
            }
            // What was deleted or trimmed meanwhile may have been dropped: then it is not asked for again.
            Err(_) if looking.unread.replace(span.frame) != Some(span.frame) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// How far a creation got under the lock.
enum Step {
    Done(Ticket<Result<Created, CreateError>>),
    Recode(Format),
    Look(Wanted),
}

/// What a creation must know of its source that is found outside the lock.
enum Wanted {
    /// Of the sealed append that this begins in.
    Bounds(Stretch),
    /// Source, where this append of it begins, and the append.
    Messages(u64, u64, Part),
}

/// What was looked for in vain: a second time it is an error.
#[derive(Default)]
struct Looking {
    finder: Finder,
    unread: Option<FrameRef>,
}

/// Times before the epoch are kept as the epoch: over, either way.
fn from_epoch(expiry: Expiry) -> Expiry {
    match expiry {
        Expiry::At(at) => Expiry::At(at.max(SystemTime::UNIX_EPOCH)),
        sliding => sliding,
    }
}
