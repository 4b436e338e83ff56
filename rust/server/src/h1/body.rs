//! Request bodies: by length, or in chunks (RFC 9112 section 7.1).

use memchr::memchr;

use super::head::Length;

/// Longest line with a chunk's size and extensions.
const SIZE_LINE: usize = 1024;
/// Longest trailer section.
const TRAILER_BYTES: usize = 16 << 10;
/// Digits of a chunk's size.
const SIZE_DIGITS: usize = 15;

/// The part of a request body that was not read yet.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing is left.
    Ended,
    /// So many bytes are left.
    Length(u64),
    /// Chunks are left.
    Chunked(Chunks),
}

/// The chunks are not as they must be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadChunk(pub(crate) &'static str);

impl Body {
    /// The body that a head announced.
    pub(crate) fn of(length: Length) -> Self {
        match length {
            Length::Known(0) => Self::Ended,
            Length::Known(length) => Self::Length(length),
            Length::Chunked => Self::Chunked(Chunks::default()),
        }
    }

    pub(crate) fn ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Takes what it can of `input`: bytes of the body go to `out`. Gives how many bytes were used.
    ///
    /// Stops early once `out` is longer than `limit`.
    pub(crate) fn take(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<usize, BadChunk> {
        match self {
            Self::Ended => Ok(0),
            Self::Length(left) => {
                let size = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                out.extend_from_slice(input.get(..size).unwrap_or_default());
                *left -= size as u64;
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(size)
            }
            Self::Chunked(chunks) => {
                let mut used = 0;
                while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
                    used += chunks.take(rest, out)?;
                    if chunks.expected == Expected::Nothing {
                        *self = Self::Ended;
                        break;
                    }
                    if out.len() > limit {
                        break;
                    }
                }
                Ok(used)
            }
        }
    }
}

/// Reads a chunked body.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    expected: Expected,
    /// The begun line.
    line: Vec<u8>,
    /// Bytes of the trailer section so far.
    trailer: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Expected {
    #[default]
    Size,
    Data(u64),
    /// The CRLF behind a chunk's data.
    DataEnd,
    Trailer,
    Nothing,
}

impl Chunks {
    /// Goes one step on; uses at least one byte of `input`, which is not empty.
    fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, BadChunk> {
        if let Expected::Data(left) = self.expected {
            let size = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
            out.extend_from_slice(input.get(..size).unwrap_or_default());
            self.expected = match left - size as u64 {
                0 => Expected::DataEnd,
                left => Expected::Data(left),
            };
            return Ok(size);
        }
        let (used, whole) = match memchr(b'\n', input) {
            Some(at) => (at + 1, true),
            None => (input.len(), false),
        };
        let limit = match self.expected {
            Expected::Trailer => TRAILER_BYTES,
            Expected::DataEnd => 2,
            _ => SIZE_LINE,
        };
        if self.line.len() + used > limit {
            return Err(BadChunk(match self.expected {
                Expected::DataEnd => "a chunk is longer than its size",
                _ => "a line between chunks is too long",
            }));
        }
        self.line
            .extend_from_slice(input.get(..used).unwrap_or_default());
        if whole {
            let line = std::mem::take(&mut self.line);
            let Some(text) = line.strip_suffix(b"\r\n") else {
                return Err(BadChunk("a line between chunks ends without CR"));
            };
            self.line_done(text)?;
        }
        Ok(used)
    }

    fn line_done(&mut self, text: &[u8]) -> Result<(), BadChunk> {
        if text
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return Err(BadChunk("a line between chunks has a control character"));
        }
        match self.expected {
            Expected::Size => {
                self.expected = match chunk_size(text)? {
                    0 => Expected::Trailer,
                    size => Expected::Data(size),
                };
            }
            Expected::DataEnd => {
                if !text.is_empty() {
                    return Err(BadChunk("a chunk is longer than its size"));
                }
                self.expected = Expected::Size;
            }
            _ if text.is_empty() => self.expected = Expected::Nothing,
            _ => {
                self.trailer += text.len() + 2;
                let name = text.split(|byte| *byte == b':').next().unwrap_or_default();
                if name.len() == text.len()
                    || name.is_empty()
                    || !name.iter().all(|byte| is_token(*byte))
                {
                    return Err(BadChunk("a trailer field is none"));
                }
                if self.trailer > TRAILER_BYTES {
                    return Err(BadChunk("the trailer section is too long"));
                }
            }
        }
        Ok(())
    }
}

/// Whether a byte may stand in a field's name (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Hexadecimal digits, then nothing or an extension, which is ignored.
fn chunk_size(text: &[u8]) -> Result<u64, BadChunk> {
    let digits = text
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (size, rest) = text.split_at(digits);
    if size.is_empty() || size.len() > SIZE_DIGITS {
        return Err(BadChunk("a chunk's size is not a hexadecimal number"));
    }
    if !rest.is_empty() && !rest.trim_ascii_start().starts_with(b";") {
        return Err(BadChunk("behind a chunk's size stands no extension"));
    }
    Ok(size.iter().fold(0, |sum, digit| {
        sum * 16 + u64::from(char::from(*digit).to_digit(16).unwrap_or(0))
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes `pieces` one after the other: what came out, and how many bytes were used.
    fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize), BadChunk> {
        let (mut body, mut out, mut used) = (Body::of(Length::Chunked), Vec::new(), 0);
        for piece in pieces {
            used += body.take(piece, &mut out, usize::MAX)?;
        }
        assert!(body.ended());
        Ok((out, used))
    }

    proptest! {
        #[test]
        fn chunks_mean_the_same_however_they_are_cut(
            data in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut wire = Vec::new();
            for chunk in &data {
                wire.extend(format!("{:X};e\r\n", chunk.len()).into_bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\nA: b\r\n\r\n");
            let whole = wire.len();
            wire.extend(b"next request");
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(whole)).collect();
            ends.extend([0, wire.len()]);
            ends.sort_unstable();
            let pieces: Vec<&[u8]> = ends.windows(2).map(|w| &wire[w[0]..w[1]]).collect();
            prop_assert_eq!(read(&pieces), Ok((data.concat(), whole)));
        }

        #[test]
        fn no_bytes_make_it_panic(wire in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut body, mut out) = (Body::of(Length::Chunked), Vec::new());
            if let Ok(used) = body.take(&wire, &mut out, usize::MAX) {
                prop_assert!(used <= wire.len() && out.len() <= used);
            }
        }
    }
}
