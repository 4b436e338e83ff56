//! The engine's refusals as problems: one status, one kind and the facts of each.

use std::fmt::Write as _;

use bytes::Bytes;
use durastream_engine::storage::{CommitError, PushError, ReadError};
use durastream_engine::{
    AppendError, ChangeError, CreateError, LimitError, LookupError, Offset, PageError,
};

use crate::problem::Problem;

/// An offset as a header value.
pub(crate) fn offset_value(offset: Offset) -> Bytes {
    let mut text = String::with_capacity(33);
    // Writing to a string cannot fail.
    let _ = write!(text, "{offset}");
    Bytes::from(text)
}

fn yes() -> Bytes {
    Bytes::from_static(b"true")
}

/// Missing or soft-deleted.
pub(crate) fn lookup(error: &LookupError) -> Problem {
    let detail = error.to_string();
    match error {
        LookupError::NotFound { .. } => not_found(detail),
        LookupError::SoftDeleted { .. } => {
            Problem::new(410, "stream-deleted", "Stream deleted", detail)
        }
        _ => unexpected(detail),
    }
}

fn not_found(detail: String) -> Problem {
    Problem::new(404, "stream-not-found", "Stream not found", detail)
}

/// Why an append was refused.
pub(crate) fn append(error: AppendError) -> Problem {
    let detail = error.to_string();
    let conflict = |kind, title| Problem::new(409, kind, title, detail.clone());
    match error {
        AppendError::Lookup(error) => lookup(&error),
        AppendError::Body(_) => bad_body(detail),
        AppendError::Empty => empty_append(),
        AppendError::Fenced { got, current } => {
            Problem::new(403, "producer-fenced", "Producer fenced", detail)
                .fact("received", got)
                .fact("current", current)
                .with("producer-epoch", current.to_string())
        }
        AppendError::EpochStart { got } => {
            Problem::new(400, "epoch-start", "New epoch must start at 0", detail)
                .fact("expected", 0)
                .fact("received", got)
        }
        AppendError::Gap { expected, got } => conflict("sequence-gap", "Producer sequence gap")
            .fact("expected", expected)
            .fact("received", got)
            .with("producer-expected-seq", expected.to_string())
            .with("producer-received-seq", got.to_string()),
        AppendError::Closed { tail } => conflict("stream-closed", "Stream closed")
            .fact("tail", tail.to_string())
            .with("stream-closed", yes())
            .with("stream-next-offset", offset_value(tail)),
        AppendError::ContentType { expected, got } => {
            conflict("content-type-mismatch", "Content type mismatch")
                .fact("expected", expected.as_ref())
                .fact("received", got)
        }
        AppendError::StreamSeq { got, last } => {
            conflict("stream-seq", "Stream-Seq did not increase")
                .fact("last", String::from_utf8_lossy(&last))
                .fact("received", String::from_utf8_lossy(&got))
        }
        AppendError::TailMoved { expected, tail } => tail_moved(tail, expected.to_string()),
        AppendError::Limit(error) => limit(&error),
        AppendError::Push(error) => push(error),
        _ => unexpected(detail),
    }
}

/// `If-Match` named another tail: 412.
pub(crate) fn tail_moved(tail: Offset, expected: String) -> Problem {
    Problem::new(
        412,
        "tail-moved",
        "Tail moved",
        format!("the tail is {tail}, which If-Match does not name; read on, then try again"),
    )
    .fact("tail", tail.to_string())
    .fact("expected", expected)
    .with("stream-next-offset", offset_value(tail))
}

/// An append without a body that does not close either.
pub(crate) fn empty_append() -> Problem {
    Problem::new(
        400,
        "empty-append",
        "Empty append",
        "an append needs a body, unless Stream-Closed: true closes the stream",
    )
}

fn bad_body(detail: String) -> Problem {
    Problem::new(400, "bad-body", "Body does not fit the stream", detail)
}

/// Why a creation was refused.
pub(crate) fn create(error: CreateError) -> Problem {
    let detail = error.to_string();
    match error {
        CreateError::Exists { differs, .. } => {
            Problem::new(409, "stream-exists", "Stream exists", detail).fact("differs", differs)
        }
        CreateError::SoftDeleted { .. } => {
            Problem::new(409, "path-held", "Path held by forks", detail)
        }
        CreateError::SourceNotFound { path } => not_found(detail).fact("source", path.as_str()),
        CreateError::SourceDeleted { path } => {
            Problem::new(409, "source-deleted", "Fork source deleted", detail)
                .fact("source", path.as_str())
        }
        CreateError::ForkPoint { why } => Problem::new(
            400,
            "fork-point",
            "Bad fork point",
            format!("Stream-Fork-Offset and Stream-Fork-Sub-Offset name no fork point: {why}"),
        ),
        CreateError::ForkContentType { expected, got } => Problem::new(
            409,
            "content-type-mismatch",
            "Content type mismatch",
            detail,
        )
        .fact("expected", expected.as_ref())
        .fact("received", got),
        CreateError::Body(_) => bad_body(detail),
        CreateError::ContentType { got } => {
            Problem::header("content-type", detail).fact("received", got)
        }
        CreateError::Retention { why } => retention(why),
        CreateError::Limit(error) => limit(&error),
        CreateError::Read(error) => unreadable(&error),
        CreateError::Push(error) => push(error),
        _ => unexpected(detail),
    }
}

