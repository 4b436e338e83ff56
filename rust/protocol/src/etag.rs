//! Entity tags: `"id:start:end"`, with `:c` when a closed stream's end is in it.

use durastream_engine::Offset;

/// The tag of a page of stream `id`.
pub(crate) fn of(id: u64, start: Offset, next: Offset, closed: bool) -> String {
    let closed = if closed { ":c" } else { "" };
    format!("\"{id}:{start}:{next}{closed}\"")
}

/// Whether `If-None-Match` names `etag` (weak comparison; `*` names everything).
///
/// What cannot be understood names nothing: the read is then answered in full, which is never wrong.
pub(crate) fn names(if_none_match: &str, etag: &str) -> bool {
    if if_none_match.trim() == "*" {
        return true;
    }
    Tags(if_none_match).any(|tag| tag.is_some_and(|tag| tag.quoted == etag))
}

/// One member of a list of entity tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag<'a> {
    weak: bool,
    /// With its quotes, if it had any.
    quoted: &'a str,
}

/// Iterates over a list; a member that cannot be understood is `None` and ends it.
struct Tags<'a>(&'a str);

impl<'a> Iterator for Tags<'a> {
    type Item = Option<Tag<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.trim_start_matches([' ', '\t', ',']);
        if text.is_empty() {
            return None;
        }
        let (weak, text) = match text.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let end = if let Some(inner) = text.strip_prefix('"') {
            inner.find('"').map(|at| at + 2)
        } else if weak {
            None
        } else {
            Some(text.find([',', ' ', '\t']).unwrap_or(text.len()))
        };
        let Some(end) = end else {
            self.0 = "";
            return Some(None);
        };
        let rest = text[end..].trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            self.0 = "";
            return Some(None);
        }
        self.0 = rest;
        Some(Some(Tag {
            weak,
            quoted: &text[..end],
        }))
    }
}

/// What `If-Match` of an append demands of the tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// `*`: that the stream exists.
    Exists,
    /// That one of these is the tail.
    Tails(Vec<Tail>),
}

/// A tail, as a client may name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// By offset, bare or quoted.
    Offset(Offset),
    /// By the tag of a read that reached it.
    Read {
        /// The stream that was read.
        id: u64,
        /// Where the read ended.
        end: Offset,
    },
}

/// Most members of an `If-Match` list: each may cost an attempt.
const MOST_TAILS: usize = 16;

impl Condition {
    /// Parses `If-Match`; says what is wrong. A weak tag or somebody else's names no tail.
    pub(crate) fn parse(value: &str) -> Result<Self, String> {
        if value.trim() == "*" {
            return Ok(Self::Exists);
        }
        let mut tails = Vec::new();
        let mut members = 0;
        for tag in Tags(value) {
            let tag = tag.ok_or_else(|| "it is not a list of entity tags".to_owned())?;
            members += 1;
            if members > MOST_TAILS {
                return Err(format!("it lists more than {MOST_TAILS} tags"));
            }
            let quoted = tag.quoted.starts_with('"');
            match tail(tag.quoted.trim_matches('"')) {
                Some(_) if tag.weak => {}
                Some(tail) => tails.push(tail),
                None if quoted => {}
                None => return Err("a tag is quoted, unless it is an offset".to_owned()),
            }
        }
        if members == 0 {
            return Err("it is empty".to_owned());
        }
        Ok(Self::Tails(tails))
    }
}

fn tail(text: &str) -> Option<Tail> {
    if let Ok(offset) = text.parse() {
        return Some(Tail::Offset(offset));
    }
    let text = text.strip_suffix(":c").unwrap_or(text);
    let mut parts = text.split(':');
    let (id, start, end) = (parts.next()?, parts.next()?, parts.next()?);
    start.parse::<Offset>().ok()?;
    match parts.next() {
        None => Some(Tail::Read {
            id: id.parse().ok()?,
            end: end.parse().ok()?,
        }),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(position: u64) -> Offset {
        Offset {
            incarnation: 7,
            position,
        }
    }

    #[test]
    fn a_tag_varies_with_stream_range_and_closure() {
        let tag = of(3, offset(0), offset(9), false);
        assert_eq!(
            tag,
            "\"3:0000000000000007_0000000000000000:0000000000000007_0000000000000009\""
        );
        assert_ne!(tag, of(4, offset(0), offset(9), false));
        assert_ne!(tag, of(3, offset(1), offset(9), false));
        assert_ne!(tag, of(3, offset(0), offset(8), false));
        assert_ne!(tag, of(3, offset(0), offset(9), true));
    }

    #[test]
    fn if_none_match_compares_weakly_over_lists() {
        for value in [
            "*",
            " * ",
            "\"a\"",
            "W/\"a\"",
            "\"x\", \"a\"",
            "W/\"x\" ,W/\"a\",",
            ",\"a\"",
        ] {
            assert!(names(value, "\"a\""), "{value}");
        }
        for value in [
            "",
            "a",
            "\"A\"",
            "\"b\"",
            "\"b\" \"a\"",
            "\"a",
            "W/a",
            "\"*\"",
            "\u{fffd}",
        ] {
            assert!(!names(value, "\"a\""), "{value}");
        }
    }

    #[test]
    fn if_match_takes_offsets_and_tags_of_reads() {
        let bare = offset(9).to_string();
        let tag = of(3, offset(0), offset(9), true);
        assert_eq!(
            Condition::parse(&format!("{bare}, \"{bare}\" , {tag}")),
            Ok(Condition::Tails(vec![
                Tail::Offset(offset(9)),
                Tail::Offset(offset(9)),
                Tail::Read {
                    id: 3,
                    end: offset(9)
                },
            ]))
        );
        assert_eq!(Condition::parse("*"), Ok(Condition::Exists));
    }

    #[test]
    fn if_match_is_strong_and_other_peoples_tags_name_no_tail() {
        let tag = of(3, offset(0), offset(9), false);
        for value in [
            format!("W/{tag}"),
            "\"abc\"".to_owned(),
            "\"1:2:3\"".to_owned(),
        ] {
            assert_eq!(
                Condition::parse(&value),
                Ok(Condition::Tails(vec![])),
                "{value}"
            );
        }
    }

    #[test]
    fn a_malformed_if_match_is_refused() {
        let many = vec!["\"a\""; 17].join(",");
        for value in ["", " , ", "abc", "\"a", "W/abc", "\"a\" \"b\"", &many] {
            assert!(Condition::parse(value).is_err(), "{value}");
        }
    }
}
