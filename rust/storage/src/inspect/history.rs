//! The sealed files of a directory that is looked at.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::finding::{self, Finding};
use super::{Inspection, Listed, version};
use crate::Lsn;
use crate::error::{OpenError, ReadError};
use crate::frame::FrameRef;
use crate::home::MANIFEST;
use crate::sealed::{HEADER, Sealed, SealedFile, Trace};

/// Bytes that an extent shows of its payload.
const SHOWN: u64 = 64;

/// A sealed file, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealedFacts {
    /// The file.
    pub file: PathBuf,
    /// It holds what was alive of the log from here ...
    pub from: Lsn,
    /// ... up to here.
    pub to: Lsn,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Bytes of payload in it.
    pub payload_bytes: u64,
    /// Streams that have something in it.
    pub streams: u64,
    /// Events in it.
    pub events: u64,
}

/// A run of one stream's payload in a sealed file, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtentFacts {
    /// The file.
    pub file: PathBuf,
    /// Byte offset in it.
    pub offset: u64,
    /// The LSNs that the file is for: from, up to.
    pub lsns: (Lsn, Lsn),
    /// The stream.
    pub stream: u64,
    /// Position of the first byte.
    pub start: u64,
    /// Position behind the last byte.
    pub end: u64,
    /// Number of events, when that can be read.
    pub events: Option<u64>,
    /// The first bytes, when they can be read.
    pub head: Option<Bytes>,
}

/// Positions of a stream that should be in sealed files and are not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Position of the first byte.
    pub from: u64,
    /// Position behind the last byte.
    pub to: u64,
    /// What is left of them, when they were damaged before they were sealed.
    pub trace: Option<Trace>,
}

impl Inspection {
    /// Opens the sealed files that are listed; notes what is wrong with those that cannot be opened.
    pub(super) fn take_files(&mut self) -> Result<(), OpenError> {
        let mut open = Vec::new();
        for entry in self.manifest.files.clone() {
            let refusal = match SealedFile::open(&self.home, &entry) {
                Ok(file) => {
                    open.push(Arc::new(file));
                    continue;
                }
                Err(refusal) => refusal,
            };
            let headless = SealedFile::open_headless(&self.home, &entry);
            if headless.is_err()
                && let Some(version) = version::of_sealed(&self.home, &entry)?
            {
                return Err(version);
            }
            self.findings.push(Finding::of(refusal)?);
            match headless {
                Ok(file) => {
                    let lost = file.lost().len() as u64;
                    open.push(Arc::new(file));
                    self.listed.push(Listed::Headless(entry, lost));
                }
                Err(OpenError::Damaged { .. } | OpenError::Version { .. }) => {
                    self.listed.push(Listed::Lost(entry));
                }
                Err(other) => return Err(other),
            }
        }
        self.sealed = Sealed::of(&self.home, open);
        for pair in self.sealed.files().windows(2) {
            if let [one, next] = pair
                && next.entry().from < one.entry().to
            {
                let detail = format!("it overlaps {}", one.path().display());
                let overlap = Finding::damage(next.path().to_owned(), 24, detail);
                self.findings.push(overlap);
            }
        }
        let sealed = self.manifest.sealed;
        if let Some(oldest) = self.oldest().filter(|oldest| *oldest > sealed) {
            let detail = format!("the log was sealed up to LSN {sealed}, but begins at {oldest}");
            let file = self.home.path(MANIFEST);
            self.findings.push(Finding::damage(file, 88, detail));
        }
        Ok(())
    }

    /// Everything below is in sealed files, or was dead.
    pub fn sealed(&self) -> Lsn {
        self.manifest.sealed
    }

    /// The sealed files that can be read, in LSN order.
    pub fn sealed_files(&self) -> Vec<SealedFacts> {
        let files = self.sealed.files();
        let facts = files.iter().map(|file| {
            let entry = file.entry();
            SealedFacts {
                file: file.path().to_owned(),
                from: entry.from,
                to: entry.to,
                bytes: entry.bytes,
                payload_bytes: file.payload_bytes(),
                streams: file.streams(),
                events: file.events(),
            }
        });
        facts.collect()
    }

