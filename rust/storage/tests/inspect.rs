//! An inspection finds what is damaged, at the right place, and changes nothing; a repair makes the
//! directory open again and keeps whatever lies before the damage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use durastream_storage::OpenError;
use durastream_storage::fs::{Fs, Open, SimFs};
use durastream_storage::inspect::{Finding, FindingKind, Inspection, Mending, Seen};
use support::{Seen as Shown, append, full_head, head, open_with, payload, small};

fn dir() -> PathBuf {
    PathBuf::from("/data")
}

fn shared(fs: &SimFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

/// A closed directory with a checkpoint behind its first frame and two segments; gives its frames.
fn disk() -> (SimFs, Vec<Shown>) {
    let fs = SimFs::new();
    let opened = open_with(shared(&fs), &dir(), small()).unwrap();
    let first = append(&opened.store, &head(1, 0), &payload(1, 30));
    let checkpoint = [payload(2, 50)];
    opened
        .store
        .write_checkpoint(first.end, &checkpoint)
        .unwrap();
    append(&opened.store, &full_head(2, 0), &payload(3, 11_000));
    // Too large for what is left.
    append(&opened.store, &head(1, 30), &payload(4, 5_000));
    append(&opened.store, &head(2, 11_000), &payload(6, 77));
    opened.store.close().unwrap();
    let fs = fs.kill();
    let (frames, findings) = look(&fs);
    assert_eq!(
        (frames.len(), harmful(&findings).len()),
        (4, 0),
        "{findings:?}"
    );
    (fs, frames)
}

fn look(fs: &SimFs) -> (Vec<Shown>, Vec<Finding>) {
    let inspection = Inspection::open(shared(fs), &dir()).unwrap();
    let mut findings = inspection.findings().to_vec();
    let mut frames = Vec::new();
    inspection
        .scan(0, &mut |seen| {
            match seen {
                Seen::Frame { frame, .. } => frames.push(Shown::of(&frame)),
                Seen::Finding(finding) => findings.push(finding),
            }
            Ok(())
        })
        .unwrap();
    (frames, findings)
}

fn harmful(findings: &[Finding]) -> Vec<&Finding> {
    let damage = |finding: &&Finding| finding.kind == FindingKind::Damage;
    findings.iter().filter(damage).collect()
}

fn names(fs: &SimFs) -> Vec<PathBuf> {
    fs.list(&dir())
        .unwrap()
        .iter()
        .map(|name| dir().join(name))
        .collect()
}

fn read(fs: &SimFs, path: &Path) -> Vec<u8> {
    let file = fs.open(path, Open::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn content(fs: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    names(fs)
        .into_iter()
        .map(|path| (path.clone(), read(fs, &path)))
        .collect()
}

fn write(fs: &SimFs, path: &Path, bytes: &[u8], at: u64) {
    let file = fs.open(path, Open::Write).unwrap();
    file.write_all_at(&mut [IoSlice::new(bytes)], at).unwrap();
}

fn flip(fs: &SimFs, path: &Path, at: u64) {
    let byte = read(fs, path)[at as usize];
    write(fs, path, &[byte ^ 0x10], at);
}

/// What recovery shows, without a start; or why it refuses.
fn reopened(fs: &SimFs) -> Result<Vec<Shown>, OpenError> {
    let options = small();
    let mut recovering =
        durastream_storage::Recovering::open(shared(fs), &dir(), options, "a test")?;
    let mut shown = Vec::new();
    recovering.replay(&mut |frame| {
        shown.push(Shown::of(&frame));
        Ok(())
    })?;
    Ok(shown)
}

/// Repairs as the engine does: cut at the first damage that recovery comes by.
fn repair(fs: &SimFs, label: &str) -> bool {
    let mending = Mending::open(shared(fs), &dir(), "a repair").unwrap();
    let inspection = mending.inspection();
    let checkpoint = inspection.checkpoint().is_some();
    let from = if checkpoint {
        inspection.replay_from()
    } else {
        0
    };
    let mut cut = None;
    inspection
        .scan(from, &mut |seen| {
            if let Seen::Finding(finding) = seen
                && finding.kind == FindingKind::Damage
                && finding.lsn.is_some_and(|lsn| lsn >= from)
            {
                cut = cut.or(finding.lsn);
            }
            Ok(())
        })
        .unwrap();
    let mended = mending
        .carry_out(cut, checkpoint, &|_| Some(u64::MAX), label)
        .unwrap();
    !mended.changed.is_empty()
}

fn segment_of(fs: &SimFs, lsn: u64) -> (PathBuf, u64) {
    let inspection = Inspection::open(shared(fs), &dir()).unwrap();
    let segments = inspection.segments();
    let segment = segments
        .iter()
        .rfind(|segment| segment.base <= lsn)
        .unwrap();
    (segment.file.clone(), 4096 + lsn - segment.base)
}

#[test]
fn an_inspection_changes_no_byte() {
    let (fs, _) = disk();
    let before = content(&fs);
    look(&fs);
    assert_eq!(content(&fs), before);
}

#[test]
fn damage_is_found_in_its_file_at_its_offset_and_the_frames_around_it_are_shown() {
    let (fs, frames) = disk();
    for (index, frame) in frames.iter().enumerate() {
        let (file, offset) = segment_of(&fs, frame.lsn);
        flip(&fs, &file, offset + 60);
        let (seen, findings) = look(&fs);
        let found = harmful(&findings);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0].file, found[0].offset), (&file, offset));
        assert_eq!(found[0].lsn, Some(frame.lsn));
        assert_eq!(found[0].stream, Some(frame.stream));
        assert!(found[0].acknowledged);
        let mut rest = frames.clone();
        rest.remove(index);
        assert_eq!(seen, rest);
        flip(&fs, &file, offset + 60);
    }
}

