//! Wire bytes: how a body becomes what is stored, and what is stored becomes a body.
//!
//! Binary and text are stored as they came. JSON is validated, flattened by one level, and each
//! message is stored as its raw bytes (insignificant outer whitespace cut) followed by a comma; a
//! JSON read is `[`, a range without its last comma, `]`.

use bytes::Bytes;
use durastream_storage::Chunk;

mod content_type;
mod json;

pub use content_type::is_content_type;

/// How a content type is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As it came.
    Bytes,
    /// Messages, each followed by a comma.
    Json,
}

/// What a JSON body may ask of whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// Deepest nesting of a message; default 128. The array around a batch does not count.
    pub depth: usize,
    /// Longest number, in bytes as written; default 4,096.
    pub number_bytes: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self {
            depth: 128,
            number_bytes: 4096,
        }
    }
}

/// Why a body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Not valid JSON.
    #[error("not valid JSON at byte {at}: {detail}")]
    Json {
        /// Byte offset of the fault.
        at: usize,
        /// What was wrong, and what would be right.
        detail: String,
    },
    /// Nested too deeply.
    #[error("JSON nested {value} levels deep at byte {at}, the limit is {limit}")]
    Depth {
        /// Byte offset where the limit was passed.
        at: usize,
        /// The limit.
        limit: usize,
        /// The depth reached.
        value: usize,
    },
    /// A number with too many digits.
    #[error("the number at byte {at} has {value} bytes, the limit is {limit}; send it as a string")]
    Number {
        /// Byte offset of the number.
        at: usize,
        /// The limit in bytes.
        limit: usize,
        /// Its length in bytes.
        value: usize,
    },
    /// Not UTF-8.
    #[error("JSON is UTF-8, byte {at} is not")]
    Utf8 {
        /// Byte offset of the fault.
        at: usize,
    },
    /// `[]` in an append.
    #[error("an empty JSON array appends no message; send at least one")]
    NoMessages,
}

impl Format {
    /// The format of a content type: JSON for `application/json`, parameters and case ignored.
    pub fn of(content_type: &str) -> Self {
        if essence(content_type).eq_ignore_ascii_case("application/json") {
            Format::Json
        } else {
            Format::Bytes
        }
    }
}

/// Turns a body into wire bytes. An empty result means no message (`[]`, or an empty body).
pub fn encode(format: Format, body: &Bytes, limits: JsonLimits) -> Result<Bytes, BodyError> {
    match format {
        Format::Bytes => Ok(body.clone()),
        Format::Json => json::flatten(body, limits),
    }
}

/// Position behind the first `messages` JSON messages of wire bytes, or `None` when there are fewer.
pub fn after_messages(wire: &[u8], messages: u64) -> Option<usize> {
    json::after_messages(wire, messages)
}

/// Makes a page's chunks a body: brackets for JSON and the last comma dropped, nothing for bytes.
pub fn frame<T: Chunk>(format: Format, mut chunks: Vec<T>) -> Vec<T> {
    if format == Format::Bytes {
        return chunks;
    }
    while chunks.last().is_some_and(T::is_empty) {
        chunks.pop();
    }
    if let Some(last) = chunks.last_mut() {
        debug_assert!(
            last.in_memory().is_none_or(|bytes| bytes.ends_with(b",")),
            "a message ends with a comma"
        );
        last.truncate(last.len() - 1);
    }
    chunks.insert(0, Bytes::from_static(b"[").into());
    chunks.push(Bytes::from_static(b"]").into());
    chunks
}

/// Whether two content types are the same: type and subtype equal, and no parameter that both name
/// has two values; ASCII case ignored. So `text/plain` is the same as `text/plain;charset=UTF-8`,
/// which browsers make of it, but one charset is not another.
pub fn same_type(a: &str, b: &str) -> bool {
    essence(a).eq_ignore_ascii_case(essence(b))
        && parameters(a).all(|(name, value)| {
            parameters(b)
                .filter(|(other, _)| other.eq_ignore_ascii_case(name))
                .all(|(_, other)| other.eq_ignore_ascii_case(value))
        })
}

/// The `type/subtype` of a content type.
fn essence(content_type: &str) -> &str {
    let end = content_type.find(';').unwrap_or(content_type.len());
    content_type[..end].trim_ascii()
}

/// Names and unquoted values of a content type's parameters.
fn parameters(content_type: &str) -> impl Iterator<Item = (&str, &str)> {
    content_type.split(';').skip(1).filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        Some((name.trim_ascii(), value.trim_ascii().trim_matches('"')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(chunks: &[&'static str], format: Format) -> Vec<u8> {
        let chunks = chunks.iter().map(|c| Bytes::from_static(c.as_bytes()));
        frame::<Bytes>(format, chunks.collect()).concat()
    }

    #[test]
    fn a_json_page_is_an_array_of_its_messages() {
        assert_eq!(body(&["1,{},", "\"a,\","], Format::Json), b"[1,{},\"a,\"]");
        assert_eq!(body(&["1,", ""], Format::Json), b"[1]");
        assert_eq!(body(&["", ""], Format::Json), b"[]");
        assert_eq!(body(&[], Format::Json), b"[]");
    }

    #[test]
    fn bytes_are_stored_and_served_as_they_came() {
        let sent = Bytes::from_static(b"\xff[1,");
        let wire = encode(Format::Bytes, &sent, JsonLimits::default()).unwrap();
        assert_eq!(wire.as_ptr(), sent.as_ptr(), "shared, not copied");
        assert_eq!(body(&["a,", "b,"], Format::Bytes), b"a,b,");
        assert!(body(&[], Format::Bytes).is_empty());
    }

    #[test]
    fn only_application_json_is_json() {
        for json in [
            "application/json",
            "Application/JSON",
            " application/json ;charset=utf-8",
            "application/json;",
        ] {
            assert_eq!(Format::of(json), Format::Json, "{json}");
        }
        for bytes in [
            "",
            "application/jsonl",
            "application/json-seq",
            "application/ld+json",
            "text/json",
            "text/plain;application/json",
        ] {
            assert_eq!(Format::of(bytes), Format::Bytes, "{bytes}");
        }
    }

    #[test]
    fn content_types_are_compared_without_case_and_absent_parameters() {
        for (a, b) in [
            ("text/plain", "TEXT/Plain"),
            ("text/plain", "text/plain;charset=UTF-8"),
            ("text/plain; charset=\"utf-8\"", "text/plain;Charset=UTF-8"),
            ("text/plain;a=1;b=2", "text/plain; b=2; a=1"),
            ("text/plain;a=1", "text/plain;b=2"),
        ] {
            assert!(same_type(a, b) && same_type(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("text/plain", "text/html"),
            ("text/plain", "text/plain2"),
            ("text/plain;charset=utf-8", "text/plain;charset=latin1"),
            ("", "text/plain"),
        ] {
            assert!(!same_type(a, b) && !same_type(b, a), "{a} {b}");
        }
    }
}
