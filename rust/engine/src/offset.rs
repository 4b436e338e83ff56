//! Offsets: sortable, never reused, and traceable to one life of one stream.

use std::fmt;
use std::str::FromStr;

/// A position in one life of a stream.
///
/// As text `{incarnation:016}_{position:016}`, decimal, 33 characters, so byte-wise order is order.
/// Incarnation 0 with position 0 is the start of whatever stream it is used on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    /// The never-reused number of the stream, or of the root of its fork tree.
    pub incarnation: u64,
    /// Wire bytes before this position.
    pub position: u64,
}

/// The largest number that fits the 16 digits of a half.
pub const MAX_HALF: u64 = 9_999_999_999_999_999;

/// The text was not an offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an offset is 16 digits, `_` and 16 digits, as the server handed it out")]
pub struct OffsetError;

impl Offset {
    /// The start of any stream.
    pub const START: Offset = Offset {
        incarnation: 0,
        position: 0,
    };
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016}_{:016}", self.incarnation, self.position)
    }
}

impl FromStr for Offset {
    type Err = OffsetError;

    fn from_str(text: &str) -> Result<Self, OffsetError> {
        let (left, right) = text.split_once('_').ok_or(OffsetError)?;
        let half = |digits: &str| {
            if digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit()) {
                digits.parse().map_err(|_| OffsetError)
            } else {
                Err(OffsetError)
            }
        };
        Ok(Offset {
            incarnation: half(left)?,
            position: half(right)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offset() -> impl Strategy<Value = Offset> {
        (0..=MAX_HALF, 0..=MAX_HALF).prop_map(|(incarnation, position)| Offset {
            incarnation,
            position,
        })
    }

    proptest! {
        #[test]
        fn text_sorts_as_offsets_do_and_comes_back(a in offset(), b in offset()) {
            prop_assert_eq!(a.cmp(&b), a.to_string().as_bytes().cmp(b.to_string().as_bytes()));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.to_string().len(), 33);
        }

        #[test]
        fn what_is_read_is_what_is_written(text in "[0-9_+ -]{30,36}|.{0,40}") {
            if let Ok(offset) = text.parse::<Offset>() {
                prop_assert_eq!(offset.to_string(), text);
            }
        }
    }

    #[test]
    fn anything_but_two_halves_of_16_digits_is_refused() {
        for text in [
            "",
            "-1",
            "now",
            "0_0",
            "0000000000000000",
            "0000000000000000_000000000000000",
            "0000000000000000_00000000000000000",
            "+000000000000000_0000000000000000",
            "0000000000000000_0000000000000000_0000000000000000",
            "000000000000000\u{661}_0000000000000000",
        ] {
            assert_eq!(text.parse::<Offset>(), Err(OffsetError), "{text}");
        }
    }
}
