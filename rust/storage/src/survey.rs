//! Opening the segments that the manifest lists, and telling those in use from those in reserve.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::codec::Undecodable;
use crate::error::{During, Failure, OpenError};
use crate::fs::{FsFile, Open};
use crate::group::{GROUP_HEAD, GroupHead};
use crate::home::{Home, Listing};
use crate::manifest::{Manifest, SegmentEntry};
use crate::segment::{BLOCK, Birth, Opening, Reserve, Segment, VERSION};

/// Shortest segment file: a header block and a group's header.
pub(crate) const SMALLEST: u64 = BLOCK + GROUP_HEAD as u64;
/// Longest segment file; neither the options nor a frame ask for more.
const LARGEST: u64 = 1 << 40;
/// Highest LSN at which a segment begins, far from where sums of LSNs overflow.
const LARGEST_BASE: u64 = 1 << 62;

/// The segments of a store.
#[derive(Default)]
pub(crate) struct Survey {
    /// In use, in LSN order.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Listed, never used.
    pub(crate) reserves: Vec<Reserve>,
}

impl Survey {
    /// Opens, syncs and checks everything that `manifest` lists.
    pub(crate) fn make(home: &Home, manifest: &Manifest) -> Result<Self, OpenError> {
        let mut survey = Self::default();
        for entry in &manifest.segments {
            survey.add(home, entry)?;
        }
        survey.segments.sort_by_key(|segment| segment.base);
        for pair in survey.segments.windows(2) {
            if let [one, next] = pair
                && (next.base > one.limit() || next.base == one.base)
            {
                return Err(damaged(
                    &next.path,
                    BLOCK,
                    format!(
                        "it begins at LSN {}, which is no end of {}",
                        next.base,
                        one.path.display()
                    ),
                ));
            }
        }
        Ok(survey)
    }

    /// Opens, syncs and checks one that is listed.
    pub(crate) fn add(&mut self, home: &Home, entry: &SegmentEntry) -> Result<(), OpenError> {
        let path = home.segment(entry.number);
        let file = match home.fs().open(&path, Open::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(
                    &path,
                    0,
                    "a segment that the manifest lists is missing",
                ));
            }
            opened => opened.during("open", &path)?,
        };
        // What is read from here on must not be lost later.
        file.sync_data().during("fdatasync", &path)?;
        let len = file.len().during("stat", &path)?;
        if len < entry.bytes {
            let detail = format!(
                "the file ends here, the manifest says {} bytes",
                entry.bytes
            );
            return Err(damaged(&path, len, detail));
        }
        let (birth, opening) =
            header(&*file, &path)?.map_err(|wrong: Undecodable| wrong.into_open(&path, VERSION))?;
        if (birth.number, birth.salt, birth.bytes) != (entry.number, entry.salt, entry.bytes) {
            return Err(damaged(
                &path,
                16,
                "this is another segment than the manifest lists",
            ));
        }
        let base = if let Opening::Base(base) = opening {
            base
        } else {
            0
        };
        if !(SMALLEST..=LARGEST).contains(&birth.bytes) || base > LARGEST_BASE {
            return Err(damaged(
                &path,
                16,
                "the segment's length or LSN is impossible",
            ));
        }
        match (opening, entry.base) {
            (Opening::Base(base), listed) if listed.is_none_or(|listed| listed == base) => {
                self.segments.push(Arc::new(Segment {
                    birth,
                    base,
                    path,
                    file,
                }));
            }
            // Without an opening there can be no group, so that one is proof that there was one.
            (Opening::Unused | Opening::Unreadable, None)
                if !begins_with_group(&*file, &path, &birth)? =>
            {
                self.reserves.push(Reserve { birth, path, file });
            }
            _ => {
                let detail = "the segment's opening is not what was written, but it was in use";
                return Err(damaged(&path, 512, detail));
            }
        }
        Ok(())
    }
}

/// Refuses a directory whose manifest was lost; left-overs of a first start are fine.
pub(crate) fn refuse_orphans(home: &Home, listing: &Listing) -> Result<(), OpenError> {
    let manifest = home.path(crate::home::MANIFEST);
    if let Some(checkpoint) = listing.checkpoints.first() {
        let detail = format!(
            "the manifest is missing, but there is {}",
            checkpoint.display()
        );
        return Err(damaged(&manifest, 0, detail));
    }
    if let Some(sealed) = listing.sealed.first() {
        let detail = format!("the manifest is missing, but there is {}", sealed.display());
        return Err(damaged(&manifest, 0, detail));
    }
    for path in &listing.segments {
        let file = home.open(path, Open::Read)?;
        if file.len().during("stat", path)? < BLOCK {
            continue;
        }
        if let Ok((birth, _)) = header(&*file, path)?
            && begins_with_group(&*file, path, &birth)?
        {
            let detail = format!("the manifest is missing, but there is {}", path.display());
            return Err(damaged(&manifest, 0, detail));
        }
    }
    Ok(())
}

fn header(
    file: &dyn FsFile,
    path: &Path,
) -> Result<Result<(Birth, Opening), Undecodable>, Failure> {
    let mut block = vec![0; BLOCK as usize];
    file.read_exact_at(&mut block, 0).during("read", path)?;
    Ok(Birth::decode(&block))
}

fn begins_with_group(file: &dyn FsFile, path: &Path, birth: &Birth) -> Result<bool, Failure> {
    let mut bytes = [0; GROUP_HEAD];
    if file.len().during("stat", path)? < BLOCK + GROUP_HEAD as u64 {
        return Ok(false);
    }
    file.read_exact_at(&mut bytes, BLOCK).during("read", path)?;
    Ok(GroupHead::decode(&bytes, birth.salt).is_some())
}

fn damaged(file: &Path, offset: u64, detail: impl Into<String>) -> OpenError {
    OpenError::Damaged {
        file: file.to_owned(),
        offset,
        detail: detail.into(),
    }
}
