//! Answers over HTTP/2, at the pace of who reads them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use durastream_server::Listener;
use h2::Reason;
use h2::client::{Builder, SendRequest};
use http::Request;
use support::{Peer, TEXT, create, serve};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// The body of a GET over a stream window of so many bytes, and how many frames it came in.
async fn get(listener: &Listener, path: &str, window: u32) -> (Vec<u8>, usize) {
    let socket = TcpStream::connect(listener.address()).await.unwrap();
    let mut builder = Builder::new();
    builder.initial_window_size(window);
    let (mut sender, connection) = builder.handshake::<_, Bytes>(socket).await.unwrap();
    tokio::task::spawn_local(connection);
    let uri = format!("http://{}{path}", listener.address());
    let request = Request::get(uri).body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let (mut whole, mut frames) = (Vec::new(), 0);
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        whole.extend_from_slice(&data);
        frames += 1;
    }
    (whole, frames)
}

/// A connection of its own to a listener.
async fn connect(listener: &Listener) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(listener.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}

/// An append of a body in so many pieces, as it is seen on its way.
async fn append(listener: &Listener, sender: &mut SendRequest<Bytes>, pieces: Vec<Bytes>) -> u16 {
    let uri = format!("http://{}/v1/stream/a", listener.address());
    let request = Request::post(uri)
        .header("content-type", "text/plain")
        .body(())
        .unwrap();
    let (response, mut body) = sender.send_request(request, pieces.is_empty()).unwrap();
    let last = pieces.len().saturating_sub(1);
    for (n, piece) in pieces.into_iter().enumerate() {
        if n > 0 {
            // So that what comes before it is read alone.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        body.send_data(piece, n == last).unwrap();
    }
    response.await.unwrap().status().as_u16()
}

/// All of them at once.
async fn join_all(calls: Vec<impl Future<Output = u16>>) -> Vec<u16> {
    let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
    let mut statuses = vec![0; calls.len()];
    poll_fn(|context| {
        let mut waiting = false;
        for (call, status) in calls.iter_mut().zip(&mut statuses) {
            if *status == 0 {
                match call.as_mut().poll(context) {
                    Poll::Ready(known) => *status = known,
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    statuses
}

fn run<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limit = Duration::from_secs(20);
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(limit, task).await.unwrap()
    })
}

#[test]
fn a_page_of_small_appends_comes_in_full_frames_whatever_the_window() {
    let listener = serve(|_| {});
    create(&listener, "/v1/stream/a", b"");
    let (mut peer, mut written, mut raw) = (Peer::of(&listener), Vec::new(), Vec::new());
    for n in 0..5000 {
        let body = if n == 2500 {
            "large".repeat(100_000)
        } else {
            format!("{n:040};")
        };
        written.extend_from_slice(body.as_bytes());
        let length = body.len();
        let head =
            format!("POST /v1/stream/a HTTP/1.1\r\nHost: t\r\n{TEXT}Content-Length: {length}");
        raw.extend_from_slice(format!("{head}\r\n\r\n{body}").as_bytes());
    }
    peer.send(raw);
    for _ in 0..5000 {
        assert_eq!(peer.answer().status, 204);
    }
    for window in [1 << 20, 65_535, 3000] {
        let (whole, frames) = run(get(&listener, "/v1/stream/a", window));
        assert!(
            whole == written,
            "{} of {} bytes",
            whole.len(),
            written.len()
        );
        let full = whole.len() / (window as usize).min(16 << 10);
        assert!(frames <= 2 * full + 10, "{frames} frames, {full} could do");
    }
}

#[test]
fn appends_are_stored_and_answered_once_each_however_their_bodies_come() {
    let listener = serve(|_| {});
    create(&listener, "/v1/stream/a", b"");
    run(async {
        let sender = connect(&listener).await;
        let mut calls = Vec::new();
        for n in 0..100_usize {
            let text = format!("{n:03};");
            let (one, other) = text.split_at(n % 5);
            let pieces: Vec<Bytes> = match n % 5 {
                0 => vec![text.clone().into()],
                4 => vec![text.clone().into(), Bytes::new()],
                _ => vec![one.to_owned().into(), other.to_owned().into()],
            };
            let (listener, sender) = (&listener, sender.clone());
            calls.push(async move {
                let mut sender = sender.ready().await.unwrap();
                append(listener, &mut sender, pieces).await
            });
        }
        let statuses = join_all(calls).await;
        assert_eq!(statuses, vec![204; 100]);
        let (whole, _) = get(&listener, "/v1/stream/a", 1 << 20).await;
        let whole = String::from_utf8(whole).unwrap();
        let mut seen: Vec<usize> = whole
            .split_terminator(';')
            .map(|text| text.parse().unwrap())
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn an_append_without_a_body_is_refused_and_the_connection_goes_on() {
    let listener = serve(|_| {});
    create(&listener, "/v1/stream/a", b"");
    run(async {
        let mut sender = connect(&listener).await;
        assert_eq!(append(&listener, &mut sender, Vec::new()).await, 400);
        assert_eq!(
            append(&listener, &mut sender, vec![Bytes::from_static(b"x")]).await,
            204
        );
    });
}

#[test]
fn a_client_that_tries_again_at_once_goes_elsewhere_while_an_upload_is_finished() {
    let listener = serve(|_| {});
    create(&listener, "/v1/stream/a", b"");
    let uri = format!("http://{}/v1/stream/a", listener.address());
    std::thread::scope(|scope| {
        let refused = run(async {
            let mut sender = connect(&listener).await;
            let post = Request::post(&uri).header("content-type", "text/plain");
            let (answer, mut body) = sender.send_request(post.body(()).unwrap(), false).unwrap();
            body.send_data(Bytes::from_static(b"half "), false).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            scope.spawn(|| listener.stop(Duration::from_secs(3)));
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut refused = 0;
            while let Ok(ready) = sender.clone().ready().await {
                let mut ready = ready;
                let head = Request::head(&uri).body(()).unwrap();
                let Ok((answer, _)) = ready.send_request(head, true) else {
                    break;
                };
                let error = answer.await.unwrap_err();
                assert!(error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
                refused += 1;
            }
            body.send_data(Bytes::from_static(b"whole"), true).unwrap();
            assert_eq!(answer.await.unwrap().status(), 204);
            refused
        });
        assert!((1..=3).contains(&refused), "{refused}");
    });
}
