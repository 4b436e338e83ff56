//! The state as a checkpoint's payload. The store keeps its checksum.
//!
//! Version, next id, number of streams, then every stream in the order of paths; numbers as varints,
//! payload ends and LSNs as differences. Whatever only waits to be durable is written as done, since
//! a checkpoint counts only once everything below its LSN is durable.

mod first;

use std::sync::Arc;

use bytes::Bytes;
use durastream_storage::Lsn;
use rustc_hash::FxHashMap;

use crate::StreamPath;
use crate::directory::Directory;
use crate::event::{Origin, put_expiry, put_origin, take_expiry, take_origin, take_path};
use crate::index::{Entry, Index, Run};
use crate::retention::Ledger;
use crate::state::State;
use crate::stream::{Extra, Lifetime, NEVER, Phase, Progress, Stream};
use crate::types::Producer;
use crate::varint::{Input, Malformed, put, put_bytes};
use crate::wire::Format;

const VERSION: u8 = 2;

const CLOSED: u8 = 1;
const SOFT: u8 = 2;
const LIFETIME: u8 = 4;
const EXTRA: u8 = 8;
const FLOOR: u8 = 16;
const RETENTION: u8 = 32;

/// Bytes after which another chunk is begun, so that nothing large is moved.
const CHUNK: usize = if cfg!(any(test, fuzzing)) {
    256
} else {
    1 << 20
};

/// Room beyond, for the stream that fills a chunk.
const SLACK: usize = CHUNK / 16;

/// Writes streams, one after the other.
#[derive(Debug)]
pub(crate) struct Encoder {
    out: Vec<u8>,
    types: FxHashMap<Arc<str>, u64>,
    /// The lowest LSN that holds a payload which is named.
    pub(crate) oldest: Option<Lsn>,
}

/// One stream as it was.
#[derive(Debug)]
pub(crate) struct Image {
    content_type: Arc<str>,
    fields: Vec<u8>,
    oldest: Option<Lsn>,
    /// Entries that come next, when they are many.
    run: Option<Box<Run>>,
}

impl Encoder {
    /// A payload for so many streams.
    pub(crate) fn begin(next_id: u64, streams: u64) -> Self {
        let mut out = Vec::with_capacity(CHUNK + SLACK);
        out.push(VERSION);
        put(&mut out, next_id);
        put(&mut out, streams);
        Self {
            out,
            types: FxHashMap::default(),
            oldest: None,
        }
    }

    /// Writes a stream without payloads below `sealed`. Has the entries that are to be written next,
    /// by [`Encoder::put_run`], when they are many.
    pub(crate) fn put(&mut self, stream: &Stream, sealed: Lsn) -> Option<Run> {
        self.put_type(&stream.content_type);
        let (run, oldest) = put_stream(&mut self.out, stream, sealed);
        self.lower(oldest);
        run
    }

    /// The same of a stream as it was.
    pub(crate) fn put_image(&mut self, image: Image) -> Option<Run> {
        self.put_type(&image.content_type);
        self.out.extend_from_slice(&image.fields);
        self.lower(image.oldest);
        image.run.map(|run| *run)
    }

    /// Writes many entries, handing over full chunks meanwhile.
    pub(crate) fn put_run<E>(
        &mut self,
        run: &Run,
        mut give: impl FnMut(Bytes) -> Result<(), E>,
    ) -> Result<(), E> {
        put(&mut self.out, run.len() as u64);
        let mut last = (run.start, 0);
        for entry in run.iter() {
            put_entry(&mut self.out, &mut last, entry);
            if self.is_full() {
                give(self.take())?;
            }
        }
        Ok(())
    }

    /// Whether a chunk is due to be taken.
    pub(crate) fn is_full(&self) -> bool {
        self.out.len() >= CHUNK
    }

    /// What was written since the last take.
    pub(crate) fn take(&mut self) -> Bytes {
        std::mem::replace(&mut self.out, Vec::with_capacity(CHUNK + SLACK)).into()
    }

