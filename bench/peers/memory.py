"""Memory of the server for each connection that waits, kept alive or subscribed to events."""

import contextlib
import resource
import socket
from pathlib import Path

from bench.peers.appends import create
from bench.peers.contest import Measure, contest
from bench.peers.processes import Running
from bench.peers.servers import OURS, PEER_E, ours
from bench.rounds import Goal, Row, Sample, UnmeasuredError

STREAM = "/v1/stream/bench"
BODY = b"x" * 220
TIMEOUT = 30.0
KEPT_ALIVE = f"HEAD {STREAM}/0 HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
SUBSCRIBED = f"GET {STREAM}/0?offset=now&live=sse HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def _receive(connection: socket.socket, wanted: bytes) -> None:
    """Reads until what was received has `wanted` in it."""
    seen = b""
    while wanted not in seen:
        got = connection.recv(1 << 16)
        if not got:
            raise UnmeasuredError(f"closed after {seen[-200:]!r}")
        seen += got


def _append(server: Running) -> None:
    head = f"POST {STREAM}/0 HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as connection:
        connection.sendall(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        _receive(connection, b"HTTP/1.1 20")


def _open(server: Running, request: bytes, first: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), TIMEOUT)
    connection.sendall(request)
    _receive(connection, first)
    return connection


def waiting(request: bytes, first: bytes, event: bytes | None, count: int) -> Measure:
    """KiB for each of `count`, once each has received `first`, and an `event` that is then appended."""

    def measure(server: Running, home: Path) -> Sample:
        del home
        create(server, 1)
        with contextlib.ExitStack() as held:
            # What the first ones cost once is not theirs.
            for _ in range(100):
                held.enter_context(_open(server, request, first))
            before = server.resident_mib()
            opened = [held.enter_context(_open(server, request, first)) for _ in range(count)]
            if event is not None:
                _append(server)
                for connection in opened:
                    _receive(connection, event)
            after = server.resident_mib()
        return Sample((after - before) * 1024 / count)

    return measure


def measure(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    """The kernel's socket buffers are not in it."""
    count = 500 if quick else 5000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kept_alive = waiting(KEPT_ALIVE, b"\r\n\r\n", None, count)
    subscribed = waiting(SUBSCRIBED, b"event: control", b"event: data", count)
    rows = []
    for name, held, most in (
        ("idle keep-alive connections", kept_alive, 4),
        ("idle SSE subscribers", subscribed, 10),
    ):
        rows += contest(
            f"memory: {count:,} {name}",
            "KiB each",
            {PEER_E: held, ours(): held},
            {OURS: Goal(most, at_most=True)},
            directory,
            rounds,
        )
    return rows
