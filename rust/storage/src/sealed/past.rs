//! Sealing a segment that is damaged: what verifies is sealed, what does not is noted as lost.

use std::sync::Arc;

use crate::Lsn;
use crate::error::OpenError;
use crate::home::Home;
use crate::resume::resume;
use crate::sealed::file::SealedFile;
use crate::sealed::lost::Losses;
use crate::sealed::seal::{Collected, SealError, Target, unread};
use crate::sealed::throttle::Throttle;
use crate::segment::Segment;
use crate::tenancy::Tenancy;
use crate::walk::{Stop, walk_in};
use crate::window::Window;

/// What came of sealing past damage.
pub(crate) struct Passed {
    /// `None` when nothing is alive, and nothing that is lost would be.
    pub(crate) file: Option<SealedFile>,
    /// Places at which nothing verifies: from which LSN up to which.
    pub(crate) holes: Vec<(Lsn, Lsn)>,
}

/// Seals what can be read of `segment`, like [`seal`](super::seal), and notes what lay where nothing verifies.
///
/// No recovery may need the segment any more: what its other frames did, which stream was deleted or trimmed, is known
/// from a checkpoint only.
pub(crate) fn seal_past(
    home: &Home,
    segment: &Arc<Segment>,
    end: Lsn,
    number: u64,
    tenancy: &dyn Tenancy,
    throttle: &Throttle,
) -> Result<Passed, SealError> {
    let mut collected = Collected::default();
    let holes = collect(segment, end, &mut collected).map_err(|error| unread(segment, error))?;
    let mut held = Vec::new();
    for (from, to) in &holes {
        throttle.check()?;
        tenancy.within(*from, *to, &mut held);
    }
    let lost = Losses::of(held, segment.birth.number).alive(tenancy);
    let target = Target {
        home,
        number,
        throttle,
    };
    let file = target.write_alive(segment, end, collected, lost, tenancy)?;
    Ok(Passed { file, holes })
}

/// Takes every frame that verifies; gives where none does.
fn collect(
    segment: &Segment,
    end: Lsn,
    collected: &mut Collected,
) -> Result<Vec<(Lsn, Lsn)>, OpenError> {
    let mut holes = Vec::new();
    let mut at = segment.base;
    loop {
        let window = Window::past_errors(segment);
        let walked = walk_in(window, segment, at, Some(end), &mut |frame| {
            collected.take(&frame);
            Ok(())
        })?;
        let Stop::Hole(hole) = walked.stop else {
            return Ok(holes);
        };
        let end = end.min(segment.limit());
        let mut window = Window::past_errors(segment);
        let next = resume(&mut window, segment, hole.lsn + 8, end)?;
        holes.push((hole.lsn, next.unwrap_or(end)));
        match next {
            Some(next) => at = next,
            None => return Ok(holes),
        }
    }
}
