"""Readers that do not read and bodies that nobody wants: bounded memory, unharmed neighbours."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from support.cells import ONLY_HTTP1, ONLY_HTTP2

from . import h2_wire
from .conftest import Room, ServerFactory
from .sse import events
from .wire import Reply, head, receive

TYPED = [("content-type", "text/plain")]
MIB = 1 << 20


def resident(process: int) -> int:
    """Memory of a process, in bytes."""
    line = next(
        s for s in Path(f"/proc/{process}/status").read_text().splitlines() if s.startswith("VmRSS")
    )
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def silent_readers(
    room: Room, target: str, number: int, *, buffer: int = 4096
) -> Iterator[Sequence[Callable[[], Reply]]]:
    """Connections that ask and then do not read, with small buffers, until what is given for each is called."""
    with contextlib.ExitStack() as stack:
        answers = []
        for _ in range(number):
            client = stack.enter_context(room.wire())
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            answers.append(partial(client.answer, client.request("GET", target)))
        yield answers


def test_readers_that_never_read_cost_bounded_memory(
    server_factory: ServerFactory, version: str
) -> None:
    """Twenty SSE readers that take nothing of 64 MiB; shared pages may be held, copies may not."""
    server = server_factory()
    with contextlib.ExitStack() as stack:
        room = stack.enter_context(Room(server.url, version))
        path, tail = room.stream("text/plain")
        live = f"/v1/stream/{path}?offset={tail}&live=sse"
        stack.enter_context(silent_readers(room, live, 20))
        time.sleep(0.5)
        room.append(path, b"warm" * MIB)
        before = resident(server.process.pid)
        for _ in range(16):
            assert room.append(path, b"x" * (4 * MIB)).status_code == 204
        time.sleep(0.5)
        # 64 MiB may be hot; 20 readers with a page each may hold 80 MiB encoded; 20 x 64 MiB may not.
        assert resident(server.process.pid) - before < 320 * MIB
        began = time.monotonic()
        assert room.append(path, b"y").status_code == 204
        assert time.monotonic() - began < 1


def test_a_slow_reader_gets_everything_in_order(room: Room) -> None:
    path, tail = room.stream("text/plain")
    sent = [bytes([65 + n % 26]) * 50_000 for n in range(40)]
    live = f"/v1/stream/{path}?offset={tail}&live=sse"
    with silent_readers(room, live, 1, buffer=1 << 17) as (answer,):
        time.sleep(0.2)
        for body in sent:
            room.append(path, body)
        room.append(path, b"", **{"Stream-Closed": "true"})
        time.sleep(0.5)
        told = list(events(answer().body.decode().splitlines()))
    assert told[-1][0] == "control"
    assert '"streamClosed":true' in told[-1][1]
    assert "".join(data for kind, data in told if kind == "data").encode() == b"".join(sent)


def test_a_reader_of_a_page_that_stalls_blocks_nobody(room: Room) -> None:
    path, _ = room.stream("application/octet-stream", b"z" * (10 * MIB))
    with silent_readers(room, f"/v1/stream/{path}", 10):
        for _ in range(5):
            began = time.monotonic()
            assert room.exists(path)
            assert time.monotonic() - began < 1


@ONLY_HTTP2
@pytest.mark.parametrize("status", [404, 400, 409])
def test_bodies_nobody_reads_do_not_stall_an_http_2_connection(room: Room, status: int) -> None:
    """Many large bodies for requests that are refused at once, then a good one on the same connection."""
    path, _ = room.stream("text/plain", b"x")
    target = {404: "/v1/stream/no/such", 400: "/v1/stream/a//b", 409: f"/v1/stream/{path}"}[status]
    typed = [("content-type", "image/png")] if status == 409 else TYPED
    with h2_wire.client(room.url) as client:
        for _ in range(10):
            number = client.request("POST", target, typed, end=False)
            client.send(number, b"b" * (2 * MIB))
            assert client.answer(number).status == status
        assert client.ask("GET", f"/v1/stream/{path}").body == b"x"


@ONLY_HTTP2
def test_a_stalled_http_2_stream_does_not_stall_its_neighbours(room: Room) -> None:
    """The client grants no window for a large answer and asks for a small one beside it."""
    large, _ = room.stream("application/octet-stream", b"z" * (8 * MIB))
    small, _ = room.stream("text/plain", b"small")
    with h2_wire.client(room.url, reading=False) as client:
        client.h2.increment_flow_control_window(1 << 20)
        client.request("GET", f"/v1/stream/{large}")
        client.receive()
        assert client.ask("GET", f"/v1/stream/{small}").body == b"small"


def test_a_body_that_stops_half_way_keeps_nobody_else_waiting(room: Room) -> None:
    path, _ = room.stream("text/plain")
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(room.wire())
            fields = [*TYPED, ("content-length", "1000")]
            request = client.request("POST", f"/v1/stream/{path}", fields, end=False)
            client.send(request, b"half", end=False)
        assert room.append(path, b"whole").status_code == 204
    time.sleep(0.2)
    assert room.content(path) == b"whole"


@ONLY_HTTP1
def test_pipelined_requests_are_answered_in_order(room: Room) -> None:
    path, _ = room.stream("text/plain")
    fields = [(b"Content-Type", b"text/plain"), (b"Content-Length", b"2")]
    target = f"/v1/stream/{path}".encode()
    with room.connect() as sock:
        sock.sendall(b"".join(head(b"POST", target, fields) + b"%d;" % n for n in range(8)))
        ends: list[bytes] = []
        buffered = sock.makefile("rb")
        while len(ends) < 8:
            line = buffered.readline()
            assert line, ends
            if line.lower().startswith(b"stream-next-offset:"):
                ends.append(line)
        assert ends == sorted(set(ends))
        buffered.close()
    assert room.content(path) == b"0;1;2;3;4;5;6;7;"


@ONLY_HTTP1
def test_an_expectation_is_met_before_the_body_is_sent(room: Room) -> None:
    path, _ = room.stream("text/plain")
    fields = [
        (b"Content-Type", b"text/plain"),
        (b"Content-Length", b"4"),
        (b"Expect", b"100-continue"),
    ]
    with room.connect() as sock:
        sock.sendall(head(b"POST", f"/v1/stream/{path}".encode(), fields))
        assert sock.recv(4096).startswith(b"HTTP/1.1 100")
        sock.sendall(b"body")
        assert receive(sock, "POST").status == 204
    assert room.content(path) == b"body"
