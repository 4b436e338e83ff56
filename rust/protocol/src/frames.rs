//! Server-sent events as bytes (protocol section 5.8): data, control and the comment between.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use durastream_engine::wire::{self, Format};
use durastream_engine::{Offset, Page};

/// Keeps connections and their middlemen awake; no event.
pub(crate) const HEARTBEAT: &[u8] = b":\n\n";

/// How data events carry a stream's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As they are: JSON and text.
    Text(Format),
    /// In base64: everything else.
    Base64,
}

impl Encoding {
    /// For a content type.
    pub(crate) fn of(content_type: &str, format: Format) -> Self {
        let is_text = content_type
            .trim_start()
            .get(..5)
            .is_some_and(|start| start.eq_ignore_ascii_case("text/"));
        match format {
            Format::Json => Self::Text(Format::Json),
            Format::Bytes if is_text => Self::Text(Format::Bytes),
            Format::Bytes => Self::Base64,
        }
    }

    /// The data event of a page.
    pub(crate) fn data(self, page: &Page) -> Vec<u8> {
        let length = data_bytes(page);
        let mut out = Vec::with_capacity(64 + length + length / 2);
        DataEvent::new(self, page).write(usize::MAX, &mut out);
        out
    }
}

/// How many bytes a page carries.
pub(crate) fn data_bytes(page: &Page) -> usize {
    page.chunks.iter().map(Bytes::len).sum()
}

/// A data event that is made piece by piece.
pub(crate) struct DataEvent {
    pieces: VecDeque<Bytes>,
    carry: Carry,
    begun: bool,
}

/// What a piece of a data event leaves to the next.
#[derive(Debug, Clone)]
pub(crate) struct Carry {
    lines: Option<Lines>,
    /// What did not fill three bytes of base64.
    rest: Vec<u8>,
}

impl DataEvent {
    /// That of a page.
    pub(crate) fn new(encoding: Encoding, page: &Page) -> Self {
        let (pieces, lines) = match encoding {
            Encoding::Text(format) => {
                let pieces = wire::frame(format, page.chunks.clone());
                (pieces.into_iter().collect(), Some(Lines::default()))
            }
            Encoding::Base64 => (page.chunks.iter().cloned().collect(), None),
        };
        Self {
            pieces,
            carry: Carry {
                lines,
                rest: Vec::new(),
            },
            begun: false,
        }
    }

    /// What the next piece needs of those before.
    pub(crate) fn carry(&self) -> Carry {
        self.carry.clone()
    }

    /// Leaves out the next `most` bytes of the page, which made a piece elsewhere that left `carry`.
    pub(crate) fn skip(&mut self, most: usize, carry: Carry) {
        self.begun = true;
        self.carry = carry;
        self.advance(most, |_, _| {});
    }

    /// Shows the next `most` bytes of the page.
    fn advance(&mut self, most: usize, mut show: impl FnMut(&mut Carry, &[u8])) {
        let mut left = most;
        while left > 0
            && let Some(piece) = self.pieces.front_mut()
        {
            let slice = piece.split_to(piece.len().min(left));
            left -= slice.len();
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            show(&mut self.carry, &slice);
        }
    }

    /// Adds to `out` what the next `most` bytes of the page make; whether there is more.
    pub(crate) fn write(&mut self, most: usize, out: &mut Vec<u8>) -> bool {
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(b"event: data\ndata:");
        }
        self.advance(most, |carry, slice| match &mut carry.lines {
            Some(lines) => lines.push(slice, out),
            None => carry.push_base64(slice, out),
        });
        let more = !self.pieces.is_empty();
        if !more {
            out.extend_from_slice(STANDARD.encode(&self.carry.rest).as_bytes());
            out.extend_from_slice(b"\n\n");
        }
        more
    }
}

impl Carry {
    /// Three bytes make four characters, also across pieces.
    fn push_base64(&mut self, slice: &[u8], out: &mut Vec<u8>) {
        let missing = (3 - self.rest.len()) % 3;
        let (head, slice) = slice.split_at(missing.min(slice.len()));
        self.rest.extend_from_slice(head);
        if self.rest.len() == 3 {
            out.extend_from_slice(STANDARD.encode(&self.rest).as_bytes());
            self.rest.clear();
        }
        let (whole, tail) = slice.split_at(slice.len() - slice.len() % 3);
        out.extend_from_slice(STANDARD.encode(whole).as_bytes());
        self.rest.extend_from_slice(tail);
    }
}

/// The control event: where to go on, flat JSON. `cursor` is absent when closed.
pub(crate) fn control(
    next: Offset,
    cursor: Option<u64>,
    up_to_date: bool,
    closed: bool,
) -> Vec<u8> {
    let mut out = format!("event: control\ndata:{{\"streamNextOffset\":\"{next}\"");
    if let Some(cursor) = cursor {
        out.push_str(",\"streamCursor\":\"");
        out.push_str(&cursor.to_string());
        out.push('"');
    }
    if up_to_date {
        out.push_str(",\"upToDate\":true");
    }
    if closed {
        out.push_str(",\"streamClosed\":true");
    }
    out.push_str("}\n\n");
    out.into_bytes()
}

/// Writes text as `data:` lines, split where an event stream's reader would split: at CRLF, LF and
/// CR, also across pieces. A reader strips one space behind the colon, so a line that begins with
/// one gets another.
#[derive(Debug, Clone)]
struct Lines {
    at_start: bool,
    after_cr: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            at_start: true,
            after_cr: false,
        }
    }
}

