//! PUT: create a stream or a fork (protocol sections 4.2 and 5.1).

use bytes::Bytes;
use durastream_engine::{Create, CreateError, Created, Expiry, ForkSpec, Offset, StreamPath};

use crate::RequestHead;
use crate::head::Headers;
use crate::problem::{Problem, shown};
use crate::refusal::{self, offset_value};
use crate::response::Answer;
use crate::retention;
use crate::route::{Router, Target};
use crate::values::{self, MAX_SAFE};

/// A checked creation whose body is still to come.
#[derive(Debug)]
pub(crate) struct Put {
    /// The stream.
    pub(crate) path: StreamPath,
    /// What to create; the body is empty.
    pub(crate) create: Create,
    /// `Location` of what is created.
    pub(crate) location: Bytes,
}

impl Put {
    /// Checks the head.
    pub(crate) fn parse(
        path: StreamPath,
        head: &RequestHead<'_>,
        headers: Headers<'_>,
        router: &Router,
    ) -> Result<Self, Problem> {
        let content_type = headers
            .single("content-type")?
            .map(values::content_type)
            .transpose()?
            .map(str::to_owned);
        Ok(Self {
            path,
            create: Create {
                content_type,
                expiry: expiry(headers)?,
                closed: headers.is_true("stream-closed")?,
                body: Bytes::new(),
                fork: fork(head, headers, router)?,
                retention: retention::of_creation(headers)?,
            },
            location: location(head),
        })
    }
}

impl Put {
    /// Whether the append at the fork point must be looked up in the source, which may be on disk only.
    pub(crate) fn may_block(&self) -> bool {
        let fork = self.create.fork.as_ref();
        fork.is_some_and(|fork| fork.offset.is_some())
    }
}

/// The answer to an outcome.
pub(crate) fn answer(outcome: Result<Created, CreateError>, location: Bytes) -> Answer {
    let Created { created, info } = match outcome {
        Ok(created) => created,
        Err(error) => return refusal::create(error).answer(),
    };
    let answer = Answer::new(if created { 201 } else { 200 })
        .maybe("location", created.then_some(location))
        .header(
            "content-type",
            Bytes::copy_from_slice(info.content_type.as_bytes()),
        )
        .header("stream-next-offset", offset_value(info.tail))
        .flag("stream-closed", info.closed);
    retention::told(answer, &info.retention)
}

fn expiry(headers: Headers<'_>) -> Result<Option<Expiry>, Problem> {
    match (
        headers.single("stream-ttl")?,
        headers.single("stream-expires-at")?,
    ) {
        (None, None) => Ok(None),
        (Some(ttl), None) => values::ttl(ttl).map(Some),
        (None, Some(time)) => values::expires_at(time).map(Some),
        (Some(_), Some(_)) => Err(Problem::header(
            "stream-ttl",
            "Stream-TTL and Stream-Expires-At exclude each other; send one of them",
        )),
    }
}

fn fork(
    head: &RequestHead<'_>,
    headers: Headers<'_>,
    router: &Router,
) -> Result<Option<ForkSpec>, Problem> {
    let from = headers.single("stream-forked-from")?;
    let offset = headers.single("stream-fork-offset")?;
    let sub = headers.single("stream-fork-sub-offset")?;
    let Some(from) = from else {
        return match (offset, sub) {
            (None, None) => Ok(None),
            (Some(_), _) => Err(without_source("stream-fork-offset", "Stream-Fork-Offset")),
            (None, Some(_)) => Err(without_source(
                "stream-fork-sub-offset",
                "Stream-Fork-Sub-Offset",
            )),
        };
    };
    let sub_offset = match sub {
        None => 0,
        Some(raw) => values::integer(raw, MAX_SAFE).map_err(|why| {
            Problem::header(
                "stream-fork-sub-offset",
                format!("Stream-Fork-Sub-Offset is a number of messages or bytes: {why}"),
            )
        })?,
    };
    if sub_offset > 0 && offset.is_none() {
        return Err(Problem::header(
            "stream-fork-sub-offset",
            "Stream-Fork-Sub-Offset counts from Stream-Fork-Offset, which is missing; the default, \
             the source's tail, has nothing behind it",
        ));
    }
    Ok(Some(ForkSpec {
        source: source(from, head, router)?,
        offset: offset.map(fork_offset).transpose()?,
        sub_offset,
    }))
}

fn without_source(name: &'static str, shown: &str) -> Problem {
    Problem::header(
        name,
        format!("{shown} needs a Stream-Forked-From beside it; without one this is no fork"),
    )
}

fn fork_offset(raw: &[u8]) -> Result<Offset, Problem> {
    std::str::from_utf8(raw)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            Problem::header(
                "stream-fork-offset",
                format!(
                    "Stream-Fork-Offset is a Stream-Next-Offset of the source (16 digits, _, 16 \
                     digits), not {}",
                    shown(raw)
                ),
            )
        })
}

