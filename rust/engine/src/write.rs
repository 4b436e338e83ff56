//! The writing half of the engine: what is prepared outside the lock, and what happens under it.

use std::time::SystemTime;

use bytes::Bytes;
use durastream_storage::{Lsn, PushError};

use crate::body::{Encoded, within};
use crate::core::Inner;
use crate::engine::Shared;
use crate::errors::{AppendError, ChangeError, CreateError, LimitError};
use crate::event::Event;
use crate::moment::Millis;
use crate::retention::{Reconfigure, Retention};
use crate::rules::{
    AppendDecision, ConfigureDecision, CreateDecision, CreateRequest, DEFAULT_TYPE, SubPoint,
    TrimDecision, decide_append, decide_configure, decide_create, decide_delete, decide_trim, info,
};
use crate::span::Span;
use crate::stream::{NEVER, Phase};
use crate::types::{Append, Appended, Create, Created, Expiry, Ticket};
use crate::watch::Wakes;
use crate::wire::{self, Format, is_content_type};
use crate::{Offset, StreamPath};

/// Streams removed to make room for a creation at a path that expired streams hold.
const REAP: usize = 10_000;

impl Shared {
    pub(crate) fn append(
        &self,
        path: &StreamPath,
        append: &Append,
    ) -> Ticket<Result<Appended, AppendError>> {
        let format = match &append.content_type {
            Some(content_type) => Format::of(content_type),
            None => self.format_at(path),
        };
        let body = self.body(format, append);
        let mut wakes = Wakes::default();
        let ticket = {
            let mut inner = self.core.lock();
            self.append_locked(&mut inner, self.now(), path, append, body, &mut wakes)
        };
        wakes.deliver();
        ticket
    }

    pub(crate) fn append_many(
        &self,
        appends: &[(StreamPath, Append)],
    ) -> Vec<Ticket<Result<Appended, AppendError>>> {
        let formats: Vec<Format> = {
            let inner = self.core.lock();
            let format = |(path, append): &(StreamPath, Append)| match &append.content_type {
                Some(content_type) => Format::of(content_type),
                None => inner
                    .state
                    .at(path)
                    .map_or(Format::Bytes, |stream| stream.format),
            };
            appends.iter().map(format).collect()
        };
        let bodies: Vec<_> = appends
            .iter()
            .zip(formats)
            .map(|((_, append), format)| self.body(format, append))
            .collect();
        let mut wakes = Wakes::default();
        let mut tickets = Vec::with_capacity(appends.len());
        {
            let mut inner = self.core.lock();
            let _together = self.store.batch();
            let now = self.now();
            for ((path, append), body) in appends.iter().zip(bodies) {
                let ticket = self.append_locked(&mut inner, now, path, append, body, &mut wakes);
                let refused = ticket.outcome.is_err();
                tickets.push(ticket);
                if refused {
                    break;
                }
            }
        }
        wakes.deliver();
        tickets
    }

    /// The format of the stream at a path, for a body that comes without a content type.
    fn format_at(&self, path: &StreamPath) -> Format {
        let inner = self.core.lock();
        let stream = inner.state.at(path);
        stream.map_or(Format::Bytes, |stream| stream.format)
    }

    fn body(&self, format: Format, append: &Append) -> Result<Encoded, LimitError> {
        let options = &self.options;
        let limit = options.max_append_bytes;
        within("body bytes", "max_append_bytes", limit, append.body.len())?;
        if let Some(producer) = &append.producer {
            let limit = options.max_producer_id_bytes;
            let value = producer.id.len();
            within("producer id bytes", "max_producer_id_bytes", limit, value)?;
        }
        if let Some(seq) = &append.stream_seq {
            let limit = options.max_stream_seq_bytes;
            within("Stream-Seq bytes", "max_stream_seq_bytes", limit, seq.len())?;
        }
        Ok(Encoded::new(format, &append.body, options))
    }

