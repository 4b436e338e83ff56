"""Request bodies that are too large, unread, unfinished or late."""

import time

import httpx
import pytest
from hyperframe.frame import DataFrame

from conftest import ServerFactory
from listener.clients import H2Client, connect, read_all, read_until
from listener.conftest import AppServerFactory
from support.server import Server

LIMIT = 100_000
TYPE = (b"content-type", b"text/plain")


@pytest.fixture
def server(server_factory: ServerFactory) -> Server:
    server = server_factory("--max-body", str(LIMIT))
    headers = {"content-type": "text/plain"}
    httpx.put(f"{server.url}/v1/stream/s", headers=headers).raise_for_status()
    return server


def post(*headers: str) -> bytes:
    fields = "".join(f"{header}\r\n" for header in headers)
    return (
        f"POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n{fields}\r\n"
    ).encode()


def test_a_declared_size_over_the_limit_is_refused_to_a_client_that_sends_first(
    server: Server,
) -> None:
    size = 20_000_000
    with connect(server.port, timeout=20) as sock:
        sock.sendall(post(f"content-length: {size}"))
        # A client that looks for an answer only when all of its body is out.
        sock.sendall(bytes(size))
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert str(size).encode() in answer
    assert str(LIMIT).encode() in answer


def test_an_undeclared_size_over_the_limit_is_refused_to_a_client_that_sends_first(
    server: Server,
) -> None:
    piece = b"10000\r\n" + bytes(65_536) + b"\r\n"
    with connect(server.port, timeout=20) as sock:
        sock.sendall(post("transfer-encoding: chunked") + piece * 200 + b"0\r\n\r\n")
        answer = sock.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert str(LIMIT).encode() in answer


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/stream/s", 413), ("/v1/stream/a//b", 400), ("/v1/none", 404)]
)
@pytest.mark.parametrize("size", [LIMIT + 1, 5_000_000])
def test_over_http2_a_refusal_reaches_a_client_that_sends_first(
    server: Server, path: str, status: int, size: int
) -> None:
    with httpx.Client(http1=False, http2=True, trust_env=False, timeout=4) as client:
        for _ in range(2):
            answer = client.post(
                server.url + path, content=bytes(size), headers={"content-type": "text/plain"}
            )
            assert answer.status_code == status


def test_a_size_over_the_limit_is_refused_over_http2(server: Server) -> None:
    with H2Client.to(server.port) as client:
        stream = client.request(b"POST", b"/v1/stream/s", [TYPE], end=False)
        sent = 0
        while stream not in client.statuses:
            window = client.h2.local_flow_control_window(stream)
            if window > 0:
                client.data(stream, bytes(min(window, 16_384)))
                sent += min(window, 16_384)
            else:
                client.pump()
            assert sent < 2 * LIMIT + (1 << 20)
        assert client.statuses[stream] == 413
        # The connection goes on, and so does an upload that fits.
        after = client.request(b"POST", b"/v1/stream/s", [TYPE], end=False)
        client.data(after, b"fits", end=True)
        assert client.wait_status(after) == 204


def test_the_refusal_comes_before_the_body_to_a_client_that_asks(server: Server) -> None:
    with connect(server.port) as sock:
        sock.sendall(post("content-length: 20000000", "expect: 100-continue"))
        assert sock.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_asks_is_told_to_go_on(server: Server) -> None:
    with connect(server.port) as sock:
        sock.sendall(post("content-length: 2", "expect: 100-continue"))
        assert sock.recv(65_536).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"ok")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 204 ")


def test_a_body_cut_short_appends_nothing(server: Server) -> None:
    with connect(server.port) as sock:
        sock.sendall(post("content-length: 100") + b"part of it")
    with connect(server.port) as sock:
        sock.sendall(post("transfer-encoding: chunked") + b"4\r\npart\r\n")
    with H2Client.to(server.port) as client:
        client.data(client.request(b"POST", b"/v1/stream/s", [TYPE], end=False), b"part")
    time.sleep(0.3)
    assert httpx.get(f"{server.url}/v1/stream/s").content == b""


