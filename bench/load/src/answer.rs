//! One HTTP/1.1 answer after the other, as it arrives.

use crate::Failure;

/// What an answer said.
#[derive(Debug, Default, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) next_offset: String,
    pub(crate) cursor: String,
    pub(crate) up_to_date: bool,
    /// Bytes of body seen so far.
    pub(crate) bytes: u64,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Head,
    Fixed(u64),
    ChunkSize(u64),
    /// After a chunk size: its line may go on with extensions.
    ChunkLine(u64),
    Chunk(u64),
    ChunkEnd,
    /// Bytes of the line so far: an empty line ends the trailers.
    Trailers(usize),
    Done,
}

/// Parses one answer. Heads are collected, bodies are handed on.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    stage: Stage,
    head: Vec<u8>,
    pub(crate) answer: Answer,
}

impl Parser {
    /// Ready for the next answer.
    pub(crate) fn reset(&mut self) {
        self.stage = Stage::Head;
        self.head.clear();
        self.answer.status = 0;
        self.answer.bytes = 0;
        self.answer.up_to_date = false;
        self.answer.next_offset.clear();
    }

    pub(crate) fn done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// How many bytes of a body of known length are still to come.
    pub(crate) fn known_rest(&self) -> u64 {
        if let Stage::Fixed(rest) = self.stage {
            rest
        } else {
            0
        }
    }

    /// Counts bytes of such a body that were not looked at.
    pub(crate) fn skip(&mut self, bytes: u64) {
        if let Stage::Fixed(rest) = self.stage {
            self.answer.bytes += bytes;
            self.stage = if rest <= bytes {
                Stage::Done
            } else {
                Stage::Fixed(rest - bytes)
            };
        }
    }

    /// Takes what arrived, hands body bytes to `sink`.
    pub(crate) fn take(
        &mut self,
        data: &[u8],
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let mut rest = data;
        while !rest.is_empty() {
            rest = match self.stage {
                Stage::Head => self.head(rest)?,
                Stage::Fixed(left) => {
                    let (now, later) = split(rest, left);
                    sink(now);
                    self.skip(now.len() as u64);
                    later
                }
                Stage::ChunkSize(_)
                | Stage::ChunkLine(_)
                | Stage::ChunkEnd
                | Stage::Trailers(_) => {
                    self.chunk_syntax(rest[0])?;
                    &rest[1..]
                }
                Stage::Chunk(left) => {
                    let (now, later) = split(rest, left);
                    sink(now);
                    self.answer.bytes += now.len() as u64;
                    let left = left - now.len() as u64;
                    self.stage = if left == 0 {
                        Stage::ChunkEnd
                    } else {
                        Stage::Chunk(left)
                    };
                    later
                }
                Stage::Done => return Err("bytes after the end of an answer".into()),
            };
        }
        Ok(())
    }

    fn chunk_syntax(&mut self, byte: u8) -> Result<(), Failure> {
        self.stage = match (&self.stage, byte) {
            (Stage::ChunkSize(size), digit) if digit.is_ascii_hexdigit() => {
                let digit = char::from(digit).to_digit(16).map_or(0, u64::from);
                Stage::ChunkSize(size.checked_mul(16).ok_or("a huge chunk")? + digit)
            }
            (Stage::ChunkSize(size) | Stage::ChunkLine(size), b'\n') => match *size {
                0 => Stage::Trailers(0),
                size => Stage::Chunk(size),
            },
            (Stage::ChunkSize(size) | Stage::ChunkLine(size), _) => Stage::ChunkLine(*size),
            (Stage::ChunkEnd, b'\n') => Stage::ChunkSize(0),
            (Stage::ChunkEnd, b'\r') => Stage::ChunkEnd,
            (Stage::Trailers(0), b'\n') => Stage::Done,
            (Stage::Trailers(_), b'\n') => Stage::Trailers(0),
            (Stage::Trailers(length), b'\r') => Stage::Trailers(*length),
            (Stage::Trailers(length), _) => Stage::Trailers(length + 1),
            (stage, byte) => return Err(format!("byte {byte} in {stage:?}").into()),
        };
        Ok(())
    }

