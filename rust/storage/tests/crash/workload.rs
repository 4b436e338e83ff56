//! What a store is put through.

use std::sync::Arc;

use durastream_storage::fs::{Fs, SimFs};
use durastream_storage::{CompactError, Durability, StoreOptions};

use crate::history::History;
use crate::session::{Diary, Session, Wrong};

#[derive(Debug, Clone)]
pub enum Step {
    /// Frames of these sizes, in one group if nothing else is under way.
    Push(Vec<usize>),
    /// Everything pushed is waited for.
    Commit,
    /// Everything pushed is left to the store's own thread.
    Kick,
    /// A checkpoint with so many more bytes.
    Checkpoint(usize),
    /// Nobody needs anything before so many sixteenths of the frames any more.
    Drop(usize),
    /// Nobody needs anything between so many sixteenths of the frames and so many any more, as when forks need what
    /// lies before.
    Hollow(usize, usize),
    /// A frame is damaged where it lies in the log: the one with this number from the newest.
    Damage(usize),
    /// Everything is sealed.
    Compact,
    /// The store's own thread seals what it can.
    Settle,
    /// The store's own thread has sealed all that is full.
    Sealed,
    /// The store's own thread merges files, if it finds some within a moment.
    Tidy,
    /// The store's own thread has merged files since it was opened.
    Merged,
    /// The store is closed and opened again.
    Close,
    /// The process dies and the store is opened again.
    Kill,
}

/// Steps over a store of these options.
#[derive(Debug, Clone)]
pub struct Workload {
    pub options: StoreOptions,
    pub steps: Vec<Step>,
}

/// Small segments, so that rolling and recycling are common, small files, so that some are merged and others too large
/// for it, and little memory, so that reads are cold.
pub fn small(durability: Durability) -> StoreOptions {
    let mut options = StoreOptions::default();
    options.durability = durability;
    options.segment_bytes = 16 << 10;
    options.hot_bytes = 8 << 10;
    options.sealed_file_bytes = 64 << 10;
    options
}

impl Workload {
    /// Always the same for a seed.
    pub fn random(seed: u64, durability: Durability) -> Self {
        let mut dice = Dice(seed);
        let mut steps = vec![];
        for _ in 0..dice.between(8, 22) {
            let step = match dice.below(24) {
                0..8 => {
                    let frames = dice.between(1, 6);
                    steps.push(Step::Push((0..frames).map(|_| dice.size()).collect()));
                    Step::Commit
                }
                8 => Step::Kick,
                9..12 => Step::Push(vec![dice.size()]),
                12..15 => Step::Checkpoint(dice.below(6000)),
                15 => Step::Drop(dice.between(4, 16)),
                16 => Step::Hollow(dice.between(1, 8), dice.between(9, 15)),
                17 => Step::Close,
                18 => Step::Kill,
                19 | 20 => Step::Compact,
                21 => Step::Settle,
                22 => Step::Tidy,
                _ => Step::Commit,
            };
            steps.push(step);
        }
        Workload {
            options: small(durability),
            steps,
        }
    }

    /// A new disk. Groups of the log are written and synced in one go where the disk can, so every other one can.
    pub fn disk(&self) -> SimFs {
        let sim = SimFs::recording();
        sim.set_write_through(self.steps.len().is_multiple_of(2));
        sim
    }

    /// Runs everything on a new disk, seen by the store through `wrap`; gives what was noted.
    pub fn run(&self, wrap: &dyn Fn(SimFs) -> Arc<dyn Fs>) -> Result<Diary, Wrong> {
        let sim = self.disk();
        let diary = Diary::new(&sim, &self.options, History::default());
        let mut session = Session::open(wrap(sim), diary, &self.options)?;
        for step in &self.steps {
            let done = match step {
                Step::Push(sizes) => {
                    let mut sizes = sizes.iter();
                    sizes
                        .try_for_each(|&len| session.push(len).map(drop))
                        .unwrap();
                    Ok(())
                }
                Step::Commit => session.commit(),
                Step::Kick => session.kick(),
                Step::Checkpoint(filler) => session.checkpoint(*filler),
                Step::Drop(sixteenths) => {
                    session.drop_before(session.frames.len() * sixteenths / 16);
                    Ok(())
                }
                Step::Hollow(from, to) => {
                    let nth = |sixteenths| session.frames.len() * sixteenths / 16;
                    session.hollow(nth(*from), nth(*to));
                    Ok(())
                }
                Step::Damage(nth) => {
                    session.damage(session.frames.len() - 1 - nth);
                    Ok(())
                }
                Step::Compact => match session.compact() {
                    Err(CompactError::Commit(e)) => Err(e),
                    Err(e) => return Err(Wrong::Content(e.to_string())),
                    Ok(()) => Ok(()),
                },
                Step::Settle => {
                    session.settle();
                    Ok(())
                }
                Step::Sealed => {
                    session.sealed();
                    Ok(())
                }
                Step::Tidy => {
                    session.tidy();
                    Ok(())
                }
                Step::Merged => {
                    session.merged();
                    Ok(())
                }
                Step::Close => {
                    session.store.close().unwrap();
                    session = self.reopen(session, wrap)?;
                    Ok(())
                }
                Step::Kill => {
                    session = self.reopen(session, wrap)?;
                    Ok(())
                }
            };
            done.unwrap_or_else(|e| panic!("{step:?}: {e}"));
        }
        session.commit().unwrap();
        session.read_back().map_err(Wrong::Content)?;
        Ok(session.diary)
    }

    fn reopen(
        &self,
        session: Session,
        wrap: &dyn Fn(SimFs) -> Arc<dyn Fs>,
    ) -> Result<Session, Wrong> {
        let mut diary = session.diary.clone();
        diary.sim = diary.sim.kill();
        drop(session);
        Session::open(wrap(diary.sim.clone()), diary, &self.options)
    }
}

/// Chance that repeats itself (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    /// Payload sizes: mostly small, some that fill a segment, few larger than one.
    fn size(&mut self) -> usize {
        match self.below(16) {
            0 => 0,
            1..10 => self.below(300),
            10..13 => self.below(6000),
            13 | 14 => self.below(16_000),
            _ => self.between(16_000, 90_000),
        }
    }
}
