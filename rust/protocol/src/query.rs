//! Query parameters of a read.

use std::borrow::Cow;

use durastream_engine::{From as Start, Offset};

use crate::cursor;
use crate::problem::{Problem, shown};
use crate::values;

/// How a read follows the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    /// Not at all: catch up and answer.
    No,
    /// Wait for the first news.
    LongPoll,
    /// Stay and send events.
    Sse,
}

/// The query of a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// Where to begin.
    pub(crate) from: Start,
    /// How to follow.
    pub(crate) live: Live,
    /// The cursor that the client echoes; live reads only.
    pub(crate) cursor: Option<u64>,
}

impl Query {
    /// Parses and checks. Unknown parameters are ignored, known ones may occur once.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, Problem> {
        let offset = parameter(raw, "offset", "as -1, now or a Stream-Next-Offset")?;
        let live = parameter(raw, "live", "as long-poll or sse")?;
        let cursor = parameter(raw, "cursor", "as a Stream-Cursor")?;
        let live = match live.as_deref() {
            None => Live::No,
            Some(b"long-poll") => Live::LongPoll,
            Some(b"sse") => Live::Sse,
            Some(other) => {
                return Err(Problem::parameter(
                    "live",
                    format!("live is long-poll or sse, not {}", shown(other)),
                ));
            }
        };
        if offset.is_none() && live != Live::No {
            return Err(Problem::parameter(
                "offset",
                "a live read needs an offset: -1 for the start, now for the tail, or a \
                 Stream-Next-Offset",
            ));
        }
        Ok(Self {
            from: start(offset.as_deref())?,
            live,
            cursor: match cursor {
                Some(raw) if live != Live::No => {
                    Some(values::integer(&raw, cursor::MAX).map_err(|why| {
                        Problem::parameter(
                            "cursor",
                            format!("cursor is a Stream-Cursor as the server gave it: {why}"),
                        )
                    })?)
                }
                _ => None,
            },
        })
    }
}

fn start(offset: Option<&[u8]>) -> Result<Start, Problem> {
    match offset {
        None | Some(b"-1") => Ok(Start::Start),
        Some(b"now") => Ok(Start::Now),
        Some(token) => std::str::from_utf8(token)
            .ok()
            .and_then(|text| text.parse::<Offset>().ok())
            .map(Start::At)
            .ok_or_else(|| {
                Problem::parameter(
                    "offset",
                    format!(
                        "offset is -1, now, or a Stream-Next-Offset as the server gave it \
                         (16 digits, _, 16 digits), not {}",
                        shown(token)
                    ),
                )
            }),
    }
}

/// The decoded value of a parameter that may occur once; `right` says as what.
fn parameter<'a>(
    raw: &'a [u8],
    name: &'static str,
    right: &str,
) -> Result<Option<Cow<'a, [u8]>>, Problem> {
    let mut found = None;
    for pair in raw.split(|b| *b == b'&') {
        let (key, value) = match pair.iter().position(|b| *b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        if !matches!(values::percent_decode(key), Some(key) if *key == *name.as_bytes()) {
            continue;
        }
        let value = values::percent_decode(value).ok_or_else(|| {
            Problem::parameter(
                name,
                format!("{name} has a broken percent-encoding in {}", shown(value)),
            )
        })?;
        if found.replace(value).is_some() {
            return Err(Problem::parameter(
                name,
                format!("{name} may be given once, {right}; this request repeats it"),
            ));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_offset_a_read_begins_at_the_start() {
        for raw in ["", "offset=-1", "foo=bar&offset=%2D1&baz", "&&"] {
            let query = Query::parse(raw.as_bytes()).unwrap();
            assert_eq!(query.from, Start::Start, "{raw}");
            assert_eq!(query.live, Live::No);
        }
    }

    #[test]
    fn tokens_and_sentinels_are_understood() {
        let token = "0000000000000007_0000000000000042";
        let query = Query::parse(format!("live=sse&offset={token}&cursor=12").as_bytes()).unwrap();
        assert_eq!(query.from, Start::At(token.parse().unwrap()));
        assert_eq!(query.live, Live::Sse);
        assert_eq!(query.cursor, Some(12));
        assert_eq!(
            Query::parse(b"offset=now&live=long-poll").unwrap().from,
            Start::Now
        );
    }

    #[test]
    fn malformed_values_are_refused_by_name() {
        for (raw, name) in [
            ("offset=", "offset"),
            ("offset", "offset"),
            ("offset=0,1", "offset"),
            ("offset=0 1", "offset"),
            ("offset=%zz", "offset"),
            ("offset=%4", "offset"),
            ("offset=NOW", "offset"),
            ("offset=-2", "offset"),
            ("offset=-1&offset=-1", "offset"),
            ("offset=99999999999999999999_0000000000000000", "offset"),
            ("offset=0000000000000000_000000000000000%00", "offset"),
            ("live=sse", "offset"),
            ("live=long-poll", "offset"),
            ("offset=-1&live=", "live"),
            ("offset=-1&live=true", "live"),
            ("offset=-1&live=sse&live=sse", "live"),
            ("offset=-1&live=sse&cursor=", "cursor"),
            ("offset=-1&live=sse&cursor=-1", "cursor"),
            ("offset=-1&live=sse&cursor=1e3", "cursor"),
            (
                "offset=-1&live=sse&cursor=99999999999999999999999",
                "cursor",
            ),
            ("offset=-1&live=sse&cursor=1&cursor=2", "cursor"),
        ] {
            let problem = Query::parse(raw.as_bytes()).unwrap_err();
            assert_eq!(problem.status(), 400, "{raw}");
            assert!(
                problem.detail().contains(name),
                "{raw}: {}",
                problem.detail()
            );
        }
    }

    #[test]
    fn a_catch_up_read_does_not_mind_the_cursor() {
        assert_eq!(Query::parse(b"cursor=abc").unwrap().cursor, None);
    }
}
