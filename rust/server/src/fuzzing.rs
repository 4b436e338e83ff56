//! Requests read from bytes alone, for fuzzing and for comparison with another parser.

use crate::h1::body::Body;
use crate::h1::head::{self, Place, Scan};

/// One whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As sent.
    pub method: String,
    /// From the path on.
    pub target: String,
    /// Names in lower case, in order.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// HTTP/1.1, not 1.0.
    pub http11: bool,
}

/// Why no further request was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// More bytes could complete one.
    Open,
    /// The last one ends the connection.
    Closed,
    /// With this status.
    Refused(u16),
}

/// All requests in `bytes`, which arrive cut at `cuts`.
pub fn requests(bytes: &[u8], cuts: &[usize]) -> (Vec<Request>, End) {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut reader = Reader::default();
    for end in ends {
        if let Some(over) = reader.read(bytes.get(..end).unwrap_or_default()) {
            return (reader.done, over);
        }
    }
    (reader.done, End::Open)
}

#[derive(Default)]
struct Reader {
    done: Vec<Request>,
    scan: Scan,
    /// Bytes used.
    used: usize,
    /// The request whose body is being read, and whether the connection goes on behind it.
    begun: Option<(Request, Body, bool)>,
}

impl Reader {
    /// Reads on in `bytes`, which begin where they began before; gives why there will be no more.
    fn read(&mut self, bytes: &[u8]) -> Option<End> {
        loop {
            let rest = bytes.get(self.used..).unwrap_or_default();
            if let Some((mut request, mut body, keep)) = self.begun.take() {
                match body.take(rest, &mut request.body, usize::MAX) {
                    Ok(used) => self.used += used,
                    Err(_) => return Some(End::Refused(400)),
                }
                if !body.ended() {
                    self.begun = Some((request, body, keep));
                    return None;
                }
                self.done.push(request);
                if !keep {
                    return Some(End::Closed);
                }
                continue;
            }
            let end = match self.scan.end(rest) {
                Ok(Some(end)) => end,
                Ok(None) => return None,
                Err(refused) => return Some(End::Refused(refused.status)),
            };
            let place = Place {
                scheme: "http",
                authority: "local",
            };
            let raw = rest.get(..end).unwrap_or_default();
            let parsed = head::parse(raw, place, |head, target, framing| {
                let field = |(name, value): &(&[u8], &[u8])| {
                    let name = String::from_utf8_lossy(name).to_lowercase();
                    (name, value.to_vec())
                };
                let request = Request {
                    method: head.method.to_owned(),
                    target: target.to_owned(),
                    fields: head.headers.iter().map(field).collect(),
                    body: Vec::new(),
                    http11: framing.http11,
                };
                (request, Body::of(framing.length), framing.keep_alive)
            });
            match parsed {
                Ok(begun) => self.begun = Some(begun),
                Err(refused) => return Some(End::Refused(refused.status)),
            }
            self.used += end;
            self.scan = Scan::default();
        }
    }
}

/// Reads `bytes` whole and in pieces, and what was read once more from bytes made of it: always the same
/// requests. What is refused may be so earlier when it comes in pieces.
pub fn h1(bytes: &[u8]) {
    let (whole, _) = requests(bytes, &[]);
    let step = usize::from(bytes.first().copied().unwrap_or(0) % 7) + 1;
    let cuts: Vec<usize> = (0..bytes.len()).step_by(step).collect();
    assert_eq!(whole, requests(bytes, &cuts).0);
    let mut again = Vec::new();
    for request in &whole {
        again.extend(encode(request));
    }
    assert_eq!(requests(&again, &[]).0, whole);
}

/// The request as bytes, framed as it was.
fn encode(request: &Request) -> Vec<u8> {
    let version = u8::from(request.http11);
    let mut out =
        format!("{} {} HTTP/1.{version}\r\n", request.method, request.target).into_bytes();
    let mut chunked = false;
    for (name, value) in &request.fields {
        chunked |= name == "transfer-encoding";
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if chunked {
        if !request.body.is_empty() {
            out.extend_from_slice(format!("{:x}\r\n", request.body.len()).as_bytes());
            out.extend_from_slice(&request.body);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\n\r\n");
    } else {
        out.extend_from_slice(&request.body);
    }
    out
}

#[cfg(test)]
#[path = "fuzzing/beside_hyper.rs"]
mod beside_hyper;
