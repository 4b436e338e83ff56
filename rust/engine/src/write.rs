//! The writing half of the engine: what is prepared outside the lock, and what happens under it. Creations are next door.

use bytes::Bytes;
use durastream_storage::Lsn;

use crate::body::{Encoded, within};
use crate::core::Inner;
use crate::engine::Shared;
use crate::errors::{AppendError, ChangeError, LimitError};
use crate::event::Event;
use crate::moment::Millis;
use crate::retention::{Reconfigure, Retention};
use crate::rules::{
    AppendDecision, ConfigureDecision, TrimDecision, decide_append, decide_configure,
    decide_delete, decide_trim,
};
use crate::sealed::Finder;
use crate::span::Stretch;
use crate::types::{Append, Appended, Ticket};
use crate::watch::Wakes;
use crate::wire::Format;
use crate::{Offset, StreamPath};

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
    pub(crate) fn format_at(&self, path: &StreamPath) -> Format {
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
        let (mut finder, mut known) = (Finder::default(), None);
        loop {
            let ticket = self.change(path, |shared, inner, wakes| {
                match decide_trim(&inner.state, path, before, known)? {
                    TrimDecision::Already(lsn, floor) => Ok((lsn, Trimming::Done(floor))),
                    TrimDecision::Accept(event, floor) => {
                        let (lsn, ()) = shared.log(inner, &event, wakes)?;
                        Ok((lsn, Trimming::Done(floor)))
                    }
                    TrimDecision::Find(stretch) => Ok((0, Trimming::Find(stretch))),
                }
            });
            let lsn = ticket.lsn;
            let outcome = match ticket.outcome {
                Ok(Trimming::Find(stretch)) => match finder.find_start(self, &stretch) {
                    Ok(found) => {
                        known = found;
                        continue;
                    }
                    Err(error) => Err(error.into()),
                },
                Ok(Trimming::Done(floor)) => Ok(floor),
                Err(error) => Err(error),
            };
            return Ticket { lsn, outcome };
        }
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

/// How far a trim got under the lock.
enum Trimming {
    Done(Offset),
    Find(Stretch),
}
