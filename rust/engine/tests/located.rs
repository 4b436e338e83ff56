//! Pages of which large sealed parts are left in their files have the same bytes as pages in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use durastream_engine::storage::{Durability, Piece};
use durastream_engine::{Append, Engine, From, Options, Page, Reader};
use proptest::prelude::*;
use support::*;

/// Keeps `hot_bytes` in memory, on the system's own files.
fn open(dir: &Path, hot_bytes: usize) -> Engine {
    let mut options = Options::default();
    options.store.segment_bytes = 256 << 10;
    options.store.durability = Durability::None;
    options.store.hot_bytes = hot_bytes;
    Engine::open(dir, options).unwrap()
}

fn bytes(len: usize, seed: usize) -> Append {
    let body: Vec<u8> = (0..len).map(|at| (at * 7 + seed * 13) as u8).collect();
    Append {
        body: body.into(),
        ..Append::default()
    }
}

fn reader(engine: &Engine, at: &str) -> Reader {
    told(engine, engine.reader(&path(at))).unwrap()
}

/// The page's bytes, and how many of them are left in files.
fn gathered(page: &Page<Piece>) -> (Vec<u8>, usize) {
    let (mut all, mut located) = (Vec::new(), 0);
    for piece in &page.chunks {
        match piece {
            Piece::Bytes(bytes) => all.extend_from_slice(bytes),
            Piece::File(part) => {
                located += part.len();
                all.extend_from_slice(&part.read().unwrap());
            }
        }
    }
    (all, located)
}

/// Whether the page is the same in both forms; how much of it was left in files.
fn compare(reader: &Reader, from: From, max_bytes: usize) -> (Page, usize) {
    let page = reader.page(from, max_bytes).unwrap();
    let whole = page.chunks.concat();
    let located: Page<Piece> = reader.page_of(from, max_bytes).unwrap();
    let (all, in_files) = gathered(&located);
    assert!(all == whole, "{from:?}, at most {max_bytes}");
    let ends = |page: &Page<Piece>| (page.start, page.next, page.up_to_date, page.closed);
    let expected = (page.start, page.next, page.up_to_date, page.closed);
    assert_eq!(ends(&located), expected);
    // What was verified by that is at hand, if the stream's index knows it.
    if let Some(hot) = reader.hot_page_of::<Piece>(from, max_bytes) {
        let hot = hot.unwrap();
        assert!(gathered(&hot).0 == whole, "{from:?}, at most {max_bytes}");
        assert_eq!(ends(&hot), expected);
    }
    (page, in_files)
}

#[test]
fn large_sealed_parts_are_left_in_their_files_unless_they_are_in_memory() {
    for hot_bytes in [64 << 20, 0] {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path(), hot_bytes);
        created(&engine, "a", text(""));
        for n in 0..40 {
            appended(&engine, "a", bytes(30_000, n));
        }
        let reader = reader(&engine, "a");
        engine.compact().unwrap();
        appended(&engine, "a", bytes(100, 99));
        let (_, in_files) = compare(&reader, From::Start, usize::MAX);
        assert_eq!(in_files > 1_000_000, hot_bytes == 0, "{in_files}");
        let hot = reader.hot_page_of::<Piece>(From::Start, usize::MAX);
        assert_eq!(hot.is_some(), hot_bytes > 0);
        engine.close().unwrap();
    }
}

#[test]
fn what_is_small_or_in_the_log_is_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), 64 << 20);
    created(&engine, "small", text(""));
    appended(&engine, "small", bytes(60_000, 1));
    engine.compact().unwrap();
    created(&engine, "new", text(""));
    appended(&engine, "new", bytes(100_000, 1));
    for at in ["small", "new"] {
        assert_eq!(compare(&reader(&engine, at), From::Start, usize::MAX).1, 0);
    }
    engine.close().unwrap();
}

/// Flips a bit of the only sealed file, or flips it back.
fn flip(dir: &Path) {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "sealed"));
    let [file] = &files[..] else {
        panic!("{files:?}")
    };
    let file = OpenOptions::new().read(true).write(true).open(file);
    let (file, mut byte) = (file.unwrap(), [0]);
    file.read_exact_at(&mut byte, 300_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 300_000).unwrap();
}

#[test]
fn what_is_damaged_is_never_given() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), 64 << 20);
    created(&engine, "a", text(""));
    for n in 0..10 {
        appended(&engine, "a", bytes(100_000, n));
    }
    engine.compact().unwrap();
    flip(dir.path());
    let (page, in_files) = compare(&reader(&engine, "a"), From::Start, usize::MAX);
    assert_eq!((page.chunks.concat().len(), in_files), (1_000_000, 0));
    engine.close().unwrap();

    let engine = open(dir.path(), 0);
    let cold = reader(&engine, "a");
    assert!(cold.page_of::<Piece>(From::Start, usize::MAX).is_err());
    flip(dir.path());
    assert!(compare(&cold, From::Start, usize::MAX).1 > 900_000);
    engine.close().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn pages_are_the_same_across_forks_segments_and_sealing(
        sizes in prop::collection::vec(prop_oneof![1..400_usize, 1..150_000_usize], 1..40),
        hot in prop_oneof![Just(64_usize << 20), Just(0), Just(1 << 20)],
        (forked, sealed) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        sub_offset in 0..3_u64,
        reads in prop::collection::vec((any::<prop::sample::Index>(), -1..2_i64, prop_oneof![1..300_000_usize, Just(usize::MAX)]), 12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path(), hot);
        let mut ends = vec![created(&engine, "a", text(""))];
        created(&engine, "beside", text(""));
        for (n, size) in sizes.iter().enumerate() {
            ends.push(appended(&engine, "a", bytes(*size, n)));
            appended(&engine, "beside", bytes(1000, n));
            if sealed.index(sizes.len()) == n {
                engine.compact().unwrap();
            }
        }
        let mut fork = fork("a", Some(ends[forked.index(ends.len() - 1)]));
        if let Some(fork) = &mut fork.fork {
            fork.sub_offset = sub_offset.min(1);
        }
        created(&engine, "b", fork);
        appended(&engine, "b", bytes(90_000, 50));
        appended(&engine, "b", bytes(10, 51));
        for at in ["a", "b"] {
            let reader = reader(&engine, at);
            let tail = reader.info().unwrap().tail.position;
            for (index, beside, max_bytes) in &reads {
                let mut from = ends[index.index(ends.len())];
                from.position = from.position.saturating_add_signed(*beside).min(tail);
                compare(&reader, From::At(from), *max_bytes);
            }
            // Page by page to the end.
            let mut from = From::Start;
            loop {
                let (page, _) = compare(&reader, from, 200_000);
                if page.up_to_date {
                    break;
                }
                from = From::At(page.next);
            }
        }
        engine.close().unwrap();
    }
}
