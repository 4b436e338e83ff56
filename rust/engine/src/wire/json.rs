//! JSON on its way in: one look at what the grammar does not say, then serde_json for the grammar.
//!
//! Neither pass recurses, so a body nested a million levels deep costs no stack.

use std::fmt;

use bytes::Bytes;
use memchr::memchr2;
use serde::Deserialize;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{BodyError, JsonLimits};

/// Every message of a body, as sent, each followed by a comma.
pub(super) fn flatten(body: &Bytes, limits: JsonLimits) -> Result<Bytes, BodyError> {
    if body.is_empty() {
        return Ok(Bytes::new());
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err(BodyError::Json {
            at: 0,
            detail: "a byte order mark; JSON begins without one".to_owned(),
        });
    }
    let text = std::str::from_utf8(body).map_err(|e| BodyError::Utf8 {
        at: e.valid_up_to(),
    })?;
    let start = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let is_batch = start.starts_with('[');
    check(body, limits, usize::from(is_batch))?;

    // What a batch without whitespace, or a message alone, comes to.
    let mut wire = Vec::with_capacity(if is_batch {
        body.len() - 1
    } else {
        body.len() + 1
    });
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = if is_batch {
        json.deserialize_seq(Messages(&mut wire))
    } else {
        <&RawValue>::deserialize(&mut json).map(|message| push(&mut wire, message))
    };
    let parsed = parsed.and_then(|()| json.end());
    parsed.map_err(|e| refusal(text, &e))?;
    if wire.len() < wire.capacity() / 2 {
        // Whitespace is not to be paid for in memory as long as the message lives.
        wire.shrink_to_fit();
    }
    Ok(wire.into())
}

/// Position behind the first `messages` messages of valid wire bytes.
pub(super) fn after_messages(wire: &[u8], messages: u64) -> Option<usize> {
    let mut left = messages;
    let mut depth = 0_usize;
    let mut at = 0;
    while left > 0 {
        match wire.get(at)? {
            b'"' => at = after_string(wire, at)?,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => left -= 1,
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

/// Position of the quote that ends the string begun at `at`.
fn after_string(wire: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += 1;
        at += memchr2(b'"', b'\\', wire.get(at..)?)?;
        if wire[at] == b'"' {
            return Some(at);
        }
        at += 1;
    }
}

/// Takes the messages of a batch.
struct Messages<'a>(&'a mut Vec<u8>);

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<(), A::Error> {
        while let Some(message) = messages.next_element::<&RawValue>()? {
            push(self.0, message);
        }
        Ok(())
    }
}

fn push(wire: &mut Vec<u8>, message: &RawValue) {
    wire.extend_from_slice(message.get().as_bytes());
    wire.push(b',');
}

/// Checks what serde_json leaves open when it keeps values raw: nesting, the length of numbers, and
/// that surrogates come in pairs. The text need not be valid JSON; what is not is left to the parser.
fn check(text: &[u8], limits: JsonLimits, uncounted: usize) -> Result<(), BodyError> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                let Some(end) = check_string(text, at)? else {
                    return Ok(());
                };
                at = end;
            }
            b'[' | b'{' => {
                depth += 1;
                let value = depth.saturating_sub(uncounted);
                if value > limits.depth {
                    let limit = limits.depth;
                    return Err(BodyError::Depth { at, limit, value });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let rest = text[at..].iter();
                let value = rest.take_while(|b| is_of_number(**b)).count();
                if value > limits.number_bytes {
                    let limit = limits.number_bytes;
                    return Err(BodyError::Number { at, limit, value });
                }
                at += value - 1;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Position of the quote that ends the string begun at `at`; `None` when nothing does.
fn check_string(text: &[u8], mut at: usize) -> Result<Option<usize>, BodyError> {
    loop {
        at += 1;
        let rest = text.get(at..).unwrap_or_default();
        let Some(found) = memchr2(b'"', b'\\', rest) else {
            return Ok(None);
        };
        at += found;
        if text[at] == b'"' {
            return Ok(Some(at));
        }
        at += match escaped_unit(text, at) {
            Some(0xd800..=0xdbff) => match escaped_unit(text, at + 6) {
                Some(0xdc00..=0xdfff) => 11,
                _ => return Err(half_a_pair(text, at)),
            },
            Some(0xdc00..=0xdfff) => return Err(half_a_pair(text, at)),
            Some(_) => 5,
            None => 1,
        };
    }
}

/// The UTF-16 unit of a `\uXXXX` at `at`, if there is one.
fn escaped_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(unit << 4 | digit as u16)
    })
}

fn half_a_pair(text: &[u8], at: usize) -> BodyError {
    let escape = String::from_utf8_lossy(&text[at..at + 6]).into_owned();
    BodyError::Json {
        at,
        detail: format!("{escape} is half of a surrogate pair; send both halves, or the character"),
    }
}

/// serde_json's refusal, with a byte offset.
fn refusal(text: &str, error: &serde_json::Error) -> BodyError {
    let at = offset_of(text, error);
    let said = error.to_string();
    let said = said
        .rsplit_once(" at line ")
        .map_or(&*said, |(what, _)| what);
    let rest = &text.as_bytes()[at..];
    let is_word = |word: &[u8]| {
        let rest = rest.strip_prefix(b"-").unwrap_or(rest);
        rest.starts_with(word)
    };
    let detail = if is_word(b"NaN") || is_word(b"Infinity") {
        format!("{said}: JSON has neither NaN nor Infinity; send null or a string")
    } else if rest.first() == Some(&b'\'') {
        format!("{said}: JSON has double quotes only")
    } else {
        said.to_owned()
    };
    BodyError::Json { at, detail }
}

/// Byte offset of what serde_json stumbled over; the end when something was missing there.
fn offset_of(text: &str, error: &serde_json::Error) -> usize {
    if error.is_eof() {
        return text.len();
    }
    // A line's number counts from 1, and so does the column of the byte at fault.
    let bytes = text.as_bytes();
    let mut breaks = memchr::memchr_iter(b'\n', bytes);
    let line = match error.line() {
        0 | 1 => 0,
        line => breaks.nth(line - 2).map_or(0, |newline| newline + 1),
    };
    let mut at = line + error.column();
    // Of a control character it gives the column of the byte before.
    if !error.to_string().starts_with("control character") {
        at = at.saturating_sub(1);
    }
    // Columns count bytes, so this is a boundary but for the middle of a character at fault.
    (0..=at.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
