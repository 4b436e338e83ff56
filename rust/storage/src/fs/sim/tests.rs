//! What the simulated disk promises.

use std::collections::BTreeSet;
use std::io::IoSlice;

use super::*;

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn disk() -> SimFs {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("/d")).unwrap();
    fs.record();
    fs
}

fn create(fs: &SimFs, name: &str) -> Arc<dyn FsFile> {
    fs.open(&path(name), Open::CreateNew).unwrap()
}

fn write(file: &Arc<dyn FsFile>, offset: u64, data: &[u8]) {
    file.write_all_at(&mut [IoSlice::new(data)], offset)
        .unwrap();
}

fn content(fs: &SimFs, name: &str) -> Option<Vec<u8>> {
    let file = fs.open(&path(name), Open::Read).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

/// Everything that any seed leaves of a file after the first `at` operations.
fn outcomes(fs: &SimFs, at: usize, policy: Policy, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    let images = (0..1000).map(|seed| fs.crash_image(at, policy, seed));
    images.map(|image| content(&image, name)).collect()
}

#[test]
fn what_is_synced_survives_every_policy_at_every_later_operation() {
    let fs = disk();
    let file = create(&fs, "f");
    write(&file, 0, b"kept");
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    let synced = fs.op_count();
    write(&file, 8, b"lost");
    file.allocate(100).unwrap();
    create(&fs, "g");

    for at in synced..=fs.op_count() {
        for policy in Policy::ALL {
            for seed in 0..20 {
                let image = fs.crash_image(at, policy, seed);
                assert_eq!(&content(&image, "f").unwrap()[..4], b"kept");
            }
        }
    }
}

#[test]
fn nothing_unsynced_survives_the_policy_of_that_name() {
    let fs = disk();
    let file = create(&fs, "f");
    write(&file, 0, b"a");
    file.sync_data().unwrap();
    let at = fs.op_count();
    assert_eq!(
        content(&fs.crash_image(at, Policy::Everything, 0), "f"),
        Some(b"a".into())
    );
    // The bytes are synced, their name is not.
    assert_eq!(
        content(&fs.crash_image(at, Policy::NothingUnsynced, 0), "f"),
        None
    );
    fs.sync_dir(Path::new("/d")).unwrap();
    drop(file);
    let at = fs.op_count();
    assert_eq!(
        content(&fs.crash_image(at, Policy::NothingUnsynced, 0), "f"),
        Some(b"a".into())
    );
}

#[test]
fn closing_syncs_nothing() {
    let fs = disk();
    let file = create(&fs, "f");
    fs.sync_dir(Path::new("/d")).unwrap();
    write(&file, 0, b"a");
    drop(file);
    let image = fs.crash_image(fs.op_count(), Policy::NothingUnsynced, 0);
    assert_eq!(content(&image, "f"), Some(vec![]));
}

#[test]
fn an_unsynced_length_and_its_data_survive_apart() {
    let fs = disk();
    let file = create(&fs, "f");
    fs.sync_dir(Path::new("/d")).unwrap();
    write(&file, 0, b"abcd");
    let seen = outcomes(&fs, fs.op_count(), Policy::Subset, "f");
    let expected: [&[u8]; 3] = [b"", b"\0\0\0\0", b"abcd"];
    assert_eq!(seen, expected.map(|b| Some(b.to_vec())).into());
}

#[test]
fn writes_survive_in_any_combination() {
    let fs = disk();
    let file = create(&fs, "f");
    file.allocate(3).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    for at in 0..3 {
        write(&file, at, b"x");
    }
    assert_eq!(outcomes(&fs, fs.op_count(), Policy::Subset, "f").len(), 8);
    assert_eq!(outcomes(&fs, fs.op_count(), Policy::Prefix, "f").len(), 4);
}

#[test]
fn a_torn_write_keeps_whole_sectors_of_the_file_only() {
    for sector in [512_u32, 4096] {
        let fs = disk();
        let file = create(&fs, "f");
        let size = sector as usize;
        write(&file, 0, &vec![1; 4 * size]);
        file.sync_data().unwrap();
        fs.sync_dir(Path::new("/d")).unwrap();
        // From the middle of the first sector to the middle of the last.
        write(&file, size as u64 / 2, &vec![2; 3 * size]);
        let seen = outcomes(&fs, fs.op_count(), Policy::Torn { sector }, "f");
        for bytes in &seen {
            let bytes = bytes.as_ref().unwrap();
            let changed: Vec<&[u8]> = vec![
                &bytes[size / 2..size],
                &bytes[size..2 * size],
                &bytes[2 * size..3 * size],
                &bytes[3 * size..3 * size + size / 2],
            ];
            for part in changed {
                assert!(part.iter().all(|&b| b == part[0]));
            }
        }
        assert_eq!(seen.len(), 16, "every combination of four sectors");
    }
}

#[test]
fn what_is_written_through_is_durable_by_itself_and_nothing_older_comes_out_on_top() {
    let fs = disk();
    let file = create(&fs, "f");
    fs.sync_dir(Path::new("/d")).unwrap();
    let through = |bytes: &[u8]| file.write_through(&mut [IoSlice::new(bytes)], 1);
    assert!(through(b"bb").is_none(), "not unless it is told");
    fs.set_write_through(true);
    write(&file, 0, b"aaaa");
    through(b"bb").unwrap().unwrap();
    let seen = outcomes(&fs, fs.op_count(), Policy::Subset, "f");
    let beginnings: BTreeSet<_> = seen
        .into_iter()
        .map(|it| it.unwrap()[..3].to_vec())
        .collect();
    assert_eq!(beginnings, [b"abb".to_vec(), b"\0bb".to_vec()].into());
    // While it is written it is like any other write.
    let torn = outcomes(&fs, fs.op_count() - 1, Policy::Subset, "f");
    assert!(
        torn.iter()
            .flatten()
            .any(|bytes| bytes.get(1) != Some(&b'b'))
    );
    // What comes after it is not covered.
    write(&file, 0, b"cccc");
    let seen = outcomes(&fs, fs.op_count(), Policy::Subset, "f");
    assert!(seen.contains(&Some(b"cccc".to_vec())) && seen.contains(&Some(b"abba".to_vec())));

    fs.inject(Fault {
        class: OpClass::Sync,
        after: 0,
        times: 1,
        kind: FaultKind::Io,
    });
    assert!(through(b"dd").unwrap().is_err());
    assert_eq!(
        content(
            &fs.crash_image(fs.op_count(), Policy::NothingUnsynced, 0),
            "f"
        )
        .unwrap(),
        b"\0bb"
    );
}

#[test]
fn a_rename_happens_wholly_or_not_until_its_directory_is_synced() {
    let fs = disk();
    write(&create(&fs, "old"), 0, b"old");
    write(&create(&fs, "new"), 0, b"new");
    fs.record();
    fs.rename(&path("new"), &path("old")).unwrap();
    let at = fs.op_count();
    let images = (0..50).map(|seed| fs.crash_image(at, Policy::Subset, seed));
    let seen: BTreeSet<_> = images
        .map(|image| (content(&image, "old"), content(&image, "new")))
        .collect();
    let before = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    let after = (Some(b"new".to_vec()), None);
    assert_eq!(seen, [before, after].into());

    fs.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(
        outcomes(&fs, fs.op_count(), Policy::Subset, "old"),
        [Some(b"new".to_vec())].into()
    );
}

#[test]
fn a_removal_is_undone_until_its_directory_is_synced() {
    let fs = disk();
    create(&fs, "f");
    fs.record();
    fs.remove(&path("f")).unwrap();
    assert_eq!(outcomes(&fs, 1, Policy::Subset, "f").len(), 2);
    fs.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&fs, 2, Policy::Subset, "f"), [None].into());
}

