//! A store in use on a simulated disk, with everything it does noted in a history.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use durastream_storage::fs::{Fs, Open, SimFs};
use durastream_storage::inspect::Inspection;
use durastream_storage::{
    CommitError, CommitObserver, CompactError, Durability, Frame, FrameHead, FrameProducer, Held,
    Live, Lsn, OpenError, PushError, ReadError, Recovering, Store, StoreOptions, Tenancy,
};
use parking_lot::Mutex;

use crate::history::{Event, History, Seen, What};

pub const DIR: &str = "/data";

/// Nothing takes longer than this, or it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The store's own thread looks for files to be merged more often than this, when there are new ones.
const MOMENT: Duration = Duration::from_millis(60);

/// Where operations are counted, and what they meant.
#[derive(Clone)]
pub struct Diary {
    pub sim: SimFs,
    pub history: Arc<Mutex<History>>,
    /// Whether an acknowledgement is to survive a power cut.
    pub is_synced: bool,
}

impl Diary {
    pub fn new(sim: &SimFs, options: &StoreOptions, history: History) -> Self {
        Diary {
            sim: sim.clone(),
            history: Arc::new(Mutex::new(history)),
            is_synced: options.durability == Durability::Sync,
        }
    }

    pub fn acknowledge(&self, lsn: Lsn) {
        self.note(if self.is_synced {
            What::Acknowledged(lsn)
        } else {
            What::Written(lsn)
        });
    }

    pub fn note(&self, what: What) {
        let mut history = self.history.lock();
        history.note(self.sim.op_count(), what);
    }
}

struct Observer(Diary);

/// Who still needs what, as far as the store is told.
#[derive(Default)]
struct Tenants {
    gone: u64,
    lives: BTreeMap<u64, Live>,
}

struct Landlord {
    tenants: Mutex<Tenants>,
    diary: Diary,
}

impl Tenancy for Landlord {
    fn live(&self, streams: &[u64], out: &mut Vec<Live>) {
        let tenants = self.tenants.lock();
        let live = |stream: &u64| match *stream > tenants.gone {
            true => tenants.lives.get(stream).cloned().unwrap_or(Live::ALL),
            false => Live::NOTHING,
        };
        out.extend(streams.iter().map(live));
    }

    fn within(&self, from: Lsn, to: Lsn, out: &mut Vec<Held>) {
        let frames = self.diary.history.lock().at(usize::MAX).frames;
        let within = frames.iter().filter(|it| (from..to).contains(&it.lsn));
        let with_payload = within.filter(|it| !it.payload.is_empty());
        out.extend(with_payload.map(|it| Held {
            stream: it.stream,
            start: it.position,
            end: tail(it).1,
        }));
    }
}

impl CommitObserver for Observer {
    fn committed(&self, durable: Lsn) {
        self.0.acknowledge(durable);
    }

    fn poisoned(&self, _cause: &CommitError) {}
}

/// Recovers, and shows what was found; the store is yet to be started.
pub fn recover(fs: Arc<dyn Fs>, options: &StoreOptions) -> Result<(Recovering, Seen), OpenError> {
    let mut recovering = Recovering::open(fs, Path::new(DIR), options.clone(), "the suite")?;
    let checkpoint = recovering.checkpoint();
    let mut frames = Vec::new();
    let report = recovering.replay(&mut |frame| {
        frames.push(event_of(&frame));
        Ok(())
    })?;
    assert_eq!(report.frames, frames.len() as u64);
    let seen = Seen {
        torn: report.torn_bytes > 0,
        stands_in: report.checkpoint_damage.is_some(),
        checkpoint,
        replay_from: report.replay_from,
        end: report.end,
        frames,
    };
    Ok((recovering, seen))
}

fn event_of(frame: &Frame<'_>) -> Event {
    let head = frame.head;
    Event {
        lsn: frame.lsn,
        end: frame.end,
        stream: head.stream,
        position: head.position,
        kind: head.kind,
        flags: head.flags,
        producer: head.producer.map(|p| (p.id.to_owned(), p.epoch, p.seq)),
        stream_seq: head.stream_seq.map(<[u8]>::to_vec),
        meta: head.meta.to_vec(),
        payload: Bytes::copy_from_slice(frame.payload),
    }
}

