//! Sealing: a full segment of the log becomes a sealed file.

use std::sync::Arc;

use crate::Lsn;
use crate::cold;
use crate::error::{Failure, OpenError, ReadError, Trouble};
use crate::frame::{Frame, FrameRef};
use crate::home::Home;
use crate::sealed::file::SealedFile;
use crate::sealed::liveness::Lives;
use crate::sealed::lost::Losses;
use crate::sealed::throttle::{Cancelled, Throttle};
use crate::sealed::writer::{SealedWriter, WriteError};
use crate::segment::Segment;
use crate::tenancy::Tenancy;
use crate::walk::{Stop, walk};

/// Payloads up to this many bytes are read together with others; longer ones one by one.
const COPIED: u32 = 1 << 20;
/// Payload bytes that are in memory at once, or more of a segment that is larger than `PASSES` times this. For each so many the
/// segment is read once more, front to back.
const BAND: usize = if cfg!(test) { 64 } else { 16 << 20 };
/// About so often a large segment is read.
const PASSES: u64 = 8;
/// Frames that are asked for at once: what they were read in goes when they are copied.
const ASKED: usize = 256;

/// Why nothing was sealed or merged. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// Told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// What was to be read does not verify, or contradicts itself.
    #[error(transparent)]
    Damaged(#[from] ReadError),
    /// The file system failed.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

impl From<Failure> for SealError {
    fn from(failure: Failure) -> Self {
        Self::Trouble(failure.into())
    }
}

/// What is to be sealed of a segment: its frames with a payload.
#[derive(Default)]
pub(super) struct Collected {
    frames: Vec<FrameRef>,
}

/// Seals what is alive of `segment`, whose logical end is `end`, into file `number`: written and synced, neither its
/// directory nor the manifest. `None` when nothing is alive.
///
/// Takes memory for each frame, and for payload: 16 MiB, or an eighth of the segment where that is more.
pub(crate) fn seal(
    home: &Home,
    segment: &Arc<Segment>,
    end: Lsn,
    number: u64,
    tenancy: &dyn Tenancy,
    throttle: &Throttle,
) -> Result<Option<SealedFile>, SealError> {
    let collected = collect(segment, end)?;
    let target = Target {
        home,
        number,
        throttle,
    };
    target.write_alive(segment, end, collected, Losses::default(), tenancy)
}

/// Where a sealed file is to be written.
pub(super) struct Target<'t> {
    pub(super) home: &'t Home,
    pub(super) number: u64,
    pub(super) throttle: &'t Throttle,
}

impl Target<'_> {
    /// Writes what is alive of what was collected of `segment`, and notes what is lost of it.
    pub(super) fn write_alive(
        &self,
        segment: &Arc<Segment>,
        end: Lsn,
        Collected { mut frames }: Collected,
        lost: Losses,
        tenancy: &dyn Tenancy,
    ) -> Result<Option<SealedFile>, SealError> {
        self.throttle.check()?;
        frames.sort_unstable_by_key(|frame| (frame.stream, frame.position, frame.lsn));
        let stuck = keep_alive(&mut frames, tenancy);
        if frames.is_empty() && lost.is_empty() {
            return Ok(None);
        }
        let written = self.write(segment, end, &frames, lost);
        if written.is_err() {
            // A left-over is removed at the next start, if not now.
            self.home.remove(&self.home.sealed(self.number)).ok();
        }
        if let Ok(Some(file)) = &written {
            file.set_stuck_bytes(stuck);
        }
        written
    }
}

impl Collected {
    /// Takes a frame that verifies.
    pub(super) fn take(&mut self, frame: &Frame<'_>) {
        if frame.payload.is_empty() {
            return;
        }
        self.frames.push(FrameRef {
            lsn: frame.lsn,
            stream: frame.head.stream,
            position: frame.head.position,
            // A frame's payload length has four bytes.
            len: frame.payload.len() as u32,
        });
    }
}