#[test]
fn every_place_that_is_damaged_is_told() {
    let (fs, frames) = disk();
    for frame in [&frames[1], &frames[3]] {
        let (file, offset) = segment_of(&fs, frame.lsn);
        flip(&fs, &file, offset);
    }
    let (seen, findings) = look(&fs);
    let lsns: Vec<_> = harmful(&findings)
        .iter()
        .map(|it| it.lsn.unwrap())
        .collect();
    assert_eq!(lsns, [frames[1].lsn, frames[3].lsn]);
    assert_eq!(seen, [frames[0].clone(), frames[2].clone()]);
}

#[test]
fn whatever_recovery_refuses_an_inspection_finds_and_a_repair_gets_open() {
    let (fs, frames) = disk();
    let whole = content(&fs);
    let mut refused = 0;
    for (path, bytes) in &whole {
        for at in (0..bytes.len() as u64).step_by(37) {
            flip(&fs, path, at);
            if reopened(&fs).is_err() && bytes[8..12] == [1, 0, 0, 0] && !(8..12).contains(&at) {
                refused += 1;
                let (_, findings) = look(&fs);
                let found = harmful(&findings);
                assert!(!found.is_empty(), "{} at {at}", path.display());
                assert!(found.iter().any(|it| it.file == *path), "{found:?}");
                repair(&fs, "then");
                let kept = reopened(&fs).unwrap_or_else(|error| {
                    panic!("{} at {at} is not repaired: {error}", path.display())
                });
                // A prefix of the log, from wherever it is replayed now.
                let first = kept.first().map_or(0, |frame| frame.lsn);
                let wanted: Vec<_> = frames.iter().filter(|it| it.lsn >= first).collect();
                assert!(wanted.iter().zip(&kept).all(|(one, other)| *one == other));
                assert!(!repair(&fs, "again"), "a second repair has nothing to do");
            }
            restore(&fs, &whole);
        }
    }
    assert!(refused > 300, "only {refused} flips were refused");
}

fn restore(fs: &SimFs, whole: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in names(fs) {
        if !whole.contains_key(&path) {
            fs.remove(&path).unwrap();
        }
    }
    for (path, bytes) in whole {
        let file = match fs.open(path, Open::CreateNew) {
            Ok(file) => file,
            Err(_) => fs.open(path, Open::Write).unwrap(),
        };
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(&mut [IoSlice::new(bytes)], 0).unwrap();
    }
}