/// A running store.
pub struct Session {
    pub store: Store,
    pub diary: Diary,
    /// Frames that are in the log, as far as is known.
    pub frames: Vec<Event>,
    /// Recovery cut a write that had not finished.
    pub torn: bool,
    /// Recovery began with an older checkpoint than the newest, and said so.
    pub stands_in: bool,
    landlord: Arc<Landlord>,
    pushed: u64,
    /// Streams up to this number are gone.
    gone: u64,
    /// Where each stream ends.
    tails: BTreeMap<u64, u64>,
}

/// Why a session went wrong.
#[derive(Debug)]
pub enum Wrong {
    /// The store refused to open.
    Open(OpenError),
    /// What it showed is not what must be there.
    Content(String),
}

impl Session {
    /// Opens the store over `fs`, which is or wraps the diary's disk; checks that it shows what the
    /// diary calls for.
    pub fn open(fs: Arc<dyn Fs>, diary: Diary, options: &StoreOptions) -> Result<Self, Wrong> {
        let (mut recovering, seen) = recover(fs, options).map_err(Wrong::Open)?;
        let mut expected = diary.history.lock().at(usize::MAX);
        expected.acknowledged = expected.acknowledged.max(expected.written);
        let frames = expected.judge(&seen).map_err(Wrong::Content)?;
        let observer = Arc::new(Observer(diary.clone()));
        let gone = expected.gone;
        // What recovery showed is all there is now.
        expected.frames.clone_from(&frames);
        let tenants = Tenants {
            gone,
            lives: expected.lives(),
        };
        let landlord = Arc::new(Landlord {
            tenants: Mutex::new(tenants),
            diary: diary.clone(),
        });
        recovering.set_tenancy(landlord.clone());
        let store = recovering.start(observer).map_err(Wrong::Open)?;
        let end = frames.last().map_or(0, |event| event.end);
        diary.note(What::Cut(end));
        // Readers see it now, so it must not vanish again.
        diary.note(What::Acknowledged(end));
        Ok(Session {
            store,
            diary,
            torn: seen.torn,
            stands_in: seen.stands_in,
            landlord,
            pushed: frames.len() as u64,
            gone,
            tails: frames.iter().map(tail).collect(),
            frames,
        })
    }

    /// Pushes a frame with `len` bytes of payload.
    pub fn push(&mut self, len: usize) -> Result<Lsn, PushError> {
        self.pushed += 1;
        let n = self.pushed;
        let byte = |at: usize| (n as usize * 31 + at * 7 + at / 251) as u8;
        let payload = Bytes::from((0..len).map(byte).collect::<Vec<u8>>());
        let id = format!("producer {}", n % 3);
        let seq = n.to_be_bytes();
        let stream = self.gone + n % 5 + 1;
        let head = FrameHead {
            stream,
            position: self.tails.get(&stream).copied().unwrap_or(0),
            kind: n as u8,
            flags: (n / 3) as u8,
            producer: n.is_multiple_of(2).then_some(FrameProducer {
                id: &id,
                epoch: n / 10,
                seq: n,
            }),
            stream_seq: n.is_multiple_of(3).then_some(&seq),
            meta: &seq[..(n % 8) as usize],
        };
        // Noted at the count before: it may be on disk as soon as it is pushed.
        let op = self.diary.sim.op_count();
        let placed = self.store.push(&head, &payload)?;
        let event = event_of(&Frame {
            lsn: placed.lsn,
            end: placed.end,
            head,
            payload: &payload,
        });
        if let Some(last) = self.frames.last() {
            assert!(placed.lsn >= last.end, "{placed:?} behind {last:?}");
        }
        assert!(placed.end > placed.lsn && placed.lsn % 8 == 0, "{placed:?}");
        let mut history = self.diary.history.lock();
        history.note(op, What::Pushed(event.clone()));
        self.tails.extend([tail(&event)]);
        self.frames.push(event);
        Ok(placed.end)
    }

    /// Waits for everything pushed.
    pub fn commit(&self) -> Result<(), CommitError> {
        let end = self.frames.last().map_or(0, |event| event.end);
        let done = self.store.wait(end, Some(PATIENCE))?;
        assert!(done, "no commit within {PATIENCE:?}");
        self.diary.acknowledge(end);
        Ok(())
    }

