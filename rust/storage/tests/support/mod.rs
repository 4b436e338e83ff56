//! What the integration tests share: stores in directories, and frames that can be told apart.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses a part of this"
)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use durastream_storage::fs::{Fs, OsFs};
use durastream_storage::{
    CommitError, CommitObserver, Frame, FrameHead, FrameProducer, FrameRef, Lsn, OpenError, Placed,
    Recovering, RecoveryReport, Store, StoreOptions,
};
use parking_lot::Mutex;

/// Notes what it is told.
#[derive(Default)]
pub struct Log {
    pub committed: Mutex<Vec<Lsn>>,
    pub poisoned: Mutex<Vec<CommitError>>,
}

impl CommitObserver for Log {
    fn committed(&self, durable: Lsn) {
        self.committed.lock().push(durable);
    }

    fn poisoned(&self, cause: &CommitError) {
        self.poisoned.lock().push(cause.clone());
    }
}

/// A frame that replay showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub lsn: Lsn,
    pub end: Lsn,
    pub stream: u64,
    pub position: u64,
    pub kind: u8,
    pub flags: u8,
    pub producer: Option<(String, u64, u64)>,
    pub stream_seq: Option<Vec<u8>>,
    pub meta: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Seen {
    pub fn of(frame: &Frame<'_>) -> Self {
        Self {
            lsn: frame.lsn,
            end: frame.end,
            stream: frame.head.stream,
            position: frame.head.position,
            kind: frame.head.kind,
            flags: frame.head.flags,
            producer: frame
                .head
                .producer
                .map(|it| (it.id.to_owned(), it.epoch, it.seq)),
            stream_seq: frame.head.stream_seq.map(<[u8]>::to_vec),
            meta: frame.head.meta.to_vec(),
            payload: frame.payload.to_vec(),
        }
    }

    pub fn reference(&self) -> FrameRef {
        FrameRef {
            lsn: self.lsn,
            stream: self.stream,
            position: self.position,
            len: self.payload.len() as u32,
        }
    }
}

/// An opened store, what recovery showed, and its observer.
pub struct Opened {
    pub store: Store,
    pub log: Arc<Log>,
    pub seen: Vec<Seen>,
    pub report: RecoveryReport,
    pub checkpoint: Option<Bytes>,
}

pub fn os() -> Arc<dyn Fs> {
    Arc::new(OsFs)
}

/// Options with small segments.
pub fn small() -> StoreOptions {
    let mut options = StoreOptions::default();
    options.segment_bytes = 16 << 10;
    options
}

pub fn open(dir: &Path) -> Result<Opened, OpenError> {
    open_with(os(), dir, small())
}

pub fn open_with(fs: Arc<dyn Fs>, dir: &Path, options: StoreOptions) -> Result<Opened, OpenError> {
    let mut recovering = Recovering::open(fs, dir, options, "a test")?;
    let checkpoint = recovering.checkpoint();
    let mut seen = Vec::new();
    let report = recovering.replay(&mut |frame| {
        seen.push(Seen::of(&frame));
        Ok(())
    })?;
    let log = Arc::new(Log::default());
    let store = recovering.start(log.clone())?;
    Ok(Opened {
        store,
        log,
        seen,
        report,
        checkpoint,
    })
}

/// A plain head of `stream` at `position`.
pub fn head(stream: u64, position: u64) -> FrameHead<'static> {
    FrameHead {
        stream,
        position,
        kind: 1,
        flags: 0,
        producer: None,
        stream_seq: None,
        meta: b"",
    }
}

/// A head that has everything.
pub fn full_head(stream: u64, position: u64) -> FrameHead<'static> {
    FrameHead {
        stream,
        position,
        kind: 7,
        flags: 5,
        producer: Some(FrameProducer {
            id: "producer-ä",
            epoch: 3,
            seq: 4,
        }),
        stream_seq: Some(b"seq-9"),
        meta: b"configuration",
    }
}

/// Bytes that tell where they belong.
pub fn payload(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    bytes.take(len).collect::<Vec<u8>>().into()
}

/// Pushes and waits until it is acknowledged.
pub fn append(store: &Store, head: &FrameHead<'_>, payload: &Bytes) -> Placed {
    let placed = store.push(head, payload).unwrap();
    assert!(store.wait(placed.end, None).unwrap());
    placed
}

/// The reference to a frame that was pushed.
pub fn reference(placed: Placed, head: &FrameHead<'_>, payload: &Bytes) -> FrameRef {
    FrameRef {
        lsn: placed.lsn,
        stream: head.stream,
        position: head.position,
        len: payload.len() as u32,
    }
}
