//! Power cuts, dying processes and failing disks, at every operation of many workloads.
//!
//! The quick profile runs in CI. `DURASTREAM_CRASH_ROUNDS=100` makes it a hundred times as many
//! workloads, other ones each time `DURASTREAM_CRASH_SEED` changes.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod damage;
#[path = "../support/deeds.rs"]
mod deeds;
mod faults;
mod history;
#[path = "../support/lying.rs"]
mod lying;
#[path = "../support/meddled.rs"]
mod meddled;
mod planted;
mod power;
mod regressions;
mod session;
mod sweep;
mod workload;

/// How many times as long as in CI to run.
fn rounds() -> u64 {
    number("DURASTREAM_CRASH_ROUNDS").unwrap_or(1).max(1)
}

/// Where the seeds of workloads begin.
fn first_seed() -> u64 {
    number("DURASTREAM_CRASH_SEED").unwrap_or(0) << 32
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}
