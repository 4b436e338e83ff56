//! Every frame of the log in order, with what is wrong between them.

use std::path::Path;

use super::{Finding, FindingKind, Inspection};
use crate::Lsn;
use crate::error::OpenError;
use crate::frame::Frame;
use crate::resume::resume;
use crate::segment::Segment;
use crate::tail;
use crate::walk::{Hole, Stop, stream_at, walk};
use crate::window::Window;

/// What a scan comes by, in LSN order.
pub enum Seen<'a> {
    /// A verified frame.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// The file it lies in.
        file: &'a Path,
        /// Byte offset in it.
        offset: u64,
    },
    /// Something wrong.
    Finding(Finding),
}

/// How a scan ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scanned {
    /// LSN behind the last frame.
    pub end: Lsn,
    /// Frames shown.
    pub frames: u64,
    /// Bytes of a torn tail.
    pub torn_bytes: u64,
}

type See<'a> = dyn FnMut(Seen<'_>) -> Result<(), String> + 'a;

impl Inspection {
    /// Shows every frame from `from` on, which is 0 or the start of a group or frame, verified, and
    /// what is wrong among them. Behind damage it goes on with the next thing that verifies.
    ///
    /// What `see` refuses ends the scan with [`OpenError::Replay`].
    pub fn scan(&self, from: Lsn, see: &mut See<'_>) -> Result<Scanned, OpenError> {
        let mut scanned = Scanned {
            end: from,
            ..Scanned::default()
        };
        let first = self.segments.first().map(|found| found.segment.base);
        let needed = self.replay_from();
        // Before any frame: those that there are do not follow what the checkpoint says.
        if first.is_some_and(|first| first > needed) {
            show(see, self.nothing_at(needed))?;
        }
        for (index, found) in self.segments.iter().enumerate() {
            let segment = &*found.segment;
            let next = self.segments.get(index + 1);
            let limit = next.map(|next| next.segment.base);
            if segment.limit() < from || limit.is_some_and(|limit| limit <= from) {
                continue;
            }
            // A gap behind a segment is told at that segment's end; this one is before all of them.
            if segment.base > from && scanned.frames == 0 && scanned.end == from && index > 0 {
                let detail = format!("the log has nothing from LSN {from} to {}", segment.base);
                let missing = Finding {
                    lsn: Some(from),
                    ..Finding::damage(segment.path.clone(), 528, detail)
                };
                show(see, missing)?;
            }
            self.scan_segment(segment, from.max(segment.base), limit, &mut scanned, see)?;
        }
        if first.is_none() {
            scanned.end = scanned.end.max(needed);
        }
        let synced = self.synced();
        if scanned.end < synced {
            show(see, self.nothing_at(scanned.end))?;
            // A start reads from there on, whatever lies before.
            if scanned.end < needed && needed < synced {
                show(see, self.nothing_at(needed))?;
            }
        }
        Ok(scanned)
    }

    /// The log has nothing where there must be something.
    fn nothing_at(&self, lsn: Lsn) -> Finding {
        let synced = self.synced();
        let detail = format!("the log has nothing at LSN {lsn}, but it was synced up to {synced}");
        Finding {
            lsn: Some(lsn),
            ..Finding::damage(self.manifest_file(), 24, detail)
        }
    }

    fn scan_segment(
        &self,
        segment: &Segment,
        from: Lsn,
        limit: Option<Lsn>,
        scanned: &mut Scanned,
        see: &mut See<'_>,
    ) -> Result<(), OpenError> {
        let mut at = from;
        loop {
            let walked = walk(segment, at, limit, &mut |frame| {
                let offset = segment.offset(frame.lsn);
                see(Seen::Frame {
                    frame,
                    file: &segment.path,
                    offset,
                })
            })?;
            scanned.frames += walked.frames;
            scanned.end = walked.end;
            let Stop::Hole(hole) = walked.stop else {
                return Ok(());
            };
            let Some(proof) = self.proof(segment, &hole, limit)? else {
                scanned.torn_bytes = tail::torn_bytes(segment, &hole)?;
                if scanned.torn_bytes > 0 {
                    show(see, torn(segment, &hole, scanned.torn_bytes))?;
                }
                return Ok(());
            };
            show(see, self.damage(segment, &hole, &proof))?;
            let behind = limit.unwrap_or_else(|| segment.limit().max(self.synced()));
            let end = limit.map_or(segment.limit(), |limit| limit.min(segment.limit()));
            let start = self.replay_from();
            match resume(&mut Window::new(segment), segment, hole.lsn + 8, end)? {
                // A start reads from there on, whatever lies before: what is wrong there is told by itself.
                resumed if hole.lsn < start && start < resumed.unwrap_or(behind) => at = start,
                Some(lsn) => at = lsn,
                None => {
                    // Whatever was there, it reached up to here.
                    scanned.end = limit.unwrap_or_else(|| hole.lsn.max(self.synced()));
                    return Ok(());
                }
            }
        }
    }

    fn damage(&self, segment: &Segment, hole: &Hole, proof: &str) -> Finding {
        let offset = segment.offset(hole.lsn);
        let mut detail = format!("{}, but {proof}", hole.detail);
        // Not `replay_from`: a checkpoint that cannot be read makes up for nothing.
        let checkpoint = self.checkpoint.as_ref().map_or(0, |(entry, _)| entry.lsn);
        let is_needed = hole.lsn >= checkpoint.min(self.sealed());
        if !is_needed {
            detail += "; it is sealed as far as it can be read, and the newest checkpoint does without it";
        }
        Finding {
            lsn: Some(hole.lsn),
            stream: stream_at(segment, hole.lsn),
            acknowledged: is_needed,
            ..Finding::damage(segment.path.clone(), offset, detail)
        }
    }

    /// What shows that a hole's bytes had been synced.
    fn proof(
        &self,
        segment: &Segment,
        hole: &Hole,
        limit: Option<Lsn>,
    ) -> Result<Option<String>, OpenError> {
        if limit.is_some() {
            return Ok(Some("the log goes on in another segment".to_owned()));
        }
        if self.synced() > hole.lsn {
            let synced = self.synced();
            return Ok(Some(format!("the log was synced up to LSN {synced}")));
        }
        let proof = tail::proof_behind(segment, hole.lsn)?;
        Ok(proof.map(|lsn| format!("a group at LSN {lsn} says that it was synced")))
    }
}

fn show(see: &mut See<'_>, finding: Finding) -> Result<(), OpenError> {
    let lsn = finding.lsn.unwrap_or(0);
    see(Seen::Finding(finding)).map_err(|detail| OpenError::Replay { lsn, detail })
}

fn torn(segment: &Segment, hole: &Hole, bytes: u64) -> Finding {
    let detail = format!(
        "{bytes} bytes of a write that did not finish: {}",
        hole.detail
    );
    Finding {
        kind: FindingKind::Torn,
        acknowledged: false,
        lsn: Some(hole.lsn),
        ..Finding::damage(segment.path.clone(), segment.offset(hole.lsn), detail)
    }
}
