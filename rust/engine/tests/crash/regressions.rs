//! What others of this kind found in themselves, and what this suite found in ours.

use std::sync::Arc;
use std::time::Duration;

use durastream_engine::storage::fs::SimFs;
use durastream_engine::storage::fs::sim::Policy;
use durastream_engine::{Create, Engine, Expiry, From};

use crate::support::*;
use crate::sweep::{small, try_open};

/// Whatever a power cut leaves at or after operation `from`, opened.
fn every_image(fs: &SimFs, from: usize, look: &dyn Fn(&Engine, usize, Policy)) {
    let mut crash = fs.crash();
    for op in from..=crash.op_count() {
        crash.advance_to(op);
        for policy in Policy::ALL {
            let image = crash.image(policy, op as u64);
            let engine = try_open(Arc::new(image), &ManualClock::new(), small());
            let engine = engine.unwrap_or_else(|e| panic!("op {op} {policy:?}: {e}"));
            look(&engine, op, policy);
        }
    }
}

/// Deleted while its appends are in the log, in a checkpoint and in sealed files; and its path used again.
#[test]
fn an_acknowledged_delete_never_comes_back() {
    for create_again in [false, true] {
        let (fs, clock) = (SimFs::recording(), ManualClock::new());
        let mut fs = fs;
        let mut engine = open_with(&fs, &clock, small());
        let old = created(&engine, "s", text("old"));
        created(&engine, "other", text("other"));
        for number in 0..12 {
            appended(&engine, "s", by(body(&"x".repeat(3000)), "p", 0, number));
            if number == 6 {
                engine.checkpoint().unwrap();
            }
        }
        told(&engine, engine.delete(&path("s"))).unwrap();
        let deleted = fs.op_count();
        if create_again {
            created(&engine, "s", text("new"));
        }
        let again = fs.op_count();
        // Boots, checkpoints and sealing: each replaces files that told of the deletion.
        for round in 0..3 {
            for _ in 0..6 {
                appended(&engine, "other", body(&"y".repeat(3000)));
            }
            engine.checkpoint().unwrap();
            if round == 1 {
                engine.close().unwrap();
            }
            let next = fs.kill();
            drop(engine);
            fs = next;
            engine = open_with(&fs, &clock, small());
        }
        every_image(&fs, deleted, &|engine, op, policy| {
            let what = format!("op {op} {policy:?}");
            match exists(engine, "s") {
                true => assert_eq!(content(engine, "s"), "new", "{what}"),
                false => assert!(!create_again || op < again, "{what}: the new one is gone"),
            }
            let stale = page(engine, "s", From::At(old));
            assert!(stale.is_err(), "{what}: {stale:?}");
        });
    }
}

#[test]
fn a_fork_tree_survives_a_power_cut_at_any_operation() {
    let (fs, clock) = (SimFs::recording(), ManualClock::new());
    let engine = open(&fs, &clock);
    created(&engine, "src", text("abc"));
    created(&engine, "f", fork("src", None));
    let forked = fs.op_count();
    appended(&engine, "f", body("def"));
    created(
        &engine,
        "g",
        Create {
            expiry: Some(Expiry::Ttl(Duration::from_secs(1000))),
            ..fork("f", None)
        },
    );
    told(&engine, engine.delete(&path("src"))).unwrap();
    let softened = fs.op_count();
    engine.checkpoint().unwrap();
    told(&engine, engine.delete(&path("f"))).unwrap();
    let last = fs.op_count();
    told(&engine, engine.delete(&path("g"))).unwrap();
    let done = fs.op_count();
    every_image(&fs, forked, &|engine, op, policy| {
        let here = |at: &str| told(engine, engine.head(&path(at))).is_ok();
        if op >= softened {
            assert!(!here("src"));
        }
        if op <= softened {
            assert!(
                content(engine, "f").starts_with("abc"),
                "op {op} {policy:?}"
            );
        }
        if (softened..=last).contains(&op) {
            assert_eq!(content(engine, "g"), "abcdef", "op {op} {policy:?}");
        }
        if op >= done {
            assert_eq!(engine.stats().streams, 0);
        }
    });
}
