//! Stream paths, after percent-decoding: 1..1,024 bytes of UTF-8, segments neither empty nor `.`
//! nor `..`, no control characters. Two spellings of one path are one stream.

use std::fmt;
use std::sync::Arc;

/// A valid stream path, without a leading slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPath(Arc<str>);

/// Longest path in bytes.
pub const MAX_PATH_BYTES: usize = 1024;

/// Why a path was refused; says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// No bytes.
    #[error("a stream path has 1 to {MAX_PATH_BYTES} bytes, this one is empty")]
    Empty,
    /// Too many bytes.
    #[error("a stream path has 1 to {MAX_PATH_BYTES} bytes, this one has {value}")]
    TooLong {
        /// Its length in bytes.
        value: usize,
    },
    /// An empty, `.` or `..` segment.
    #[error("a segment of a stream path may not be {segment:?}")]
    Segment {
        /// The segment.
        segment: String,
    },
    /// A control character.
    #[error("a stream path may not hold control characters, this one has U+{code:04X}")]
    Control {
        /// The character's code point.
        code: u32,
    },
}

impl StreamPath {
    /// Checks a decoded path (no leading slash).
    pub fn new(path: &str) -> Result<Self, PathError> {
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong { value: path.len() });
        }
        // Nearly all are plain ASCII, which need not be decoded for it; a million are checked at a start.
        let is_plain = path.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !is_plain && let Some(c) = path.chars().find(|c| c.is_control()) {
            return Err(PathError::Control { code: c.into() });
        }
        if let Some(segment) = path.split('/').find(|s| matches!(*s, "" | "." | "..")) {
            return Err(PathError::Segment {
                segment: segment.to_owned(),
            });
        }
        Ok(Self(path.into()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Compares, orders and hashes like its text.
impl std::borrow::Borrow<str> for StreamPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_are_kept_as_they_are() {
        let longest = "x".repeat(MAX_PATH_BYTES);
        for text in [
            "a",
            "a/b/c",
            ".updates",
            "a/.index",
            "...",
            "é/日本",
            "a b:c",
            &longest,
        ] {
            assert_eq!(StreamPath::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn each_bad_path_is_refused_for_its_reason() {
        let too_long = "x".repeat(MAX_PATH_BYTES + 1);
        assert_eq!(StreamPath::new(""), Err(PathError::Empty));
        assert!(matches!(
            StreamPath::new(&too_long),
            Err(PathError::TooLong { value: 1025 })
        ));
        for text in ["/a", "a/", "a//b", ".", "..", "a/../b", "a/./b"] {
            assert!(
                matches!(StreamPath::new(text), Err(PathError::Segment { .. })),
                "{text}"
            );
        }
        for text in ["a\0", "a\nb", "\u{7f}", "\u{85}"] {
            assert!(
                matches!(StreamPath::new(text), Err(PathError::Control { .. })),
                "{text:?}"
            );
        }
    }
}
