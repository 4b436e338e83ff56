//! Answers over HTTP/2, at the pace of who reads them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use durastream_server::Listener;
use h2::client::Builder;
use http::Request;
use support::{Peer, TEXT, create, serve};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// The body of a GET over a stream window of so many bytes, and how many frames it came in.
async fn get(listener: &Listener, path: &str, window: u32) -> (Vec<u8>, usize) {
    let socket = TcpStream::connect(listener.address()).await.unwrap();
    let mut builder = Builder::new();
    builder.initial_window_size(window);
    let (mut sender, connection) = builder.handshake::<_, bytes::Bytes>(socket).await.unwrap();
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
