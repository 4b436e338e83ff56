//! Finding where a segment can be read again behind damage.

use crate::Lsn;
use crate::codec::u64_at;
use crate::error::OpenError;
use crate::frame::{self, Outline};
use crate::group::{GROUP_HEAD, GROUP_MAGIC, GroupHead, seed};
use crate::segment::Segment;
use crate::window::Window;

/// Bytes searched at once.
const SPAN: usize = 1 << 20;

/// The first LSN from `from` on, below `end`, where a group or a frame verifies.
pub(crate) fn resume(
    window: &mut Window<'_>,
    segment: &Segment,
    from: Lsn,
    end: Lsn,
) -> Result<Option<Lsn>, OpenError> {
    let mut whole = window.another();
    let mut at = from;
    while at + GROUP_HEAD as u64 <= end {
        let span = (SPAN as u64).min(end - at) as usize;
        let Some(bytes) = window.get(segment.offset(at), span)? else {
            break;
        };
        for step in (0..=span - GROUP_HEAD).step_by(8) {
            let (bytes, lsn) = (&bytes[step..], at + step as u64);
            let is_group = bytes.starts_with(&GROUP_MAGIC.to_le_bytes())
                && GroupHead::decode(bytes, segment.birth.salt)
                    .is_some_and(|head| head.start == lsn);
            if is_group || (u64_at(bytes, 8) == lsn && is_frame(segment, &mut whole, lsn, end)?) {
                return Ok(Some(lsn));
            }
        }
        // Spans overlap by a header, so that none is missed between two.
        at += ((span - GROUP_HEAD) / 8 * 8 + 8) as u64;
    }
    Ok(None)
}

fn is_frame(
    segment: &Segment,
    window: &mut Window<'_>,
    lsn: Lsn,
    end: Lsn,
) -> Result<bool, OpenError> {
    let offset = segment.offset(lsn);
    let outline = window.get(offset, frame::HEAD)?.map(Outline::read);
    let Some(Ok(outline)) = outline else {
        return Ok(false);
    };
    if outline.whole() as u64 > end - lsn {
        return Ok(false);
    }
    let bytes = window.get(offset, outline.whole())?;
    Ok(bytes.is_some_and(|bytes| frame::decode(bytes, lsn, seed(segment.birth.salt)).is_ok()))
}
