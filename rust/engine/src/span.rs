//! The appends of a stream as its readers see them: across fork boundaries, clipped at fork points.

use std::ops::ControlFlow;

use durastream_storage::FrameRef;

use crate::state::State;
use crate::stream::Stream;

/// One append, or what a fork inherited of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Position of its first byte.
    pub(crate) start: u64,
    /// Position behind its last byte that belongs to the stream.
    pub(crate) end: u64,
    /// The frame, of this stream or an ancestor.
    pub(crate) frame: FrameRef,
}

impl Span {
    /// How many bytes of the frame's payload belong to the stream.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.end - self.start).unwrap_or(usize::MAX)
    }
}

/// Shows every append that ends beyond `from`, up to `tail`, in order, until told to stop.
pub(crate) fn walk(
    state: &State,
    stream: &Stream,
    from: u64,
    tail: u64,
    mut visit: impl FnMut(Span) -> ControlFlow<()>,
) {
    // This stream first, then as many ancestors as `from` reaches back to, each with its upper bound.
    let mut chain = vec![(stream, tail)];
    let mut youngest = stream;
    let mut bound = tail;
    while let Some(origin) = youngest.origin()
        && from < origin.point
        && let Some(source) = state.stream(origin.source)
    {
        bound = bound.min(origin.point);
        chain.push((source, bound));
        youngest = source;
    }
    for (stream, bound) in chain.into_iter().rev() {
        for (start, entry) in stream.index.beyond(from) {
            if start >= bound {
                break;
            }
            let span = Span {
                start,
                end: entry.end.min(bound),
                frame: FrameRef {
                    lsn: entry.lsn,
                    stream: stream.id,
                    position: start,
                    len: u32::try_from(entry.end - start).unwrap_or(u32::MAX),
                },
            };
            if visit(span).is_break() {
                return;
            }
        }
    }
}

/// The append that holds the byte at `position`, if there is one before `tail`.
pub(crate) fn holding(state: &State, stream: &Stream, position: u64, tail: u64) -> Option<Span> {
    let mut found = None;
    walk(state, stream, position, tail, |span| {
        found = Some(span);
        ControlFlow::Break(())
    });
    found
}