#[test]
fn a_removed_file_lives_on_for_whoever_has_it_open() {
    let fs = disk();
    let file = create(&fs, "f");
    write(&file, 0, b"a");
    fs.remove(&path("f")).unwrap();
    let mut got = [0];
    file.read_exact_at(&mut got, 0).unwrap();
    assert_eq!(&got, b"a");
}

#[test]
fn a_failed_sync_loses_its_writes_although_the_next_one_succeeds() {
    let fs = disk();
    let file = create(&fs, "f");
    fs.sync_dir(Path::new("/d")).unwrap();
    write(&file, 0, b"a");
    fs.inject(Fault {
        class: OpClass::Sync,
        after: 0,
        times: 1,
        kind: FaultKind::Io,
    });
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    write(&file, 1, b"b");
    file.sync_data().unwrap();
    assert_eq!(content(&fs, "f"), Some(b"ab".into()));
    let image = fs.crash_image(fs.op_count(), Policy::Everything, 0);
    assert_eq!(content(&image, "f"), Some(b"\0b".into()));
}

#[test]
fn faults_strike_the_nth_operation_of_their_class() {
    let fs = disk();
    let file = create(&fs, "f");
    fs.inject(Fault {
        class: OpClass::Write,
        after: 1,
        times: 1,
        kind: FaultKind::ShortNoSpace,
    });
    file.allocate(8).unwrap();
    write(&file, 0, b"aaaa");
    let slices = &mut [IoSlice::new(b"bb"), IoSlice::new(b"bb")];
    let refused = file.write_all_at(slices, 4).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert_eq!(content(&fs, "f"), Some(b"aaaabb\0\0".into()));
    write(&file, 4, b"cccc");
    assert_eq!(fs.heal(), 0);

    fs.inject(Fault {
        class: OpClass::Change,
        after: 0,
        times: u64::MAX,
        kind: FaultKind::Io,
    });
    assert_eq!(content(&fs, "f"), Some(b"aaaacccc".into()));
    for _ in 0..3 {
        assert!(fs.open(&path("g"), Open::CreateNew).is_err());
        assert!(fs.rename(&path("f"), &path("g")).is_err());
        assert!(file.set_len(0).is_err());
    }
    assert!(fs.heal() > 0);
    create(&fs, "g");
}

