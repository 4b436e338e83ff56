//! A store in use on a simulated disk, with everything it does noted in a history.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use durastream_storage::fs::{Fs, SimFs};
use durastream_storage::{
    CommitError, CommitObserver, Durability, Frame, FrameHead, FrameProducer, Lsn, OpenError,
    PushError, Recovering, Store, StoreOptions,
};
use parking_lot::Mutex;

use crate::history::{Event, History, Seen, What};

pub const DIR: &str = "/data";

/// Nothing takes longer than this, or it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

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
    pushed: u64,
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
        let (recovering, seen) = recover(fs, options).map_err(Wrong::Open)?;
        let mut expected = diary.history.lock().at(usize::MAX);
        expected.acknowledged = expected.acknowledged.max(expected.written);
        let frames = expected.judge(&seen).map_err(Wrong::Content)?;
        let observer = Arc::new(Observer(diary.clone()));
        let store = recovering.start(observer).map_err(Wrong::Open)?;
        let end = frames.last().map_or(0, |event| event.end);
        diary.note(What::Cut(end));
        // Readers see it now, so it must not vanish again.
        diary.note(What::Acknowledged(end));
        Ok(Session {
            store,
            diary,
            torn: seen.torn,
            pushed: frames.len() as u64,
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
        let head = FrameHead {
            stream: n % 5 + 1,
            position: n * 1000,
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

    /// Drops what lies before the `nth` frame.
    pub fn drop_before(&self, nth: usize) -> Result<(), CommitError> {
        let Some(event) = self.frames.get(nth) else {
            return Ok(());
        };
        self.diary.note(What::Dropped(event.lsn));
        self.store.drop_up_to(event.lsn)
    }

    /// Reads everything back that is still needed and durable.
    pub fn read_back(&self) -> Result<(), String> {
        let expected = self.diary.history.lock().at(usize::MAX);
        let durable = self.store.durable();
        let needed = |event: &&Event| event.lsn >= expected.dropped && event.end <= durable;
        let events: Vec<&Event> = self.frames.iter().filter(needed).collect();
        let references: Vec<_> = events.iter().map(|event| event.reference()).collect();
        let payloads = self.store.read(&references).map_err(|e| e.to_string())?;
        let mut pairs = events.iter().zip(&payloads);
        match pairs.find(|(event, payload)| event.payload != **payload) {
            Some((event, _)) => Err(format!("{event:?} reads as something else")),
            None => Ok(()),
        }
    }
}