    /// A content type's number; the first time it is followed by its text.
    fn put_type(&mut self, content_type: &Arc<str>) {
        if let Some(number) = self.types.get(content_type) {
            return put(&mut self.out, *number);
        }
        let number = self.types.len() as u64;
        self.types.insert(Arc::clone(content_type), number);
        put(&mut self.out, number);
        put_bytes(&mut self.out, content_type.as_bytes());
    }

    fn lower(&mut self, lsn: Option<Lsn>) {
        self.oldest = self.oldest.into_iter().chain(lsn).min();
    }
}

impl Image {
    /// A stream as it is, without payloads below `sealed`.
    pub(crate) fn of(stream: &Stream, sealed: Lsn) -> Self {
        let mut fields = Vec::new();
        let (run, oldest) = put_stream(&mut fields, stream, sealed);
        Self {
            content_type: Arc::clone(&stream.content_type),
            fields,
            oldest,
            run: run.map(Box::new),
        }
    }
}

/// Everything in one go.
#[cfg(any(test, fuzzing))]
pub(crate) fn encode(state: &State, sealed: Lsn) -> Vec<u8> {
    let mut out = Encoder::begin(state.next_id, state.paths().len() as u64);
    let mut bytes = Vec::new();
    for stream in state.paths().values().filter_map(|id| state.stream(*id)) {
        let run = out.put(stream, sealed);
        if let Some(run) = run {
            let _ = out.put_run(&run, |chunk| {
                bytes.extend_from_slice(&chunk);
                Ok::<_, ()>(())
            });
        }
        bytes.extend_from_slice(&out.take());
    }
    bytes.extend_from_slice(&out.take());
    bytes
}

/// Writes a stream but for its content type, and but for the entries when they are many. Gives the
/// LSN of its first payload, too.
fn put_stream(out: &mut Vec<u8>, stream: &Stream, sealed: Lsn) -> (Option<Run>, Option<Lsn>) {
    let extra = stream.extra.as_ref().filter(|extra| !is_blank(extra));
    let limited = |ledger: &&Ledger| !ledger.limits().is_unlimited();
    let ledger = stream.ledger().filter(limited);
    let floors = (stream.reserved_floor(), stream.kept());
    let gone = |entry: &Entry| entry.end <= floors.1 || entry.lsn < sealed;
    let flag = |flag, set: bool| if set { flag } else { 0 };
    out.push(
        flag(CLOSED, stream.is_closed())
            | flag(SOFT, stream.phase == Phase::Soft)
            | flag(LIFETIME, stream.lifetime.is_some())
            | flag(EXTRA, extra.is_some())
            | flag(FLOOR, floors != (0, 0))
            | flag(RETENTION, ledger.is_some()),
    );
    put(out, stream.id);
    put_bytes(out, stream.path.as_str().as_bytes());
    put(out, stream.created_at);
    put(out, stream.forks.into());
    if floors != (0, 0) {
        put(out, floors.0);
        put(out, floors.1);
    }
    if let Some(lifetime) = &stream.lifetime {
        put_expiry(out, Some(lifetime.expiry), lifetime.inherited);
        put(out, lifetime.logged);
    }
    if let Some(extra) = extra {
        put_extra(out, extra, stream.root());
    }
    if let Some(ledger) = ledger {
        ledger.encode(out);
    }
    let start = stream.index.start_behind(gone);
    put(out, start);
    if stream.index.is_long() {
        let run = stream.index.run(gone);
        let oldest = run.first().map(|entry| entry.lsn);
        return (Some(run), oldest);
    }
    put(out, stream.index.behind(gone).count() as u64);
    let mut last = (start, 0);
    let mut oldest = None;
    for (_, entry) in stream.index.behind(gone) {
        oldest = oldest.or(Some(entry.lsn));
        put_entry(out, &mut last, entry);
    }
    (None, oldest)
}

fn put_entry(out: &mut Vec<u8>, last: &mut (u64, Lsn), entry: Entry) {
    put(out, entry.end - last.0);
    put(out, entry.lsn - last.1);
    *last = (entry.end, entry.lsn);
}

