//! Every request that this parser reads, hyper's reads from the same bytes as the same request. This one may
//! refuse more; nothing that it takes for one request is two to another, or the other way round.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// The whole requests that hyper reads from these bytes.
fn by_hyper(bytes: &[u8]) -> Vec<Request> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let seen: Rc<RefCell<Vec<Request>>> = Rc::default();
    runtime.block_on(async {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (mut answers, mut sending) = tokio::io::split(client);
        sending.write_all(bytes).await.unwrap();
        sending.shutdown().await.unwrap();
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let seen = Rc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                if let Ok(body) = body.collect().await {
                    let fields = head.headers.iter();
                    seen.borrow_mut().push(Request {
                        method: head.method.as_str().to_owned(),
                        target: head
                            .uri
                            .path_and_query()
                            .map_or("*", |t| t.as_str())
                            .to_owned(),
                        fields: fields
                            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                            .collect(),
                        body: body.to_bytes().to_vec(),
                        http11: head.version == hyper::Version::HTTP_11,
                    });
                }
                Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
            }
        });
        let serving = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(server), service);
        let mut sink = Vec::new();
        // What is malformed ends the connection with an error, and both halves with it.
        let _ = tokio::join!(serving, answers.read_to_end(&mut sink));
    });
    Rc::into_inner(seen).unwrap().into_inner()
}

/// Without the order of fields of different names, which hyper does not keep, and with one of equal lengths, as it does.
fn sorted(mut requests: Vec<Request>) -> Vec<Request> {
    for request in &mut requests {
        request
            .fields
            .sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, value) in &mut request.fields {
            if let Ok(length) = str::from_utf8(value).unwrap_or_default().parse::<u64>()
                && name == "content-length"
            {
                *value = length.to_string().into_bytes();
            }
        }
        request
            .fields
            .dedup_by(|one, other| one.0 == "content-length" && one == other);
    }
    requests
}

fn line() -> impl Strategy<Value = String> {
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "HEAD", "X-1"]);
    let target = prop::sample::select(vec!["/a", "/a?b=c", "/%20;x", "http://h/a", "//b"]);
    let version = prop::sample::select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]);
    (method, target, version).prop_map(|(m, t, v)| format!("{m} {t} {v}\r\nHost: h\r\n"))
}

fn field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "Content-Length: 3\r\n",
        "content-length:3\r\n",
        "Content-Length: 03\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length : 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\tChunked \r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: x\r\n chunked\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
        "Connection: x, Close\r\n",
        "X: y\r\n",
        "X:\t y z \t\r\n",
        "X:\r\n",
        "X: y\n",
        "X : y\r\n",
    ])
}

fn body() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "abc",
        "abcde",
        "3\r\nabc\r\n0\r\n\r\n",
        "003;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "0\r\n\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    ])
}

/// Changes a byte here and there.
fn spoil(mut bytes: Vec<u8>, faults: Vec<(prop::sample::Index, u8, u8)>) -> Vec<u8> {
    for (at, how, byte) in faults {
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}

proptest! {
    #[test]
    fn whatever_is_taken_for_a_request_is_the_same_one_to_hyper(
        requests in prop::collection::vec(
            (line(), prop::collection::vec(field(), 0..4), body()), 1..4),
        faults in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..3_u8,
                prop::sample::select(b" \t\r\n\0:;,+-0123acxZ/?\x7f\x80\xff".to_vec())),
            0..3),
    ) {
        let text: String = requests
            .iter()
            .map(|(line, fields, body)| format!("{line}{}\r\n{body}", fields.concat()))
            .collect();
        let bytes = spoil(text.into_bytes(), faults);
        let (ours, _) = super::requests(&bytes, &[]);
        let ours = sorted(ours);
        let theirs = sorted(by_hyper(&bytes));
        prop_assert!(
            theirs.starts_with(&ours),
            "{:?}\nours: {ours:?}\nhyper's: {theirs:?}",
            String::from_utf8_lossy(&bytes)
        );
    }

    #[test]
    fn what_was_read_is_read_again_from_bytes_made_of_it(
        requests in prop::collection::vec(
            (line(), prop::collection::vec(field(), 0..3), body()), 1..4),
    ) {
        let text: String = requests
            .iter()
            .map(|(line, fields, body)| format!("{line}{}\r\n{body}", fields.concat()))
            .collect();
        h1(text.as_bytes());
    }
}
