//! `application/problem+json` (RFC 9457): what was wrong, and what would be right.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::Value;

use crate::response::Answer;

/// A refusal. Boxed, because it travels in the `Err` of many small functions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug, Clone, PartialEq)]
struct Parts {
    status: u16,
    /// Last part of the `type` URN; empty means `about:blank`.
    kind: &'static str,
    title: Cow<'static, str>,
    detail: String,
    facts: Vec<(&'static str, Value)>,
    headers: Vec<(&'static str, Bytes)>,
}

impl Problem {
    /// A problem of a known kind.
    pub(crate) fn new(
        status: u16,
        kind: &'static str,
        title: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Parts {
            status,
            kind,
            title: title.into(),
            detail: detail.into(),
            facts: Vec::new(),
            headers: Vec::new(),
        }))
    }

    /// A malformed or unusable header: 400.
    pub(crate) fn header(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(400, "bad-header", "Bad header", detail).fact("header", name)
    }

    /// A malformed or unusable query parameter: 400.
    pub(crate) fn parameter(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(400, "bad-parameter", "Bad query parameter", detail).fact("parameter", name)
    }

    /// Adds a fact for programs: an extension member of the document.
    pub(crate) fn fact(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.facts.push((name, value.into()));
        self
    }

    /// Adds a response header that carries the same news.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Bytes>) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> u16 {
        self.0.status
    }

    /// What was wrong and what would be right.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The response. Never cached: 404 and 410 would be, by heuristics, and streams come back.
    pub(crate) fn answer(self) -> Answer {
        let json = self.json();
        let mut answer = Answer::new(self.0.status)
            .header(
                "content-type",
                Bytes::from_static(b"application/problem+json"),
            )
            .header("cache-control", Bytes::from_static(b"no-store"));
        for (name, value) in self.0.headers {
            answer = answer.header(name, value);
        }
        answer.body(vec![Bytes::from(json)])
    }

    /// Members in the order of the RFC, facts behind them.
    fn json(&self) -> String {
        let parts = &self.0;
        let mut out = String::with_capacity(128 + parts.detail.len());
        let kind = match parts.kind {
            "" => "about:blank".to_owned(),
            kind => format!("urn:durastream:problem:{kind}"),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{{\"type\":{},\"title\":{},\"status\":{},\"detail\":{}",
            Value::from(kind),
            Value::from(parts.title.as_ref()),
            parts.status,
            Value::from(parts.detail.as_str()),
        );
        for (name, value) in &parts.facts {
            let _ = write!(out, ",{}:{}", Value::from(*name), value);
        }
        out.push('}');
        out
    }
}

/// Bytes of a request shown in a message: printable, quoted, cut.
pub(crate) fn shown(raw: &[u8]) -> String {
    const MOST: usize = 80;
    let text = String::from_utf8_lossy(raw);
    let mut out = String::from("\"");
    for (n, c) in text.chars().enumerate() {
        if n == MOST {
            out.push('…');
            break;
        }
        out.extend(c.escape_debug());
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_json_with_facts_behind_the_standard_members() {
        let problem = Problem::new(
            409,
            "sequence-gap",
            "Sequence gap",
            "expected 1, \"2\" came",
        )
        .fact("expected", 1_u64)
        .fact("received", 2_u64);
        let json = problem.json();
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["type"], "urn:durastream:problem:sequence-gap");
        assert_eq!(value["status"], 409);
        assert_eq!(value["expected"], 1);
        assert_eq!(value["received"], 2);
        assert!(json.starts_with("{\"type\":"));
    }

    #[test]
    fn a_problem_without_a_kind_is_about_blank() {
        let json = Problem::new(503, "", "Busy", "try again").json();
        assert!(json.contains("\"about:blank\""));
    }

    #[test]
    fn shown_bytes_are_printable_and_bounded() {
        assert_eq!(shown(b"a\x00\"b"), "\"a\\0\\\"b\"");
        assert!(shown(&[0xff; 5000]).len() < 400);
    }
}