/// Everything with a payload in the segment, verified.
fn collect(segment: &Arc<Segment>, end: Lsn) -> Result<Collected, SealError> {
    let mut collected = Collected::default();
    let walked = walk(segment, segment.base, Some(end), &mut |frame| {
        collected.take(&frame);
        Ok(())
    });
    match walked.map_err(|error| unread(segment, error))?.stop {
        Stop::End => Ok(collected),
        Stop::Hole(hole) => Err(damaged(segment, hole.lsn, &hole.detail)),
    }
}

/// Why a segment could not be walked.
pub(super) fn unread(segment: &Segment, error: OpenError) -> SealError {
    match error {
        OpenError::Io { file, source } => SealError::Damaged(ReadError::Io {
            file,
            detail: source.to_string(),
        }),
        other => damaged(segment, segment.base, &other.to_string()),
    }
}

/// Drops the frames that are dead; gives how many bytes of the others are. They are sorted by stream.
fn keep_alive(frames: &mut Vec<FrameRef>, tenancy: &dyn Tenancy) -> u64 {
    let mut stuck = 0;
    let streams = frames.chunk_by(|one, next| one.stream == next.stream);
    let streams = streams.filter_map(|frames| Some(frames.first()?.stream));
    let lives = Lives::ask(tenancy, streams);
    frames.retain(|frame| {
        let end = frame.position.saturating_add(frame.len.into());
        let alive = lives.of(frame.stream).bytes(frame.position, end);
        if alive > 0 {
            stuck += u64::from(frame.len) - alive;
        }
        alive > 0
    });
    stuck
}

impl Target<'_> {
    fn write(
        &self,
        segment: &Arc<Segment>,
        end: Lsn,
        mut frames: &[FrameRef],
        lost: Losses,
    ) -> Result<Option<SealedFile>, SealError> {
        let sort = |error: WriteError| match error {
            WriteError::Cancelled(cancelled) => SealError::Cancelled(cancelled),
            WriteError::Failed(failure) => failure.into(),
            disorder @ WriteError::Disorder { .. } => {
                damaged(segment, segment.base, &disorder.to_string())
            }
        };
        let (number, lsns) = (self.number, (segment.base, end));
        let mut writer = SealedWriter::create_without(self.home, number, lsns, lost, self.throttle)
            .map_err(sort)?;
        let most = band_bytes(segment.birth.bytes);
        while let Some(first) = frames.first() {
            let band;
            (band, frames) = frames.split_at(band_of(frames, most));
            if first.len > COPIED {
                let payload = cold::read(&[(Arc::clone(segment), *first)])?;
                writer
                    .announce(first.stream, first.position, first.len.into())
                    .and_then(|()| payload.iter().try_for_each(|part| writer.data(part)))
                    .map_err(sort)?;
                continue;
            }
            let payloads = read_band(segment, band)?;
            let mut rest = &payloads[..];
            for frame in band {
                let (payload, behind) = rest
                    .split_at_checked(frame.len as usize)
                    .unwrap_or_default();
                rest = behind;
                writer
                    .event(frame.stream, frame.position, payload)
                    .map_err(sort)?;
            }
        }
        writer.finish(self.home).map_err(sort)
    }
}

/// How much of a segment of so many bytes is read together.
fn band_bytes(segment: u64) -> usize {
    usize::try_from(segment / PASSES).map_or(BAND, |part| part.max(BAND))
}

/// How many of `frames`, from the first, are read together: those up to `most` bytes.
fn band_of(frames: &[FrameRef], most: usize) -> usize {
    let mut bytes = 0;
    let together = frames.iter().take_while(|frame| {
        bytes += frame.len as usize;
        frame.len <= COPIED && bytes <= most
    });
    together.count().max(1)
}

/// The payloads of `band` one behind the other, read in the order in which they lie in the segment.
fn read_band(segment: &Arc<Segment>, band: &[FrameRef]) -> Result<Vec<u8>, SealError> {
    let mut size = 0;
    let places = band.iter().map(|frame| {
        let place = size;
        size += frame.len as usize;
        (*frame, place)
    });
    let mut places: Vec<(FrameRef, usize)> = places.collect();
    places.sort_unstable_by_key(|(frame, _)| frame.lsn);
    let mut payloads = vec![0; size];
    for asked in places.chunks(ASKED) {
        let frames: Vec<_> = asked
            .iter()
            .map(|(frame, _)| (Arc::clone(segment), *frame))
            .collect();
        for ((_, place), payload) in asked.iter().zip(cold::read(&frames)?) {
            if let Some(to) = payloads.get_mut(*place..place + payload.len()) {
                to.copy_from_slice(&payload);
            }
        }
    }
    Ok(payloads)
}