#[test]
fn a_lost_manifest_or_header_is_worked_out_and_loses_nothing() {
    let (fs, frames) = disk();
    let whole = content(&fs);
    let (segment, _) = segment_of(&fs, frames[0].lsn);
    let (last, _) = segment_of(&fs, frames[3].lsn);
    for (path, at) in [(dir().join("MANIFEST"), 30), (segment, 20), (last, 530)] {
        flip(&fs, &path, at);
        reopened(&fs).unwrap_err();
        assert!(repair(&fs, "then"));
        assert_eq!(reopened(&fs).unwrap(), frames[1..], "{}", path.display());
        let aside = dir().join("damaged/then");
        assert!(!fs.list(&aside).unwrap().is_empty());
        restore(&fs, &whole);
    }
    fs.remove(&dir().join("MANIFEST")).unwrap();
    assert!(repair(&fs, "then"));
    assert_eq!(reopened(&fs).unwrap(), frames[1..]);
}

#[test]
fn a_cut_keeps_everything_before_the_damage_and_the_log_goes_on_there() {
    let (fs, frames) = disk();
    let (file, offset) = segment_of(&fs, frames[2].lsn);
    let before = read(&fs, &file);
    flip(&fs, &file, offset + 100);
    assert!(repair(&fs, "then"));
    let name = file.file_name().unwrap();
    let aside = read(&fs, &dir().join("damaged/then").join(name));
    assert_eq!(aside.len(), before.len());
    assert_eq!(reopened(&fs).unwrap(), frames[1..2]);
    let opened = open_with(shared(&fs), &dir(), small()).unwrap();
    assert_eq!(opened.report.end, frames[2].lsn);
    let placed = append(&opened.store, &head(3, 0), &payload(9, 10));
    assert!(placed.lsn >= frames[2].lsn);
    opened.store.close().unwrap();
    let (seen, findings) = look(&fs.kill());
    assert_eq!(
        (seen.len(), harmful(&findings).len()),
        (3, 0),
        "{findings:?}"
    );
}

#[test]
fn damage_below_the_checkpoint_costs_nothing_else() {
    let (fs, frames) = disk();
    let (file, offset) = segment_of(&fs, frames[0].lsn);
    flip(&fs, &file, offset + 50);
    assert!(!repair(&fs, "then"));
    assert_eq!(reopened(&fs).unwrap(), frames[1..]);
    let (seen, findings) = look(&fs);
    assert_eq!((seen.len(), harmful(&findings).len()), (3, 1));
}

#[test]
fn a_torn_tail_is_no_damage_and_a_repair_leaves_it_to_the_next_start() {
    let fs = SimFs::new();
    let opened = open_with(shared(&fs), &dir(), small()).unwrap();
    append(&opened.store, &head(1, 0), &payload(1, 100));
    append(&opened.store, &head(1, 100), &payload(2, 1000));
    let fs = fs.kill();
    let (frames, _) = look(&fs);
    let (file, offset) = segment_of(&fs, frames[1].lsn);
    // Its end and the mark behind it never reached the disk.
    write(&fs, &file, &[0; 400], offset + 800);
    let (seen, findings) = look(&fs);
    assert_eq!(seen, frames[..1]);
    assert!(harmful(&findings).is_empty(), "{findings:?}");
    let torn = findings
        .iter()
        .find(|it| it.kind == FindingKind::Torn)
        .unwrap();
    assert_eq!(
        (&torn.file, torn.offset, torn.acknowledged),
        (&file, offset, false)
    );
    assert!(!repair(&fs, "then"));
    assert_eq!(reopened(&fs).unwrap(), frames[..1]);
}

#[test]
fn a_missing_segment_below_the_checkpoint_is_bridged_and_one_behind_it_cuts() {
    let (fs, frames) = disk();
    let whole = content(&fs);
    let (last, _) = segment_of(&fs, frames[3].lsn);
    fs.remove(&last).unwrap();
    let (_, findings) = look(&fs);
    assert!(harmful(&findings).iter().any(|it| it.file == last));
    assert!(repair(&fs, "then"));
    assert_eq!(reopened(&fs).unwrap(), frames[1..2]);
    restore(&fs, &whole);
    let (first, _) = segment_of(&fs, frames[0].lsn);
    fs.remove(&first).unwrap();
    assert!(repair(&fs, "then"));
    assert!(reopened(&fs).unwrap().is_empty());
}

#[test]
fn a_directory_in_use_is_named_and_never_repaired() {
    let fs = SimFs::new();
    let opened = open_with(shared(&fs), &dir(), small()).unwrap();
    append(&opened.store, &head(1, 0), &payload(1, 100));
    let inspection = Inspection::open(shared(&fs), &dir()).unwrap();
    assert_eq!(inspection.holder(), Some("a test"));
    let refused = Mending::open(shared(&fs), &dir(), "a repair")
        .err()
        .unwrap();
    assert!(matches!(refused, OpenError::Locked { holder, .. } if holder == "a test"));
}

