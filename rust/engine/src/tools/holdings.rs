//! What a directory must hold: every payload that somebody may still read, in the log or in sealed files.

use durastream_storage::inspect::{Finding, Inspection};
use durastream_storage::{FrameRef, Lsn, OpenError};

use super::Fault;
use crate::state::State;

/// Payloads read back at once: frames, and bytes of them.
const BATCH: usize = 256;
const BATCH_BYTES: u64 = 16 << 20;

/// Payload of a stream that must be in sealed files.
struct Stretch {
    stream: u64,
    from: u64,
    to: u64,
}

/// Where what can still be read has to be.
#[derive(Default)]
pub(super) struct Holdings {
    /// In the log, by LSN.
    frames: Vec<FrameRef>,
    /// In sealed files, by stream.
    history: Vec<Stretch>,
}

impl Holdings {
    /// What `state` says there is, when everything below `sealed` is in sealed files.
    pub(super) fn of(state: &State, sealed: Lsn) -> Self {
        let mut holdings = Self::default();
        for stream in state.streams.values() {
            let live = state.live(stream.id);
            let end = stream.index.start_behind(|entry| entry.lsn < sealed);
            for part in live.ranges() {
                let (from, to) = (part.start.max(stream.point()), part.end.min(end));
                if from < to {
                    let stream = stream.id;
                    holdings.history.push(Stretch { stream, from, to });
                }
            }
            for (start, entry) in stream.index.behind(|entry| entry.lsn < sealed) {
                if live.bytes(start, entry.end) == 0 {
                    continue;
                }
                holdings.frames.push(FrameRef {
                    lsn: entry.lsn,
                    stream: stream.id,
                    position: start,
                    len: u32::try_from(entry.end - start).unwrap_or(u32::MAX),
                });
            }
        }
        holdings.frames.sort_unstable_by_key(|frame| frame.lsn);
        holdings
            .history
            .sort_unstable_by_key(|stretch| (stretch.stream, stretch.from));
        holdings
    }

    /// How many events that is, as far as that can be read.
    pub(super) fn events(&self, inspection: &Inspection) -> u64 {
        let history = self.history.iter().map(|it| {
            let events = inspection.history_events(it.stream, it.from, it.to);
            events.unwrap_or_default()
        });
        self.frames.len() as u64 + history.sum::<u64>()
    }

    /// How many payload bytes.
    pub(super) fn payload_bytes(&self) -> u64 {
        let frames = self.frames.iter().map(|frame| u64::from(frame.len));
        let history = self.history.iter().map(|it| it.to - it.from);
        frames.sum::<u64>() + history.sum::<u64>()
    }

    /// Tells what no sealed file that can be opened has.
    pub(super) fn find_missing(
        &self,
        inspection: &Inspection,
        state: &State,
        faults: &mut Vec<Fault>,
    ) {
        let lost = inspection.lost_files().into_iter().next();
        let file = lost.unwrap_or_else(|| inspection.manifest_file());
        for stretch in &self.history {
            let Some(stream) = state.stream(stretch.stream) else {
                continue;
            };
            for gap in inspection.history_gaps(stretch.stream, stretch.from, stretch.to) {
                let named = (stream.id, &stream.path);
                let (file, detail) = match gap.trace {
                    Some(trace) => (trace.file, format!("they were {}", trace.detail)),
                    None => {
                        let detail = "no sealed file that can be read has them";
                        (file.clone(), detail.to_owned())
                    }
                };
                let range = (gap.from, gap.to);
                faults.push(Fault::missing(file, 0, named, range, &detail));
            }
        }
    }

    /// Reads all of the sealed files, and tells what is wrong with them and whom that hurts.
    pub(super) fn verify_history(
        &self,
        inspection: &Inspection,
        state: &State,
        faults: &mut Vec<Fault>,
    ) -> Result<(), OpenError> {
        inspection.verify_history(&mut |finding| {
            let hurt = self.hurt(&finding, state);
            faults.push(Fault::of(finding, None));
            faults.extend(hurt);
        })
    }

    fn hurt(&self, finding: &Finding, state: &State) -> Vec<Fault> {
        let mut hurt = Vec::new();
        for lost in &finding.lost {
            let Some(stream) = state.stream(lost.stream) else {
                continue;
            };
            let named = (stream.id, &stream.path);
            for stretch in self.sealed_of(lost.stream) {
                let range = (lost.from.max(stretch.from), lost.to.min(stretch.to));
                if range.0 < range.1 {
                    let (file, detail) = (finding.file.clone(), &finding.detail);
                    hurt.push(Fault::missing(file, finding.offset, named, range, detail));
                }
            }
        }
        hurt
    }

    /// What of a stream must be in sealed files.
    fn sealed_of(&self, stream: u64) -> &[Stretch] {
        let from = self.history.partition_point(|it| it.stream < stream);
        let to = self.history.partition_point(|it| it.stream <= stream);
        self.history.get(from..to).unwrap_or_default()
    }

    /// Reads back what must be in the log, and tells what cannot be.
    pub(super) fn read_back(
        &self,
        inspection: &Inspection,
        state: &State,
        faults: &mut Vec<Fault>,
    ) {
        let mut rest = &self.frames[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(BATCH).take_while(|frame| {
                bytes += u64::from(frame.len);
                bytes <= BATCH_BYTES
            });
            let (batch, behind) = rest.split_at(fits.count().max(1));
            rest = behind;
            if inspection.read(batch).is_ok() {
                continue;
            }
            for frame in batch {
                if let Err(error) = inspection.read(&[*frame])
                    && let Some(stream) = state.stream(frame.stream)
                {
                    faults.push(Fault::unreadable(frame, &stream.path, &error));
                }
            }
        }
    }
}
