//! Walking a segment's groups and frames in order, until its end or a hole.

use crate::Lsn;
use crate::error::OpenError;
use crate::frame::{self, Frame, Outline};
use crate::group::{GROUP_HEAD, GroupHead, seed};
use crate::log::Visit;
use crate::segment::Segment;
use crate::window::Window;

/// Why a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Everything up to the segment's logical end, or to the end of its room, verified.
    End,
    /// Something at this LSN is neither a group nor a frame.
    Hole(Hole),
}

/// Where a segment's verified bytes end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) lsn: Lsn,
    pub(crate) detail: String,
    /// End of the group that it lies in, when that group's header verified.
    pub(crate) group_end: Option<Lsn>,
    /// There is a mark: the log rested here.
    pub(crate) marked: bool,
}

/// How far a walk came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walked {
    /// The LSN reached.
    pub(crate) end: Lsn,
    pub(crate) frames: u64,
    /// Highest LSN below which a group's header says that everything was synced.
    pub(crate) proven: Lsn,
    pub(crate) stop: Stop,
}

/// Shows every frame from `from` on.
///
/// `limit` is the segment's logical end, the base of the next one. `from` is the start of a group or
/// of a frame.
pub(crate) fn walk(
    segment: &Segment,
    from: Lsn,
    limit: Option<Lsn>,
    visit: &mut Visit<'_>,
) -> Result<Walked, OpenError> {
    walk_in(Window::new(segment), segment, from, limit, visit)
}

/// The same, as seen through a window on the segment.
pub(crate) fn walk_in(
    window: Window<'_>,
    segment: &Segment,
    from: Lsn,
    limit: Option<Lsn>,
    visit: &mut Visit<'_>,
) -> Result<Walked, OpenError> {
    let mut walk = Walk {
        window,
        segment,
        at: from,
        limit: limit.unwrap_or_else(|| segment.limit()),
        group: Group::Unknown,
        frames: 0,
        proven: 0,
    };
    let stop = loop {
        match walk.step(visit)? {
            None => {}
            // Without a successor, what is left may be too short for a group: no hole then.
            Some(Stop::Hole(hole)) if limit.is_none() && !segment.holds_head_at(hole.lsn) => {
                break Stop::End;
            }
            Some(stop) => break stop,
        }
    };
    Ok(Walked {
        end: walk.at,
        frames: walk.frames,
        proven: walk.proven,
        stop,
    })
}

/// What is known of the group around.
#[derive(Clone, Copy)]
enum Group {
    /// The walk began within one, maybe.
    Unknown,
    /// Its end and how many frames are still to come.
    Until(Lsn, u32),
}

struct Walk<'s> {
    window: Window<'s>,
    segment: &'s Segment,
    at: Lsn,
    limit: Lsn,
    group: Group,
    frames: u64,
    proven: Lsn,
}

impl Walk<'_> {
    /// Takes one header or frame.
    fn step(&mut self, visit: &mut Visit<'_>) -> Result<Option<Stop>, OpenError> {
        if self.at == self.limit {
            return Ok(Some(Stop::End));
        }
        match self.group {
            Group::Until(end, left) if self.at < end => {
                if left == 0 {
                    return Ok(Some(self.hole("the group has more bytes than frames")));
                }
                self.frame(end, visit)
            }
            Group::Until(_, left) if left > 0 => {
                Ok(Some(self.hole("the group has fewer frames than it says")))
            }
            Group::Until(..) => match self.head()? {
                Some(head) => Ok(self.enter(head)),
                None => Ok(Some(self.hole("no group begins here"))),
            },
            Group::Unknown => match self.head()? {
                Some(head) => Ok(self.enter(head)),
                None if self.at == self.segment.base => Ok(Some(self.hole("no group begins here"))),
                None => self.frame(self.limit, visit),
            },
        }
    }

    fn head(&mut self) -> Result<Option<GroupHead>, OpenError> {
        let bytes = self.window.get(self.segment.offset(self.at), GROUP_HEAD)?;
        Ok(bytes
            .and_then(|bytes| GroupHead::decode(bytes, self.segment.birth.salt))
            .filter(|head| head.start == self.at))
    }

    fn enter(&mut self, head: GroupHead) -> Option<Stop> {
        self.proven = self.proven.max(head.synced);
        if head.is_mark() {
            let detail = "the log ended here".to_owned();
            return Some(Stop::Hole(Hole {
                lsn: self.at,
                detail,
                group_end: None,
                marked: true,
            }));
        }
        self.group = Group::Until(head.start.saturating_add(head.len), head.frames);
        self.at += GROUP_HEAD as u64;
        None
    }

    fn frame(&mut self, end: Lsn, visit: &mut Visit<'_>) -> Result<Option<Stop>, OpenError> {
        let seed = seed(self.segment.birth.salt);
        let offset = self.segment.offset(self.at);
        let room = end.min(self.limit).saturating_sub(self.at);
        let whole = match self.window.get(offset, frame::HEAD)?.map(Outline::read) {
            Some(Ok(outline)) if outline.whole() as u64 <= room => outline.whole(),
            Some(Ok(_)) => return Ok(Some(self.hole("the frame is longer than its group"))),
            Some(Err(detail)) => return Ok(Some(self.hole(detail))),
            None => return Ok(Some(self.hole("the frame is cut short"))),
        };
        let lsn = self.at;
        let decoded: Result<Frame<'_>, &str> = match self.window.get(offset, whole)? {
            Some(bytes) => frame::decode(bytes, lsn, seed),
            None => Err("the frame is cut short"),
        };
        let frame = match decoded {
            Ok(frame) => frame,
            Err(detail) => return Ok(Some(self.hole(detail))),
        };
        let end = frame.end;
        visit(frame).map_err(|detail| OpenError::Replay { lsn, detail })?;
        self.at = end;
        self.frames += 1;
        if let Group::Until(_, left) = &mut self.group {
            *left -= 1;
        }
        Ok(None)
    }

    fn hole(&mut self, detail: &str) -> Stop {
        let group_end = match self.group {
            Group::Until(end, _) if self.at < end => Some(end),
            _ => None,
        };
        Stop::Hole(Hole {
            lsn: self.at,
            detail: detail.to_owned(),
            group_end,
            marked: false,
        })
    }
}

/// The stream of the frame at `lsn`, when its fixed part can still be read.
pub(crate) fn stream_at(segment: &Segment, lsn: Lsn) -> Option<u64> {
    let mut window = Window::new(segment);
    let outline = Outline::read(window.get(segment.offset(lsn), frame::HEAD).ok()??).ok()?;
    (outline.lsn == lsn).then_some(outline.stream)
}
