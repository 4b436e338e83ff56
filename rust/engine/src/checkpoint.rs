//! The state as a checkpoint's payload. The store keeps its checksum.
//!
//! Version, next id, content types, then every stream in the order of paths; numbers as varints,
//! payload ends and LSNs as differences. Whatever only waits to be durable is written as done, since
//! a checkpoint counts only once everything below its LSN is durable.

use std::sync::Arc;

use bytes::Bytes;
use durastream_storage::Lsn;
use rustc_hash::FxHashMap;

use crate::event::{put_expiry, put_origin, take_expiry, take_origin, take_path};
use crate::state::State;
use crate::stream::{Entry, Extra, Lifetime, NEVER, Phase, Progress, Stream};
use crate::types::Producer;
use crate::varint::{Input, Malformed, put, put_bytes};
use crate::wire::Format;

const VERSION: u8 = 1;

const CLOSED: u8 = 1;
const SOFT: u8 = 2;
const LIFETIME: u8 = 4;
const EXTRA: u8 = 8;

/// Bytes after which another chunk is begun, so that nothing large is moved.
const CHUNK: usize = if cfg!(fuzzing) { 4 << 10 } else { 4 << 20 };

/// Room beyond, for the stream that fills a chunk.
const SLACK: usize = CHUNK / 64;

/// An encoded state.
pub(crate) struct Encoded {
    pub(crate) chunks: Vec<Bytes>,
    /// The lowest LSN that holds a payload somebody may still read.
    pub(crate) oldest: Option<Lsn>,
}

/// Encodes what writers see.
pub(crate) fn encode(state: &State) -> Encoded {
    let mut types: FxHashMap<Arc<str>, u64> = FxHashMap::default();
    let mut names = Vec::new();
    let mut oldest: Option<Lsn> = None;
    let mut out = Vec::with_capacity(CHUNK + SLACK);
    let mut chunks = vec![Bytes::new()];
    for stream in state.paths().values().filter_map(|id| state.stream(*id)) {
        let number = types.get(&stream.content_type).copied();
        let number = number.unwrap_or_else(|| {
            let number = names.len() as u64;
            types.insert(Arc::clone(&stream.content_type), number);
            names.push(Arc::clone(&stream.content_type));
            number
        });
        let first = put_stream(&mut out, stream, number);
        oldest = oldest.into_iter().chain(first).min();
        if out.len() >= CHUNK {
            let full = std::mem::replace(&mut out, Vec::with_capacity(CHUNK + SLACK));
            chunks.push(full.into());
        }
    }
    chunks.push(out.into());
    let mut head = vec![VERSION];
    put(&mut head, state.next_id);
    put(&mut head, names.len() as u64);
    for name in &names {
        put_bytes(&mut head, name.as_bytes());
    }
    put(&mut head, state.paths().len() as u64);
    if let Some(first) = chunks.first_mut() {
        *first = head.into();
    }
    Encoded { chunks, oldest }
}

/// Writes a stream; gives the LSN of its first payload.
fn put_stream(out: &mut Vec<u8>, stream: &Stream, content_type: u64) -> Option<Lsn> {
    let mut flags = 0;
    if stream.is_closed() {
        flags |= CLOSED;
    }
    if stream.phase == Phase::Soft {
        flags |= SOFT;
    }
    if stream.lifetime.is_some() {
        flags |= LIFETIME;
    }
    let extra = stream.extra.as_ref().filter(|extra| !is_blank(extra));
    if extra.is_some() {
        flags |= EXTRA;
    }
    let floor = stream.reserved_floor();
    let dropped = stream
        .index
        .partition_point(|entry| entry.end <= stream.kept());
    let before = dropped
        .checked_sub(1)
        .and_then(|last| stream.index.get(last));
    let start = before.map_or_else(|| stream.index_start(), |entry| entry.end);
    out.push(flags);
    put(out, stream.id);
    put(out, stream.root());
    put_bytes(out, stream.path.as_str().as_bytes());
    put(out, content_type);
    put(out, stream.created_at);
    put(out, floor);
    put(out, start);
    put(out, stream.forks.into());
    put(out, (stream.index.len() - dropped) as u64);
    let (mut end, mut lsn) = (start, 0);
    for entry in stream.index.iter().skip(dropped) {
        put(out, entry.end - end);
        put(out, entry.lsn - lsn);
        (end, lsn) = (entry.end, entry.lsn);
    }
    if let Some(lifetime) = &stream.lifetime {
        put_expiry(out, Some(lifetime.expiry), lifetime.inherited);
        put(out, lifetime.logged);
    }
    if let Some(extra) = extra {
        put_extra(out, extra);
    }
    stream.index.get(dropped).map(|entry| entry.lsn)
}

