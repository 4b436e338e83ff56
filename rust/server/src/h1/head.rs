//! Request heads: where one ends, what it says, and what RFC 9112 refuses.

use durastream_protocol::RequestHead;
use memchr::memchr;

/// Fields that a head is parsed into without allocating.
const USUAL_FIELDS: usize = 48;
/// Most header fields of one request.
const MAX_FIELDS: usize = 2048;

/// Why a head was refused; the connection ends after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Status of the answer.
    pub(crate) status: u16,
    /// What was wrong.
    pub(crate) detail: &'static str,
}

fn bad(detail: &'static str) -> Refused {
    Refused {
        status: 400,
        detail,
    }
}

/// Looks for the end of a head, resuming where it stopped.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Scan {
    /// Start of the line being looked at.
    line: usize,
    /// Bytes looked at.
    seen: usize,
    /// A line with something in it was seen.
    begun: bool,
}

impl Scan {
    /// The length of the head at the front of `input`, its empty line included.
    ///
    /// Refuses a line that ends in a bare LF and one that continues the field before it (obs-fold).
    pub(crate) fn end(&mut self, input: &[u8]) -> Result<Option<usize>, Refused> {
        while let Some(found) = input.get(self.seen..).and_then(|rest| memchr(b'\n', rest)) {
            let at = self.seen + found;
            let line = input.get(self.line..at).unwrap_or_default();
            let Some((b'\r', text)) = line.split_last() else {
                return Err(bad("a line of the request head ends without CR"));
            };
            if matches!(text.first(), Some(b' ' | b'\t')) {
                return Err(bad("a header field is folded over lines"));
            }
            self.line = at + 1;
            self.seen = at + 1;
            if !text.is_empty() {
                self.begun = true;
            } else if self.begun {
                return Ok(Some(at + 1));
            } else if at > 8 {
                return Err(bad("empty lines before the request"));
            }
        }
        // What was meant for another protocol may have no line end to wait for.
        let rest = input.get(self.seen..).unwrap_or_default();
        if rest.iter().any(|byte| is_control(*byte)) {
            return Err(bad("the request head has a control character"));
        }
        self.seen = input.len();
        Ok(None)
    }
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\r' | b'\n' | b'\t')
}

/// How long a request body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Given by Content-Length; 0 without one.
    Known(u64),
    /// Told by the chunks.
    Chunked,
}

/// What the framing fields of a head say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Framing {
    /// HTTP/1.1, not 1.0.
    pub(crate) http11: bool,
    /// The client wants the connection kept.
    pub(crate) keep_alive: bool,
    /// The client waits for `100 Continue`.
    pub(crate) expects: bool,
    /// The method is HEAD: the answer has no body.
    pub(crate) is_head: bool,
    /// The request body.
    pub(crate) length: Length,
}

impl Default for Framing {
    /// Of an answer to nobody knows what.
    fn default() -> Self {
        Self {
            http11: true,
            keep_alive: false,
            expects: false,
            is_head: false,
            length: Length::Known(0),
        }
    }
}

/// Where a request arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// `http` or `https`.
    pub(crate) scheme: &'a str,
    /// Host and port, for clients that give none.
    pub(crate) authority: &'a str,
}

/// Parses one whole head and calls `take` with it and its target from the path on.
pub(crate) fn parse<T>(
    raw: &[u8],
    place: Place<'_>,
    take: impl FnOnce(&RequestHead<'_>, &str, Framing) -> T,
) -> Result<T, Refused> {
    let mut fields = [httparse::EMPTY_HEADER; USUAL_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(raw) {
        Err(httparse::Error::TooManyHeaders) => {
            let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut request = httparse::Request::new(&mut fields);
            request.parse(raw).map_err(refusal)?;
            understand(&request, place, take)
        }
        Err(error) => Err(refusal(error)),
        Ok(_) => understand(&request, place, take),
    }
}

fn refusal(error: httparse::Error) -> Refused {
    match error {
        httparse::Error::TooManyHeaders => Refused {
            status: 431,
            detail: "the request has more than 2048 header fields",
        },
        httparse::Error::Version => Refused {
            status: 505,
            detail: "this listener speaks HTTP/1.1 and HTTP/1.0",
        },
        httparse::Error::HeaderName => bad("a header field's name is not a token"),
        httparse::Error::HeaderValue => bad("a header field's value has a control character"),
        _ => bad("the request line is not one of HTTP/1.1"),
    }
}

fn understand<T>(
    request: &httparse::Request<'_, '_>,
    place: Place<'_>,
    take: impl FnOnce(&RequestHead<'_>, &str, Framing) -> T,
) -> Result<T, Refused> {
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(bad("the request head is not complete"));
    };
    let fields: &[httparse::Header<'_>] = request.headers;
    let http11 = version == 1;
    let framing = framing(method, http11, fields)?;
    let host = host(http11, fields)?;
    if !target.is_ascii() {
        return Err(bad("the request target is not ASCII"));
    }
    let (authority, target) = split_target(method, target)?;
    let (path, query) = match memchr(b'?', target.as_bytes()) {
        Some(at) => target.as_bytes().split_at(at),
        None => (target.as_bytes(), &[][..]),
    };
    let mut few = [(&[][..], &[][..]); USUAL_FIELDS];
    let mut many = Vec::new();
    let headers: &mut [(&[u8], &[u8])] = match few.get_mut(..fields.len()) {
        Some(few) => few,
        None => {
            many.resize(fields.len(), (&[][..], &[][..]));
            &mut many
        }
    };
    for (slot, field) in headers.iter_mut().zip(fields) {
        *slot = (field.name.as_bytes(), field.value);
    }
    let head = RequestHead {
        method,
        path,
        query: query.strip_prefix(b"?").unwrap_or(query),
        headers,
        scheme: place.scheme,
        authority: authority.or(host).unwrap_or(place.authority),
        prefix: "",
    };
    Ok(take(&head, target, framing))
}

/// The authority of an absolute target, and the target from its path on (RFC 9112 section 3.2).
fn split_target<'a>(method: &str, target: &'a str) -> Result<(Option<&'a str>, &'a str), Refused> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, target));
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return Err(bad("the request target is neither a path nor an http URL"));
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(bad("the request target's scheme is not http"));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !is_authority(authority) {
        return Err(bad("the request target's authority is not a host"));
    }
    match path {
        "" => Ok((Some(authority), "/")),
        path if path.starts_with('/') => Ok((Some(authority), path)),
        _ => Err(bad("the request target has no path")),
    }
}

