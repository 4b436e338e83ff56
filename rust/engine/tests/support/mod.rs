//! What the integration tests share: a clock that tests move, a sink that remembers, short commands.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use durastream_engine::storage::fs::SimFs;
use durastream_engine::{
    Append, Clock, CompletionSink, Create, Engine, ForkSpec, From, Offset, Options, Page,
    PageError, Producer, StreamPath, Ticket, Wake,
};

/// A clock that stands still unless told.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicU64);

impl ManualClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1_800_000_000_000)))
    }

    pub(crate) fn millis(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::SeqCst);
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Remembers every wake, and how many batches they came in.
#[derive(Default)]
pub(crate) struct Sink {
    wakes: Mutex<(Vec<(u64, bool)>, usize)>,
    changed: Condvar,
}

impl Sink {
    pub(crate) fn new() -> (Arc<Self>, Arc<dyn CompletionSink>) {
        let sink = Arc::new(Self::default());
        (Arc::clone(&sink), sink)
    }

    /// Tokens so far, and whether each was `Ready`.
    pub(crate) fn wakes(&self) -> Vec<(u64, bool)> {
        self.wakes.lock().unwrap().0.clone()
    }

    pub(crate) fn batches(&self) -> usize {
        self.wakes.lock().unwrap().1
    }

    pub(crate) fn wait_for(&self, count: usize) -> Vec<(u64, bool)> {
        let wakes = self.wakes.lock().unwrap();
        let (wakes, timeout) = self
            .changed
            .wait_timeout_while(wakes, Duration::from_secs(10), |wakes| {
                wakes.0.len() < count
            })
            .unwrap();
        assert!(!timeout.timed_out(), "only {:?}", wakes.0);
        wakes.0.clone()
    }
}

impl CompletionSink for Sink {
    fn complete(&self, batch: &mut Vec<(u64, Wake)>) {
        let mut wakes = self.wakes.lock().unwrap();
        wakes.1 += 1;
        let batch = batch.drain(..);
        let told = batch.map(|(token, wake)| (token, matches!(wake, Wake::Ready)));
        wakes.0.extend(told);
        self.changed.notify_all();
    }
}

pub(crate) fn path(text: &str) -> StreamPath {
    StreamPath::new(text).unwrap()
}

pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.store.segment_bytes = 16 << 10;
    options.reap_interval = Duration::from_secs(3600);
    options
}

pub(crate) fn open(fs: &SimFs, clock: &Arc<ManualClock>) -> Engine {
    open_with(fs, clock, options())
}

pub(crate) fn open_with(fs: &SimFs, clock: &Arc<ManualClock>, options: Options) -> Engine {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    Engine::open_with(Arc::new(fs.clone()), Path::new("data"), options, clock).unwrap()
}

pub(crate) fn text(body: &str) -> Create {
    Create {
        content_type: Some("text/plain".to_owned()),
        body: body.as_bytes().to_vec().into(),
        ..Create::default()
    }
}

pub(crate) fn fork(source: &str, offset: Option<Offset>) -> Create {
    Create {
        fork: Some(ForkSpec {
            source: path(source),
            offset,
            sub_offset: 0,
        }),
        ..Create::default()
    }
}

pub(crate) fn body(text: &str) -> Append {
    Append {
        body: text.as_bytes().to_vec().into(),
        ..Append::default()
    }
}

pub(crate) fn close() -> Append {
    Append {
        close: true,
        ..Append::default()
    }
}

pub(crate) fn by(append: Append, id: &str, epoch: u64, seq: u64) -> Append {
    Append {
        producer: Some(Producer {
            id: id.to_owned(),
            epoch,
            seq,
        }),
        ..append
    }
}

/// Waits until the outcome may be told.
pub(crate) fn told<T>(engine: &Engine, ticket: Ticket<T>) -> T {
    assert!(engine.wait(ticket.lsn, None).unwrap());
    ticket.outcome
}

pub(crate) fn created(engine: &Engine, at: &str, create: Create) -> Offset {
    told(engine, engine.create(&path(at), create))
        .unwrap()
        .info
        .tail
}

pub(crate) fn appended(engine: &Engine, at: &str, append: Append) -> Offset {
    told(engine, engine.append(&path(at), append)).unwrap().next
}

pub(crate) fn page(engine: &Engine, at: &str, from: From) -> Result<Page, PageError> {
    told(engine, engine.reader(&path(at)))?.page(from, usize::MAX)
}

pub(crate) fn content(engine: &Engine, at: &str) -> String {
    let page = page(engine, at, From::Start).unwrap();
    String::from_utf8(page.chunks.concat()).unwrap()
}

pub(crate) fn exists(engine: &Engine, at: &str) -> bool {
    told(engine, engine.head(&path(at))).is_ok()
}