#[test]
fn a_bounded_disk_fills_up() {
    let fs = disk();
    fs.set_capacity(Some(10));
    let file = create(&fs, "f");
    file.allocate(8).unwrap();
    let other = create(&fs, "g");
    write(&other, 0, b"ab");
    for refused in [
        other.allocate(3),
        other.set_len(3),
        other.write_all_at(&mut [IoSlice::new(b"c")], 2),
    ] {
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
    write(&file, 0, b"12345678");
    fs.remove(&path("f")).unwrap();
    write(&other, 2, b"c");
}

#[test]
fn a_lock_ends_with_its_holder_and_is_not_found_after_a_crash() {
    let fs = disk();
    let held = fs.lock(&path("LOCK"), "one").unwrap();
    let refused = fs.lock(&path("LOCK"), "two").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(refused.to_string(), "one");
    let image = fs.crash_image(fs.op_count(), Policy::Everything, 0);
    assert_eq!(content(&image, "LOCK"), Some(b"one".into()));
    image.lock(&path("LOCK"), "two").unwrap();
    drop(held);
    fs.lock(&path("LOCK"), "2").unwrap();
    assert_eq!(content(&fs, "LOCK"), Some(b"2".into()));
}

#[test]
fn a_dead_process_changes_nothing_and_leaves_what_it_wrote() {
    let fs = disk();
    let file = create(&fs, "f");
    let held = fs.lock(&path("LOCK"), "one").unwrap();
    write(&file, 0, b"a");
    let next = fs.kill();
    let _lock = next.lock(&path("LOCK"), "two").unwrap();
    drop(held);
    assert_eq!(
        next.lock(&path("LOCK"), "three").err().unwrap().to_string(),
        "two"
    );
    let ops = next.op_count();
    assert!(file.write_all_at(&mut [IoSlice::new(b"b")], 0).is_err());
    assert!(file.sync_data().is_err());
    assert!(fs.remove(&path("f")).is_err());
    assert!(fs.open(&path("f"), Open::Read).is_err());
    assert_eq!(next.op_count(), ops);
    assert_eq!(content(&next, "f"), Some(b"a".into()));
    // It was never synced.
    let image = next.crash_image(ops, Policy::NothingUnsynced, 0);
    assert_eq!(content(&image, "f"), None);
}

#[test]
fn space_that_was_only_reserved_costs_no_memory() {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("/d")).unwrap();
    let file = create(&fs, "f");
    file.allocate(64 << 20).unwrap();
    assert_eq!(file.len().unwrap(), 64 << 20);
    assert_eq!(fs.resident(), 0);
    write(&file, 32 << 20, b"a");
    assert!(fs.resident() <= 4096);
    file.set_len(0).unwrap();
    assert_eq!(fs.resident(), 0);
}

