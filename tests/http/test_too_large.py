"""A body over the limit: 413 that names both sizes, readable by a client that is still sending."""

import socket
import threading
from collections.abc import Iterator

import pytest

from . import h2_wire
from .conftest import MAX_BODY, Room
from .wire import Reply, head, receive, send

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
    with room.connect() as sock:
        length = (b"Content-Length", str(1 << 40).encode())
        sock.sendall(head(b"POST", f"/v1/stream/{path}".encode(), [*RAW, length]) + BLOCK)
        check(receive(sock), MAX_BODY, 1 << 40)


def test_expect_100_continue_over_the_limit_gets_the_413_instead_of_100(room: Room) -> None:
    path, _ = room.stream("text/plain")
    with room.connect() as sock:
        fields = [*RAW, (b"Content-Length", str(OVER).encode()), (b"Expect", b"100-continue")]
        sock.sendall(head(b"POST", f"/v1/stream/{path}".encode(), fields))
        assert sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 413"
        check(receive(sock), MAX_BODY, OVER)


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


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_of_exactly_the_limit_is_taken(room: Room, chunked: bool) -> None:
    path, _ = room.stream("text/plain")
    target = f"/v1/stream/{path}"
    body = b"y" * MAX_BODY
    if chunked:
        with room.connect(20) as sock:
            sock.sendall(head(b"POST", target.encode(), [*RAW, (b"Transfer-Encoding", b"chunked")]))
            sock.sendall(
                b"".join(f"{n:x}\r\n".encode() + b"y" * n + b"\r\n" for n in (MAX_BODY - 1, 1))
                + b"0\r\n\r\n"
            )
            assert receive(sock, "POST").status == 204
    else:
        assert send(room.url, "POST", target, TYPED, body, timeout=20).status == 204
    assert room.content(path) == body
