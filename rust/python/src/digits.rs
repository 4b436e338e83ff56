//! Numbers that JSON parsers with 64-bit integers would round.

use pyo3::prelude::*;

/// As many digits as fit into 64 bits without a sign, and with one unless they are too many.
const FITTING: usize = 19;

/// Whether JSON `text` may hold an integer beyond 64 bits: 20 digits in a row, or 19 behind a minus.
///
/// Looks at one byte of 19 unless that is a digit.
#[pyfunction]
#[pyo3(signature = (text, /))]
pub(crate) fn has_long_integer(text: &[u8]) -> bool {
    // Every run of 19 digits that is not behind us holds the byte at `at`.
    let mut at = FITTING - 1;
    while let Some(byte) = text.get(at) {
        if !byte.is_ascii_digit() {
            at += FITTING;
            continue;
        }
        let (before, behind) = text.split_at(at);
        let begin = before
            .iter()
            .rposition(|byte| !byte.is_ascii_digit())
            .map_or(0, |last| last + 1);
        let end = behind
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .map_or(text.len(), |count| at + count);
        let negative = before.get(..begin).is_some_and(|text| text.ends_with(b"-"));
        if end - begin > FITTING || (negative && end - begin == FITTING) {
            return true;
        }
        at = end + FITTING;
    }
    false
}
