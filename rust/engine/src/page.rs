//! Pages of whole appends (protocol sections 5.6 to 5.8): planned under the lock, read outside of it.

use std::ops::ControlFlow;

use bytes::Bytes;
use durastream_storage::{Chunk, FrameRef, ReadError, Store};

use crate::core::Inner;
use crate::engine::Shared;
use crate::errors::PageError;
use crate::reader::Reader;
use crate::span::{Part, Span, Stretch, walk};
use crate::stream::Stream;
use crate::types::{From, Page};
use crate::{Offset, StreamPath};

/// Most appends that the index names for one page, so that planning it stays short.
const PAGE_APPENDS: usize = 1 << 16;
/// Sealed appends that lie together and have so many bytes are left in their file, where that is wanted.
const LOCATED_BYTES: u64 = 64 << 10;

/// A page before its bytes are read.
struct Plan {
    /// The position asked for.
    from: u64,
    tail: u64,
    /// Appends that the index knows: together with what is sealed no less than the page may have.
    appends: Vec<Span>,
    /// What is sealed, each with the number of appends before it.
    history: Vec<(usize, Stretch)>,
    /// Nothing is left out up to the tail.
    is_whole: bool,
    closed: bool,
    incarnation: u64,
}

/// A page as it is read.
struct Content<T> {
    chunks: Vec<T>,
    bytes: usize,
    /// Position of the first byte, and behind the last one.
    range: Option<(u64, u64)>,
}

/// Whether a page takes more.
type Room = ControlFlow<()>;

impl Reader {
    /// Whether `page(from, max)` would not touch the disk.
    pub fn is_hot(&self, from: From, max_bytes: usize) -> bool {
        self.plan(from, max_bytes).is_ok_and(|plan| {
            let frames: Vec<_> = plan.appends.iter().map(|span| span.frame).collect();
            plan.history.is_empty() && self.shared.store.is_hot(&frames)
        })
    }

    /// [`Reader::page`], unless that would touch the disk: then `None`.
    pub fn hot_page(&self, from: From, max_bytes: usize) -> Option<Result<Page, PageError>> {
        self.hot_page_of(from, max_bytes)
    }

    /// The same in memory ([`Bytes`]) or, as [`durastream_storage::Piece`], with large sealed parts left in their files.
    pub fn hot_page_of<T: Chunk>(
        &self,
        from: From,
        max_bytes: usize,
    ) -> Option<Result<Page<T>, PageError>> {
        let plan = match self.plan(from, max_bytes) {
            Ok(plan) if !plan.history.is_empty() => return None,
            Ok(plan) => plan,
            Err(error) => return Some(Err(error)),
        };
        let mut content = Content::new();
        content.add_hot(&self.shared.store, &plan.appends)?;
        Some(Ok(self.answer(&plan, content, true)))
    }

    /// Every durable append whose end lies beyond `from`, up to `max_bytes` but at least one.
    ///
    /// A position inside an append gives that whole append; one past the tail by 1 gives nothing
    /// yet; one further beyond is `Gone`, like one of another life or below the floor.
    pub fn page(&self, from: From, max_bytes: usize) -> Result<Page, PageError> {
        self.page_of(from, max_bytes)
    }

    /// The same in memory ([`Bytes`]) or, as [`durastream_storage::Piece`], with large sealed parts left in their files.
    pub fn page_of<T: Chunk>(&self, from: From, max_bytes: usize) -> Result<Page<T>, PageError> {
        let mut plan = self.plan(from, max_bytes)?;
        let (content, is_whole) = loop {
            match plan.read(&self.shared, max_bytes) {
                Ok(read) => break read,
                Err(error) => {
                    // What was deleted or trimmed meanwhile may have been dropped.
                    let again = self.plan(from, max_bytes)?;
                    if again.from == plan.from {
                        return Err(named(error, &self.path).into());
                    }
                    plan = again;
                }
            }
        };
        Ok(self.answer(&plan, content, is_whole))
    }

    /// The page that was read. `is_whole`: all that was planned is in it.
    fn answer<T>(&self, plan: &Plan, content: Content<T>, is_whole: bool) -> Page<T> {
        let mut inner = self.shared.core.lock();
        inner.counts.reads += 1;
        inner.counts.read_bytes += content.bytes as u64;
        drop(inner);
        let offset = |position| Offset {
            incarnation: plan.incarnation,
            position,
        };
        let (start, next) = content.range.unwrap_or((plan.tail, plan.tail));
        let up_to_date = is_whole && plan.is_whole;
        Page {
            chunks: content.chunks,
            start: offset(start),
            next: offset(next),
            up_to_date,
            closed: up_to_date && plan.closed,
        }
    }

