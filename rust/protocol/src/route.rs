//! From a request path to a stream: base paths, one percent-decoding, reserved names.

use durastream_engine::StreamPath;

use crate::problem::{Problem, shown};
use crate::values;

/// First segment of the control APIs (protocol section 6), never an application's stream.
const RESERVED: &str = "__ds";

/// A base path that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("base path {path:?}: {detail}")]
pub struct ConfigError {
    /// As given.
    pub path: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// The base paths, longest first, each without a trailing slash (so `/` is empty).
#[derive(Debug)]
pub(crate) struct Router {
    bases: Vec<String>,
}

/// What a path below a base path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A stream.
    Stream(StreamPath),
    /// A control API.
    Control,
}

impl Router {
    /// Checks and normalises base paths.
    pub(crate) fn new(paths: &[String]) -> Result<Self, ConfigError> {
        let mut bases = paths
            .iter()
            .map(|path| base(path))
            .collect::<Result<Vec<_>, _>>()?;
        if bases.is_empty() {
            return Err(ConfigError {
                path: String::new(),
                detail: "give at least one base path, such as /v1/stream".to_owned(),
            });
        }
        bases.sort_by_key(|base| std::cmp::Reverse(base.len()));
        bases.dedup();
        Ok(Self { bases })
    }

    /// The base path of a raw path: the longest that fits.
    pub(crate) fn base(&self, path: &[u8]) -> Option<&str> {
        self.split(path).map(|(base, _)| base)
    }

    /// The part of a raw path behind its base path.
    pub(crate) fn below<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        self.split(path).map(|(_, below)| below)
    }

    fn split<'a>(&self, path: &'a [u8]) -> Option<(&str, &'a [u8])> {
        self.bases.iter().find_map(|base| {
            let rest = path.strip_prefix(base.as_bytes())?;
            match rest {
                [] => Some((base.as_str(), rest)),
                [b'/', below @ ..] => Some((base.as_str(), below)),
                _ => None,
            }
        })
    }

    /// Whether a raw path is below a base path and no control API's.
    pub(crate) fn is_stream(&self, path: &[u8]) -> bool {
        self.below(path).is_some_and(|below| match below.first() {
            // Only these can be a spelling of the reserved name.
            Some(b'_' | b'%') => !matches!(target(below), Ok(Target::Control)),
            _ => true,
        })
    }

    /// What a raw path names; `None` when it is below no base path.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Option<Target>, Problem> {
        self.below(path).map(target).transpose()
    }
}

fn target(raw: &[u8]) -> Result<Target, Problem> {
    let decoded = values::percent_decode(raw).ok_or_else(|| {
        bad_path(format!(
            "the path {} has a broken percent-encoding; write %25 for a percent sign",
            shown(raw)
        ))
    })?;
    let text = std::str::from_utf8(&decoded).map_err(|_| {
        bad_path(format!(
            "the path {} is not UTF-8 after percent-decoding",
            shown(raw)
        ))
    })?;
    if text.split('/').next() == Some(RESERVED) {
        return Ok(Target::Control);
    }
    StreamPath::new(text)
        .map(Target::Stream)
        .map_err(|error| bad_path(error.to_string()))
}

fn bad_path(detail: String) -> Problem {
    Problem::new(400, "bad-path", "Bad stream path", detail)
}

