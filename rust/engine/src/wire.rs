//! Wire bytes: how a body becomes what is stored, and what is stored becomes a body.
//!
//! Binary and text are stored as they came. JSON is validated, flattened by one level, and each
//! message is stored as its raw bytes (insignificant outer whitespace cut) followed by a comma; a
//! JSON read is `[`, a range without its last comma, `]`.

use bytes::Bytes;

/// How a content type is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As it came.
    Bytes,
    /// Messages, each followed by a comma.
    Json,
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
    pub fn of(_content_type: &str) -> Self {
        todo!()
    }
}

/// Turns a body into wire bytes. An empty result means no message (`[]`, or an empty body).
pub fn encode(_format: Format, _body: &Bytes, _max_depth: usize) -> Result<Bytes, BodyError> {
    todo!()
}

/// Position behind the first `messages` JSON messages of wire bytes, or `None` when there are fewer.
pub fn after_messages(_wire: &[u8], _messages: u64) -> Option<usize> {
    todo!()
}

/// Makes a page's chunks a body: brackets for JSON and the last comma dropped, nothing for bytes.
pub fn frame(_format: Format, _chunks: Vec<Bytes>) -> Vec<Bytes> {
    todo!()
}

/// Whether two content types are the same: type, subtype and parameters, ASCII case ignored.
pub fn same_type(_a: &str, _b: &str) -> bool {
    todo!()
}
