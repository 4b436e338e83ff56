//! Load for bench/: one thread over epoll, one line of JSON.
//!
//! `load TASK --port N --path /v1/stream/x --pids 1,2 ...`; the options of a task are in its module.

mod answer;
mod append;
mod connection;
mod create;
mod fanout;
mod fetch;
mod latency;
mod marks;
mod meter;
mod options;
mod pace;
mod request;
mod waiters;

use std::process::ExitCode;

use serde_json::Value;

use crate::options::Options;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn run() -> Result<Value, Failure> {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().ok_or("which task?")?;
    let options = Options::parse(arguments)?;
    match task.as_str() {
        "append" => append::run(&options),
        "count" => fetch::count(&options),
        "create" => create::streams(&options),
        "fill" => create::fill(&options),
        "get" => fetch::run(&options),
        "sse" => fanout::run(&options),
        "wait" => waiters::run(&options),
        other => Err(format!("no task {other}").into()),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