/// Why a page could not be given. Damage is logged; the client hears no file names.
pub(crate) fn page(error: PageError) -> Problem {
    match error {
        PageError::Lookup(error) => lookup(&error),
        PageError::Gone {
            asked,
            why,
            earliest,
            tail,
        } => Problem::new(
            410,
            "offset-gone",
            "Offset gone",
            format!("offset {asked} is gone: {why}; read again from {earliest}, or from -1"),
        )
        .fact("asked", asked.to_string())
        .fact("earliest", earliest.to_string())
        .fact("tail", tail.to_string()),
        PageError::Read(error) => unreadable(&error),
        other => unexpected(other.to_string()),
    }
}

/// Damaged or unreadable data.
fn unreadable(error: &ReadError) -> Problem {
    tracing::error!(%error, "data was not served");
    Problem::new(
        500,
        "unreadable",
        "Data unreadable",
        "this part of the stream cannot be read back intact, so it is not served; the server's \
         log names the file",
    )
}

/// Why a deletion was refused.
pub(crate) fn change(error: ChangeError) -> Problem {
    let detail = error.to_string();
    match error {
        ChangeError::Lookup(error) => lookup(&error),
        ChangeError::Retention { why } => retention(why),
        ChangeError::Read(error) => unreadable(&error),
        ChangeError::Push(error) => push(error),
        _ => unexpected(detail),
    }
}

fn retention(why: &str) -> Problem {
    Problem::new(400, "bad-header", "Bad header", why)
}

/// Why the outcome of a write will never be durable.
pub(crate) fn commit(error: &CommitError) -> Problem {
    match error {
        CommitError::StorageFull { .. } => Problem::new(
            507,
            "storage-full",
            "Storage full",
            "the server has no space left for the log; nothing was stored, and the same request \
             may succeed when space was made",
        ),
        CommitError::Poisoned { .. } => Problem::new(
            503,
            "log-failed",
            "Log failed",
            "the server's log failed and takes no more writes until it is reopened; whether this \
             request was stored is unknown, so repeat it with producer headers",
        ),
        CommitError::Closed => Problem::new(
            503,
            "shutting-down",
            "Shutting down",
            "the server is shutting down; try again",
        )
        .with("retry-after", Bytes::from_static(b"1")),
        _ => unexpected(error.to_string()),
    }
}

fn push(error: PushError) -> Problem {
    let detail = error.to_string();
    match error {
        PushError::Commit(error) => commit(&error),
        PushError::Overloaded { limit, value } => {
            Problem::new(503, "overloaded", "Overloaded", detail)
                .fact("limit", limit)
                .fact("value", value)
                .with("retry-after", Bytes::from_static(b"1"))
        }
        PushError::TooLarge { limit, value } => too_large(limit as u64, Some(value as u64)),
        _ => unexpected(detail),
    }
}

/// What the limit of bodies is called where it is set: as a flag, and by a program with the log in itself.
const BODY_LIMIT: &str = "`--max-body` of the server, `max_append_bytes` of a LogEngine";

/// A body over the limit: 413, naming both sizes. `None`: the length was not declared and reading
/// stopped at the limit.
pub(crate) fn too_large(limit: u64, value: Option<u64>) -> Problem {
    let problem =
        |detail| Problem::new(413, "body-too-large", "Body too large", detail).fact("limit", limit);
    match value {
        Some(value) => problem(format!(
            "the body has {value} bytes, the limit is {limit} ({BODY_LIMIT}); send it in parts"
        ))
        .fact("value", value),
        None => problem(format!(
            "the body has at least {} bytes, the limit is {limit} ({BODY_LIMIT}); send it in parts",
            limit.saturating_add(1)
        ))
        .fact("at_least", limit.saturating_add(1)),
    }
}