/// Whether there is nothing in it that [`put_extra`] writes.
fn is_blank(extra: &Extra) -> bool {
    extra.fork.is_none()
        && extra.producers.is_empty()
        && extra.closing.is_none()
        && extra.stream_seq.is_none()
}

fn put_extra(out: &mut Vec<u8>, extra: &Extra, root: u64) {
    put_origin(out, extra.fork.as_ref());
    if extra.fork.is_some() {
        put(out, root);
    }
    put(out, extra.producers.len() as u64);
    let mut producers: Vec<_> = extra.producers.iter().collect();
    producers.sort_unstable_by_key(|(id, _)| *id);
    for (id, progress) in producers {
        put_bytes(out, id.as_bytes());
        put(out, progress.epoch);
        put(out, progress.seq);
    }
    match &extra.closing {
        None => out.push(0),
        Some(producer) => {
            out.push(1);
            put_bytes(out, producer.id.as_bytes());
            put(out, producer.epoch);
            put(out, producer.seq);
        }
    }
    match &extra.stream_seq {
        None => out.push(0),
        Some(seq) => {
            out.push(1);
            put_bytes(out, seq);
        }
    }
}

/// Rebuilds a state. Deadlines are queued by [`State::recovered`].
pub(crate) fn decode(bytes: &[u8]) -> Result<State, Malformed> {
    let mut input = Input::new(bytes);
    let mut builder = Builder::default();
    match input.byte()? {
        1 => first::take(&mut input, &mut builder)?,
        VERSION => {
            builder.state.next_id = input.number()?;
            let count = input.number()?;
            builder.reserve(count, bytes.len());
            for _ in 0..count {
                take_stream(&mut input, &mut builder)?;
            }
        }
        _ => return Err(Malformed("unknown version")),
    }
    if !input.is_empty() {
        return Err(Malformed("bytes left over"));
    }
    builder.state.directory = Directory::of(builder.paths);
    for id in builder.forks {
        builder.state.note_needs(id);
    }
    Ok(builder.state)
}

/// A state as it is read.
#[derive(Default)]
struct Builder {
    state: State,
    types: Vec<(Arc<str>, Format)>,
    paths: Vec<(StreamPath, u64)>,
    forks: Vec<u64>,
}

/// What a checkpoint says of a stream.
struct Fields {
    flags: u8,
    id: u64,
    root: Option<u64>,
    path: StreamPath,
    content_type: (Arc<str>, Format),
    created_at: u64,
    floor: u64,
    kept: u64,
    forks: u32,
    lifetime: Option<Box<Lifetime>>,
    extra: Option<Box<Extra>>,
    index: Index,
}

impl Builder {
    fn reserve(&mut self, count: u64, bytes: usize) {
        // A stream takes more than 8 bytes: a malformed count must not allocate at will.
        let likely = usize::try_from(count).unwrap_or(usize::MAX).min(bytes / 8);
        self.state.streams.reserve(likely);
        self.paths.reserve_exact(likely);
    }

    fn add_type(&mut self, name: &str) {
        let name = self.state.intern(&name.into());
        let format = Format::of(&name);
        self.types.push((name, format));
    }

    fn content_type(&self, number: u64) -> Result<(Arc<str>, Format), Malformed> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let known = self.types.get(number).cloned();
        known.ok_or(Malformed("content type"))
    }

    fn add(&mut self, fields: Fields) -> Result<(), Malformed> {
        let soft = fields.flags & SOFT != 0;
        if fields.floor > fields.index.tail() {
            return Err(Malformed("a floor beyond the tail"));
        }
        let mut extra = fields.extra;
        if fields.root.is_some() || fields.floor != 0 || fields.kept != 0 || soft {
            let extra = extra.get_or_insert_default();
            extra.root = fields.root;
            extra.floor = fields.floor;
            extra.kept = fields.kept;
            extra.gone_end = soft.then_some(0);
            extra.softened = soft;
        }
        if let Some(origin) = extra.as_ref().and_then(|extra| extra.fork.as_ref()) {
            if origin.source >= fields.id {
                return Err(Malformed("a fork of what came after it"));
            }
            self.forks.push(fields.id);
        }
        self.state.soft_deleted += u64::from(soft);
        if self
            .paths
            .last()
            .is_some_and(|(last, _)| *last >= fields.path)
        {
            return Err(Malformed("streams out of order"));
        }
        self.paths.push((fields.path.clone(), fields.id));
        let stream = Stream {
            id: fields.id,
            path: fields.path,
            content_type: fields.content_type.0,
            created_at: fields.created_at,
            created_end: 0,
            last_end: 0,
            closed_end: if fields.flags & CLOSED != 0 { 0 } else { NEVER },
            index: fields.index,
            forks: fields.forks,
            phase: if soft { Phase::Soft } else { Phase::Live },
            format: fields.content_type.1,
            round: 0,
            lifetime: fields.lifetime,
            extra,
        };
        if self.state.streams.insert(Box::new(stream)) {
            Ok(())
        } else {
            Err(Malformed("two streams of one number"))
        }
    }
}

