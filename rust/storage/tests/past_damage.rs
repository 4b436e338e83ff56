//! The log is damaged before it is sealed: sealing goes on, what is lost is refused for good, everything else is read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/meddled.rs"]
mod meddled;
mod support;

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use durastream_storage::fs::{Fs, Open, SimFs};
use durastream_storage::inspect::Inspection;
use durastream_storage::{
    CompactError, FrameRef, Held, Live, Lsn, ReadError, Recovering, Store, Tenancy,
};
use meddled::{Meddled, Meddler, Through};
use parking_lot::Mutex;
use rustix::io::Errno;
use support::{Log, append, head, payload, reference, small};

const DIR: &str = "/data";
const EVENT: usize = 500;
const PATIENCE: Duration = Duration::from_secs(20);

/// What was appended, and how many of the streams are gone.
#[derive(Default)]
struct Tenants {
    frames: Mutex<Vec<FrameRef>>,
    gone: Mutex<u64>,
}

impl Tenancy for Tenants {
    fn live(&self, streams: &[u64], out: &mut Vec<Live>) {
        let gone = *self.gone.lock();
        let live = |stream: &u64| match *stream > gone {
            true => Live::ALL,
            false => Live::NOTHING,
        };
        out.extend(streams.iter().map(live));
    }

    fn within(&self, from: Lsn, to: Lsn, out: &mut Vec<Held>) {
        let frames = self.frames.lock();
        let within = frames.iter().filter(|it| (from..to).contains(&it.lsn));
        out.extend(within.map(|it| Held {
            stream: it.stream,
            start: it.position,
            end: it.position + u64::from(it.len),
        }));
    }
}

struct Subject {
    fs: Arc<dyn Fs>,
    tenants: Arc<Tenants>,
    store: Store,
}

impl Subject {
    fn new(fs: Arc<dyn Fs>) -> Self {
        let tenants = Arc::default();
        Self {
            store: open(&fs, DIR, &tenants),
            tenants,
            fs,
        }
    }

    fn reopen(&mut self) {
        self.store.close().unwrap();
        self.store = open(&self.fs, DIR, &self.tenants);
    }

    /// Appends so many events, stream after stream.
    fn append(&self, events: usize) {
        let known = self.frames().len();
        for number in known..known + events {
            let stream = number as u64 % 3 + 1;
            let head = head(stream, (number / 3 * EVENT) as u64);
            let payload = payload(number as u64, EVENT);
            let placed = append(&self.store, &head, &payload);
            let frame = reference(placed, &head, &payload);
            self.tenants.frames.lock().push(frame);
        }
    }

    fn frames(&self) -> Vec<FrameRef> {
        self.tenants.frames.lock().clone()
    }

    /// The file that holds an event, and where the event's frame begins in it.
    fn place(&self, event: usize) -> (PathBuf, u64) {
        let lsn = self.frames()[event].lsn;
        let inspection = Inspection::open(Arc::clone(&self.fs), Path::new(DIR)).unwrap();
        let segments = inspection.segments();
        let segment = segments.iter().rfind(|it| it.base <= lsn).unwrap();
        (segment.file.clone(), 4096 + lsn - segment.base)
    }

    /// Writes into the payload of an event; gives the file.
    fn damage(&self, event: usize) -> PathBuf {
        let (path, offset) = self.place(event);
        overwrite(&*self.fs, &path, b"?", offset + 100);
        path
    }

    fn checkpoint(&self) {
        self.store.write_checkpoint(self.store.end(), &[]).unwrap();
    }