def test_uploads_beyond_what_all_may_hold_are_refused(server_factory: ServerFactory) -> None:
    server = server_factory("--max-upload", "150000")
    httpx.put(f"{server.url}/v1/stream/s", headers={"content-type": "text/plain"})
    with connect(server.port) as slow, connect(server.port) as second:
        slow.sendall(post("content-length: 200000") + bytes(100_000))
        time.sleep(0.3)
        second.sendall(post("content-length: 100000") + bytes(60_000))
        refusal = second.recv(65_536)
        assert refusal.startswith(b"HTTP/1.1 503 ")
        assert b"150000" in refusal
    time.sleep(0.2)
    answer = httpx.post(
        f"{server.url}/v1/stream/s", headers={"content-type": "text/plain"}, content=bytes(100_000)
    )
    assert answer.status_code == 204


def test_a_small_unread_body_costs_no_connection(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours)
    with connect(server.port) as sock:
        for _ in range(3):
            sock.sendall(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 30000\r\n\r\n")
            assert read_until(sock, b"too large").startswith(b"HTTP/1.1 413 ")
            sock.sendall(bytes(30_000))


def test_a_large_unread_body_is_drained_behind_the_answer(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours)
    with connect(server.port) as sock:
        sock.sendall(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n")
        sock.sendall(bytes(50_000_000))
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    assert server.serves()


def test_an_endless_unread_body_is_cut_off(app_server: AppServerFactory) -> None:
    server = app_server("trio", linger_bytes=1_000_000)
    head = b"POST /early HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    with connect(server.port) as sock, pytest.raises(ConnectionError):
        sock.sendall(head + chunk * 1_000)
    assert server.serves()


def test_an_unread_http2_body_ends_with_a_reset_that_keeps_the_answer(
    app_server: AppServerFactory,
    ours: str,
) -> None:
    server = app_server(ours)
    with H2Client.to(server.port) as client:
        stream = client.request(b"POST", b"/early", end=False)
        assert client.wait_end(stream) == b"too large"
        while stream not in client.resets:
            client.pump()
        assert client.resets[stream] == 0
        # What was under way when the reset came is counted, not held against the connection.
        for _ in range(100):
            client.frame(DataFrame(stream, bytes(16_000)))
        assert client.wait_status(client.request(b"GET", b"/ok")) == 200


def test_an_unread_http2_body_holds_up_no_other(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours)
    with H2Client.to(server.port) as client:
        unread = client.request(b"POST", b"/deaf", end=False)
        while client.h2.local_flow_control_window(unread) >= 1_000:
            client.data(unread, bytes(1_000))
        read = client.request(b"POST", b"/count", end=False)
        left = 2_000_000
        while left:
            size = min(left, client.h2.local_flow_control_window(read), 16_384)
            if size:
                client.data(read, bytes(size), end=size == left)
                left -= size
            else:
                client.pump()
        assert client.wait_end(read) == b"2000000"


def test_a_body_that_stalls_is_given_up(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours, stall=0.5)
    with connect(server.port) as sock:
        sock.sendall(b"POST /count HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf")
        began = time.monotonic()
        # The listener that the native one forwards to has the same limit: 502 when that one was first to give up.
        answer = read_all(sock)
        assert answer == b"" or (ours == "native" and answer.startswith(b"HTTP/1.1 502 "))
        assert time.monotonic() - began < 3
    with H2Client.to(server.port) as client:
        stream = client.request(b"POST", b"/count", end=False)
        while stream not in client.resets:
            client.pump()
        assert client.wait_status(client.request(b"GET", b"/ok")) == 200


def test_a_slow_body_that_moves_is_not_given_up(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours, stall=1.5)
    with connect(server.port) as sock:
        sock.sendall(b"POST /count HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\n")
        for _ in range(6):
            time.sleep(0.4)
            sock.sendall(b"x")
        read_until(sock, b"\r\n\r\n6")