impl Lines {
    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        if self.after_cr && rest.first() == Some(&b'\n') {
            rest = &rest[1..];
            self.after_cr = false;
        }
        while !rest.is_empty() {
            self.after_cr = false;
            let Some(at) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.text(rest, out);
                return;
            };
            self.text(&rest[..at], out);
            out.extend_from_slice(b"\ndata:");
            self.at_start = true;
            let crlf = rest[at..].starts_with(b"\r\n");
            self.after_cr = !crlf && rest[at] == b'\r';
            rest = &rest[at + if crlf { 2 } else { 1 }..];
        }
    }

    fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.at_start && text[0] == b' ' {
            out.push(b' ');
        }
        self.at_start = false;
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(chunks: Vec<Bytes>) -> Page {
        Page {
            chunks,
            start: Offset::START,
            next: Offset::START,
            up_to_date: true,
            closed: false,
        }
    }

    fn data(encoding: Encoding, chunks: &[&str]) -> String {
        let chunks = chunks
            .iter()
            .map(|c| Bytes::copy_from_slice(c.as_bytes()))
            .collect();
        String::from_utf8(encoding.data(&page(chunks))).unwrap()
    }

    /// What a reader of event streams makes of one event.
    fn read_back(event: &str) -> String {
        let event = event.replace("\r\n", "\n").replace('\r', "\n");
        let block = event.strip_suffix("\n\n").unwrap();
        assert!(!block.contains("\n\n"), "one event only: {block:?}");
        let lines: Vec<&str> = block
            .split('\n')
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        lines.join("\n")
    }

    #[test]
    fn text_is_sent_as_lines_without_a_space_behind_the_colon() {
        let text = Encoding::Text(Format::Bytes);
        assert_eq!(
            data(text, &["line1\nline2", "\r\nline3"]),
            "event: data\ndata:line1\ndata:line2\ndata:line3\n\n"
        );
    }

    proptest! {
        #[test]
        fn an_event_made_piece_by_piece_is_the_same(
            chunks in prop::collection::vec("[a \r\n]{0,12}", 1..5), most in 1usize..9, is_text: bool,
        ) {
            let encoding = if is_text { Encoding::Text(Format::Bytes) } else { Encoding::Base64 };
            let chunks = chunks.into_iter().map(Bytes::from).collect();
            let page = page(chunks);
            let mut event = DataEvent::new(encoding, &page);
            let mut out = Vec::new();
            while event.write(most, &mut out) {}
            prop_assert_eq!(out, encoding.data(&page));
        }
    }

    #[test]
    fn injected_events_stay_data() {
        let text = Encoding::Text(Format::Bytes);
        for hostile in [
            "a\r\n\r\nevent: control\r\ndata: {}\r\n\r\nb",
            "a\n\nevent: control\ndata: x\n\n",
            "a\r\revent: control\rdata: x\r\r",
        ] {
            let event = data(text, &[hostile]);
            assert!(!event.contains("\nevent: control"), "{event:?}");
            assert!(!event.contains('\r'));
        }
    }

    #[test]
    fn json_is_one_array_per_event() {
        assert_eq!(
            data(Encoding::Text(Format::Json), &["{\"n\":1},", "{\"n\":2},"]),
            "event: data\ndata:[{\"n\":1},{\"n\":2}]\n\n"
        );
    }

    #[test]
    fn binary_is_one_base64_text_over_all_chunks() {
        assert_eq!(
            data(Encoding::Base64, &["He", "llo"]),
            "event: data\ndata:SGVsbG8=\n\n"
        );
    }

    #[test]
    fn only_text_and_json_go_plain() {
        for (content_type, format, expected) in [
            ("text/plain", Format::Bytes, Encoding::Text(Format::Bytes)),
            (
                "TEXT/html; charset=utf-8",
                Format::Bytes,
                Encoding::Text(Format::Bytes),
            ),
            (
                "application/json",
                Format::Json,
                Encoding::Text(Format::Json),
            ),
            ("application/ndjson", Format::Bytes, Encoding::Base64),
            ("application/octet-stream", Format::Bytes, Encoding::Base64),
            ("té", Format::Bytes, Encoding::Base64),
        ] {
            assert_eq!(
                Encoding::of(content_type, format),
                expected,
                "{content_type}"
            );
        }
    }

    #[test]
    fn control_is_flat_json_with_what_applies() {
        let next = Offset {
            incarnation: 1,
            position: 2,
        };
        assert_eq!(
            String::from_utf8(control(next, Some(5), true, false)).unwrap(),
            "event: control\ndata:{\"streamNextOffset\":\"0000000000000001_0000000000000002\",\
             \"streamCursor\":\"5\",\"upToDate\":true}\n\n"
        );
        let closed = String::from_utf8(control(next, None, true, true)).unwrap();
        assert!(closed.contains("\"upToDate\":true,\"streamClosed\":true"));
        assert!(!closed.contains("streamCursor"));
    }

    proptest! {
        #[test]
        fn text_survives_but_for_the_kind_of_its_line_ends(chunks in proptest::collection::vec("[ a\r\n:]{0,6}", 1..5)) {
            let borrowed: Vec<&str> = chunks.iter().map(String::as_str).collect();
            let event = data(Encoding::Text(Format::Bytes), &borrowed);
            let whole = chunks.concat().replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(read_back(&event), whole);
        }
    }
}