fn is_authority(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&byte))
}

/// The one Host field, which HTTP/1.1 demands (RFC 9112 section 3.2).
fn host<'a>(http11: bool, fields: &[httparse::Header<'a>]) -> Result<Option<&'a str>, Refused> {
    let mut hosts = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("host"));
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("the request has more than one Host field"));
    }
    match first {
        None if http11 => Err(bad("the request has no Host field")),
        None => Ok(None),
        Some(field) => match std::str::from_utf8(field.value) {
            Ok(text) if is_authority(text) => Ok(Some(text)),
            _ => Err(bad("the Host field's value is not a host")),
        },
    }
}

/// Reads the fields that frame a message (RFC 9112 section 6).
fn framing(
    method: &str,
    http11: bool,
    fields: &[httparse::Header<'_>],
) -> Result<Framing, Refused> {
    let (mut length, mut chunked) = (None, false);
    let (mut close, mut keep, mut expects) = (false, false, false);
    for field in fields {
        let name = field.name;
        // By length first: most fields are none of these.
        match name.len() {
            14 if name.eq_ignore_ascii_case("content-length") => {
                let value = content_length(field.value)?;
                if length.is_some_and(|known| known != value) {
                    return Err(bad("the request has Content-Length fields that differ"));
                }
                length = Some(value);
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if chunked {
                    return Err(bad("the request has more than one Transfer-Encoding"));
                }
                if !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Refused {
                        status: 501,
                        detail: "the only Transfer-Encoding taken is chunked",
                    });
                }
                chunked = true;
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in field.value.split(|byte| *byte == b',') {
                    let option = option.trim_ascii();
                    close |= option.eq_ignore_ascii_case(b"close");
                    keep |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            6 if name.eq_ignore_ascii_case("expect") => {
                expects = field
                    .value
                    .trim_ascii()
                    .eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
    }
    if chunked && length.is_some() {
        return Err(bad("the request has Content-Length and Transfer-Encoding"));
    }
    if chunked && !http11 {
        return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
    }
    Ok(Framing {
        http11,
        keep_alive: !close && (http11 || keep),
        expects: expects && http11,
        is_head: method == "HEAD",
        length: if chunked {
            Length::Chunked
        } else {
            Length::Known(length.unwrap_or(0))
        },
    })
}

/// A Content-Length; one beyond any number counts as the largest.
fn content_length(value: &[u8]) -> Result<u64, Refused> {
    let value = value.trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(bad("Content-Length is not a number of bytes"));
    }
    Ok(value.iter().fold(0_u64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `raw` up to each of `ends` in turn, as a socket would.
    fn scan(raw: &[u8], ends: &[usize]) -> Result<Option<usize>, Refused> {
        let mut scan = Scan::default();
        for end in ends {
            if let Some(found) = scan.end(&raw[..*end])? {
                return Ok(Some(found));
            }
        }
        scan.end(raw)
    }

    proptest! {
        #[test]
        fn a_head_ends_at_the_same_place_however_it_is_cut(
            raw in "(\r\n)?[a-c]{1,4}\r\n([a-c :]{1,5}\r\n){0,3}\r\n[a-c\r\n]{0,5}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let raw = raw.as_bytes();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(raw.len() + 1)).collect();
            ends.sort_unstable();
            prop_assert_eq!(scan(raw, &ends), scan(raw, &[]));
        }

        #[test]
        fn no_bytes_make_it_panic(raw in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = scan(&raw, &[]);
            let place = Place { scheme: "http", authority: "local" };
            let _ = parse(&raw, place, |_, _, _| ());
        }
    }

    #[test]
    fn lengths_beyond_any_number_are_the_largest() {
        assert_eq!(content_length(b" 99999999999999999999999 "), Ok(u64::MAX));
        assert_eq!(content_length(b"0012"), Ok(12));
        assert!(content_length(b"1 2").is_err());
    }
}
