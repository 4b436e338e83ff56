"""One HTTP request, between a connection's protocol and the ASGI application."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote_to_bytes

import trio

from durastream.listener.pace import Pace

if TYPE_CHECKING:
    from durastream.listener.limits import Limits

log = logging.getLogger("durastream.listener")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Wire(Protocol):
    """What a request asks of the protocol it came by. None of these raises because the peer is gone."""

    async def start(
        self, request: Request, status: int, headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Send a response head; it may be held back until the first `body` call."""

    async def body(self, request: Request, data: bytes, more: bool) -> None:
        """Send a piece of the body, and what was held back, in one write. Without `more` it ends."""

    async def finished(self, request: Request) -> None:
        """The application has returned."""

    async def wanted(self, request: Request) -> None:
        """The application asks for the body for the first time."""

    async def consumed(self, request: Request, size: int) -> None:
        """The application took `size` bytes of the body."""


def make_scope(
    *,
    http_version: str,
    method: str,
    scheme: str,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    client: tuple[str, int] | None,
    server: tuple[str, int] | None,
) -> Scope:
    """The ASGI scope of a request; any bytes are allowed in `target`."""
    raw_path, _, query = target.partition(b"?")
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": http_version,
        "method": method,
        "scheme": scheme,
        "path": path.decode("utf-8", "replace"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": client,
        "server": server,
        "state": {},
        "extensions": {},
    }


class Request:
    """The request's state and its two ASGI callables.

    The body is pushed in by the connection's reader and pulled out by the application; what lies
    between is bounded by the protocol (a full queue stops the HTTP/1.1 reader, or the stream's window).
    """

    __slots__ = (
        "_arrived",
        "_asked",
        "_chunks",
        "_pace",
        "_room",
        "_told_end",
        "_uncounted",
        "_wire",
        "body_ended",
        "ended",
        "gone",
        "has_body",
        "hung_up",
        "queued",
        "scope",
        "stalled_since",
        "started",
        "status",
        "stream_id",
    )

    def __init__(self, wire: Wire, scope: Scope, stream_id: int, *, has_body: bool) -> None:
        self.scope = scope
        self.stream_id = stream_id
        self.has_body = has_body
        self.body_ended = not has_body
        self.hung_up = False
        """The peer sends nothing more."""
        self.gone = False
        """The peer cannot be answered any more."""
        self.started = False
        self.ended = False
        self.status = 0
        self.stalled_since: float | None = None
        """Since when this request waits for the peer (its body, or room in its window)."""
        self._pace: Pace | None = None
        """Of its body, once the application waits for it."""
        self._uncounted = 0
        """Bytes of it that came since the pace was looked at."""
        self.queued = 0
        self._wire = wire
        self._chunks: deque[bytes] = deque()
        self._arrived: trio.Event | None = None
        self._room: trio.Event | None = None
        self._asked = False
        self._told_end = False

    # The connection's side.

    def feed(self, data: bytes) -> None:
        """Queue a piece of the body; dropped when nobody will take it."""
        if self.hung_up or self.ended or not data:
            return
        self._chunks.append(data)
        self.queued += len(data)
        self._uncounted += len(data)
        if self.stalled_since is not None:
            self.stalled_since = trio.current_time()
        self._wake()

    async def room(self, limit: int) -> None:
        """Wait until less than `limit` bytes are queued, or nobody will take them."""
        while self.queued >= limit and not self.hung_up and not self.ended:
            self._room = trio.Event()
            await self._room.wait()

    def feed_end(self) -> None:
        """The body is complete."""
        self.body_ended = True
        self._wake()

    def disconnect(self, *, answerable: bool = False) -> None:
        """The peer is gone: the application is told, and its answer dropped unless `answerable`."""
        self.hung_up = True
        self.gone = self.gone or not answerable
        self._wake()

    @property
    def wants_body(self) -> bool:
        """Whether the application waits for more of the body."""
        return self._arrived is not None and not self.body_ended and self.stalled_since is not None

    def is_late(self, now: float, limits: Limits, together: Pace | None = None) -> bool:
        """Whether the peer lets us wait too long, for its body or for room.

        `together`: all bodies of its connection.
        """
        if self.stalled_since is None:
            return False
        if not self.wants_body:
            return now - self.stalled_since > limits.stall
        if self._pace is None:
            self._pace = Pace.begin(limits, self.stalled_since)
        self._pace.go_on(limits, self.stalled_since, self._uncounted)
        self._uncounted = 0
        return self._pace.is_late(limits, now, together or self._pace)

    async def run(self, app: Application) -> None:
        """Run the application; its failure ends this request only."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            log.exception("error while answering %s %s", self.scope["method"], self.scope["path"])
        finally:
            # Cancelled from outside, the connection is being torn down and nothing can be sent.
            if trio.current_effective_deadline() > trio.current_time():
                await self._wire.finished(self)

    # The application's side.

    async def receive(self) -> Message:
        """ASGI receive: the body, then `http.disconnect` when the peer or the response is gone."""
        if not self._asked:
            self._asked = True
            if not self.body_ended:
                await self._wire.wanted(self)
        while True:
            if self._chunks:
                return await self._take()
            if self.body_ended and not self._told_end:
                self._told_end = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if self.hung_up or self.ended:
                return {"type": "http.disconnect"}
            if self._arrived is None:
                self._arrived = trio.Event()
            if not self.body_ended:
                self.stalled_since = trio.current_time()
            try:
                await self._arrived.wait()
            finally:
                self.stalled_since = None

    async def send(self, message: Message) -> None:
        """ASGI send, with backpressure: it returns when the peer's side took the bytes."""
        kind = message["type"]
        if kind == "http.response.body" and self.started and not self.ended:
            more = bool(message.get("more_body", False))
            data = message.get("body", b"")
            if not more:
                self.ended = True
            if self.gone:
                return
            await self._wire.body(self, b"" if self._bodyless() else data, more)
        elif kind == "http.response.start" and not self.started:
            self.started = True
            self.status = int(message["status"])
            if not self.gone:
                await self._wire.start(self, self.status, list(message.get("headers", ())))
        else:
            raise RuntimeError(f"{kind} is out of order")

    async def _take(self) -> Message:
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self.queued = 0
        if self._room is not None:
            self._room.set()
        last = self.body_ended
        self._told_end = last
        if not last:
            await self._wire.consumed(self, len(data))
        return {"type": "http.request", "body": data, "more_body": not last}

    def _bodyless(self) -> bool:
        return self.scope["method"] == "HEAD" or self.status in (204, 304)

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None
        if self._room is not None and (self.hung_up or self.ended):
            self._room.set()

    def release(self) -> None:
        """The response is over: drop what nobody will read and let the reader go on."""
        self.ended = True
        self._chunks.clear()
        self.queued = 0
        self._wake()