    fn plan(&self, from: From, max_bytes: usize) -> Result<Plan, PageError> {
        self.ask(|inner| plan(inner, self.find(inner)?, from, max_bytes))
    }
}

/// Chooses the appends of a page.
fn plan(inner: &Inner, stream: &Stream, from: From, max_bytes: usize) -> Result<Plan, PageError> {
    let horizon = inner.durable.max(stream.created_end);
    let tail = stream.tail_at(horizon);
    let from = position(stream, from, tail)?;
    let mut plan = Plan {
        from,
        tail,
        appends: Vec::new(),
        history: Vec::new(),
        is_whole: true,
        closed: stream.closed_at(horizon),
        incarnation: stream.root(),
    };
    let mut bytes: usize = 0;
    walk(&inner.state, stream, from, tail, |part| {
        let is_first = plan.appends.is_empty() && plan.history.is_empty();
        // How much of what is sealed fits is found when it is read.
        let (len, least) = match part {
            Part::Append(span) => (span.len(), span.len()),
            Part::History(stretch) => (stretch.len(), 1),
        };
        let is_full = bytes.saturating_add(least) > max_bytes || plan.appends.len() == PAGE_APPENDS;
        if is_full && !is_first {
            plan.is_whole = false;
            return ControlFlow::Break(());
        }
        bytes = bytes.saturating_add(len);
        match part {
            Part::Append(span) => plan.appends.push(span),
            Part::History(stretch) => plan.history.push((plan.appends.len(), stretch)),
        }
        ControlFlow::Continue(())
    });
    Ok(plan)
}

/// Says whose read it was: the store knows streams by number only.
fn named(error: ReadError, path: &StreamPath) -> ReadError {
    match error {
        ReadError::Damaged {
            file,
            offset,
            detail,
        } => ReadError::Damaged {
            file,
            offset,
            detail: format!("{detail}, read of stream '{path}'"),
        },
        other => other,
    }
}

impl Plan {
    /// Reads the page; `true` when all that was planned fits into it.
    fn read<T: Chunk>(
        &self,
        shared: &Shared,
        max_bytes: usize,
    ) -> Result<(Content<T>, bool), ReadError> {
        let mut content = Content::new();
        let mut rest = &self.appends[..];
        let mut before = 0;
        for (at, stretch) in &self.history {
            let (appends, behind) = rest.split_at(at - before);
            (rest, before) = (behind, *at);
            if content.add_appends(shared, appends, max_bytes)?.is_break()
                || content.add_history(shared, stretch, max_bytes)?.is_break()
            {
                return Ok((content, false));
            }
        }
        let room = content.add_appends(shared, rest, max_bytes)?;
        Ok((content, room.is_continue()))
    }
}

impl<T: Chunk> Content<T> {
    fn new() -> Self {
        Self {
            chunks: Vec::new(),
            bytes: 0,
            range: None,
        }
    }

    /// Adds these appends; `None` if that would touch the disk.
    fn add_hot(&mut self, store: &Store, appends: &[Span]) -> Option<()> {
        if let Some(run) = Run::of(appends, None) {
            let chunks = store.read_hot(&run.frames())?;
            self.add_whole(&run, chunks);
        }
        Some(())
    }