    /// Has everything pushed committed by the store's own thread.
    pub fn kick(&self) -> Result<(), CommitError> {
        let end = self.frames.last().map_or(0, |event| event.end);
        let begun = Instant::now();
        self.store.kick();
        while self.store.durable() < end {
            if let Some(cause) = self.store.poisoned() {
                return Err(cause);
            }
            assert!(begun.elapsed() < PATIENCE, "no commit within {PATIENCE:?}");
            thread::sleep(Duration::from_micros(20));
        }
        Ok(())
    }

    /// Writes a checkpoint of everything durable.
    pub fn checkpoint(&self, filler: usize) -> Result<(), CommitError> {
        let durable = self.store.durable();
        let ends = self.frames.iter().map(|event| event.end);
        let lsn = ends.filter(|end| *end <= durable).max().unwrap_or(0);
        let name = format!("checkpoint of {lsn} at {}", self.diary.sim.op_count());
        let pieces = [Bytes::from(name), Bytes::from(vec![b'.'; filler])];
        let whole = Bytes::from(pieces.concat());
        self.diary.note(What::CheckpointBegun(lsn, whole));
        self.store.write_checkpoint(lsn, &pieces)?;
        self.diary.note(What::CheckpointDone(lsn));
        Ok(())
    }

    /// Has nobody need what lies before the `nth` frame any more; without one, every stream is gone.
    pub fn drop_before(&mut self, nth: usize) {
        match self.frames.get(nth) {
            Some(event) => self.diary.note(What::Dropped(event.lsn)),
            None => {
                self.gone += 5;
                self.diary.note(What::Gone(self.gone));
            }
        }
        self.tell_landlord();
    }

    /// Has nobody need what lies between these two frames any more, whatever is needed before.
    pub fn hollow(&mut self, from: usize, to: usize) {
        if let (Some(from), Some(to)) = (self.frames.get(from), self.frames.get(to)) {
            self.diary.note(What::Hollowed(from.lsn, to.lsn));
        }
        self.tell_landlord();
    }

    fn tell_landlord(&self) {
        // Only what is durable may be said.
        let mut expected = self.diary.history.lock().at(usize::MAX);
        let durable = self.store.durable();
        expected.frames.retain(|event| event.end <= durable);
        let mut tenants = self.landlord.tenants.lock();
        tenants.gone = self.gone;
        tenants.lives = expected.lives();
    }

    /// Has everything sealed.
    pub fn compact(&self) -> Result<(), CompactError> {
        self.store.compact()
    }

    /// Waits until the store's own thread has sealed all it can.
    pub fn settle(&self) {
        let begun = Instant::now();
        loop {
            let stats = self.store.stats();
            if stats.sealing_backlog == 0
                || stats.sealing_halted.is_some()
                || self.store.poisoned().is_some()
            {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "not sealed within {PATIENCE:?}: {stats:?}"
            );
            thread::sleep(Duration::from_micros(50));
        }
    }

    /// Waits until the store's own thread has sealed everything that is full.
    pub fn sealed(&self) {
        let begun = Instant::now();
        while self.store.stats().sealing_backlog > 0 {
            let stats = self.store.stats();
            assert!(begun.elapsed() < PATIENCE, "not sealed: {stats:?}");
            thread::sleep(Duration::from_micros(50));
        }
    }