#[test]
fn names_behave_as_on_a_real_disk() {
    let fs = disk();
    create(&fs, "b");
    create(&fs, "a");
    fs.create_dir_all(&path("sub/deep")).unwrap();
    assert_eq!(
        fs.list(Path::new("/d")).unwrap(),
        [PathBuf::from("a"), PathBuf::from("b")]
    );
    let kind = |result: io::Result<Arc<dyn FsFile>>| result.err().unwrap().kind();
    assert_eq!(
        kind(fs.open(&path("a"), Open::CreateNew)),
        io::ErrorKind::AlreadyExists
    );
    assert_eq!(
        kind(fs.open(&path("c"), Open::Read)),
        io::ErrorKind::NotFound
    );
    assert_eq!(
        kind(fs.open(Path::new("/e/c"), Open::CreateNew)),
        io::ErrorKind::NotFound
    );
    assert!(fs.list(Path::new("/e")).is_err());
    assert!(fs.rename(&path("c"), &path("d")).is_err());
    assert!(fs.remove(&path("c")).is_err());
    let reader = fs.open(&path("a"), Open::Read).unwrap();
    assert!(reader.set_len(3).is_err());
}

#[test]
fn a_crash_can_be_rewound() {
    let fs = disk();
    let file = create(&fs, "f");
    fs.sync_dir(Path::new("/d")).unwrap();
    write(&file, 0, b"a");
    file.sync_data().unwrap();
    let mut crash = fs.crash();
    crash.advance_to(usize::MAX);
    assert!(!crash.has_unsynced());
    assert_eq!(
        content(&crash.image(Policy::NothingUnsynced, 0), "f"),
        Some(b"a".into())
    );
    crash.advance_to(3);
    assert!(crash.has_unsynced());
    assert_eq!(
        content(&crash.image(Policy::NothingUnsynced, 0), "f"),
        Some(vec![])
    );
}

#[test]
fn a_link_is_lost_or_kept_by_itself_and_both_names_show_one_file() {
    let fs = disk();
    let file = create(&fs, "one");
    write(&file, 0, b"abc");
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    fs.link(&path("one"), &path("two")).unwrap();
    let linked = fs.op_count();
    let both = BTreeSet::from([None, Some(b"abc".to_vec())]);
    assert_eq!(outcomes(&fs, linked, Policy::Subset, "two"), both);
    fs.sync_dir(Path::new("/d")).unwrap();
    fs.remove(&path("one")).unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    for policy in Policy::ALL {
        let image = fs.crash_image(fs.op_count(), policy, 0);
        assert_eq!(content(&image, "one"), None);
        assert_eq!(content(&image, "two").unwrap(), b"abc");
    }
}
