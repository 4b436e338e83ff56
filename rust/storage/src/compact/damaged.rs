//! Compaction of damaged files: what is damaged stays refused, the rest goes on.

use crate::compact::plan::Job;
use crate::compact::run;
use crate::compact::tests::{FORCED, Files};
use crate::error::ReadError;
use crate::sealed::model::{Burst, Floors, Leftovers, Model, flip};
use crate::sealed::{SealError, Throttle};
use crate::tenancy::{EverythingAlive, Live, Tenancy};

/// Events of a kilobyte, so that 64 of them fill a block.
const LEN: u64 = 1024;
/// Events of each stream in each file: two blocks.
const COUNT: u64 = 128;
const STREAMS: u64 = 4;

/// What every file has.
fn batch() -> Vec<Burst> {
    let burst = |stream| Burst {
        stream,
        len: LEN,
        count: COUNT,
    };
    (1..=STREAMS).map(burst).collect()
}

/// Files in which stream `n` has blocks `2 n - 2` and `2 n - 1`, behind them one block with all marks.
fn files(count: usize) -> Files {
    let mut files = Files::new();
    for _ in 0..count {
        files.write(&batch());
    }
    files
}

/// Damages a block of a file.
fn damage(files: &Files, file: usize, block: u64) {
    let files_now = files.sealed.files();
    let at = 4096 + block * 65_536 + 777;
    flip(&files.home, files_now[file].path(), at * 8);
}

fn attempt(files: &Files, job: &Job, tenancy: &dyn Tenancy) -> Result<(), SealError> {
    run(&files.home, job, 99, tenancy, &Throttle::new(None)).map(drop)
}

/// Merges until damage is met, which must be at that block of that file.
fn meet(files: &Files, tenancy: &dyn Tenancy, file: usize, block: u64) {
    let job = files.plan(tenancy, FORCED).unwrap();
    let damaged = files.sealed.files()[file].path().to_owned();
    match attempt(files, &job, tenancy) {
        Err(SealError::Damaged(ReadError::Damaged { file, offset, .. })) => {
            assert_eq!((file, offset), (damaged, 4096 + block * 65_536));
        }
        other => panic!("{:?}", other.map_err(|error| error.to_string())),
    }
}

fn floor(stream: u64, events: u64) -> Floors {
    Floors([(stream, Some(stream * 1000 + events * LEN))].into())
}

#[test]
fn others_are_merged_around_a_damaged_file_and_it_is_left_as_it_is() {
    let mut files = files(5);
    damage(&files, 2, 2);
    let bytes = files.home.list().unwrap().sealed[2].clone();
    meet(&files, &EverythingAlive, 2, 2);
    assert_eq!(files.settle(&EverythingAlive, FORCED), 2);
    let left: Vec<bool> = files
        .sealed
        .files()
        .iter()
        .map(|file| file.is_damaged())
        .collect();
    assert_eq!(left, [false, true, false]);
    assert_eq!(files.sealed.files()[1].path(), bytes);
    assert_eq!(files.sealed.figures().damaged_files, 1);
    // What lies in the block is refused, everything else is there.
    let position = |file: u64, event: u64| 2000 + (file * COUNT + event) * LEN;
    for (event, good) in [(0, false), (63, false), (64, true)] {
        let read = files.sealed.history(2, position(2, event), u64::MAX, 1);
        assert_eq!(read.is_ok(), good, "event {event}: {read:?}");
    }
    for file in [0, 1, 3, 4] {
        let read = files
            .sealed
            .history(2, position(file, 0), position(file + 1, 0), usize::MAX);
        assert_eq!(read.unwrap().end, position(file + 1, 0));
    }
    for stream in [1, 3, 4] {
        let (first, last) = (stream * 1000, stream * 1000 + 5 * COUNT * LEN);
        let read = files
            .sealed
            .history(stream, first, last, usize::MAX)
            .unwrap();
        assert_eq!((read.start, read.end), (first, last));
    }
}

