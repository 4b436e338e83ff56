//! Building a [`Response`]: what is its own, and what every response of a request shares.

use bytes::Bytes;
use durastream_engine::storage::Chunk;

use crate::Response;
use crate::cors::{EXPOSED, Grant};

/// What all responses to one request have in common.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// What CORS grants to the request's origin.
    pub(crate) grant: Grant,
    /// HEAD: headers only.
    pub(crate) bodiless: bool,
    /// The request was authenticated: only private caches may keep the answer.
    pub(crate) private: bool,
}

/// A response without the shared headers.
#[derive(Debug, Clone)]
pub(crate) struct Answer<T = Bytes> {
    status: u16,
    headers: Vec<(&'static str, Bytes)>,
    body: Vec<T>,
}

impl<T: Chunk> Answer<T> {
    /// An empty answer.
    pub(crate) fn new(status: u16) -> Self {
        // Without growing: up to 6 shared headers, and up to 10 of its own, of which an append, that is answered by
        // the thousand at once, has two.
        let fields = if status == 204 { 8 } else { 17 };
        Self {
            status,
            headers: Vec::with_capacity(fields),
            body: Vec::new(),
        }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<Bytes>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds a header, or not.
    pub(crate) fn maybe(self, name: &'static str, value: Option<impl Into<Bytes>>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Adds `name: true`, or nothing.
    pub(crate) fn flag(self, name: &'static str, on: bool) -> Self {
        self.maybe(name, on.then_some(Bytes::from_static(b"true")))
    }

    /// Sets the body.
    pub(crate) fn body(mut self, body: Vec<T>) -> Self {
        self.body = body;
        self
    }

    /// The whole response, with a length where HTTP allows one.
    pub(crate) fn finish(mut self, manner: &Manner) -> Response<T> {
        // A HEAD answer carries no length, because a GET's is known only by reading.
        if manner.bodiless || matches!(self.status, 204 | 304) {
            self.body.clear();
        } else {
            let length: usize = self.body.iter().map(T::len).sum();
            self.headers
                .push(("content-length", Bytes::from(length.to_string())));
        }
        self.share(manner)
    }

    /// The head of a response whose body comes in chunks.
    pub(crate) fn open(mut self, manner: &Manner) -> Response<T> {
        self.body.clear();
        self.share(manner)
    }

    fn share(mut self, manner: &Manner) -> Response<T> {
        self.headers
            .push(("x-content-type-options", Bytes::from_static(b"nosniff")));
        self.headers.push((
            "cross-origin-resource-policy",
            Bytes::from_static(if manner.grant.any {
                b"cross-origin"
            } else {
                b"same-origin"
            }),
        ));
        if let Some(origin) = &manner.grant.origin {
            self.headers
                .push(("access-control-allow-origin", origin.clone()));
            self.headers
                .push(("access-control-expose-headers", Bytes::from_static(EXPOSED)));
        }
        if !manner.grant.any {
            self.headers.push(("vary", Bytes::from_static(b"Origin")));
        }
        Response {
            status: self.status,
            headers: self.headers,
            body: self.body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manner(bodiless: bool) -> Manner {
        Manner {
            grant: Grant {
                origin: Some(Bytes::from_static(b"*")),
                any: true,
            },
            bodiless,
            private: false,
        }
    }

    fn has(response: &Response, name: &str) -> bool {
        response.headers.iter().any(|(n, _)| *n == name)
    }

    #[test]
    fn a_length_is_sent_where_http_allows_it() {
        let body = vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        let whole = Answer::new(200).body(body.clone()).finish(&manner(false));
        assert!(
            whole
                .headers
                .contains(&("content-length", Bytes::from_static(b"3")))
        );
        for (status, bodiless) in [(204, false), (304, false), (200, true)] {
            let response = Answer::new(status)
                .body(body.clone())
                .finish(&manner(bodiless));
            assert!(!has(&response, "content-length"));
            assert!(response.body.is_empty());
        }
    }

    #[test]
    fn every_response_carries_security_and_cors_headers() {
        let response = Answer::new(500).finish(&manner(false));
        for name in [
            "x-content-type-options",
            "cross-origin-resource-policy",
            "access-control-allow-origin",
            "access-control-expose-headers",
        ] {
            assert!(has(&response, name), "{name}");
        }
        assert!(!has(&response, "vary"));
    }

    #[test]
    fn an_origin_that_is_not_listed_gets_no_grant_but_vary() {
        let mut manner = manner(false);
        manner.grant = Grant {
            origin: None,
            any: false,
        };
        let response = Answer::new(200).finish(&manner);
        assert!(!has(&response, "access-control-allow-origin"));
        assert!(has(&response, "vary"));
    }
}