/// Whether there is nothing in it that [`put_extra`] writes.
fn is_blank(extra: &Extra) -> bool {
    extra.fork.is_none()
        && extra.producers.is_empty()
        && extra.closing.is_none()
        && extra.stream_seq.is_none()
}

fn put_extra(out: &mut Vec<u8>, extra: &Extra) {
    put_origin(out, extra.fork.as_ref());
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

/// Rebuilds a state, its maps included. Deadlines are queued by [`State::recovered`].
pub(crate) fn decode(bytes: &[u8]) -> Result<State, Malformed> {
    let mut input = Input::new(bytes);
    if input.byte()? != VERSION {
        return Err(Malformed("unknown version"));
    }
    let mut state = State::default();
    state.next_id = input.number()?;
    let mut types: Vec<(Arc<str>, Format)> = Vec::new();
    for _ in 0..input.number()? {
        let name: Arc<str> = input.text()?.into();
        let name = state.intern(&name);
        let format = Format::of(&name);
        types.push((name, format));
    }
    let count = input.number()?;
    // A stream takes more than 8 bytes: a malformed count must not allocate at will.
    let likely = usize::try_from(count)
        .unwrap_or(usize::MAX)
        .min(bytes.len() / 8);
    state.streams.reserve(likely);
    let mut paths = Vec::with_capacity(likely);
    for _ in 0..count {
        let stream = take_stream(&mut input, &types)?;
        if stream.phase == Phase::Soft {
            state.soft_deleted += 1;
        }
        paths.push((stream.path.clone(), stream.id));
        state.streams.insert(stream.id, Box::new(stream));
    }
    state.name_all(paths);
    if !input.is_empty() {
        return Err(Malformed("bytes left over"));
    }
    Ok(state)
}

fn take_stream(input: &mut Input<'_>, types: &[(Arc<str>, Format)]) -> Result<Stream, Malformed> {
    let flags = input.byte()?;
    let id = input.number()?;
    let root = input.number()?;
    let path = take_path(input)?;
    let (content_type, format) = usize::try_from(input.number()?)
        .ok()
        .and_then(|number| types.get(number))
        .ok_or(Malformed("content type"))?;
    let created_at = input.number()?;
    let floor = input.number()?;
    let index_start = input.number()?;
    let forks = u32::try_from(input.number()?).map_err(|_| Malformed("forks"))?;
    let index = take_index(input, index_start)?;
    let lifetime = if flags & LIFETIME != 0 {
        let (expiry, inherited) = take_expiry(input)?;
        let expiry = expiry.ok_or(Malformed("lifetime"))?;
        let logged = input.number()?;
        Some(Box::new(Lifetime::new(expiry, inherited, logged)))
    } else {
        None
    };
    let mut extra = if flags & EXTRA != 0 {
        Some(Box::new(take_extra(input)?))
    } else {
        None
    };
    if root != id || floor != 0 || index_start != 0 || flags & SOFT != 0 {
        let extra = extra.get_or_insert_default();
        extra.root = (root != id).then_some(root);
        extra.floor = floor;
        extra.kept = if forks > 0 { index_start } else { floor };
        extra.index_start = index_start;
        extra.gone_end = (flags & SOFT != 0).then_some(0);
    }
    Ok(Stream {
        id,
        path,
        content_type: Arc::clone(content_type),
        created_at,
        created_end: 0,
        last_end: 0,
        closed_end: if flags & CLOSED != 0 { 0 } else { NEVER },
        tail: index.last().map_or(index_start, |entry| entry.end),
        index,
        forks,
        phase: if flags & SOFT != 0 {
            Phase::Soft
        } else {
            Phase::Live
        },
        format: *format,
        lifetime,
        extra,
    })
}

fn take_index(input: &mut Input<'_>, start: u64) -> Result<Vec<Entry>, Malformed> {
    const OVERFLOW: Malformed = Malformed("a position over 64 bits");
    let count = input.number()?;
    let mut index = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(4096));
    let (mut end, mut lsn) = (start, 0u64);
    for _ in 0..count {
        end = end.checked_add(input.number()?).ok_or(OVERFLOW)?;
        lsn = lsn.checked_add(input.number()?).ok_or(OVERFLOW)?;
        index.push(Entry { end, lsn });
    }
    Ok(index)
}

fn take_extra(input: &mut Input<'_>) -> Result<Extra, Malformed> {
    let mut extra = Extra {
        fork: take_origin(input)?,
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
