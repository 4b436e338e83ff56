//! Bits that flip and files that shrink or vanish: everything acknowledged stays, or the refusal is loud.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use durastream_storage::fs::sim::Policy;
use durastream_storage::fs::{Fs, Open, SimFs};
use durastream_storage::{Durability, OpenError};

use crate::history::History;
use crate::session::{DIR, Diary, Session, Wrong};
use crate::workload::{Step, Workload, small};

/// What came of damage.
#[derive(Debug, Default)]
struct Tally {
    refused: u64,
    harmless: u64,
    /// Only reading the damaged frame itself is refused.
    unreadable: u64,
}

/// A store with a full segment, a checkpoint and a tail.
fn workload(last: Option<Step>) -> Diary {
    let mut steps = vec![
        Step::Push(vec![3000; 5]),
        Step::Commit,
        Step::Push(vec![0, 50]),
        Step::Commit,
        Step::Checkpoint(1000),
        Step::Push(vec![2000, 7]),
        Step::Commit,
    ];
    steps.extend(last);
    let options = small(Durability::Sync);
    let workload = Workload { options, steps };
    workload.run(&|sim| Arc::new(sim)).unwrap()
}

/// Damages a copy of the disk, and tells what the store makes of it.
fn judge(diary: &Diary, tally: &mut Tally, what: &str, harm: impl FnOnce(&SimFs)) {
    let op = diary.sim.op_count();
    let image = diary.sim.crash_image(op, Policy::Everything, 0);
    harm(&image);
    let history = History::after_power_cut(diary.history.lock().at(op));
    let options = small(Durability::Sync);
    let copy = Diary::new(&image, &options, history);
    match Session::open(Arc::new(image), copy, &options) {
        Ok(session) => match session.read_back() {
            Ok(()) => tally.harmless += 1,
            Err(e) if e.contains("damaged data") => tally.unreadable += 1,
            Err(e) => panic!("{what}: {e}"),
        },
        Err(Wrong::Open(OpenError::Damaged { .. } | OpenError::Version { .. })) => {
            tally.refused += 1;
        }
        Err(Wrong::Open(e)) => panic!("{what}: refused for the wrong reason: {e}"),
        Err(Wrong::Content(e)) => panic!("{what}: {e}"),
    }
}

fn files(sim: &SimFs) -> Vec<(PathBuf, u64)> {
    let names = sim.list(Path::new(DIR)).unwrap();
    let paths = names.into_iter().map(|name| Path::new(DIR).join(name));
    let len = |path: &PathBuf| sim.open(path, Open::Read).unwrap().len().unwrap();
    paths.map(|path| (path.clone(), len(&path))).collect()
}

fn flip(sim: &SimFs, path: &Path, at: u64, bit: u64) {
    let file = sim.open(path, Open::Write).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&mut [IoSlice::new(&byte)], at).unwrap();
}

fn flip_everywhere(diary: &Diary) -> Tally {
    let mut tally = Tally::default();
    for (path, len) in files(&diary.sim) {
        // Another bit of every third byte, and every bit where headers are.
        let headers = (0..len.min(200)).flat_map(|at| (0..8).map(move |bit| (at, bit)));
        let spread = (0..len).step_by(3).map(|at| (at, at / 3 % 8));
        for (at, bit) in headers.chain(spread) {
            let what = format!("bit {bit} of byte {at} of {}", path.display());
            judge(diary, &mut tally, &what, |sim| flip(sim, &path, at, bit));
        }
    }
    tally
}

#[test]
fn no_flipped_bit_takes_what_was_acknowledged_in_silence() {
    let tally = flip_everywhere(&workload(Some(Step::Close)));
    assert!(tally.refused > 1000 && tally.harmless > 1000, "{tally:?}");
    assert!(tally.unreadable > 1000, "{tally:?}");
}

#[test]
fn no_flipped_bit_takes_what_was_acknowledged_before_a_kill() {
    let tally = flip_everywhere(&workload(None));
    assert!(tally.refused > 1000 && tally.harmless > 1000, "{tally:?}");
}

#[test]
fn no_shortened_file_takes_what_was_acknowledged_in_silence() {
    for last in [Some(Step::Close), None] {
        let diary = workload(last);
        let mut tally = Tally::default();
        for (path, len) in files(&diary.sim) {
            for keep in (0..len).step_by(97).chain([len - 1]) {
                let what = format!("{} cut at {keep}", path.display());
                judge(&diary, &mut tally, &what, |sim| {
                    let file = sim.open(&path, Open::Write).unwrap();
                    file.set_len(keep).unwrap();
                });
            }
        }
        assert!(tally.refused > 100, "{tally:?}");
    }
}

#[test]
fn no_missing_file_takes_what_was_acknowledged_in_silence() {
    for last in [Some(Step::Close), None] {
        let diary = workload(last);
        let mut tally = Tally::default();
        for (path, _) in files(&diary.sim) {
            let what = format!("without {}", path.display());
            judge(&diary, &mut tally, &what, |sim| sim.remove(&path).unwrap());
        }
        assert!(tally.refused >= 3 && tally.harmless >= 1, "{tally:?}");
    }
}
