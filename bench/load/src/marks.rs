//! Numbered events, and finding them again in what is delivered.

use memchr::memmem::Finder;

const MARK: &[u8] = br#""n":""#;
const DIGITS: usize = 10;
const WHOLE: usize = MARK.len() + DIGITS;

/// A JSON event of `bytes` bytes that holds `number`.
pub(crate) fn event(number: u64, bytes: usize) -> Vec<u8> {
    let mut event = format!(r#"{{"n":"{number:010}","pad":""#).into_bytes();
    event.resize(bytes.max(event.len() + 2) - 2, b'p');
    event.extend_from_slice(br#""}"#);
    event
}

/// Finds the numbers in a body that arrives in pieces.
pub(crate) struct Marks {
    finder: Finder<'static>,
}

impl Marks {
    pub(crate) fn new() -> Self {
        Self {
            finder: Finder::new(MARK),
        }
    }

    /// Hands on every number in `data`; `carry` keeps what may be the beginning of one.
    pub(crate) fn find(&self, carry: &mut Vec<u8>, data: &[u8], mut found: impl FnMut(u64)) {
        if carry.is_empty() {
            let rest = self.scan(data, &mut found);
            carry.extend_from_slice(rest);
            return;
        }
        carry.extend_from_slice(data);
        let whole = std::mem::take(carry);
        let rest = self.scan(&whole, &mut found);
        carry.extend_from_slice(rest);
    }

    /// Gives the end of `data` that must be seen again.
    fn scan<'a>(&self, data: &'a [u8], found: &mut impl FnMut(u64)) -> &'a [u8] {
        let mut rest = data;
        while let Some(at) = self.finder.find(rest) {
            let Some(digits) = rest.get(at + MARK.len()..at + WHOLE) else {
                return &rest[at..];
            };
            found(digits.iter().fold(0, |sum, digit| {
                sum * 10 + u64::from(digit.wrapping_sub(b'0'))
            }));
            rest = &rest[at + WHOLE..];
        }
        &rest[rest.len() - rest.len().min(MARK.len() - 1)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_found_once_however_the_bytes_are_cut() {
        let bytes: Vec<u8> = (0..20).flat_map(|n| event(n, 60)).collect();
        let marks = Marks::new();
        for step in 1..200 {
            let (mut carry, mut seen) = (Vec::new(), Vec::new());
            for part in bytes.chunks(step) {
                marks.find(&mut carry, part, |number| seen.push(number));
            }
            assert_eq!(seen, (0..20).collect::<Vec<_>>(), "{step}");
        }
    }

    #[test]
    fn an_event_has_the_size_asked_for() {
        assert_eq!(event(7, 220).len(), 220);
    }
}
