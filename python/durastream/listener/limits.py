"""Bounds and deadlines of a listener, all in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Headers = list[tuple[bytes, bytes]]
Problem = Callable[[int, str, str], tuple[int, Sequence[tuple[bytes, bytes]], bytes]]
"""Makes an error response of a status, a title and a detail."""


def plain_problem(status: int, title: str, detail: str) -> tuple[int, Headers, bytes]:
    """A minimal error response, for applications that bring none of their own."""
    body = f"{title}: {detail}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    return status, headers, body


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener allows. Times are seconds, sizes bytes."""

    max_connections: int = 10_000
    """Connections open at once; more are answered 503 and closed."""
    max_header_bytes: int = 65_536
    """Request line and headers of one request."""
    max_streams_per_connection: int = 100
    """HTTP/2 streams open at once on one connection."""
    keep_alive: float = 75.0
    """An idle connection, or one that has not finished sending a request head, is closed after this."""
    handshake: float = 10.0
    """A TLS handshake takes at most this."""
    stall: float = 30.0
    """A peer may leave us waiting this long, for more of a body or for room to write an answer."""
    min_body_rate: int = 0
    """Bytes per second in which a body must come, on the whole, after a first time of `stall`; 0: any."""
    linger: float = 30.0
    """How long an unread request body is drained after its answer was sent."""
    linger_bytes: int = 1 << 30
    """How much of an unread request body is drained after its answer was sent."""
    grace: float = 6.0
    """How long requests in flight may take to finish after a shutdown began."""
    body_buffer: int = 262_144
    """Body bytes of one request kept for an application that does not read them yet."""
    problem: Problem = field(default=plain_problem)
