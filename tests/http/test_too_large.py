"""A body over the limit: 413 that names both sizes, readable by a client that is still sending."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from support.cells import ONLY_HTTP1, ONLY_HTTP2

from . import h2_wire
from .conftest import MAX_BODY, Room
from .wire import Reply, head, receive

TYPED = [("Content-Type", "text/plain")]
RAW = [(b"Content-Type", b"text/plain")]
OVER = MAX_BODY + (4 << 20)
BLOCK = b"x" * (1 << 16)


def check(reply: Reply, *sizes: int) -> None:
    assert reply.status == 413
    words = reply.problem().replace(",", "")
    for size in sizes:
        assert str(size) in words


def pump(sock: socket.socket, pieces: Iterator[bytes]) -> threading.Thread:
    """Sends everything, as a client does that looks at the answer only afterwards."""

    def run() -> None:
        for piece in pieces:
            sock.sendall(piece)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@ONLY_HTTP1
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_declared_length_over_the_limit_is_refused_while_the_client_still_sends(
    room: Room, method: str
) -> None:
    path, tail = room.stream("text/plain")
    target = path if method == "POST" else f"{path}-new"
    with room.connect() as sock:
        length = (b"Content-Length", str(OVER).encode())
        sock.sendall(head(method.encode(), f"/v1/stream/{target}".encode(), [*RAW, length]))
        sender = pump(sock, (BLOCK for _ in range(OVER // len(BLOCK))))
        sender.join()  # all of it goes out: nobody resets the connection
        check(receive(sock), MAX_BODY, OVER)
    assert room.client.head(f"/{path}").headers["stream-next-offset"] == tail
    assert not room.exists(f"{path}-new")


def test_the_413_comes_before_the_body_has_been_sent(room: Room) -> None:
    path, _ = room.stream("text/plain")
    began = time.monotonic()
    with room.wire() as client:
        fields = [*TYPED, ("Content-Length", str(1 << 40))]
        request = client.request("POST", f"/v1/stream/{path}", fields, end=False)
        client.send(request, BLOCK, end=False)
        check(client.answer(request), MAX_BODY, 1 << 40)
    assert time.monotonic() - began < 5


@ONLY_HTTP1
def test_expect_100_continue_over_the_limit_gets_the_413_instead_of_100(room: Room) -> None:
    path, _ = room.stream("text/plain")
    with room.connect() as sock:
        fields = [*RAW, (b"Content-Length", str(OVER).encode()), (b"Expect", b"100-continue")]
        sock.sendall(head(b"POST", f"/v1/stream/{path}".encode(), fields))
        assert sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 413"
        check(receive(sock), MAX_BODY, OVER)


@ONLY_HTTP1
def test_chunks_over_the_limit_are_refused_while_the_client_still_sends(room: Room) -> None:
    path, tail = room.stream("text/plain")
    chunk = f"{len(BLOCK):x}\r\n".encode() + BLOCK + b"\r\n"
    with room.connect() as sock:
        chunked = (b"Transfer-Encoding", b"chunked")
        sock.sendall(head(b"POST", f"/v1/stream/{path}".encode(), [*RAW, chunked]))
        sender = pump(sock, (chunk for _ in range(OVER // len(BLOCK))))
        sender.join()
        check(receive(sock), MAX_BODY)
    assert room.client.head(f"/{path}").headers["stream-next-offset"] == tail


@ONLY_HTTP2
@pytest.mark.parametrize("declared", [True, False], ids=["content-length", "no length"])
def test_over_http_2_it_is_refused_and_the_connection_lives_on(room: Room, declared: bool) -> None:
    path, tail = room.stream("text/plain", b"x")
    with h2_wire.client(room.url) as client:
        fields = [("content-type", "text/plain")]
        if declared:
            fields.append(("content-length", str(OVER)))
        number = client.request("POST", f"/v1/stream/{path}", fields, end=False)
        client.send(number, b"x" * OVER)
        check(client.answer(number), MAX_BODY, *([OVER] if declared else []))
        assert client.ask("GET", f"/v1/stream/{path}").body == b"x"
    assert room.client.head(f"/{path}").headers["stream-next-offset"] == tail


@pytest.mark.parametrize("declared", [True, False], ids=["content-length", "no length"])
def test_a_body_of_exactly_the_limit_is_taken(room: Room, declared: bool) -> None:
    path, _ = room.stream("text/plain")
    body = sent = b"y" * MAX_BODY
    fields = [*TYPED, ("Content-Length", str(MAX_BODY))]
    if not declared:
        fields = TYPED
        if room.version == "HTTP/1.1":
            fields = [*TYPED, ("Transfer-Encoding", "chunked")]
            sent = b"%x\r\n%b\r\n1\r\ny\r\n0\r\n\r\n" % (MAX_BODY - 1, body[1:])
    with room.wire(20) as client:
        request = client.request("POST", f"/v1/stream/{path}", fields, end=False)
        client.send(request, sent)
        assert client.answer(request).status == 204
    assert room.content(path) == body