#[test]
fn once_what_is_damaged_is_dead_its_file_is_merged_like_any_other() {
    for events in [63, 64, 127] {
        let mut files = files(2);
        damage(&files, 0, 2);
        meet(&files, &EverythingAlive, 0, 2);
        let tenancy = floor(2, events);
        let jobs = files.settle(&tenancy, FORCED);
        if events < 64 {
            assert_eq!(jobs, 0, "an event in the block is alive");
            continue;
        }
        assert_eq!(jobs, 1);
        files.model.keep_alive(&tenancy);
        files.model.assert_whole(&files.sealed);
        assert_eq!(files.sealed.figures().damaged_files, 0);
    }
}

#[test]
fn an_event_that_is_alive_in_part_keeps_a_damaged_file() {
    let mut files = files(2);
    damage(&files, 0, 2);
    meet(&files, &EverythingAlive, 0, 2);
    // In the middle of the last event in the block.
    let tenancy = Floors([(2, Some(2000 + 64 * LEN - 10))].into());
    assert_eq!(files.settle(&tenancy, FORCED), 0);
}

#[test]
fn damage_between_living_parts_keeps_no_file() {
    // The events that lie in the block wholly or in part, and the stream's all.
    for (until, from, is_kept) in [
        (0, 64, false),
        (1, 64, true),
        (0, 63, true),
        (0, 127, false),
    ] {
        let mut files = files(2);
        damage(&files, 0, 2);
        meet(&files, &EverythingAlive, 0, 2);
        let at = |event| 2000 + event * LEN;
        let live = Live::above(at(from)).and(Some(at(0)..at(until)));
        let tenancy = Leftovers([(2, live)].into());
        let jobs = files.settle(&tenancy, FORCED);
        assert_eq!(jobs, usize::from(!is_kept), "{until} {from}");
        if !is_kept {
            files.model.keep_alive(&tenancy);
            files.model.assert_whole(&files.sealed);
        }
    }
    // In the second block of the stream, with something alive on both sides of it.
    let mut files = files(2);
    damage(&files, 0, 3);
    meet(&files, &EverythingAlive, 0, 3);
    let at = |event| 2000 + event * LEN;
    let tenancy = Leftovers([(2, Live::above(at(128)).and(Some(at(5)..at(64))))].into());
    assert_eq!(files.settle(&tenancy, FORCED), 1);
    files.model.keep_alive(&tenancy);
    files.model.assert_whole(&files.sealed);
}

#[test]
fn damaged_marks_keep_a_file_until_none_of_their_streams_is_left() {
    let mut files = files(2);
    damage(&files, 0, 2 * STREAMS);
    meet(&files, &EverythingAlive, 0, 2 * STREAMS);
    assert_eq!(files.settle(&floor(2, COUNT), FORCED), 0);
    let gone = |streams: u64| Floors((1..=streams).map(|stream| (stream, None)).collect());
    assert_eq!(
        files.settle(&gone(STREAMS - 1), FORCED),
        1,
        "the other file"
    );
    assert_eq!(files.sealed.files().len(), 2);
    assert_eq!(files.settle(&gone(STREAMS), FORCED), 1);
    assert!(files.home.list().unwrap().sealed.is_empty());
}

#[test]
fn a_damaged_file_without_anything_alive_is_removed() {
    let mut files = files(3);
    damage(&files, 1, 0);
    meet(&files, &EverythingAlive, 1, 0);
    let gone = Floors((1..=STREAMS).map(|stream| (stream, None)).collect());
    files.settle(&gone, FORCED);
    assert!(files.home.list().unwrap().sealed.is_empty());
}

#[test]
fn damage_that_nobody_needs_is_met_by_no_merge() {
    let mut files = files(2);
    damage(&files, 0, 2);
    let gone = Floors([(2, None)].into());
    assert_eq!(files.settle(&gone, FORCED), 1);
    files.model.keep_alive(&gone);
    files.model.assert_whole(&files.sealed);
}

#[test]
fn files_that_contradict_each_other_are_not_tried_again() {
    let mut files = files(1);
    // The same positions once more.
    files.model = Model::default();
    files.write(&batch());
    let job = files.plan(&EverythingAlive, FORCED).unwrap();
    let refused = attempt(&files, &job, &EverythingAlive);
    assert!(matches!(refused, Err(SealError::Damaged(_))));
    assert!(files.plan(&EverythingAlive, FORCED).is_none());
}