/// A limit's status follows what is limited: bodies 413, producers 429, room 507, headers 400.
fn limit(error: &LimitError) -> Problem {
    let problem = match error.flag {
        "max_append_bytes" => return too_large(error.limit, Some(error.value)),
        "max_streams" => Problem::new(
            507,
            "too-many-streams",
            "Too many streams",
            error.to_string(),
        ),
        "max_producers_per_stream" => Problem::new(
            429,
            "too-many-producers",
            "Too many producers",
            error.to_string(),
        ),
        "max_fork_depth" => Problem::header("stream-forked-from", error.to_string()),
        "max_producer_id_bytes" => {
            long_header("producer-id", "the producer id (Producer-Id)", error)
        }
        "max_stream_seq_bytes" => long_header("stream-seq", "the sequence (Stream-Seq)", error),
        "max_content_type_bytes" => {
            long_header("content-type", "the content type (Content-Type)", error)
        }
        _ => Problem::new(400, "limit", "Over a limit", error.to_string()),
    };
    problem
        .fact("option", error.flag)
        .fact("limit", error.limit)
        .fact("value", error.value)
}

fn long_header(name: &'static str, what: &str, error: &LimitError) -> Problem {
    let LimitError {
        flag, limit, value, ..
    } = error;
    Problem::header(
        name,
        format!("{what} has {value} bytes, the limit is {limit} ({flag})"),
    )
}

/// A refusal that this version of the protocol layer does not know. Its words go to the log only:
/// they may name files.
fn unexpected(detail: String) -> Problem {
    tracing::error!(detail, "an unexpected refusal");
    Problem::new(
        500,
        "internal",
        "Internal error",
        "the server refused for a reason of its own; its log says more",
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use durastream_engine::StreamPath;

    use super::*;

    fn offset(position: u64) -> Offset {
        Offset {
            incarnation: 1,
            position,
        }
    }

    fn path() -> StreamPath {
        StreamPath::new("a/b").unwrap()
    }

    fn over(flag: &'static str) -> LimitError {
        LimitError {
            what: "something",
            flag,
            limit: 10,
            value: 11,
        }
    }

    #[test]
    fn every_refusal_of_an_append_has_its_status() {
        let cases = [
            (AppendError::Empty, 400),
            (AppendError::Fenced { got: 0, current: 1 }, 403),
            (AppendError::EpochStart { got: 1 }, 400),
            (
                AppendError::Gap {
                    expected: 0,
                    got: 1,
                },
                409,
            ),
            (AppendError::Closed { tail: offset(1) }, 409),
            (
                AppendError::TailMoved {
                    expected: offset(1),
                    tail: offset(2),
                },
                412,
            ),
            (AppendError::Limit(over("max_append_bytes")), 413),
            (AppendError::Limit(over("max_producers_per_stream")), 429),
            (AppendError::Limit(over("max_producer_id_bytes")), 400),
            (
                AppendError::Lookup(LookupError::NotFound { path: path() }),
                404,
            ),
            (
                AppendError::Lookup(LookupError::SoftDeleted { path: path() }),
                410,
            ),
            (
                AppendError::Push(PushError::Overloaded { limit: 1, value: 2 }),
                503,
            ),
            (
                AppendError::Push(PushError::TooLarge { limit: 1, value: 2 }),
                413,
            ),
            (
                AppendError::Push(PushError::Commit(CommitError::Closed)),
                503,
            ),
        ];
        for (error, status) in cases {
            let text = error.to_string();
            assert_eq!(append(error).status(), status, "{text}");
        }
    }

    #[test]
    fn every_refusal_of_a_creation_has_its_status() {
        let cases = [
            (
                CreateError::Exists {
                    path: path(),
                    differs: "expiry",
                },
                409,
            ),
            (CreateError::SoftDeleted { path: path() }, 409),
            (CreateError::SourceNotFound { path: path() }, 404),
            (CreateError::SourceDeleted { path: path() }, 409),
            (
                CreateError::ForkPoint {
                    why: "x".to_owned(),
                },
                400,
            ),
            (
                CreateError::ContentType {
                    got: "x".to_owned(),
                },
                400,
            ),
            (CreateError::Limit(over("max_streams")), 507),
            (CreateError::Limit(over("max_append_bytes")), 413),
        ];
        for (error, status) in cases {
            let text = error.to_string();
            assert_eq!(create(error).status(), status, "{text}");
        }
    }

    #[test]
    fn failures_of_the_log_tell_no_paths() {
        let full = commit(&CommitError::StorageFull {
            dir: PathBuf::from("/secret"),
            detail: "ENOSPC".to_owned(),
        });
        assert_eq!(full.status(), 507);
        assert!(!full.detail().contains("secret"));
        let damaged = page(PageError::Read(ReadError::Damaged {
            file: PathBuf::from("/secret"),
            offset: 1,
            detail: "crc".to_owned(),
        }));
        assert_eq!(damaged.status(), 500);
        assert!(!damaged.detail().contains("secret"));
    }

    #[test]
    fn a_body_over_the_limit_names_both_sizes() {
        let declared = too_large(10, Some(20));
        assert!(
            declared.detail().contains("20 bytes") && declared.detail().contains("limit is 10")
        );
        assert!(too_large(10, None).detail().contains("at least 11"));
    }
}