fn base(path: &str) -> Result<String, ConfigError> {
    let wrong = |detail: &str| ConfigError {
        path: path.to_owned(),
        detail: detail.to_owned(),
    };
    let trimmed = path.trim_end_matches('/');
    if !path.starts_with('/') {
        return Err(wrong("it must begin with a slash"));
    }
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    if trimmed[1..]
        .split('/')
        .any(|s| matches!(s, "" | "." | ".."))
    {
        return Err(wrong("its segments may not be empty, . or .."));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&b);
    if !trimmed.bytes().all(plain) {
        return Err(wrong(
            "use letters, digits and -._~!$&'()*+,;=:@ only, not percent-encoded",
        ));
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(paths: &[&str]) -> Router {
        Router::new(&paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn stream(router: &Router, path: &str) -> Option<String> {
        match router.resolve(path.as_bytes()) {
            Ok(Some(Target::Stream(path))) => Some(path.as_str().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn the_longest_base_path_wins() {
        let router = router(&["/", "/v1/stream", "/v1/streams/"]);
        assert_eq!(stream(&router, "/v1/stream/a/b").as_deref(), Some("a/b"));
        assert_eq!(stream(&router, "/v1/streams/a").as_deref(), Some("a"));
        assert_eq!(
            stream(&router, "/v1/streamsX/a").as_deref(),
            Some("v1/streamsX/a")
        );
        assert_eq!(stream(&router, "/x").as_deref(), Some("x"));
    }

    #[test]
    fn what_is_below_no_base_path_is_not_ours() {
        let router = router(&["/v1/stream"]);
        for path in [
            "/",
            "/v1",
            "/v1/streams/a",
            "/v1/streamer",
            "",
            "v1/stream/a",
            "/health",
        ] {
            assert_eq!(router.resolve(path.as_bytes()).unwrap(), None, "{path}");
        }
        assert!(router.below(b"/v1/stream").is_some());
    }

    #[test]
    fn two_spellings_of_one_path_are_one_stream() {
        let router = router(&["/v1/stream"]);
        for path in [
            "/v1/stream/a/b:c",
            "/v1/stream/a%2Fb%3Ac",
            "/v1/stream/%61/b%3ac",
        ] {
            assert_eq!(stream(&router, path).as_deref(), Some("a/b:c"), "{path}");
        }
        assert_eq!(stream(&router, "/v1/stream/%C3%A9").as_deref(), Some("é"));
        assert_eq!(stream(&router, "/v1/stream/é").as_deref(), Some("é"));
        assert_eq!(
            stream(&router, "/v1/stream/a%2541").as_deref(),
            Some("a%41")
        );
    }

    #[test]
    fn real_clients_paths_are_taken() {
        let router = router(&["/v1/stream"]);
        for path in [
            "doc/.updates",
            ".snapshots/K",
            ".awareness/.index",
            "__registry__",
            "a..b",
        ] {
            assert_eq!(
                stream(&router, &format!("/v1/stream/{path}")).as_deref(),
                Some(path)
            );
        }
    }

    #[test]
    fn the_reserved_prefix_is_no_stream_in_any_spelling() {
        let router = router(&["/v1/stream"]);
        for path in [
            "__ds",
            "__ds/subscriptions/x",
            "%5F_ds/jwks.json",
            "__ds%2Fx",
        ] {
            let found = router
                .resolve(format!("/v1/stream/{path}").as_bytes())
                .unwrap();
            assert_eq!(found, Some(Target::Control), "{path}");
        }
        assert_eq!(
            stream(&router, "/v1/stream/__dsx").as_deref(),
            Some("__dsx")
        );
        assert_eq!(
            stream(&router, "/v1/stream/a/__ds").as_deref(),
            Some("a/__ds")
        );
    }

    #[test]
    fn hostile_paths_are_refused() {
        let router = router(&["/v1/stream"]);
        let long = "x".repeat(1025);
        for path in [
            "", "/", "a//b", "a/", ".", "..", "a/../b", "%2e%2e/b", "a%00b", "a%0Ab", "a%", "a%zz",
            "%ff", "%c3", "%7f", "%C2%85", &long,
        ] {
            let problem = router
                .resolve(format!("/v1/stream/{path}").as_bytes())
                .unwrap_err();
            assert_eq!(problem.status(), 400, "{path}");
        }
        let longest = "x".repeat(1024);
        assert!(stream(&router, &format!("/v1/stream/{longest}")).is_some());
    }

    #[test]
    fn base_paths_that_cannot_work_are_refused() {
        for bad in ["", "v1", "/a//b", "/a/../b", "/a?b", "/a%20b", "/é", "/a b"] {
            assert!(Router::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(Router::new(&[]).is_err());
    }
}