    /// Adds as many appends as fit, but at least one to an empty page.
    fn add_appends(
        &mut self,
        shared: &Shared,
        appends: &[Span],
        max_bytes: usize,
    ) -> Result<Room, ReadError> {
        let mut bytes = self.bytes;
        let fits = |span: &&Span| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(span.len());
            is_first || bytes <= max_bytes
        };
        let fitting = &appends[..appends.iter().take_while(fits).count()];
        for run in runs::<T>(&shared.store, fitting) {
            match run.in_history(shared) {
                Some(chunks) => self.add(run.start, run.end, chunks),
                None => {
                    let chunks = shared.store.read(&run.frames())?;
                    self.add_whole(&run, chunks);
                }
            }
        }
        Ok(room(fitting.len() == appends.len()))
    }

    /// Adds as many of the appends of a stretch as fit, but at least one to an empty page.
    fn add_history(
        &mut self,
        shared: &Shared,
        stretch: &Stretch,
        max_bytes: usize,
    ) -> Result<Room, ReadError> {
        let left = max_bytes.saturating_sub(self.bytes);
        if self.bytes > 0 && left == 0 {
            return Ok(room(false));
        }
        let history = shared.history::<T>(stretch, left)?;
        if history.end <= stretch.from {
            return Err(shared.missing(stretch));
        }
        let bytes: usize = history.chunks.iter().map(T::len).sum();
        if self.bytes > 0 {
            // The first of them is given also when it is too long.
            if bytes > left {
                return Ok(room(false));
            }
            // Where one stream's part begins, an append begins.
            if history.start != stretch.from {
                return Err(shared.missing(stretch));
            }
        }
        self.add(history.start, history.end, history.chunks);
        Ok(room(history.end == stretch.to))
    }

    /// Adds these appends, of which a fork may see less than is stored.
    fn add_whole(&mut self, run: &Run<'_>, mut chunks: Vec<Bytes>) {
        for (chunk, span) in chunks.iter_mut().zip(run.appends) {
            chunk.truncate(span.len());
        }
        self.add(
            run.start,
            run.end,
            chunks.into_iter().map(T::from).collect(),
        );
    }

    fn add(&mut self, start: u64, end: u64, chunks: Vec<T>) {
        debug_assert!(self.range.is_none_or(|(_, behind)| behind == start));
        self.bytes += chunks.iter().map(T::len).sum::<usize>();
        self.range = Some((self.range.map_or(start, |(first, _)| first), end));
        if self.chunks.is_empty() {
            self.chunks = chunks;
        } else {
            self.chunks.extend(chunks);
        }
    }
}

/// Appends of a page, one behind the other, that are read in one way.
struct Run<'p> {
    appends: &'p [Span],
    /// Sealed: where they lie can be told by these.
    located: Option<u64>,
    start: u64,
    end: u64,
}

/// Splits appends into those of each stream that are sealed, where that matters, and others.
fn runs<'p, T: Chunk>(store: &Store, appends: &'p [Span]) -> impl Iterator<Item = Run<'p>> {
    let sealed = if T::LOCATES { store.sealed() } else { 0 };
    let place = move |span: &Span| (span.frame.lsn < sealed).then_some(span.frame.stream);
    let together = appends.chunk_by(move |a, b| place(a) == place(b));
    together.filter_map(move |appends| Run::of(appends, place(appends.first()?)))
}

impl<'p> Run<'p> {
    fn of(appends: &'p [Span], sealed_of: Option<u64>) -> Option<Self> {
        let (first, last) = (appends.first()?, appends.last()?);
        Some(Self {
            appends,
            located: sealed_of.filter(|_| last.end - first.start >= LOCATED_BYTES),
            start: first.start,
            end: last.end,
        })
    }

    fn frames(&self) -> Vec<FrameRef> {
        self.appends.iter().map(|span| span.frame).collect()
    }

    /// As parts of sealed files, unless all of it is in memory: copying from there costs less.
    fn in_history<T: Chunk>(&self, shared: &Shared) -> Option<Vec<T>> {
        if self.located.is_none() || shared.store.is_hot(&self.frames()) {
            return None;
        }
        let stretch = Stretch {
            stream: self.located?,
            from: self.start,
            to: self.end,
        };
        let history = shared.history(&stretch, stretch.len()).ok()?;
        ((history.start, history.end) == (self.start, self.end)).then_some(history.chunks)
    }
}

fn room(all_fit: bool) -> Room {
    if all_fit {
        Room::Continue(())
    } else {
        Room::Break(())
    }
}

/// Where to read from, in a stream with this durable tail.
fn position(stream: &Stream, from: From, tail: u64) -> Result<u64, PageError> {
    let asked = match from {
        From::Start | From::At(Offset::START) => return Ok(stream.floor()),
        From::Now => return Ok(tail),
        From::At(asked) => asked,
    };
    let gone = |why| PageError::Gone {
        asked,
        why,
        earliest: stream.offset(stream.floor()),
        tail: stream.offset(tail),
    };
    match stream.position(asked) {
        None => Err(gone("it is of an earlier life of this path")),
        Some(position) if position < stream.floor() => Err(gone("what was there is trimmed")),
        Some(position) if position > stream.tail().max(tail + 1) => {
            Err(gone("nothing was ever written there"))
        }
        Some(position) => Ok(position),
    }
}
