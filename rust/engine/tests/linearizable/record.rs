//! Records what threads ask of the engine at the same time, and what they are told.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use durastream_engine::{
    Append, AppendError, ChangeError, Create, CreateError, Engine, From, LookupError, PageError,
    Reader, Ticket,
};

use super::check::Call;
use super::model::{Answer, Ask};
use super::support::{body, by, path};

const THREADS: u64 = 4;
const CALLS: u64 = 12;
const PATHS: u64 = 2;

/// Whether answers are told as the engine wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Once what they depend on is durable.
    Waits,
    /// At once.
    Answers,
}

/// A round on paths of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) number: u64,
    pub(crate) patience: Patience,
}

/// A thread's last reader, where it found what, and of which life.
type Kept = Option<(u64, u64, Reader)>;

/// Few random bits that any run repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The calls of one round, by path.
pub(crate) fn record(engine: &Engine, round: Round) -> Vec<Vec<Call>> {
    let clock = AtomicU64::new(0);
    let start = Barrier::new(THREADS as usize);
    let mut histories = vec![Vec::new(); PATHS as usize];
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (clock, start) = (&clock, &start);
                scope.spawn(move || {
                    let mut dice = Dice((round.number * THREADS + thread + 1) << 20 | 0x5bd1);
                    let mut calls = Vec::new();
                    let mut kept = None;
                    start.wait();
                    for number in 0..CALLS {
                        let mut place = dice.roll(PATHS);
                        let ask = match ask(&mut dice, thread, number) {
                            // Every other reading goes on with what was found before.
                            Ask::Read if number % 2 == 1 && kept.is_some() => {
                                let (before, life, _) = kept.as_ref().unwrap();
                                place = *before;
                                Ask::ReadOn { life: *life }
                            }
                            other => other,
                        };
                        let at = format!("{:?}/{}/{place}", round.patience, round.number);
                        let began = clock.fetch_add(1, Ordering::SeqCst);
                        let answer = answer(
                            engine,
                            &at,
                            &ask,
                            round.patience,
                            &mut dice,
                            place,
                            &mut kept,
                        );
                        let ended = clock.fetch_add(1, Ordering::SeqCst);
                        calls.push((
                            place as usize,
                            Call {
                                began,
                                ended,
                                ask,
                                answer,
                            },
                        ));
                    }
                    calls
                })
            })
            .collect();
        for (place, call) in threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
        {
            histories[place].push(call);
        }
    });
    histories
}

fn ask(dice: &mut Dice, thread: u64, number: u64) -> Ask {
    match dice.roll(if number == 0 { 3 } else { 20 }) {
        0..3 => Ask::Create {
            closed: dice.roll(8) == 0,
        },
        3 => Ask::Delete,
        4 => Ask::Append {
            letter: None,
            producer: None,
            close: true,
        },
        5..9 => Ask::Read,
        9..11 => Ask::Head,
        kind => {
            // A letter of its own for every thread and call, as far as letters go.
            let letter = char::from(b'A' + ((thread * CALLS + number) % 58) as u8);
            // Two threads share a producer, so that each meets what the other did.
            let producer = (kind < 16).then(|| (thread % 2, dice.roll(2), dice.roll(3)));
            Ask::Append {
                letter: Some(letter),
                producer,
                close: dice.roll(25) == 0,
            }
        }
    }
}

fn answer(
    engine: &Engine,
    at: &str,
    ask: &Ask,
    patience: Patience,
    dice: &mut Dice,
    place: u64,
    kept: &mut Kept,
) -> Answer {
    let at = path(at);
    // Between decision and durability others must have their chance.
    let idle = dice.roll(40);
    match ask {
        Ask::Create { closed } => {
            let create = Create {
                closed: *closed,
                ..super::support::text("")
            };
            match told(engine, engine.create(&at, create), patience, idle) {
                Ok(created) => Answer::Created {
                    life: created.info.tail.incarnation,
                    new: created.created,
                    tail: created.info.tail.position,
                    closed: created.info.closed,
                },
                Err(CreateError::Exists { .. }) => Answer::ExistsOtherwise,
                Err(error) => panic!("{error}"),
            }
        }
        Ask::Append {
            letter,
            producer,
            close,
        } => {
            let text = letter.map(String::from).unwrap_or_default();
            let mut append = Append {
                close: *close,
                ..body(&text)
            };
            if let Some((id, epoch, seq)) = producer {
                append = by(append, &id.to_string(), *epoch, *seq);
            }
            appended(told(engine, engine.append(&at, append), patience, idle))
        }
        Ask::Delete => match told(engine, engine.delete(&at), patience, idle) {
            Ok(()) => Answer::Deleted,
            Err(ChangeError::Lookup(LookupError::NotFound { .. })) => Answer::NotFound,
            Err(error) => panic!("{error}"),
        },
        Ask::Read => match told(engine, engine.reader(&at), patience, idle) {
            Ok(reader) => {
                let answer = page(&reader);
                if let Answer::Read { life, .. } = answer {
                    *kept = Some((place, life, reader));
                }
                answer
            }
            Err(LookupError::NotFound { .. }) => Answer::NotFound,
            Err(error) => panic!("{error}"),
        },
        Ask::ReadOn { .. } => {
            let (_, _, reader) = kept.as_ref().unwrap();
            page(reader)
        }
        Ask::Head => match told(engine, engine.head(&at), patience, idle) {
            Ok(info) => Answer::Head {
                life: info.tail.incarnation,
                tail: info.tail.position,
                closed: info.closed,
            },
            Err(LookupError::NotFound { .. }) => Answer::NotFound,
            Err(error) => panic!("{error}"),
        },
    }
}

fn page(reader: &Reader) -> Answer {
    match reader.page(From::Start, usize::MAX) {
        Ok(page) => Answer::Read {
            life: page.next.incarnation,
            content: String::from_utf8(page.chunks.concat()).unwrap(),
            closed: page.closed,
        },
        Err(PageError::Lookup(LookupError::NotFound { .. })) => Answer::NotFound,
        Err(error) => panic!("{error}"),
    }
}

fn appended(outcome: Result<durastream_engine::Appended, AppendError>) -> Answer {
    match outcome {
        Ok(appended) => Answer::Appended {
            duplicate: appended.duplicate,
            life: appended.next.incarnation,
            next: appended.next.position,
            closed: appended.closed,
        },
        Err(AppendError::Lookup(LookupError::NotFound { .. })) => Answer::NotFound,
        Err(AppendError::Closed { tail }) => Answer::Closed {
            life: tail.incarnation,
            tail: tail.position,
        },
        Err(AppendError::Fenced { current, .. }) => Answer::Fenced(current),
        Err(AppendError::EpochStart { .. }) => Answer::EpochStart,
        Err(AppendError::Gap { expected, .. }) => Answer::Gap(expected),
        Err(error) => panic!("{error}"),
    }
}

fn told<T>(engine: &Engine, ticket: Ticket<T>, patience: Patience, idle: u64) -> T {
    for _ in 0..idle {
        std::thread::yield_now();
    }
    if patience == Patience::Waits {
        assert!(engine.wait(ticket.lsn, None).unwrap());
    }
    ticket.outcome
}