    /// Collects a head; gives what follows it.
    fn head<'a>(&mut self, data: &'a [u8]) -> Result<&'a [u8], Failure> {
        let before = self.head.len();
        self.head.extend_from_slice(data);
        let from = before.saturating_sub(3);
        let Some(end) = memchr::memmem::find(&self.head[from..], b"\r\n\r\n") else {
            return Ok(&[]);
        };
        let length = from + end + 4;
        self.head.truncate(length);
        let mut fields = [httparse::EMPTY_HEADER; 48];
        let mut head = httparse::Response::new(&mut fields);
        head.parse(&self.head)?;
        self.answer.status = head.code.unwrap_or(0);
        let mut size = None;
        let mut chunked = false;
        for field in head.headers.iter() {
            let value = std::str::from_utf8(field.value).unwrap_or("");
            match field.name {
                name if name.eq_ignore_ascii_case("content-length") => size = Some(value.parse()?),
                name if name.eq_ignore_ascii_case("transfer-encoding") => chunked = true,
                name if name.eq_ignore_ascii_case("stream-next-offset") => {
                    value.clone_into(&mut self.answer.next_offset);
                }
                name if name.eq_ignore_ascii_case("stream-cursor") => {
                    value.clone_into(&mut self.answer.cursor);
                }
                name if name.eq_ignore_ascii_case("stream-up-to-date") => {
                    self.answer.up_to_date = value.eq_ignore_ascii_case("true");
                }
                _ => {}
            }
        }
        self.stage = match (self.answer.status, chunked, size) {
            (100..=199, ..) => return Err("an interim answer".into()),
            (204 | 304, ..) | (_, false, Some(0)) => Stage::Done,
            (_, true, _) => Stage::ChunkSize(0),
            (_, false, Some(size)) => Stage::Fixed(size),
            (_, false, None) => Stage::Fixed(u64::MAX),
        };
        Ok(&data[length - before..])
    }
}

fn split(data: &[u8], at: u64) -> (&[u8], &[u8]) {
    let at = usize::try_from(at).map_or(data.len(), |at| at.min(data.len()));
    data.split_at(at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8], step: usize) -> (Answer, Vec<u8>, bool) {
        let mut parser = Parser::default();
        let mut body = Vec::new();
        for part in bytes.chunks(step) {
            parser
                .take(part, &mut |data| body.extend_from_slice(data))
                .unwrap();
        }
        (parser.answer.clone(), body, parser.done())
    }

    #[test]
    fn bodies_arrive_whole_however_they_are_cut() {
        let fixed = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nStream-Next-Offset: 7\r\n\r\nhello";
        let chunked =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nstream-up-to-date: true\r\n\r\n\
            3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nafter: all\r\n\r\n";
        for bytes in [&fixed[..], &chunked[..]] {
            for step in 1..bytes.len() {
                let (answer, body, done) = parse(bytes, step);
                assert!(done, "{step}");
                assert_eq!((answer.status, answer.bytes), (200, 5));
                assert_eq!(body, b"hello");
            }
        }
    }

    #[test]
    fn an_answer_without_a_body_is_done_at_its_head() {
        let (answer, body, done) = parse(b"HTTP/1.1 204 No Content\r\nStream-Cursor: 9\r\n\r\n", 4);
        assert!(done && body.is_empty());
        assert_eq!(answer.cursor, "9");
    }

    #[test]
    fn bytes_behind_an_answer_are_an_error() {
        let mut parser = Parser::default();
        assert!(
            parser
                .take(b"HTTP/1.1 204 No\r\n\r\nmore", &mut |_| {})
                .is_err()
        );
    }
}
