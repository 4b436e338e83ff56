//! POST: append, close, or both (protocol sections 5.2 and 5.3).

use bytes::Bytes;
use durastream_engine::{
    Append, AppendError, Appended, Engine, Offset, Producer, StreamPath, Ticket,
};

use crate::etag::{Condition, Tail};
use crate::head::Headers;
use crate::problem::Problem;
use crate::refusal::{self, offset_value};
use crate::response::Answer;
use crate::values::{self, MAX_SAFE};

/// A checked append whose body is still to come.
#[derive(Debug)]
pub(crate) struct Post {
    path: StreamPath,
    append: Append,
    /// Of use only with a body.
    content_type: Result<Option<String>, Problem>,
    condition: Option<Condition>,
}

/// An outcome and the LSN it waits for.
pub(crate) type Tried = Ticket<Result<Appended, AppendError>>;

impl Post {
    /// Checks the head.
    pub(crate) fn parse(path: StreamPath, headers: Headers<'_>) -> Result<Self, Problem> {
        let close = headers.is_true("stream-closed")?;
        let content_type = match content_type(headers) {
            // A close without a body takes any content type; whether there is one is not known yet.
            Err(problem) if !close => return Err(problem),
            content_type => content_type,
        };
        let stream_seq = match headers.single("stream-seq")? {
            Some([]) => {
                return Err(Problem::header(
                    "stream-seq",
                    "Stream-Seq is empty; send a value greater than the last one, or leave it out",
                ));
            }
            seq => seq.map(Bytes::copy_from_slice),
        };
        Ok(Self {
            path,
            content_type,
            append: Append {
                content_type: None,
                body: Bytes::new(),
                close,
                producer: producer(headers)?,
                stream_seq,
                if_tail: None,
            },
            condition: condition(headers)?,
        })
    }

    /// Takes the body; what remains is to try it.
    pub(crate) fn with_body(self, engine: &Engine, body: Bytes) -> Result<Attempt, Refused> {
        let mut append = self.append;
        if !body.is_empty() {
            let content_type = self.content_type.map_err(Refused::now)?;
            if content_type.is_none() {
                return Err(untyped(engine, &self.path));
            }
            append.content_type = content_type;
        } else if !append.close {
            return Err(Refused::now(refusal::empty_append()));
        }
        append.body = body;
        let tails = match self.condition {
            None | Some(Condition::Exists) => None,
            Some(Condition::Tails(tails)) => Some(resolve(engine, &self.path, &tails)?),
        };
        Ok(Attempt {
            path: self.path,
            append,
            tails,
        })
    }
}

/// A refusal and the LSN it waits for.
pub(crate) struct Refused {
    /// What it depends on.
    pub(crate) lsn: u64,
    /// The refusal.
    pub(crate) problem: Problem,
}

impl Refused {
    fn now(problem: Problem) -> Self {
        Self { lsn: 0, problem }
    }
}

/// A body without a content type; says which one it would be.
fn untyped(engine: &Engine, path: &StreamPath) -> Refused {
    let head = engine.head(path);
    let problem = match head.outcome {
        Err(error) => refusal::lookup(&error),
        Ok(info) => Problem::header(
            "content-type",
            format!(
                "an append with a body needs a Content-Type, the one of its stream: {}",
                info.content_type
            ),
        )
        .fact("expected", info.content_type.as_ref()),
    };
    Refused {
        lsn: head.lsn,
        problem,
    }
}

/// The offsets among `tails`; tags of another stream, or another life of this path, are none.
fn resolve(engine: &Engine, path: &StreamPath, tails: &[Tail]) -> Result<Vec<Offset>, Refused> {
    let head = engine.head(path);
    let info = head.outcome.map_err(|error| Refused {
        lsn: head.lsn,
        problem: refusal::lookup(&error),
    })?;
    let mut offsets: Vec<Offset> = tails
        .iter()
        .filter_map(|tail| match *tail {
            Tail::Offset(offset) => Some(offset),
            Tail::Read { id, end } => (id == info.id).then_some(end),
        })
        .collect();
    // Last comes what is tried first.
    offsets.sort_by_key(|offset| is_at(*offset, info.tail));
    if offsets.is_empty() {
        return Err(Refused {
            lsn: head.lsn,
            problem: refusal::tail_moved(info.tail, "a tag of another stream".to_owned()),
        });
    }
    Ok(offsets)
}

/// Checked; empty counts as absent.
fn content_type(headers: Headers<'_>) -> Result<Option<String>, Problem> {
    headers
        .single("content-type")?
        .filter(|raw| !raw.is_empty())
        .map(values::content_type)
        .transpose()
        .map(|text| text.map(str::to_owned))
}

