"""Connections: how many, how long, and that a fault in one ends that one only."""

import contextlib
import socket
import struct
import time

from hyperframe.frame import HeadersFrame, PingFrame, SettingsFrame

from listener.clients import H2Client, connect, read_all
from listener.conftest import AppServerFactory

GET_OK = b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_one_connection_too_many_is_told_the_limit(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours, max_connections=3)
    with contextlib.ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(connect(server.port))
        time.sleep(0.2)
        with connect(server.port) as late:
            late.sendall(GET_OK)
            answer = read_all(late)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"allows 3 connections at once and 3 are open" in answer
    time.sleep(0.2)
    assert server.serves()


def test_refused_connections_that_stay_silent_block_nobody(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours, max_connections=1)
    with contextlib.ExitStack() as clients:
        for _ in range(100):
            clients.enter_context(connect(server.port))
    time.sleep(0.5)
    assert server.serves()


def test_an_idle_connection_stays_and_is_closed_in_the_end(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours, keep_alive=2)
    with connect(server.port) as first, H2Client.to(server.port) as second:
        for _ in range(3):
            first.sendall(GET_OK)
            answer = b""
            while not answer.endswith(b"ok"):  # head and body may come by themselves
                answer += first.recv(65_536)
                assert answer
            assert answer.startswith(b"HTTP/1.1 200 ")
            second.wait_status(second.request(b"GET", b"/ok"))
            time.sleep(0.8)
        assert read_all(first) == b""
        while not second.closed:
            second.pump()
        assert second.goaway == 0


def test_a_request_head_that_never_ends_is_given_up(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours, keep_alive=0.5)
    with connect(server.port) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(b"GET /ok HTTP/1.1\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 4:
            time.sleep(0.1)
            sock.sendall(b"x: y\r\n")
        raise AssertionError("still open")


def test_a_head_over_the_limit_is_refused(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours, max_header_bytes=8192)
    with connect(server.port) as sock:
        sock.sendall(b"GET /ok HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 10_000)
        assert read_all(sock).startswith(b"HTTP/1.1 431 ")
    for method in (b"GET", b"HEAD"):
        with connect(server.port) as sock:
            sock.sendall(method + b" /ok HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 8192 + b"\r\n\r\n")
            assert read_all(sock).startswith(b"HTTP/1.1 431 ")
    with H2Client.to(server.port) as client:
        stream = client.request(b"GET", b"/ok", [(b"x", b"y" * 10_000)])
        if ours == "native":
            assert client.wait_status(stream) == 431
        while ours == "trio" and not client.closed:
            client.pump()
    assert server.serves()


def test_what_is_not_http_is_refused(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours)
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"hello\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ):
        with connect(server.port) as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"the request" in answer or b"illegal request line" in answer
        assert b"bytearray" not in answer
    assert server.serves()


def test_a_broken_chunk_ends_its_connection_only(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours)
    with connect(server.port) as sock:
        sock.sendall(
            b"POST /count HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n"
        )
        assert read_all(sock).startswith(b"HTTP/1.1 400 ")
    assert server.serves()


def test_frames_out_of_order_end_their_connection_only(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours)
    for frames in (
        b"\x00" * 9,
        b"\xff" * 100,
        HeadersFrame(1, b"\xff\xff\xff\xff", flags=["END_HEADERS"]).serialize(),
        HeadersFrame(2, b"\x82", flags=["END_HEADERS"]).serialize(),
        PingFrame(0, b"12345678").serialize()[:-1] + b"\x00\x00\x00\xff",
        SettingsFrame(0, settings={4: 1 << 31}).serialize(),
    ):
        with connect(server.port) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(PREFACE + SettingsFrame(0).serialize() + frames)
            sock.shutdown(socket.SHUT_WR)
            read_all(sock)
    assert server.serves()


def test_connections_reset_at_any_point_leave_nothing_open(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours)
    assert server.serves()
    time.sleep(0.3)
    idle = server.descriptors()
    for request in (b"", b"GET", GET_OK, b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n", PREFACE) * 10:
        with connect(server.port) as sock:
            sock.sendall(request)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.5)
    assert server.serves()
    time.sleep(0.2)
    assert server.descriptors() == idle


def test_pipelined_requests_are_answered_in_order(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours)
    count = b"POST /count HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
    with connect(server.port) as sock:
        sock.sendall(
            GET_OK + count + GET_OK + GET_OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        )
        answer = read_all(sock)
    assert [part[-2:] for part in answer.split(b"HTTP/1.1 200")[1:]] == [
        b"ok",
        b"\n3",
        b"ok",
        b"ok",
    ]


def test_a_body_of_two_lengths_is_refused(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours)
    with connect(server.port) as sock:
        sock.sendall(
            b"POST /count HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"
            b"0\r\n\r\n" + GET_OK
        )
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_bytes_after_the_last_request_spoil_no_answer(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours)
    for trailing in (b"\r\n", b"nonsense\r\n\r\n", GET_OK, b"x" * 300_000):
        with connect(server.port) as sock:
            sock.sendall(
                b"POST /count HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc"
                + trailing
            )
            answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"3")
        assert answer.count(b"HTTP/1.1 ") == 1
    assert server.serves()


def test_a_client_that_half_closes_gets_its_answer(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours)
    with connect(server.port) as sock:
        sock.sendall(GET_OK)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).endswith(b"ok")


def test_a_failing_application_ends_its_request_only(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours)
    with connect(server.port) as sock:
        sock.sendall(b"GET /crash HTTP/1.1\r\nhost: x\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 500 ")
    with connect(server.port) as sock:
        sock.sendall(b"GET /half HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = read_all(sock)
        # Cut off without the last chunk: the client sees that it is not whole.
        assert answer.endswith(b"begun\r\n")
    with H2Client.to(server.port) as client:
        crash = client.request(b"GET", b"/crash")
        half = client.request(b"GET", b"/half")
        assert client.wait_status(crash) == 500
        while half not in client.resets:
            client.pump()
        assert client.resets[half] == 2
        assert client.wait_status(client.request(b"GET", b"/ok")) == 200


def test_an_upgrade_to_h2c_is_declined(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours)
    with connect(server.port) as sock:
        sock.sendall(
            b"GET /ok HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
            b"http2-settings: %%%\r\n\r\n"
        )
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert server.serves()