    fn append_locked(
        &self,
        inner: &mut Inner,
        now: Millis,
        path: &StreamPath,
        append: &Append,
        body: Result<Encoded, LimitError>,
        wakes: &mut Wakes,
    ) -> Ticket<Result<Appended, AppendError>> {
        let refused = |inner: &mut Inner, lsn: Lsn, error: AppendError| {
            inner.counts.refusals += 1;
            Ticket {
                lsn,
                outcome: Err(error),
            }
        };
        let mut body = match body {
            Ok(body) => body,
            Err(limit) => return refused(inner, 0, limit.into()),
        };
        if let Err(error) = inner.expire_at(&self.store, path, now, wakes) {
            return refused(inner, 0, error.into());
        }
        loop {
            match decide_append(&inner.state, now, path, append, &body, &self.options) {
                AppendDecision::Accept(event, payload, appended) => {
                    return match inner.record(&self.store, &event, &payload, wakes) {
                        Ok(placed) => {
                            inner.counts.appends += 1;
                            inner.counts.append_bytes += payload.len() as u64;
                            Ticket {
                                lsn: placed.end,
                                outcome: Ok(appended),
                            }
                        }
                        Err(error) => refused(inner, 0, error.into()),
                    };
                }
                AppendDecision::Duplicate(id, lsn, appended) => {
                    inner.counts.duplicates += 1;
                    if inner.touch(&self.store, id, now, wakes) {
                        self.store.kick();
                    }
                    return Ticket {
                        lsn,
                        outcome: Ok(appended),
                    };
                }
                AppendDecision::Refuse(lsn, error) => {
                    let lsn = lsn.unwrap_or_else(|| inner.absence());
                    return refused(inner, lsn, error);
                }
                // Only when the path changed hands since the body was encoded.
                AppendDecision::Recode(format) => {
                    body = Encoded::new(format, &append.body, &self.options);
                }
            }
        }
    }

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
            retention: create.retention.map(Retention::rounded),
        };
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
                Step::Resolve(source, span) => {
                    let messages = request.fork.map_or(0, |spec| spec.sub_offset);
                    match self.resolve(source, &span, messages) {
                        Ok(sub) => request.sub = Some(sub),
                        Err(error) => {
                            return Ticket {
                                lsn: 0,
                                outcome: Err(error),
                            };
                        }
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
            CreateDecision::Resolve { source, span } => return Step::Resolve(source, span),
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

    /// Counts messages in an append of a fork's source. Blocks when it is cold or not durable yet.
    fn resolve(&self, source: u64, span: &Span, messages: u64) -> Result<SubPoint, CreateError> {
        // Durable beyond the frame's begin is durable beyond its end.
        self.store
            .wait(span.frame.lsn + 1, None)
            .map_err(PushError::from)?;
        let chunks = self.store.read(&[span.frame])?;
        let mut payload = chunks.into_iter().next().unwrap_or_default();
        payload.truncate(span.len());
        let point = wire::after_messages(&payload, messages).map(|len| span.start + len as u64);
        Ok(SubPoint {
            source,
            anchor: span.start,
            point,
        })
    }

    pub(crate) fn delete(&self, path: &StreamPath) -> Ticket<Result<(), ChangeError>> {
        self.change(path, |shared, inner, wakes| {
            let event = decide_delete(&inner.state, path)?;
            shared.log(inner, &event, wakes)
        })
    }

    pub(crate) fn trim(
        &self,
        path: &StreamPath,
        before: Offset,
    ) -> Ticket<Result<Offset, ChangeError>> {
        self.change(path, |shared, inner, wakes| {
            match decide_trim(&inner.state, path, before)? {
                TrimDecision::Already(lsn, floor) => Ok((lsn, floor)),
                TrimDecision::Accept(event, floor) => {
                    let (lsn, ()) = shared.log(inner, &event, wakes)?;
                    Ok((lsn, floor))
                }
            }
        })
    }

    pub(crate) fn configure(
        &self,
        path: &StreamPath,
        change: Reconfigure,
    ) -> Ticket<Result<Retention, ChangeError>> {
        self.change(path, |shared, inner, wakes| {
            match decide_configure(&inner.state, shared.now(), path, change)? {
                ConfigureDecision::Already(lsn, retention) => Ok((lsn, retention)),
                ConfigureDecision::Accept(event, retention) => {
                    let (lsn, ()) = shared.log(inner, &event, wakes)?;
                    Ok((lsn, retention))
                }
            }
        })
    }

    fn log(
        &self,
        inner: &mut Inner,
        event: &Event,
        wakes: &mut Wakes,
    ) -> Result<(Lsn, ()), (Option<Lsn>, ChangeError)> {
        match inner.record(&self.store, event, &Bytes::new(), wakes) {
            Ok(placed) => Ok((placed.end, ())),
            Err(error) => Err((Some(0), error.into())),
        }
    }

    fn change<T>(
        &self,
        path: &StreamPath,
        decide: impl FnOnce(
            &Self,
            &mut Inner,
            &mut Wakes,
        ) -> Result<(Lsn, T), (Option<Lsn>, ChangeError)>,
    ) -> Ticket<Result<T, ChangeError>> {
        let mut wakes = Wakes::default();
        let ticket = {
            let mut inner = self.core.lock();
            let decided = match inner.expire_at(&self.store, path, self.now(), &mut wakes) {
                Ok(()) => decide(self, &mut inner, &mut wakes),
                Err(error) => Err((Some(0), error.into())),
            };
            match decided {
                Ok((lsn, outcome)) => Ticket {
                    lsn,
                    outcome: Ok(outcome),
                },
                Err((lsn, error)) => Ticket {
                    lsn: lsn.unwrap_or_else(|| inner.absence()),
                    outcome: Err(error),
                },
            }
        };
        wakes.deliver();
        ticket
    }
}

/// How far a creation got under the lock.
enum Step {
    Done(Ticket<Result<Created, CreateError>>),
    Recode(Format),
    Resolve(u64, Span),
}

/// Times before the epoch are kept as the epoch: over, either way.
fn from_epoch(expiry: Expiry) -> Expiry {
    match expiry {
        Expiry::At(at) => Expiry::At(at.max(SystemTime::UNIX_EPOCH)),
        sliding => sliding,
    }
}