/// The stream that a URL path (or a URL of this very server) names.
fn source(raw: &[u8], head: &RequestHead<'_>, router: &Router) -> Result<StreamPath, Problem> {
    let bad = |why: String| Problem::header("stream-forked-from", why);
    let path = match raw.windows(3).position(|w| w == b"://") {
        Some(at) if !raw.starts_with(b"/") => {
            let rest = &raw[at + 3..];
            let slash = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            if !rest[..slash].eq_ignore_ascii_case(head.authority.as_bytes()) {
                return Err(bad(format!(
                    "Stream-Forked-From {} is on another server; a fork and its source share one",
                    shown(raw)
                )));
            }
            &rest[slash..]
        }
        _ => raw,
    };
    // Clients know the path with the mount prefix; some cut it.
    let inner = path
        .strip_prefix(head.prefix.as_bytes())
        .filter(|rest| router.below(rest).is_some())
        .unwrap_or(path);
    if inner.contains(&b'?') || inner.contains(&b'#') {
        return Err(bad(format!(
            "Stream-Forked-From is a path without query or fragment, not {}",
            shown(raw)
        )));
    }
    match router.resolve(inner) {
        Ok(Some(Target::Stream(path))) => Ok(path),
        Ok(_) => Err(bad(format!(
            "Stream-Forked-From is the path of a stream's URL, {} is none",
            shown(raw)
        ))),
        Err(problem) => Err(bad(format!(
            "Stream-Forked-From {} names no stream: {}",
            shown(raw),
            problem.detail()
        ))),
    }
}

/// Absolute, as requested. What no header may hold is percent-encoded; without a usable authority
/// it is a path.
fn location(head: &RequestHead<'_>) -> Bytes {
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    let mut out = String::with_capacity(
        head.scheme.len() + 3 + head.authority.len() + head.prefix.len() + head.path.len(),
    );
    if plain(head.scheme) && plain(head.authority) {
        out.push_str(head.scheme);
        out.push_str("://");
        out.push_str(head.authority);
    }
    for byte in head.prefix.bytes().chain(head.path.iter().copied()) {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            out.push_str(percent_encoding::percent_encode_byte(byte));
        }
    }
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'a>(path: &'a [u8], prefix: &'a str) -> RequestHead<'a> {
        RequestHead {
            method: "PUT",
            path,
            query: b"",
            headers: &[],
            scheme: "http",
            authority: "host:4437",
            prefix,
        }
    }

    fn router() -> Router {
        Router::new(&["/v1/stream".to_owned()]).unwrap()
    }

    #[test]
    fn location_is_absolute_and_as_requested() {
        assert_eq!(
            location(&head(b"/v1/stream/a%2Fb", "")),
            "http://host:4437/v1/stream/a%2Fb"
        );
        assert_eq!(
            location(&head(b"/v1/stream/a", "/mount")),
            "http://host:4437/mount/v1/stream/a"
        );
    }

    #[test]
    fn location_never_breaks_out_of_its_header() {
        assert_eq!(
            location(&head("/v1/stream/é\r\nx: y".as_bytes(), "")),
            "http://host:4437/v1/stream/%C3%A9%0D%0Ax:%20y"
        );
        let mut hostile = head(b"/v1/stream/a", "");
        hostile.authority = "h\r\nx: y";
        assert_eq!(location(&hostile), "/v1/stream/a");
    }

    #[test]
    fn a_fork_source_is_a_url_path_in_any_spelling() {
        for (raw, prefix) in [
            ("/v1/stream/a/b", ""),
            ("/v1/stream/a%2Fb", ""),
            ("http://HOST:4437/v1/stream/a/b", ""),
            ("https://host:4437/v1/stream/a/b", ""),
            ("/mount/v1/stream/a/b", "/mount"),
            ("/v1/stream/a/b", "/mount"),
        ] {
            let path = source(raw.as_bytes(), &head(b"/v1/stream/f", prefix), &router()).unwrap();
            assert_eq!(path.as_str(), "a/b", "{raw}");
        }
    }

    #[test]
    fn a_fork_source_that_is_no_stream_here_is_refused() {
        for raw in [
            "",
            "a/b",
            "/other/a",
            "/v1/stream",
            "/v1/stream/",
            "/v1/stream/../a",
            "/v1/stream/a%zz",
            "/v1/stream/a?x=1",
            "/v1/stream/a#x",
            "/v1/stream/__ds/x",
            "http://other/v1/stream/a",
            "http://host:4437",
        ] {
            let problem =
                source(raw.as_bytes(), &head(b"/v1/stream/f", ""), &router()).unwrap_err();
            assert_eq!(problem.status(), 400, "{raw}");
        }
    }
}
