//! How much of a stream is kept (extension): the three headers, and PATCH.

use std::time::Duration;

use durastream_engine::{ChangeError, Limit, Reconfigure, Retention};

use crate::head::Headers;
use crate::problem::{Problem, shown};
use crate::refusal;
use crate::response::Answer;
use crate::values::{self, MAX_SAFE, MAX_TTL};

const BYTES: &str = "stream-retention-bytes";
const SECONDS: &str = "stream-retention-seconds";
const EVENTS: &str = "stream-retention-events";

/// What a request says of limits; `None` when it says nothing.
fn change(headers: Headers<'_>) -> Result<Option<Reconfigure>, Problem> {
    if ![BYTES, SECONDS, EVENTS]
        .iter()
        .any(|name| headers.has(name))
    {
        return Ok(None);
    }
    let seconds = limit(headers, SECONDS, "a number of seconds", MAX_TTL)?;
    Ok(Some(Reconfigure {
        max_bytes: limit(headers, BYTES, "a number of bytes", MAX_SAFE)?,
        max_age: match seconds {
            Limit::Set(seconds) => Limit::Set(Duration::from_secs(seconds)),
            Limit::Removed => Limit::Removed,
            _ => Limit::Unchanged,
        },
        max_events: limit(headers, EVENTS, "a number of appends", MAX_SAFE)?,
    }))
}

/// The retention that a creation asks for.
pub(crate) fn of_creation(headers: Headers<'_>) -> Result<Option<Retention>, Problem> {
    Ok(change(headers)?.map(|change| change.of(Retention::default())))
}

/// The change that a PATCH asks for.
pub(crate) fn of_patch(headers: Headers<'_>) -> Result<Reconfigure, Problem> {
    change(headers)?.ok_or_else(|| {
        Problem::new(
            400,
            "empty-patch",
            "Nothing to change",
            "PATCH changes how much of a stream is kept, by its headers; send one or more of \
             Stream-Retention-Bytes, Stream-Retention-Seconds and Stream-Retention-Events, each with \
             a number or none",
        )
    })
}

fn limit(
    headers: Headers<'_>,
    name: &'static str,
    what: &str,
    max: u64,
) -> Result<Limit<u64>, Problem> {
    let Some(raw) = headers.single(name)? else {
        return Ok(Limit::Unchanged);
    };
    if raw.eq_ignore_ascii_case(b"none") {
        return Ok(Limit::Removed);
    }
    let why = match values::integer(raw, max) {
        Ok(0) => format!("{} keeps nothing", shown(raw)),
        Ok(number) => return Ok(Limit::Set(number)),
        Err(why) => why,
    };
    let detail = format!("{name} is {what}, 1 or more, or none for no limit: {why}");
    Err(Problem::header(name, detail))
}

/// Says how much of a stream is kept.
pub(crate) fn told(answer: Answer, retention: &Retention) -> Answer {
    let number = |limit: Option<u64>| limit.map(|limit| limit.to_string());
    let seconds = retention
        .max_age
        .map(|age| age.as_secs() + u64::from(age.subsec_nanos() > 0));
    answer
        .maybe(BYTES, number(retention.max_bytes))
        .maybe(SECONDS, number(seconds))
        .maybe(EVENTS, number(retention.max_events))
}

/// The answer to PATCH.
pub(crate) fn answer(outcome: Result<Retention, ChangeError>) -> Answer {
    match outcome {
        Ok(retention) => told(Answer::new(204), &retention),
        Err(error) => refusal::change(error).answer(),
    }
}