#[test]
fn a_directory_without_a_log_is_no_log() {
    let fs = SimFs::new();
    fs.create_dir_all(&dir()).unwrap();
    let refused = Inspection::open(shared(&fs), &dir()).err().unwrap();
    assert!(matches!(refused, OpenError::Io { .. }), "{refused}");
    assert!(fs.list(&dir()).unwrap().is_empty());
}

/// A closed directory with a sealed file, a segment that has frames, a reserve and a checkpoint.
fn disk_of_all() -> (SimFs, BTreeMap<PathBuf, Vec<u8>>) {
    let fs = SimFs::new();
    let opened = open_with(shared(&fs), &dir(), small()).unwrap();
    append(&opened.store, &head(1, 0), &payload(1, 3000));
    opened.store.compact().unwrap();
    let end = append(&opened.store, &head(1, 3000), &payload(2, 3000)).end;
    opened
        .store
        .write_checkpoint(end, &[payload(2, 50)])
        .unwrap();
    append(&opened.store, &head(1, 6000), &payload(3, 3000));
    opened.store.close().unwrap();
    let fs = fs.kill();
    let whole = content(&fs);
    (fs, whole)
}

fn has(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|it| it == extension)
}

/// What a segment begins with, when it is in use.
fn is_in_use(path: &Path, bytes: &[u8]) -> bool {
    has(path, "wal") && bytes[4096..].starts_with(b"DSgr")
}

#[test]
fn what_a_later_version_wrote_is_no_damage_and_is_left_alone() {
    let (fs, whole) = disk_of_all();
    let mut kinds = 0;
    for (path, bytes) in &whole {
        let name = path.file_name().unwrap();
        if ["LOCK", "BALLAST"].iter().any(|it| name == *it) {
            continue;
        }
        kinds += 1;
        write(&fs, path, &[9], 8);
        if has(path, "sealed") {
            write(&fs, path, &[9], bytes.len() as u64 - 80 + 8);
        } else if is_in_use(path, bytes) {
            // Its frames are of another version, too.
            write(&fs, path, &[2], 4096 + 48 + 38);
        }
        let before = content(&fs);
        let refused = [
            Inspection::open(shared(&fs), &dir()).err(),
            Mending::open(shared(&fs), &dir(), "a repair").err(),
        ];
        for refusal in refused {
            assert!(
                matches!(&refusal, Some(OpenError::Version { file, found: 9, .. }) if file == path),
                "{}: {refusal:?}",
                path.display()
            );
        }
        assert_eq!(content(&fs), before);
        restore(&fs, &whole);
    }
    assert!(kinds >= 5, "only {kinds} files");
    // Without a manifest it is told all the same.
    for (path, bytes) in whole.iter().filter(|(path, _)| has(path, "sealed")) {
        fs.remove(&dir().join("MANIFEST")).unwrap();
        write(&fs, path, &[9], 8);
        write(&fs, path, &[9], bytes.len() as u64 - 80 + 8);
        let refused = Mending::open(shared(&fs), &dir(), "a repair").err();
        assert!(matches!(refused, Some(OpenError::Version { .. })));
        restore(&fs, &whole);
    }
}

#[test]
fn a_damaged_version_of_one_of_our_files_is_damage() {
    let (fs, whole) = disk_of_all();
    let frames = reopened(&fs).unwrap();
    let ours = |(path, bytes): &(&PathBuf, &Vec<u8>)| has(path, "sealed") || is_in_use(path, bytes);
    let mut kinds = 0;
    for (path, _) in whole.iter().filter(ours) {
        kinds += 1;
        write(&fs, path, &[9], 8);
        let refused = reopened(&fs).unwrap_err();
        assert!(matches!(refused, OpenError::Version { .. }), "{refused}");
        assert!(repair(&fs, "then"), "{}", path.display());
        assert_eq!(reopened(&fs).unwrap(), frames);
        if has(path, "sealed") {
            assert_eq!(read(&fs, path), whole[path]);
        }
        restore(&fs, &whole);
    }
    assert!(kinds >= 2, "only {kinds} files");
}
