//! Cross-origin resource sharing: who may read, and which headers.

use bytes::Bytes;

use crate::response::Answer;

/// Methods of a stream, for `Allow` and for preflights.
pub(crate) const METHODS: &[u8] = b"GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS";

/// Response headers that a page may read. Without `Stream-SSE-Data-Encoding` a page would take
/// base64 text for the bytes themselves.
pub(crate) const EXPOSED: &[u8] = b"Stream-Next-Offset, Stream-Up-To-Date, Stream-Closed, \
Stream-Cursor, Stream-TTL, Stream-Expires-At, Stream-Retention-Bytes, Stream-Retention-Seconds, \
Stream-Retention-Events, Stream-SSE-Data-Encoding, Producer-Epoch, Producer-Seq, \
Producer-Expected-Seq, Producer-Received-Seq, ETag, Location, Retry-After, \
Content-Type, Content-Length";

/// Request headers that a page may send. `*` covers whatever else a page adds; it does not cover
/// `Authorization`, and old browsers take it literally, hence the list.
const ALLOWED: &[u8] = b"Content-Type, Authorization, If-None-Match, If-Match, Stream-TTL, \
Stream-Expires-At, Stream-Retention-Bytes, Stream-Retention-Seconds, Stream-Retention-Events, \
Stream-Seq, Stream-Closed, Stream-Forked-From, Stream-Fork-Offset, Stream-Fork-Sub-Offset, \
 Producer-Id, Producer-Epoch, Producer-Seq, Last-Event-ID, \
Cache-Control, *";

/// Who may read across origins.
#[derive(Debug)]
pub(crate) struct Cors {
    any: bool,
    origins: Vec<Bytes>,
}

/// What is granted to one request.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// Value of `Access-Control-Allow-Origin`; `None` grants nothing.
    pub(crate) origin: Option<Bytes>,
    /// Whether the same is granted to everybody, so that caches need not vary.
    pub(crate) any: bool,
}

impl Cors {
    /// From the configured origins; `*` among them means everybody.
    pub(crate) fn new(origins: &[String]) -> Self {
        Self {
            any: origins.iter().any(|o| o == "*"),
            origins: origins.iter().map(|o| Bytes::from(o.clone())).collect(),
        }
    }

    /// What the request's `Origin` is granted.
    pub(crate) fn grant(&self, origin: Option<&[u8]>) -> Grant {
        if self.any {
            return Grant {
                origin: Some(Bytes::from_static(b"*")),
                any: true,
            };
        }
        Grant {
            origin: origin.and_then(|sent| {
                self.origins
                    .iter()
                    .find(|listed| listed.eq_ignore_ascii_case(sent))
                    .map(|_| Bytes::copy_from_slice(sent))
            }),
            any: false,
        }
    }
}

/// The answer to OPTIONS, preflight or not.
pub(crate) fn options() -> Answer {
    Answer::new(204)
        .header("allow", Bytes::from_static(METHODS))
        .header("access-control-allow-methods", Bytes::from_static(METHODS))
        .header("access-control-allow-headers", Bytes::from_static(ALLOWED))
        .header("access-control-max-age", Bytes::from_static(b"86400"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_grants_everybody_and_ignores_the_origin() {
        let cors = Cors::new(&["https://a.example".to_owned(), "*".to_owned()]);
        for origin in [None, Some(b"https://b.example".as_slice())] {
            let grant = cors.grant(origin);
            assert_eq!(grant.origin.as_deref(), Some(b"*".as_slice()));
            assert!(grant.any);
        }
    }

    #[test]
    fn a_list_grants_the_listed_by_echo_and_nobody_else() {
        let cors = Cors::new(&[
            "https://a.example".to_owned(),
            "https://b.example".to_owned(),
        ]);
        let granted = cors.grant(Some(b"https://B.example"));
        assert_eq!(
            granted.origin.as_deref(),
            Some(b"https://B.example".as_slice())
        );
        for origin in [
            None,
            Some(b"https://evil.example".as_slice()),
            Some(b"null".as_slice()),
        ] {
            let grant = cors.grant(origin);
            assert_eq!(grant.origin, None);
            assert!(!grant.any);
        }
    }
}