    fn until(&self, what: &str, holds: impl Fn(&Store) -> bool) {
        let begun = Instant::now();
        while !holds(&self.store) {
            let stats = self.store.stats();
            assert!(begun.elapsed() < PATIENCE, "never {what}: {stats:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn settle(&self) {
        self.until("sealed", |store| store.stats().sealing_backlog == 0);
    }

    /// Reads every sealed event in every way: those numbered `lost` are refused, the others are as they were.
    fn assert_lost(&self, lost: &[usize]) {
        assert_lost_in(&self.store, &*self.fs, &self.frames(), lost);
    }
}

fn assert_lost_in(store: &Store, fs: &dyn Fs, frames: &[FrameRef], lost: &[usize]) {
    let sealed = store.sealed();
    for (number, frame) in frames.iter().enumerate() {
        let end = frame.position + u64::from(frame.len);
        let by_frame = store.read(&[*frame]).map(|payloads| payloads[0].to_vec());
        let found = store.history(frame.stream, frame.position, end, usize::MAX);
        let by_position = found.map(|it| it.chunks.concat());
        if lost.contains(&number) {
            assert_refused(&by_frame.unwrap_err(), fs, frame.stream);
            if frame.lsn < sealed {
                assert_refused(&by_position.unwrap_err(), fs, frame.stream);
                assert!(store.event_at(frame.stream, frame.position).is_err());
                let row = store.row_at(frame.stream, frame.position);
                let row = row.unwrap().unwrap();
                assert!(row.start <= frame.position && end <= row.end && !row.is_single);
            }
            continue;
        }
        let wanted = payload(number as u64, EVENT);
        assert_eq!(by_frame.unwrap(), wanted, "event {number}");
        if frame.lsn < sealed {
            assert_eq!(by_position.unwrap(), wanted, "event {number}");
        }
    }
}

/// It names the stream and the segment, where that is; in a backup, which has it not, the file that tells of it.
fn assert_refused(error: &ReadError, fs: &dyn Fs, stream: u64) {
    let ReadError::Damaged { file, detail, .. } = error else {
        panic!("{error}");
    };
    assert!(fs.open(file, Open::Read).is_ok(), "{error}");
    let is_here = file.extension().is_some_and(|it| it == "wal");
    assert_eq!(!is_here, file.starts_with("/backup"), "{error}");
    assert_eq!(!is_here, detail.contains("is not here"), "{error}");
    assert!(detail.contains(&format!("stream {stream}")), "{error}");
}

fn open(fs: &Arc<dyn Fs>, dir: &str, tenants: &Arc<Tenants>) -> Store {
    let mut options = small();
    options.hot_bytes = 0;
    options.unreadable_for = Duration::from_millis(20);
    let mut recovering =
        Recovering::open(Arc::clone(fs), Path::new(dir), options, "a test").unwrap();
    recovering.set_tenancy(Arc::clone(tenants) as Arc<dyn Tenancy>);
    recovering.replay(&mut |_| Ok(())).unwrap();
    recovering.start(Arc::new(Log::default())).unwrap()
}

fn overwrite(fs: &dyn Fs, path: &Path, bytes: &[u8], at: u64) {
    let file = fs.open(path, Open::Write).unwrap();
    file.write_all_at(&mut [IoSlice::new(bytes)], at).unwrap();
}

fn aside(fs: &dyn Fs) -> Vec<PathBuf> {
    fs.list(&Path::new(DIR).join("damaged")).unwrap_or_default()
}

#[test]
fn sealing_goes_on_past_damage_and_what_is_lost_stays_refused() {
    let mut subject = Subject::new(Arc::new(SimFs::new()));
    subject.append(10);
    let damaged = subject.damage(4);
    subject.append(90);
    // What the frames did is not in a checkpoint: nothing is sealed past them.
    subject.until("halted", |store| store.stats().sealing_halted.is_some());
    let halted = subject.store.stats().sealing_halted.unwrap();
    assert!(halted.contains(damaged.to_str().unwrap()), "{halted}");
    assert!(subject.store.wants_checkpoint() && subject.store.sealed() == 0);
    assert!(matches!(
        subject.store.compact(),
        Err(CompactError::Damaged(_))
    ));
    subject.assert_lost(&[4]);

    subject.checkpoint();
    subject.settle();
    let stats = subject.store.stats();
    assert_eq!(
        (stats.sealing_halted, stats.lost_bytes),
        (None, EVENT as u64)
    );
    assert!(!subject.store.wants_checkpoint());
    subject.assert_lost(&[4]);
    // The older checkpoint would need the segment, until there is another one.
    assert_eq!(aside(&*subject.fs), Vec::<PathBuf>::new());
    subject.checkpoint();
    let name = PathBuf::from(damaged.file_name().unwrap());
    assert_eq!(aside(&*subject.fs), [name]);
    assert!(subject.fs.open(&damaged, Open::Read).is_err());

    for round in 0..3 {
        subject.append(40);
        subject.store.compact().unwrap();
        subject.checkpoint();
        subject.assert_lost(&[4]);
        assert_eq!(subject.store.stats().lost_bytes, EVENT as u64);
        assert_eq!(aside(&*subject.fs).len(), 1, "round {round}");
        subject.reopen();
        subject.assert_lost(&[4]);
    }
    let report = subject
        .store
        .backup(&subject.fs, Path::new("/backup"))
        .unwrap();
    assert!(report.sealed_files > 0);
    let backup = open(&subject.fs, "/backup", &subject.tenants);
    assert_lost_in(&backup, &*subject.fs, &subject.frames(), &[4]);
    assert_eq!(backup.stats().lost_bytes, EVENT as u64);

    // Event 4 is of stream 2.
    *subject.tenants.gone.lock() = 1;
    subject.store.compact().unwrap();
    assert_eq!(subject.store.stats().lost_bytes, EVENT as u64);
    *subject.tenants.gone.lock() = 2;
    subject.store.compact().unwrap();
    assert_eq!(subject.store.stats().lost_bytes, 0);
    assert_eq!(aside(&*subject.fs), Vec::<PathBuf>::new());
    subject.reopen();
    assert_eq!(subject.store.stats().lost_bytes, 0);
}

#[test]
fn a_damaged_group_header_loses_nothing() {
    let subject = Subject::new(Arc::new(SimFs::new()));
    subject.append(10);
    let (path, offset) = subject.place(4);
    overwrite(&*subject.fs, &path, b"????", offset - 40);
    subject.append(60);
    subject.checkpoint();
    subject.settle();
    subject.checkpoint();
    subject.assert_lost(&[]);
    let stats = subject.store.stats();
    assert_eq!((stats.lost_bytes, stats.sealing_halted), (0, None));
    assert_eq!(aside(&*subject.fs), Vec::<PathBuf>::new());
}

#[test]
fn whatever_is_overwritten_the_events_before_and_behind_are_sealed() {
    for (from, len) in [(0, 40), (300, 300), (100, 2000), (2000, 6000)] {
        let subject = Subject::new(Arc::new(SimFs::new()));
        // Less than a segment, which would be sealed before it is damaged.
        subject.append(18);
        let (path, first) = subject.place(2);
        let first = first + from;
        let garbage = payload(77, len as usize);
        overwrite(&*subject.fs, &path, &garbage, first);
        let is_hit = |event: &usize| {
            let (file, offset) = subject.place(*event);
            file == path && offset < first + len && offset + 48 + EVENT as u64 > first
        };
        let lost: Vec<usize> = (0..18).filter(is_hit).collect();
        subject.append(60);
        subject.checkpoint();
        subject.settle();
        subject.assert_lost(&lost);
        let bytes = subject.store.stats().lost_bytes;
        assert_eq!(bytes, (lost.len() * EVENT) as u64, "{lost:?}");
        subject.append(60);
        subject.store.compact().unwrap();
        subject.assert_lost(&lost);
    }
}

#[test]
fn a_segment_of_which_nothing_is_left_is_lost_as_a_whole() {
    let subject = Subject::new(Arc::new(SimFs::new()));
    subject.append(10);
    let path = subject.damage(0);
    subject.append(40);
    subject.until("halted", |store| store.stats().sealing_halted.is_some());
    let lost: Vec<usize> = (0..50).filter(|it| subject.place(*it).0 == path).collect();
    assert!((11..50).contains(&lost.len()));
    let len = subject.fs.open(&path, Open::Read).unwrap().len().unwrap();
    overwrite(&*subject.fs, &path, &vec![0xff; len as usize - 4096], 4096);
    subject.checkpoint();
    subject.settle();
    subject.assert_lost(&lost);
    subject.store.compact().unwrap();
    subject.checkpoint();
    subject.assert_lost(&lost);
    assert_eq!(
        subject.store.stats().lost_bytes,
        (lost.len() * EVENT) as u64
    );
    assert_eq!(aside(&*subject.fs).len(), 1);
}

/// A sector of a file that the medium cannot read.
#[derive(Clone, Default)]
struct BadSector(Arc<Mutex<Option<(PathBuf, u64)>>>);

impl Meddler for BadSector {
    fn read(&self, file: &Through<Self>, buf: &mut [u8], at: u64) -> io::Result<()> {
        let is_bad = self.0.lock().as_ref().is_some_and(|(path, sector)| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap();
            file.is_called(name) && at < sector + 512 && at + buf.len() as u64 > *sector
        });
        if is_bad {
            return Err(Errno::IO.into());
        }
        file.inner.read_exact_at(buf, at)
    }
}

#[test]
fn a_sector_that_cannot_be_read_costs_what_lies_around_it() {
    let bad = BadSector::default();
    let subject = Subject::new(Arc::new(Meddled::new(SimFs::new(), bad.clone())));
    subject.append(20);
    let (path, offset) = subject.place(12);
    *bad.0.lock() = Some((path.clone(), offset));
    subject.append(60);
    subject.checkpoint();
    // It is given a second chance.
    let begun = Instant::now();
    while subject.store.compact().is_err() {
        assert!(begun.elapsed() < PATIENCE);
    }
    subject.settle();
    let page = 4096;
    let is_near = |event: &usize| {
        let (file, at) = subject.place(*event);
        let (from, to) = (offset - page, offset + 512 + page);
        file == path && at < to && at + 600 > from
    };
    let near: Vec<usize> = (0..80).filter(is_near).collect();
    let frames = subject.frames();
    let read = |event: usize| {
        let it = frames[event];
        let end = it.position + EVENT as u64;
        subject.store.history(it.stream, it.position, end, EVENT)
    };
    assert!(read(12).is_err());
    for event in (0..80).filter(|it| !near.contains(it)) {
        assert_eq!(
            read(event).unwrap().chunks.concat(),
            payload(event as u64, EVENT)
        );
    }
    let lost = subject.store.stats().lost_bytes;
    assert!((1..=20 * EVENT as u64).contains(&lost), "{lost}");
}
