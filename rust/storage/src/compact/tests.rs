//! Compaction against the model: what is alive stays readable, what is dead goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::compact::merge::Merged;
use crate::compact::plan::Job;
use crate::compact::{Aim, PlanOptions, plan, run};
use crate::error::Trouble;
use crate::fs::SimFs;
use crate::fs::sim::{Fault, FaultKind, OpClass};
use crate::home::Home;
use crate::sealed::model::{Burst, Floors, Leftovers, Model, bursts, flip, home, home_on, payload};
use crate::sealed::{SealError, Sealed, SealedFile, Throttle};
use crate::tenancy::{EverythingAlive, Live, Tenancy};

const AUTO: PlanOptions = PlanOptions {
    file_bytes: 4 << 30,
    file_events: u64::MAX,
    aim: Aim::Order,
    upto: u64::MAX,
    made_from: u64::MAX,
};
pub(super) const FORCED: PlanOptions = PlanOptions {
    file_bytes: 4 << 30,
    file_events: u64::MAX,
    aim: Aim::All,
    upto: u64::MAX,
    made_from: u64::MAX,
};

/// A store's sealed files, without the store.
pub(super) struct Files {
    pub(super) home: Home,
    pub(super) sealed: Sealed,
    pub(super) model: Model,
    next: u64,
    written: u64,
}

impl Files {
    pub(super) fn new() -> Self {
        let home = home();
        let sealed = Sealed::open(&home, &[]).unwrap();
        Self {
            home,
            sealed,
            model: Model::default(),
            next: 1,
            written: 0,
        }
    }

    pub(super) fn write(&mut self, batch: &[Burst]) {
        let file = self.model.write(&self.home, self.next, batch);
        self.written += file.as_ref().map_or(0, |file| file.entry().bytes);
        self.next += 1;
        self.sealed.swap(&[], file);
    }

    pub(super) fn plan(&self, tenancy: &dyn Tenancy, options: PlanOptions) -> Option<Job> {
        self.sealed.weigh(tenancy, &Throttle::new(None)).unwrap();
        plan(&self.sealed.files(), options)
    }

    fn run(&mut self, job: &Job, tenancy: &dyn Tenancy) {
        let merged = run(&self.home, job, self.next, tenancy, &Throttle::new(None)).unwrap();
        self.next += 1;
        self.written += merged.written_bytes;
        let out: Vec<u64> = job.files.iter().map(|file| file.entry().number).collect();
        // What was written must be what a start would find.
        let file = merged
            .file
            .map(|file| SealedFile::open(&self.home, &file.entry()).unwrap());
        // That the file keeps dead bytes is known to who wrote it only.
        self.sealed.swap(&out, file);
        for file in &job.files {
            self.home.remove(file.path()).unwrap();
        }
    }

    /// Compacts until nothing is left to do; gives how often.
    pub(super) fn settle(&mut self, tenancy: &dyn Tenancy, options: PlanOptions) -> usize {
        let mut jobs = 0;
        while let Some(job) = self.plan(tenancy, options) {
            let merged = run(&self.home, &job, self.next, tenancy, &Throttle::new(None)).unwrap();
            self.next += 1;
            self.written += merged.written_bytes;
            let out: Vec<u64> = job.files.iter().map(|file| file.entry().number).collect();
            self.sealed.swap(&out, merged.file);
            for file in &job.files {
                self.home.remove(file.path()).unwrap();
            }
            jobs += 1;
            assert!(jobs < 1000, "compaction does not end");
        }
        jobs
    }
}

