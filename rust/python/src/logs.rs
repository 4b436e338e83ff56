//! What the native half has to say, as lines on standard error in the manner of Python's `logging`.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::traces::{self, Spans};

const TEXT_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second],[subsecond digits:3]");
const JSON_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+00:00");
/// Lines that wait for who reads standard error; more are dropped, so that no loop waits for it.
const WAITING: usize = 8192;
const FLUSH_TIME: Duration = Duration::from_secs(1);

static WRITER: OnceLock<SyncSender<Message>> = OnceLock::new();

enum Message {
    Line(String),
    /// Answered when everything before was written.
    Flush(SyncSender<()>),
}

/// Sends events of at least `level` to standard error, as text or JSON, and spans to `collector`, the URL of an
/// OpenTelemetry collector, of what no caller has decided about `trace_ratio`. Only the first call of a process counts.
/// Raises ValueError for an unknown level or a URL that is none.
#[pyfunction]
#[pyo3(signature = (level, json, *, collector=None, trace_ratio=1.0))]
pub(crate) fn log_to_stderr(
    level: &str,
    json: bool,
    collector: Option<&str>,
    trace_ratio: f64,
) -> PyResult<()> {
    let level = match level {
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warning" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        other => return Err(PyValueError::new_err(format!("{other} is no level"))),
    };
    let (sender, receiver) = sync_channel(WAITING);
    if WRITER.set(sender.clone()).is_err() {
        return Ok(());
    }
    thread::Builder::new()
        .name("durastream-logs".to_owned())
        .spawn(move || write(&receiver))?;
    let lines = Lines {
        json,
        level,
        out: sender,
    };
    let registry = tracing_subscriber::registry();
    // Another one is there only if a Rust program around this one has set it: then that is to hear it.
    let _ = match collector {
        None => tracing::subscriber::set_global_default(registry.with(level).with(lines)),
        Some(collector) => {
            let spans = traces::begin(collector, trace_ratio)?.with_filter(filter_fn(Spans::wants));
            let lines = lines.with_filter(level);
            tracing::subscriber::set_global_default(registry.with(lines).with(spans))
        }
    };
    Ok(())
}

/// Returns when what was logged so far is written, or after a second.
#[pyfunction]
pub(crate) fn flush_logs(py: Python<'_>) {
    let Some(writer) = WRITER.get() else { return };
    py.detach(|| {
        let (done, told) = sync_channel(1);
        if writer.try_send(Message::Flush(done)).is_ok() {
            let _ = told.recv_timeout(FLUSH_TIME);
        }
    });
}

fn write(messages: &Receiver<Message>) {
    for message in messages {
        match message {
            // Nobody is left to be told that standard error is gone.
            Message::Line(line) => {
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// Makes a line of each event.
struct Lines {
    json: bool,
    level: LevelFilter,
    out: SyncSender<Message>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > self.level {
            return;
        }
        let mut fields = Fields {
            json: self.json,
            ..Fields::default()
        };
        event.record(&mut fields);
        let now = OffsetDateTime::from(SystemTime::now());
        let time = now.format(if self.json { JSON_TIME } else { TEXT_TIME });
        let time = time.unwrap_or_default();
        let level = match *metadata.level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            _ => "DEBUG",
        };
        let logger = metadata.target().replace("::", ".");
        let logger = logger.replace("durastream_", "durastream.");
        let Fields { message, rest, .. } = fields;
        let line = if self.json {
            let level = level.to_lowercase();
            let message = quoted(&message);
            format!(
                "{{\"time\": \"{time}\", \"level\": \"{level}\", \"logger\": \"{logger}\", \"message\": {message}{rest}}}\n"
            )
        } else {
            format!("{time} {level} {logger}: {message}{rest}\n")
        };
        let _ = self.out.try_send(Message::Line(line));
    }
}

/// The fields of an event, as they stand in its line.
#[derive(Default)]
struct Fields {
    json: bool,
    message: String,
    rest: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: &dyn fmt::Display) {
        // Writing to a string does not fail.
        let _ = if self.json {
            write!(self.rest, ", \"{}\": {value}", field.name())
        } else {
            write!(self.rest, " {}={value}", field.name())
        };
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'='));
        if plain && !self.json && !value.is_empty() {
            self.put(field, &value);
        } else {
            self.put(field, &quoted(value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.record_str(field, &text);
        }
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            letter if letter.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}