fn condition(headers: Headers<'_>) -> Result<Option<Condition>, Problem> {
    let mut joined: Option<String> = None;
    for raw in headers.all("if-match") {
        let value = String::from_utf8_lossy(raw);
        match &mut joined {
            None => joined = Some(value.into_owned()),
            Some(list) => {
                list.push(',');
                list.push_str(&value);
            }
        }
    }
    joined
        .map(|value| {
            Condition::parse(&value).map_err(|why| {
                Problem::header(
                    "if-match",
                    format!("If-Match takes the ETag of a read, an offset or *: {why}"),
                )
            })
        })
        .transpose()
}

fn producer(headers: Headers<'_>) -> Result<Option<Producer>, Problem> {
    let id = headers.text("producer-id")?;
    let epoch = headers.single("producer-epoch")?;
    let seq = headers.single("producer-seq")?;
    match (id, epoch, seq) {
        (None, None, None) => Ok(None),
        (Some(""), _, _) => Err(Problem::header(
            "producer-id",
            "Producer-Id is empty; use a name that stays the same over restarts",
        )),
        (Some(id), Some(epoch), Some(seq)) => Ok(Some(Producer {
            id: id.to_owned(),
            epoch: number("producer-epoch", "Producer-Epoch", epoch)?,
            seq: number("producer-seq", "Producer-Seq", seq)?,
        })),
        (id, epoch, _) => {
            let missing = if id.is_none() {
                "producer-id"
            } else if epoch.is_none() {
                "producer-epoch"
            } else {
                "producer-seq"
            };
            Err(Problem::header(
                missing,
                format!(
                    "Producer-Id, Producer-Epoch and Producer-Seq go together, {missing} is missing"
                ),
            ))
        }
    }
}

fn number(name: &'static str, shown: &str, raw: &[u8]) -> Result<u64, Problem> {
    values::integer(raw, MAX_SAFE)
        .map_err(|why| Problem::header(name, format!("{shown} is 0 to 2^53-1: {why}")))
}

/// An append that can be tried, and tried again: its clone shares the body.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    path: StreamPath,
    append: Append,
    /// Tails that `If-Match` allows; never empty.
    tails: Option<Vec<Offset>>,
}

impl Attempt {
    /// The stream.
    pub(crate) fn path(&self) -> &StreamPath {
        &self.path
    }

    /// Bytes of the body.
    pub(crate) fn body_len(&self) -> usize {
        self.append.body.len()
    }

    /// Whether a predecessor could be missing.
    pub(crate) fn may_be_early(&self) -> bool {
        self.append.producer.as_ref().is_some_and(|p| p.seq > 0)
    }

    /// How a success is answered.
    pub(crate) fn style(&self) -> Style {
        Style {
            new_data: self.append.producer.is_some() && !self.append.body.is_empty(),
        }
    }

    /// Tries. Of several tails that `If-Match` allows it is the one that is there, or has been moments
    /// ago: the body is checked once, and once more only when the tail moved on to another of them.
    pub(crate) fn run(self, engine: &Engine) -> Tried {
        let Some((first, mut others)) = self.tails.and_then(|mut tails| {
            let first = tails.pop()?;
            Some((first, tails))
        }) else {
            return engine.append(&self.path, self.append);
        };
        let mut append = self.append;
        append.if_tail = Some(first);
        loop {
            let tried = engine.append(&self.path, append.clone());
            let Err(AppendError::TailMoved { tail, .. }) = tried.outcome else {
                return tried;
            };
            let Some(listed) = others.iter().position(|other| is_at(*other, tail)) else {
                return tried;
            };
            append.if_tail = Some(others.swap_remove(listed));
        }
    }
}

/// Whether a tail that a client named, maybe without saying of which stream, is this one.
fn is_at(named: Offset, tail: Offset) -> bool {
    named.position == tail.position && [0, tail.incarnation].contains(&named.incarnation)
}

/// What the request says about the status of a success.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// A producer's data: 200 when it is new.
    new_data: bool,
}

impl Style {
    /// The answer to an outcome.
    pub(crate) fn answer(self, outcome: Result<Appended, AppendError>) -> Answer {
        let appended = match outcome {
            Ok(appended) => appended,
            Err(error) => return refusal::append(error).answer(),
        };
        let status = if self.new_data && !appended.duplicate {
            200
        } else {
            204
        };
        let (epoch, seq) = appended.producer.unzip();
        Answer::new(status)
            .header("stream-next-offset", offset_value(appended.next))
            .flag("stream-closed", appended.closed)
            .maybe("producer-epoch", epoch.map(|n| n.to_string()))
            .maybe("producer-seq", seq.map(|n| n.to_string()))
    }
}