fn take_stream(input: &mut Input<'_>, builder: &mut Builder) -> Result<(), Malformed> {
    let number = input.number()?;
    if number == builder.types.len() as u64 {
        builder.add_type(input.text()?);
    }
    let content_type = builder.content_type(number)?;
    let flags = input.byte()?;
    let id = input.number()?;
    let path = take_path(input)?;
    let created_at = input.number()?;
    let forks = take_forks(input)?;
    let (floor, kept) = match flags & FLOOR {
        0 => (0, 0),
        _ => (input.number()?, input.number()?),
    };
    let lifetime = take_lifetime(input, flags)?;
    let (mut extra, root) = match flags & EXTRA {
        0 => (None, None),
        _ => {
            let fork = take_origin(input)?;
            let root = fork.is_some().then(|| input.number()).transpose()?;
            (Some(Box::new(take_extra(input, fork)?)), root)
        }
    };
    if flags & RETENTION != 0 {
        let ledger = Ledger::decode(input)?;
        extra.get_or_insert_default().ledger = Some(Box::new(ledger));
    }
    let start = input.number()?;
    builder.add(Fields {
        flags,
        id,
        root,
        path,
        content_type,
        created_at,
        floor,
        kept,
        forks,
        lifetime,
        extra,
        index: take_index(input, start)?,
    })
}

fn take_forks(input: &mut Input<'_>) -> Result<u32, Malformed> {
    u32::try_from(input.number()?).map_err(|_| Malformed("forks"))
}

fn take_lifetime(input: &mut Input<'_>, flags: u8) -> Result<Option<Box<Lifetime>>, Malformed> {
    if flags & LIFETIME == 0 {
        return Ok(None);
    }
    let (expiry, inherited) = take_expiry(input)?;
    let expiry = expiry.ok_or(Malformed("lifetime"))?;
    let logged = input.number()?;
    Ok(Some(Box::new(Lifetime::new(expiry, inherited, logged))))
}

fn take_index(input: &mut Input<'_>, start: u64) -> Result<Index, Malformed> {
    const OVERFLOW: Malformed = Malformed("a position over 64 bits");
    let mut index = Index::new(start);
    let (mut end, mut lsn) = (start, 0u64);
    for _ in 0..input.number()? {
        end = end.checked_add(input.number()?).ok_or(OVERFLOW)?;
        lsn = lsn.checked_add(input.number()?).ok_or(OVERFLOW)?;
        index.push(Entry { end, lsn });
    }
    Ok(index)
}

fn take_extra(input: &mut Input<'_>, fork: Option<Origin>) -> Result<Extra, Malformed> {
    let mut extra = Extra {
        fork,
        ..Extra::default()
    };
    for _ in 0..input.number()? {
        let id = input.text()?.into();
        let progress = Progress {
            epoch: input.number()?,
            seq: input.number()?,
        };
        extra.producers.insert(id, progress);
    }
    if input.byte()? != 0 {
        extra.closing = Some(Producer {
            id: input.text()?.to_owned(),
            epoch: input.number()?,
            seq: input.number()?,
        });
    }
    if input.byte()? != 0 {
        extra.stream_seq = Some(input.bytes()?.into());
    }
    Ok(extra)
}