fn damaged(segment: &Segment, lsn: Lsn, detail: &str) -> SealError {
    SealError::Damaged(ReadError::Damaged {
        file: segment.path.clone(),
        offset: segment.offset(lsn),
        detail: detail.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use bytes::{BufMut, BytesMut};
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::frame::{FrameHead, encode_head, head_bytes, whole_bytes};
    use crate::fs::SimFs;
    use crate::fs::sim::{Fault, FaultKind, OpClass};
    use crate::group::{GROUP_HEAD, GroupHead, seed};
    use crate::sealed::model::{Burst, Leftovers, Model, bursts, flip, home, home_on, payload};
    use crate::sealed::{Sealed, SealedEntry};
    use crate::segment::{BLOCK, Birth};
    use crate::tenancy::EverythingAlive;

    const SALT: u64 = 7 << 32 | 5;
    const BASE: Lsn = 8000;

    /// A segment with these payloads, and frames without any between them.
    fn segment(home: &Home, events: &[(u64, u64, u64)]) -> (Arc<Segment>, Lsn) {
        let (mut frames, mut count) = (BytesMut::new(), 0);
        let mut put = |stream, position, payload: &[u8]| {
            let head = FrameHead {
                stream,
                position,
                kind: 2,
                flags: 0,
                producer: None,
                stream_seq: Some(b"seq"),
                meta: b"meta",
            };
            let whole = whole_bytes(head_bytes(&head).unwrap(), payload.len());
            let lsn = BASE + (GROUP_HEAD + frames.len()) as u64;
            let at = encode_head(&mut frames, lsn, whole, &head, payload.len());
            frames.put_slice(payload);
            frames.resize(at + whole as usize, 0);
            let crc = crc32c::crc32c_append(seed(SALT), &frames[at + 4..]);
            frames[at..at + 4].copy_from_slice(&crc.to_le_bytes());
            count += 1;
        };
        // A group has a frame at least.
        put(9, 0, b"");
        for &(stream, start, end) in events {
            put(stream, start, &payload(stream, start, end));
            put(stream, start, b"");
        }
        let len = (GROUP_HEAD + frames.len()) as u64;
        let group = GroupHead {
            start: BASE,
            synced: 0,
            len,
            frames: count,
        };
        let birth = Birth {
            number: 1,
            salt: SALT,
            bytes: BLOCK + len + 4096,
            recycled: false,
        };
        let path = home.segment(1);
        let file = home.create(&path).unwrap();
        file.allocate(birth.bytes).unwrap();
        let (block, group) = (birth.encode_opened(BASE), group.encode(SALT));
        let mut slices = [
            IoSlice::new(&block),
            IoSlice::new(&group),
            IoSlice::new(&frames),
        ];
        file.write_all_at(&mut slices, 0).unwrap();
        (
            Arc::new(Segment {
                birth,
                base: BASE,
                path,
                file,
            }),
            BASE + len,
        )
    }

    fn seal_all(
        home: &Home,
        segment: &Arc<Segment>,
        end: Lsn,
        tenancy: &dyn Tenancy,
    ) -> Result<Option<SealedFile>, SealError> {
        seal(home, segment, end, 2, tenancy, &Throttle::new(None))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_sealed_segment_holds_what_is_alive_of_it(
            batch in bursts(12), tenancy in Leftovers::some(),
        ) {
            let (home, mut model) = (home(), Model::default());
            let (segment, end) = segment(&home, &model.append(&batch));
            model.keep_alive(&tenancy);
            let sealed = Sealed::open(&home, &[]).unwrap();
            let file = seal_all(&home, &segment, end, &tenancy).unwrap();
            prop_assert_eq!(file.is_none(), model.streams.is_empty());
            if let Some(file) = file {
                let SealedEntry { number, from, to, .. } = file.entry();
                prop_assert_eq!((number, from, to), (2, BASE, end));
                sealed.swap(&[], Some(SealedFile::open(&home, &file.entry()).unwrap()));
            }
            model.assert_whole(&sealed);
        }

        #[test]
        fn a_segment_that_does_not_verify_is_not_sealed(batch in bursts(6), bit: Index) {
            let (home, mut model) = (home(), Model::default());
            let events = model.append(&batch);
            let (segment, end) = segment(&home, &events);
            let bytes = (end - BASE) as usize;
            flip(&home, &segment.path, BLOCK * 8 + bit.index(bytes * 8) as u64);
            let refused = seal_all(&home, &segment, end, &EverythingAlive);
            let refused = matches!(refused, Err(SealError::Damaged(ReadError::Damaged { .. })));
            prop_assert!(refused);
            prop_assert!(home.list().unwrap().sealed.is_empty());
        }
    }

    #[test]
    fn large_payloads_are_sealed_too() {
        let (home, mut model) = (home(), Model::default());
        let burst = |stream, len| Burst {
            stream,
            len,
            count: 1,
        };
        let batch = [
            burst(2, 3 << 20),
            burst(1, COPIED.into()),
            burst(2, u64::from(COPIED) + 1),
            burst(1, 10),
        ];
        let (segment, end) = segment(&home, &model.append(&batch));
        let sealed = Sealed::open(&home, &[]).unwrap();
        sealed.swap(
            &[],
            seal_all(&home, &segment, end, &EverythingAlive).unwrap(),
        );
        model.assert_whole(&sealed);
    }

    #[test]
    fn however_large_a_segment_is_it_is_read_only_some_times() {
        let frame = |position| FrameRef {
            lsn: BASE,
            stream: 1,
            position,
            len: 250,
        };
        for count in [0, 1, 1000, 100_000] {
            let frames: Vec<FrameRef> = (0..count).map(frame).collect();
            let (mut left, mut bands) = (&frames[..], 0);
            let most = band_bytes(count * 250);
            while !left.is_empty() {
                left = &left[band_of(left, most)..];
                bands += 1;
            }
            assert!(bands <= PASSES + 1, "{count}: {bands}");
        }
    }

    #[test]
    fn two_payloads_at_one_position_are_damage() {
        let home = home();
        let (segment, end) = segment(&home, &[(1, 0, 10), (1, 5, 15)]);
        let refused = seal_all(&home, &segment, end, &EverythingAlive);
        assert!(matches!(refused, Err(SealError::Damaged(_))));
        assert!(home.list().unwrap().sealed.is_empty());
    }

    #[test]
    fn a_cancelled_sealing_leaves_nothing() {
        let home = home();
        let (segment, end) = segment(&home, &[(1, 0, 10)]);
        let throttle = Throttle::new(None);
        throttle.cancel();
        let refused = seal(&home, &segment, end, 2, &EverythingAlive, &throttle);
        assert!(matches!(refused, Err(SealError::Cancelled(_))));
        assert!(home.list().unwrap().sealed.is_empty());
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one_and_nothing_is_left() {
        for class in [OpClass::Create, OpClass::Write, OpClass::Sync] {
            for (kind, full) in [
                (FaultKind::NoSpace, true),
                (FaultKind::ShortNoSpace, true),
                (FaultKind::Io, false),
            ] {
                let fs = SimFs::new();
                let home = home_on(fs.clone());
                let (segment, end) = segment(&home, &[(1, 0, 10)]);
                fs.inject(Fault {
                    class,
                    after: 0,
                    times: 1,
                    kind,
                });
                let refused = seal_all(&home, &segment, end, &EverythingAlive);
                match refused {
                    Err(SealError::Trouble(Trouble::Full(_))) => assert!(full),
                    Err(SealError::Trouble(Trouble::Broken(_))) => assert!(!full),
                    _ => unreachable!("{class:?} {kind:?}"),
                }
                assert!(home.list().unwrap().sealed.is_empty());
            }
        }
    }
}