/// Every event that is alive can be read.
fn assert_alive(files: &Files) {
    for (&stream, events) in &files.model.streams {
        for &(start, end) in events {
            assert_eq!(
                files.sealed.event_at(stream, start).unwrap(),
                Some((start, end))
            );
        }
    }
    for (stream, first, last) in files.model.runs() {
        let history = files
            .sealed
            .history(stream, first, last, usize::MAX)
            .unwrap();
        assert_eq!((history.start, history.end), (first, last));
        assert_eq!(history.chunks.concat(), payload(stream, first, last));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_alive_survives_any_compaction_and_what_is_dead_is_gone_after_a_forced_one(
        steps in prop::collection::vec((bursts(8), prop::option::weighted(0.3, Leftovers::some())), 1..12),
    ) {
        let mut files = Files::new();
        let mut tenancy = Leftovers::default();
        for (batch, changes) in steps {
            // What is gone gets no appends.
            let batch: Vec<Burst> = batch.into_iter().filter(|b| tenancy.grows(b.stream)).collect();
            files.write(&batch);
            tenancy.lessen(changes.unwrap_or_default());
            files.model.keep_alive(&tenancy);
            files.settle(&tenancy, AUTO);
            assert_alive(&files);
        }
        files.settle(&tenancy, FORCED);
        files.model.assert_whole(&files.sealed);
        prop_assert!(files.sealed.files().len() <= 1);
        let numbers: Vec<_> = files.sealed.files().iter().map(|file| file.path().to_owned()).collect();
        prop_assert_eq!(files.home.list().unwrap().sealed, numbers);
        prop_assert_eq!(files.settle(&tenancy, FORCED), 0);
    }

    #[test]
    fn a_merge_of_damaged_files_tells_and_leaves_everything_as_it_was(
        batches in prop::collection::vec(bursts(6), 2..4), file: prop::sample::Index, bit: prop::sample::Index,
    ) {
        let mut files = Files::new();
        batches.iter().for_each(|batch| files.write(batch));
        let before = files.home.list().unwrap().sealed;
        let Some(job) = files.plan(&EverythingAlive, FORCED) else {
            return Ok(());
        };
        let hit = &job.files[file.index(job.files.len())];
        let body = hit.body() as usize * 8;
        flip(&files.home, hit.path(), 4096 * 8 + bit.index(body) as u64);
        let refused = run(&files.home, &job, 99, &EverythingAlive, &Throttle::new(None));
        let told = matches!(refused, Err(SealError::Damaged(_)));
        prop_assert!(told);
        prop_assert_eq!(files.home.list().unwrap().sealed, before);
        // It is not tried again.
        prop_assert!(hit.is_damaged());
        let next = plan(&files.sealed.files(), FORCED);
        prop_assert!(next.is_none_or(|job| job.files.iter().all(|file| !file.is_damaged())));
    }
}

fn equal(count: u64) -> Vec<Burst> {
    (1..=count)
        .map(|stream| Burst {
            stream,
            len: 100,
            count: 10,
        })
        .collect()
}

#[test]
fn a_byte_is_written_about_once_for_each_fourfold_growth() {
    let mut files = Files::new();
    for _ in 0..256 {
        files.write(&equal(4));
        files.settle(&EverythingAlive, AUTO);
    }
    files.model.assert_whole(&files.sealed);
    assert!(
        files.sealed.files().len() <= 12,
        "{}",
        files.sealed.files().len()
    );
    // Sealed once, then merged for 4, 16, 64 and 256 times the size.
    let payload = files.sealed.figures().payload_bytes + 256 * 4096;
    assert!(
        files.written < 6 * payload,
        "{} of {payload}",
        files.written
    );
}

#[test]
fn a_merged_file_does_not_outgrow_the_limit() {
    let mut files = Files::new();
    for _ in 0..40 {
        files.write(&equal(4));
    }
    let options = PlanOptions {
        file_bytes: 20_000,
        ..AUTO
    };
    files.settle(&EverythingAlive, options);
    let sizes = |files: &Files| {
        files
            .sealed
            .files()
            .iter()
            .map(|file| file.payload_bytes())
            .collect::<Vec<_>>()
    };
    assert!(sizes(&files).iter().all(|bytes| *bytes <= 20_000));
    assert!(sizes(&files).len() < 12);
    files.settle(
        &EverythingAlive,
        PlanOptions {
            aim: Aim::All,
            ..options
        },
    );
    assert_eq!(sizes(&files).len(), 8, "4,000 bytes each, five in a file");
    files.model.assert_whole(&files.sealed);
}

#[test]
fn a_merged_file_has_no_more_events_than_memory_was_meant_for() {
    let mut files = Files::new();
    for _ in 0..40 {
        files.write(&equal(4));
    }
    let options = PlanOptions {
        file_events: 200,
        ..AUTO
    };
    files.settle(&EverythingAlive, options);
    let events = |files: &Files| -> Vec<u64> {
        let files = files.sealed.files();
        files.iter().map(|file| file.events()).collect()
    };
    assert!(events(&files).iter().all(|events| *events <= 200));
    let aim = Aim::All;
    files.settle(&EverythingAlive, PlanOptions { aim, ..options });
    assert_eq!(events(&files), [200; 8], "40 each, five in a file");
    files.model.assert_whole(&files.sealed);
}

#[test]
fn a_file_is_rewritten_when_more_than_a_third_of_it_is_dead() {
    let mut files = Files::new();
    files.write(&equal(6));
    let gone = |count: u64| Floors((1..=count).map(|stream| (stream, None)).collect());
    assert!(files.plan(&gone(2), AUTO).is_none());
    assert_eq!(files.settle(&gone(3), AUTO), 1);
    files.model.keep_alive(&gone(3));
    files.model.assert_whole(&files.sealed);
    assert_eq!(files.settle(&gone(6), AUTO), 1);
    assert!(files.home.list().unwrap().sealed.is_empty());
}

#[test]
fn what_died_in_a_file_since_it_was_made_for_a_merge_of_all_is_left_to_another() {
    let mut files = Files::new();
    files.write(&equal(6));
    files.write(&equal(6));
    let options = PlanOptions {
        made_from: files.next,
        ..FORCED
    };
    let gone = |count: u64| Floors((1..=count).map(|stream| (stream, None)).collect());
    assert_eq!(files.settle(&gone(1), options), 1);
    assert!(files.plan(&gone(2), options).is_none());
    assert!(files.plan(&gone(2), FORCED).is_some());
    assert_eq!(files.settle(&gone(6), options), 1, "nothing is alive");
    assert!(files.home.list().unwrap().sealed.is_empty());
}

#[test]
fn what_is_dead_between_two_living_parts_goes_too() {
    let mut files = Files::new();
    for _ in 0..4 {
        files.write(&equal(2));
    }
    // Of 4,000 bytes an event and a half at the start, one in the middle, and the last five.
    let live = Live::above(1000 + 3500).and([1000..1150, 2900..3000]);
    let tenancy = Leftovers([(1, live)].into());
    assert_eq!(files.settle(&tenancy, FORCED), 1);
    files.model.keep_alive(&tenancy);
    let runs = files.model.runs();
    assert_eq!(
        runs[..3],
        [(1, 1000, 1200), (1, 2900, 3000), (1, 4500, 5000)]
    );
    files.model.assert_whole(&files.sealed);
    let figures = files.sealed.figures();
    assert_eq!((figures.extents, figures.payload_bytes), (4, 800 + 4000));
    // Half an event is dead and stays.
    files.sealed.weigh(&tenancy, &Throttle::new(None)).unwrap();
    assert_eq!(files.sealed.figures().live_bytes, 750 + 4000);
    assert_eq!(files.settle(&tenancy, FORCED), 0);
}

#[test]
fn a_file_is_rewritten_by_itself_when_most_of_it_lies_between_living_parts() {
    let mut files = Files::new();
    files.write(&equal(1));
    let tenancy = Leftovers([(1, Live::above(1900).and(Some(1000..1100)))].into());
    assert_eq!(files.settle(&tenancy, AUTO), 1);
    files.model.keep_alive(&tenancy);
    files.model.assert_whole(&files.sealed);
    assert_eq!(files.sealed.figures().payload_bytes, 200);
}

#[test]
fn what_is_dead_of_a_living_event_is_not_tried_to_be_dropped_again() {
    let mut files = Files::new();
    files.write(&[
        Burst {
            stream: 1,
            len: 100,
            count: 10,
        },
        Burst {
            stream: 2,
            len: 10_000,
            count: 1,
        },
    ]);
    // A file of one large event, most of which was trimmed.
    let tenancy = Floors([(1, Some(1510)), (2, Some(2000 + 9_000))].into());
    assert_eq!(files.settle(&tenancy, AUTO), 1);
    assert_eq!(files.settle(&tenancy, FORCED), 0);
    files.model.keep_alive(&tenancy);
    assert_eq!(files.model.streams[&1][0], (1500, 1600));
    files.model.assert_whole(&files.sealed);
}

#[test]
fn a_start_may_do_it_again_but_only_once() {
    let mut files = Files::new();
    files.write(&[Burst {
        stream: 2,
        len: 10_000,
        count: 1,
    }]);
    let tenancy = Floors([(2, Some(2000 + 9_000))].into());
    let job = files.plan(&tenancy, AUTO).unwrap();
    files.run(&job, &tenancy);
    assert_eq!(files.settle(&tenancy, AUTO), 1);
    assert_eq!(files.settle(&tenancy, AUTO), 0);
}

#[test]
fn a_failed_merge_leaves_nothing() {
    for class in [OpClass::Create, OpClass::Write, OpClass::Sync] {
        for (kind, full) in [(FaultKind::ShortNoSpace, true), (FaultKind::Io, false)] {
            let fs = SimFs::new();
            let mut files = Files::new();
            files.home = home_on(fs.clone());
            files.write(&equal(3));
            files.write(&equal(3));
            let job = files.plan(&EverythingAlive, FORCED).unwrap();
            fs.inject(Fault {
                class,
                after: 0,
                times: 1,
                kind,
            });
            let merged = run(&files.home, &job, 9, &EverythingAlive, &Throttle::new(None));
            match merged {
                Err(SealError::Trouble(Trouble::Full(_))) => assert!(full),
                Err(SealError::Trouble(Trouble::Broken(_))) => assert!(!full),
                _ => unreachable!("{class:?} {kind:?}"),
            }
            assert_eq!(files.home.list().unwrap().sealed.len(), 2);
        }
    }
}

#[test]
fn a_merge_ends_soon_after_it_is_told_to() {
    let mut files = Files::new();
    files.write(&equal(600));
    files.write(&equal(600));
    let job = files.plan(&EverythingAlive, FORCED).unwrap();
    // A little more than a megabyte, in an hour.
    let throttle = Arc::new(Throttle::new(Some(300)));
    let home = files.home.clone();
    let worker = std::thread::spawn({
        let throttle = Arc::clone(&throttle);
        move || {
            run(&home, &job, 9, &EverythingAlive, &throttle)
                .map(|merged: Merged| merged.written_bytes)
        }
    });
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    throttle.cancel();
    let ended = worker.join().unwrap();
    assert!(begun.elapsed() < Duration::from_millis(100));
    assert!(matches!(ended, Err(SealError::Cancelled(_))));
    assert_eq!(files.home.list().unwrap().sealed.len(), 2);
}