    /// Waits until the store's own thread has merged files, or a moment without.
    pub fn tidy(&self) {
        let before = self.store.stats().compactions;
        let begun = Instant::now();
        while self.store.stats().compactions == before && begun.elapsed() < MOMENT {
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits until the store's own thread has merged files.
    pub fn merged(&self) {
        let begun = Instant::now();
        while self.store.stats().compactions == 0 {
            let stats = self.store.stats();
            assert!(begun.elapsed() < PATIENCE, "nothing is merged: {stats:?}");
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Reads everything back that is still needed and durable: by frames, and what is sealed by positions too.
    pub fn read_back(&self) -> Result<(), String> {
        let expected = self.diary.history.lock().at(usize::MAX);
        let durable = self.store.durable();
        let needed = |event: &&Event| expected.is_needed(event) && event.end <= durable;
        let (hurt, events): (Vec<&Event>, Vec<&Event>) = self
            .frames
            .iter()
            .filter(needed)
            .partition(|event| expected.hurt.contains(&event.lsn));
        for event in hurt {
            self.read_hurt(event)?;
        }
        let references: Vec<_> = events.iter().map(|event| event.reference()).collect();
        let payloads = self.store.read(&references).map_err(|e| e.to_string())?;
        let mut pairs = events.iter().zip(&payloads);
        if let Some((event, _)) = pairs.find(|(event, payload)| event.payload != **payload) {
            return Err(format!("{event:?} reads as something else"));
        }
        let sealed = self.store.sealed();
        let mut streams: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
        for event in events {
            if event.end <= sealed && !event.payload.is_empty() {
                streams.entry(event.stream).or_default().push(event);
            }
        }
        let follows = |one: &&Event, next: &&Event| tail(one).1 == next.position;
        for events in streams.values().flat_map(|events| events.chunk_by(follows)) {
            self.read_history(events).map_err(|e| e.to_string())??;
        }
        Ok(())
    }

    /// Reads an event that may be damaged: it is refused as such or as it was, by its frame and by its position.
    fn read_hurt(&self, event: &Event) -> Result<(), String> {
        let (stream, behind) = tail(event);
        let by_frame = self.store.read(&[event.reference()]);
        let mut reads = vec![by_frame.map(|found| found.concat())];
        if event.end <= self.store.sealed() && !event.payload.is_empty() {
            let page = self
                .store
                .history(stream, event.position, behind, usize::MAX);
            reads.push(page.map(|page| page.chunks.concat()));
        }
        for read in reads {
            match read {
                Ok(bytes) if bytes == event.payload => {}
                Err(ReadError::Damaged { .. }) => {}
                other => return Err(format!("{event:?}, which was damaged, is {other:?}")),
            }
        }
        Ok(())
    }

    /// Flips a bit of the payload of the `nth` frame where it lies in the log, if it is there and has one.
    pub fn damage(&self, nth: usize) {
        let Some(event) = self.frames.get(nth) else {
            return;
        };
        let fs: Arc<dyn Fs> = Arc::new(self.diary.sim.clone());
        let inspection = Inspection::open(Arc::clone(&fs), Path::new(DIR)).unwrap();
        let segments = inspection.segments();
        let Some(segment) = segments.iter().rfind(|it| it.base <= event.lsn) else {
            return;
        };
        // The payload ends within 8 bytes of the frame's end.
        let at = 4096 + event.end - 8 - segment.base;
        self.diary.note(What::Hurt(event.lsn));
        let file = fs.open(&segment.file, Open::Write).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 4;
        file.write_all_at(&mut [IoSlice::new(&byte)], at).unwrap();
        file.sync_data().unwrap();
    }

    /// Reads the sealed events of a stream by position.
    fn read_history(&self, events: &[&Event]) -> Result<Result<(), String>, ReadError> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Ok(Ok(()));
        };
        let (stream, behind) = (first.stream, tail(last).1);
        let count = self.store.history_events(stream, first.position, behind)?;
        if count != events.len() as u64 {
            return Ok(Err(format!(
                "stream {stream} has {count} sealed events, not {}",
                events.len()
            )));
        }
        let mut rest = events.iter().peekable();
        let mut at = first.position;
        while at < behind {
            let history = self.store.history(stream, at, behind, 5000)?;
            if history.start != at || history.end <= at {
                return Ok(Err(format!("{history:?} of stream {stream} at {at}")));
            }
            let mut bytes = &history.chunks.concat()[..];
            at = history.end;
            while let Some(event) = rest.next_if(|event| event.position < at) {
                let bounds = self.store.event_at(stream, event.position)?;
                if bounds != Some((event.position, tail(event).1)) {
                    return Ok(Err(format!("{event:?} is sealed as {bounds:?}")));
                }
                let Some(remaining) = bytes.strip_prefix(&event.payload[..]) else {
                    return Ok(Err(format!("{event:?} is sealed as something else")));
                };
                bytes = remaining;
            }
            if !bytes.is_empty() {
                return Ok(Err(format!("a page of stream {stream} ends in an event")));
            }
        }
        Ok(Ok(()))
    }
}

/// A stream, and where it ends with this event.
fn tail(event: &Event) -> (u64, u64) {
    (event.stream, event.position + event.payload.len() as u64)
}
