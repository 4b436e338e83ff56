//! A stream as its readers see it: across fork boundaries, clipped at fork points.

use std::ops::ControlFlow;

use durastream_storage::FrameRef;

use crate::state::State;
use crate::stream::Stream;

/// A part of a stream, of its own payloads or an ancestor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// One append that the index knows.
    Append(Span),
    /// What the index has forgotten: sealed files hold it.
    History(Stretch),
}

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

/// Sealed payloads. Where its appends begin and end, only the store knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Whose payloads they are: this stream's or an ancestor's.
    pub(crate) stream: u64,
    /// The first position that is wanted: of an append's first byte, or of any within it.
    pub(crate) from: u64,
    /// Behind the last position. An append may reach beyond it when a fork leaves its source there.
    pub(crate) to: u64,
}

/// A sealed append, or a row of some that cannot be told apart, as the store knows it; true for good, since what lies at
/// a position never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedAppend {
    pub(crate) stream: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Whether it is one append.
    pub(crate) is_single: bool,
}

/// What holds a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing: it is the tail.
    Nothing,
    /// An append or what is inherited of it, where it begins and ends, and how to read it.
    Append(u64, u64, Part),
    /// Some append of a row that cannot be told apart, since they are damaged or lost, and where the row begins.
    Blurred(u64),
    /// One that must be looked up.
    Unknown(Stretch),
}

impl Span {
    /// How many bytes of the frame's payload belong to the stream.
    pub(crate) fn len(&self) -> usize {
        length(self.start, self.end)
    }
}

impl Stretch {
    /// Bytes from where it is wanted.
    pub(crate) fn len(&self) -> usize {
        length(self.from, self.to)
    }
}

fn length(start: u64, end: u64) -> usize {
    usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX)
}

/// Shows what lies beyond `from`, up to `tail`, in order, until told to stop: every append that ends beyond it, and
/// before these what the indexes have forgotten.
pub(crate) fn walk(
    state: &State,
    stream: &Stream,
    from: u64,
    tail: u64,
    mut visit: impl FnMut(Part) -> ControlFlow<()>,
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
        let stretch = Stretch {
            stream: stream.id,
            from: from.max(stream.point()),
            to: stream.index.start().min(bound),
        };
        if stretch.from < stretch.to && visit(Part::History(stretch)).is_break() {
            return;
        }
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
            if visit(Part::Append(span)).is_break() {
                return;
            }
        }
    }
}

/// What holds the byte at `position`, with what is `known` of a sealed append.
pub(crate) fn holding(
    state: &State,
    stream: &Stream,
    position: u64,
    tail: u64,
    known: Option<SealedAppend>,
) -> Held {
    let mut held = Held::Nothing;
    walk(state, stream, position, tail, |part| {
        held = match (part, known) {
            (Part::Append(span), _) => Held::Append(span.start, span.end, part),
            (Part::History(stretch), Some(known)) if known.holds(&stretch) => {
                if !known.is_single {
                    held = Held::Blurred(known.start);
                    return ControlFlow::Break(());
                }
                let (from, to) = (known.start, known.end.min(stretch.to));
                let whole = Stretch {
                    from,
                    to,
                    ..stretch
                };
                Held::Append(from, to, Part::History(whole))
            }
            (Part::History(stretch), _) => Held::Unknown(stretch),
        };
        ControlFlow::Break(())
    });
    held
}

impl SealedAppend {
    /// Whether the stretch begins in it.
    fn holds(&self, stretch: &Stretch) -> bool {
        self.stream == stretch.stream && (self.start..self.end).contains(&stretch.from)
    }
}
