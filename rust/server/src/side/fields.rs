//! Header fields of answers over HTTP/2: what comes again and again is checked once.

use std::collections::VecDeque;

use bytes::Bytes;
use durastream_protocol::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::date::Clock;

/// Values that are kept.
const VALUES: usize = 16;

/// Names and values that answers of a thread have had.
#[derive(Debug, Default)]
pub(super) struct Fields {
    names: Vec<(&'static str, HeaderName)>,
    /// With the memory they are in: as long as it is kept, nothing else can be there.
    values: VecDeque<(Bytes, HeaderValue)>,
    clock: Clock,
    date: Option<HeaderValue>,
}

impl Fields {
    /// The head of an answer.
    pub(super) fn head(&mut self, response: Response) -> http::Response<()> {
        let mut head = http::Response::new(());
        *head.status_mut() = StatusCode::from_u16(response.status).unwrap_or_default();
        let fields = head.headers_mut();
        fields.reserve(response.headers.len() + 1);
        for (name, value) in response.headers {
            if let Some(value) = self.value(value) {
                fields.append(self.name(name), value);
            }
        }
        fields.insert(header::DATE, self.date());
        head
    }

    /// The time.
    pub(super) fn date(&mut self) -> HeaderValue {
        let now = self.clock.now();
        let known = self.date.take().filter(|date| date == now);
        let date = known.or_else(|| HeaderValue::from_str(now).ok());
        let date = date.unwrap_or_else(|| HeaderValue::from_static(""));
        self.date.insert(date).clone()
    }

    fn name(&mut self, name: &'static str) -> HeaderName {
        let known = self.names.iter().find(|(known, _)| *known == name);
        if let Some((_, name)) = known {
            return name.clone();
        }
        let fresh = HeaderName::from_static(name);
        self.names.push((name, fresh.clone()));
        fresh
    }

    fn value(&mut self, value: Bytes) -> Option<HeaderValue> {
        if value.is_unique() {
            let mut value = HeaderValue::from_maybe_shared(value).ok()?;
            // Of this answer alone. In the table that HPACK keeps it would push out what comes again, and be looked at
            // for every answer to come.
            value.set_sensitive(true);
            return Some(value);
        }
        let is_it = |known: &&(Bytes, HeaderValue)| {
            known.0.as_ptr() == value.as_ptr() && known.0.len() == value.len()
        };
        if let Some((_, known)) = self.values.iter().find(is_it) {
            return Some(known.clone());
        }
        let fresh = HeaderValue::from_maybe_shared(value.clone()).ok()?;
        self.values.truncate(VALUES - 1);
        self.values.push_front((value, fresh.clone()));
        Some(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(headers: Vec<(&'static str, Bytes)>) -> Response {
        Response {
            status: 204,
            headers,
            body: Vec::new(),
        }
    }

    #[test]
    fn every_field_is_there_in_order_with_the_date() {
        let mut fields = Fields::default();
        let shared = Bytes::from(b"x-first".to_vec());
        for round in 0..3 {
            let own = Bytes::from(format!("round {round}"));
            let head = fields.head(response(vec![
                ("vary", shared.clone()),
                ("stream-next-offset", own.clone()),
                ("vary", Bytes::from_static(b"Origin")),
                ("bad", Bytes::from_static(b"a\nb")),
            ]));
            assert_eq!(head.status(), 204);
            let vary: Vec<_> = head.headers().get_all("vary").iter().collect();
            assert_eq!(vary, ["x-first", "Origin"]);
            assert_eq!(head.headers()["stream-next-offset"].as_bytes(), own);
            assert_eq!(head.headers()["date"], fields.date());
            assert_eq!(head.headers().len(), 4);
        }
    }

    #[test]
    fn values_in_memory_that_was_used_before_are_their_own() {
        let mut fields = Fields::default();
        for n in 0..1000 {
            let value = Bytes::from(format!("{n:08}"));
            let head = fields.head(response(vec![("etag", value.clone())]));
            assert_eq!(head.headers()["etag"].as_bytes(), value);
            assert!(fields.values.len() <= VALUES);
        }
    }

    #[test]
    fn only_what_comes_again_is_for_the_table_of_the_peer() {
        let mut fields = Fields::default();
        let head = fields.head(response(vec![
            ("stream-next-offset", Bytes::from("1".to_owned())),
            ("vary", Bytes::from_static(b"Origin")),
        ]));
        assert!(head.headers()["stream-next-offset"].is_sensitive());
        assert!(!head.headers()["vary"].is_sensitive());
    }
}