    /// Sealed files that are listed and cannot be read at all.
    pub fn lost_files(&self) -> Vec<PathBuf> {
        let lost = self.listed.iter().filter_map(|listed| match listed {
            Listed::Lost(entry) => Some(self.home.sealed(entry.number)),
            Listed::Headless(..) => None,
        });
        lost.collect()
    }

    /// Positions of `stream` between `from` and `to` of which no sealed file that can be read has anything.
    pub fn history_gaps(&self, stream: u64, from: u64, to: u64) -> Vec<Gap> {
        let (mut gaps, mut at) = (Vec::new(), from);
        let files = self.sealed.files();
        let extents = files
            .iter()
            .flat_map(|file| file.extents().behind(stream, from));
        for extent in extents.filter(|extent| extent.start < to) {
            self.add_gap(stream, at, extent.start, &mut gaps);
            at = at.max(extent.end);
        }
        self.add_gap(stream, at, to, &mut gaps);
        gaps
    }

    /// Adds what is missing from `from` up to `to`, if that is anything: what was lost before it was sealed apart from
    /// what was lost later.
    fn add_gap(&self, stream: u64, from: u64, to: u64, gaps: &mut Vec<Gap>) {
        let files = self.sealed.files();
        let lost = files.iter().flat_map(|file| {
            let parts = file.lost().behind(stream, from);
            parts.map(move |part| (file.path(), part))
        });
        let mut at = from;
        let mut add = |from: u64, to: u64, trace| {
            if from < to {
                gaps.push(Gap { from, to, trace });
            }
        };
        for (file, part) in lost.take_while(|(_, part)| part.start < to) {
            add(at, part.start, None);
            let start = part.start.max(at);
            at = part.end.min(to).max(at);
            add(start, at, Some(part.trace(&self.home, file)));
        }
        add(at, to, None);
    }

    /// How many sealed events of `stream` have a byte between `from` and `to`.
    pub fn history_events(&self, stream: u64, from: u64, to: u64) -> Result<u64, ReadError> {
        self.sealed.events(stream, from, to)
    }

    /// Reads all of the sealed files and shows what is not as it was written, block by block.
    pub fn verify_history(&self, see: &mut dyn FnMut(Finding)) -> Result<(), OpenError> {
        for file in self.sealed.files().iter() {
            file.verify(&mut |flaw| {
                let lost = flaw.lost.into_iter();
                see(Finding {
                    lost: lost
                        .map(|(stream, from, to)| finding::Lost { stream, from, to })
                        .collect(),
                    ..Finding::damage(file.path().to_owned(), flaw.offset, flaw.detail)
                });
            })?;
        }
        Ok(())
    }

    /// Shows every extent of the sealed files that reach beyond LSN `from`, until `see` answers `false`.
    pub fn extents(&self, from: Lsn, see: &mut dyn FnMut(ExtentFacts) -> bool) {
        for file in self.sealed.files().iter().filter(|it| it.entry().to > from) {
            let entry = file.entry();
            for extent in file.extents().iter() {
                let facts = ExtentFacts {
                    file: file.path().to_owned(),
                    offset: HEADER + extent.data_at,
                    lsns: (entry.from, entry.to),
                    stream: extent.stream,
                    start: extent.start,
                    end: extent.end,
                    events: file.events_in(&extent).ok(),
                    head: file.read(extent.data_at, extent.len().min(SHOWN)).ok(),
                };
                if !see(facts) {
                    return;
                }
            }
        }
    }

    /// The payload of a frame that the log does not hold any more.
    pub(super) fn read_sealed(&self, frame: &FrameRef) -> Result<Bytes, ReadError> {
        let payload = self.sealed.payload(frame)?;
        payload.ok_or_else(|| ReadError::Damaged {
            file: self.home.dir().to_owned(),
            offset: 0,
            detail: format!(
                "neither a segment nor a sealed file holds LSN {}",
                frame.lsn
            ),
        })
    }
}
