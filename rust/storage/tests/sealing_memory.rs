//! What sealing takes of memory. Alone in its process, whose peak it reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use durastream_storage::fs::OsFs;
use durastream_storage::{Durability, StoreOptions};
use support::{append, head, open_with, payload};

const SEGMENT: u64 = 64 << 20;

/// The most that was resident since the last [`forget_peak`], in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[test]
fn sealing_a_segment_takes_far_less_memory_than_the_segment_has() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::default();
    options.segment_bytes = SEGMENT;
    options.durability = Durability::None;
    options.hot_bytes = 1 << 20;
    let opened = open_with(Arc::new(OsFs), dir.path(), options).unwrap();
    forget_peak();
    let before = peak();
    for turn in 0..70 {
        for stream in 0..1000 {
            append(
                &opened.store,
                &head(stream, turn * 1000),
                &payload(turn, 1000),
            );
        }
    }
    let begun = Instant::now();
    while opened.store.stats().sealed_bytes < 50 << 20 {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it is not sealed"
        );
        thread::sleep(Duration::from_millis(5));
    }
    let taken = peak() - before;
    assert!(taken < 32 << 20, "{} MiB", taken >> 20);
}
