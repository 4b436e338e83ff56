//! What sealing and compaction cost and give: the tasks of `bench/history.py`, each in a process of its own. Prints JSON.
//!
//! `cargo run --release -p durastream-engine --example history -- TASK DIRECTORY [NUMBERS]`

mod cold;
mod common;
mod load;
mod space;

use std::io::Write;
use std::path::Path;

use common::{Failure, Figures};

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [task, dir, numbers @ ..] = &arguments[..] else {
        return Err("usage: history TASK DIRECTORY [NUMBERS]".into());
    };
    let numbers: Result<Vec<u64>, _> = numbers.iter().map(|text| text.parse()).collect();
    let numbers = numbers?;
    let dir = Path::new(dir);
    let figures: Figures = match (&task[..], &numbers[..]) {
        ("appends", &[seconds, busy]) => load::appends(dir, seconds, busy > 0)?,
        ("sustained", &[seconds, cap]) => load::sustained(dir, seconds, cap)?,
        ("interleave", &[streams, bytes, size]) => cold::interleave(dir, streams, bytes, size)?,
        ("read", &[streams]) => cold::read(dir, streams)?,
        ("cat", &[streams]) => cold::cat(dir, streams)?,
        ("delete", &[streams, bytes, size]) => space::delete(dir, streams, bytes, size)?,
        _ => return Err(format!("no such task: {arguments:?}").into()),
    };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&figures)?)?;
    Ok(())
}
