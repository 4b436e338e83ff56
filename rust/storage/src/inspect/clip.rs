//! A sealed file without what lies behind a cut of the log.

use crate::Lsn;
use crate::error::{OpenError, ReadError};
use crate::home::Home;
use crate::sealed::{
    BodyWindow, Extent, Losses, Lost, Marks, SealedEntry, SealedFile, SealedWriter, Throttle,
    WriteError,
};

/// Bytes of marks read at once.
const LOOK: usize = 64 << 10;

/// What a stream's tail is at the cut; `None` when there is no such stream.
pub type Tails<'t> = dyn Fn(u64) -> Option<u64> + 't;

/// Writes what `file` has of streams up to their tails at `cut` into file `number`, synced; `None` when that is nothing.
/// What cannot be read is left out.
pub(super) fn clip(
    home: &Home,
    file: &SealedFile,
    number: u64,
    cut: Lsn,
    tails: &Tails<'_>,
) -> Result<Option<SealedEntry>, OpenError> {
    let (entry, throttle) = (file.entry(), Throttle::new(None));
    let to = entry.to.min(cut);
    let lost = file.lost().iter().filter_map(|part| {
        let end = part.end.min(tails(part.stream)?);
        Some(Lost { end, ..*part })
    });
    let (lost, lsns) = (Losses::sorted(lost.collect()), (entry.from, to));
    let written =
        SealedWriter::create_without(home, number, lsns, lost, &throttle).and_then(|mut writer| {
            for extent in file.extents().iter() {
                if let Some(tail) = tails(extent.stream) {
                    copy(&mut writer, file, &extent, tail)?;
                }
            }
            writer.finish(home)
        });
    match written {
        Ok(clipped) => Ok(clipped.map(|clipped| clipped.entry())),
        Err(WriteError::Failed(failure)) => Err(failure.into()),
        Err(other) => Err(OpenError::Damaged {
            file: file.path().to_owned(),
            offset: 0,
            detail: other.to_string(),
        }),
    }
}

/// Copies the events of an extent that end at or before `tail`, as many as can be read.
fn copy(
    writer: &mut SealedWriter<'_>,
    file: &SealedFile,
    extent: &Extent,
    tail: u64,
) -> Result<(), WriteError> {
    let mut start = extent.start;
    for len in lengths(file, extent, tail).unwrap_or_default() {
        if start + len > tail {
            break;
        }
        if let Ok(payload) = file.read(extent.data_at + (start - extent.start), len) {
            writer.event(extent.stream, start, &payload)?;
        }
        start += len;
    }
    Ok(())
}

/// Lengths of the events of an extent, at least of those that begin below `tail`.
fn lengths(file: &SealedFile, extent: &Extent, tail: u64) -> Result<Vec<u64>, ReadError> {
    if extent.start >= tail {
        return Ok(Vec::new());
    }
    if extent.is_single() {
        return Ok(vec![extent.len()]);
    }
    let mut window = BodyWindow::new(file, LOOK);
    let mut walk = Marks::open(&mut window, extent, file.body())?.lengths();
    let mut lengths = Vec::new();
    while let Some(len) = walk.next(&mut window)? {
        lengths.push(len);
    }
    Ok(lengths)
}
