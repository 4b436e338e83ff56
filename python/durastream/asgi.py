"""The Durable Streams protocol as an ASGI application.

    app = create_app(LogEngine("./data"))

It runs under any ASGI server on trio or asyncio and mounts in FastAPI and Starlette under a prefix.
All rules are in the native `Service`; this module moves bytes, waits and sleeps.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from urllib.parse import unquote_to_bytes

from durastream import _listing, _native
from durastream._call import Call
from durastream._mount import split
from durastream.aio import AsyncLogEngine
from durastream.engine import LogEngine
from durastream.errors import EngineClosed

if TYPE_CHECKING:
    from durastream._metrics import Metrics

METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

__all__ = ["DurableStreams", "Options", "create_app"]


class Options(TypedDict, total=False):
    """Choices of the protocol. Times are seconds; each has a default."""

    base_paths: Sequence[str]
    """Where streams live below the mount point: `/v1/stream` and `/v1/streams`."""
    long_poll_timeout: float
    """How long a long-poll waits for data: 30."""
    sse_max: float
    """After how long an SSE response ends, at an event boundary: 60."""
    sse_heartbeat: float
    """Silence after which SSE sends a comment: 15."""
    page_bytes: int
    """Largest page of a read: 4 MiB."""
    sending_bytes: int
    """Pages read from disk that are on their way at once: 256 MiB; beyond it pages have 64 KiB."""
    cors_origins: Sequence[str]
    """Origins that browsers may read from: any (`*`)."""
    hold_time: float
    """How long an early producer sequence waits for its predecessor: 0.02; 0 does not hold."""
    hold_count: int
    """Most appends held at once: 1,024."""
    hold_bytes: int
    """Most body bytes held at once: 64 MiB."""


def create_app(
    engine: LogEngine | AsyncLogEngine | _native.Engine,
    *,
    probes: bool = False,
    metrics: bool = False,
    listing: bool = False,
    max_upload_bytes: int = 1 << 30,
    write_timeout: float | None = 60.0,
    **options: Unpack[Options],
) -> DurableStreams:
    """An ASGI 3 application that serves the streams of `engine`. It never closes the engine.

    `probes` adds `/health` and `/ready`, `metrics` adds `/metrics` (docs/metrics.md). `listing` adds
    `/__durastream/streams`, which tells the paths of all streams to whoever asks
    (docs/protocol-extensions.md). `max_upload_bytes` bounds the request bodies that are being received
    at once, all together; further ones are answered 503. `write_timeout` ends a response whose client
    takes nothing for so many seconds; `None` leaves that to the server.

    Raises ValueError when a base path cannot be used. Call `shut_down` on the result before the
    server waits for its connections to end, so that live reads answer at once.
    """
    return DurableStreams(
        engine,
        probes=probes,
        metrics=metrics,
        listing=listing,
        max_upload_bytes=max_upload_bytes,
        write_timeout=write_timeout,
        options=options,
    )


class DurableStreams:
    """The application that `create_app` makes."""

    def __init__(
        self,
        engine: LogEngine | AsyncLogEngine | _native.Engine,
        *,
        probes: bool,
        metrics: bool,
        listing: bool,
        max_upload_bytes: int,
        write_timeout: float | None,
        options: Options,
    ) -> None:
        self._given = engine
        self._options = options
        self._probes = probes
        self._listing = listing
        self._tells_metrics = metrics
        self._service: _native.Service | None = None
        self.max_upload_bytes = max_upload_bytes
        self.write_timeout = write_timeout
        self.upload_bytes = 0
        """Request body bytes being received now."""
        self.live: set[Call] = set()
        """Exchanges that wait for data."""
        self.shutting_down = False
        if not isinstance(engine, AsyncLogEngine):
            self._service = self._make_service()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000, "reason": "no WebSocket here"})
        else:
            raise RuntimeError(f"{kind} is not a scope that this application serves")

    @property
    def service(self) -> _native.Service:
        """The protocol. Raises RuntimeError while an AsyncLogEngine is not open."""
        if self._service is None:
            self._service = self._make_service()
        return self._service

    def shut_down(self) -> None:
        """Answer long-polls and end SSE responses now, and live reads to come at once.

        Idempotent. To be called in the event loop that serves.
        """
        if self.shutting_down:
            return
        self.shutting_down = True
        self.service.shut_down()
        for call in list(self.live):
            call.wake()

    def _native_engine(self) -> _native.Engine:
        given = self._given
        if isinstance(given, AsyncLogEngine):
            if given._engine is None:
                raise RuntimeError("the AsyncLogEngine is not open: await its open() first")
            given = given._engine
        return given._native if isinstance(given, LogEngine) else given

    def _make_service(self) -> _native.Service:
        return _native.Service(self._native_engine(), **self._options)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self.service
        prefix, path = split(scope, service.routes)
        # Decoded: no spelling of a path that is served here is a stream.
        plain = unquote_to_bytes(path)
        if self._serves(plain) and scope["method"] != "OPTIONS":
            await self._tell(plain, scope, send)
            return
        exchange = service.begin(
            scope["method"],
            path,
            scope.get("query_string", b""),
            scope["headers"],
            scope.get("scheme", "http"),
            _authority(scope),
            prefix,
        )
        try:
            await Call(self, exchange, scope, receive, send).answer()
        finally:
            exchange.close()

    def _serves(self, path: bytes) -> bool:
        """Whether a path is one of the few beside the protocol's."""
        if path == _listing.PATH:
            return self._listing
        if path == b"/metrics":
            return self._tells_metrics
        return self._probes and path in (b"/health", b"/ready")

    @cached_property
    def metrics(self) -> Metrics:
        """What `/metrics` tells; a server of this application adds its listener's figures."""
        from durastream._metrics import Metrics  # noqa: PLC0415  (only who asks needs prometheus_client)

        return Metrics(lambda: self._native_engine().stats(), self._unready)

    async def _tell(self, path: bytes, scope: Scope, send: Send) -> None:
        method = scope["method"]
        if method not in ("GET", "HEAD"):
            status, fields, body = self.service.problem(
                405, "Method not allowed", f"This path does not take {method}; use GET or HEAD."
            )
            await _respond(send, status, [*fields, (b"allow", b"GET, HEAD, OPTIONS")], body)
            return
        if path == b"/metrics":
            await self._tell_metrics(send, bodiless=method == "HEAD")
            return
        status, answer = 200, {"status": "ok"}
        if path == _listing.PATH:
            try:
                answer = _listing.page(self._native_engine(), scope.get("query_string", b""))
            except (_listing.BadQueryError, EngineClosed) as error:
                bad = isinstance(error, _listing.BadQueryError)
                title = "Bad query parameter" if bad else "The log is closed"
                refusal = self.service.problem(400 if bad else 503, title, str(error))
                await _respond(send, *refusal[:2], b"" if method == "HEAD" else refusal[2])
                return
        elif path == b"/ready" and (reason := self._unready()) is not None:
            status, answer = 503, {"status": "unavailable", "reason": reason}
        elif path == b"/ready" and (full := self._native_engine().full()) is not None:
            # Reads, deletions and trims go on.
            answer = {"status": "full", "reason": full}
        body = json.dumps(answer, ensure_ascii=False).encode()
        headers = self._fields(status, b"application/json", len(body))
        await _respond(send, status, headers, b"" if method == "HEAD" else body)

    async def _tell_metrics(self, send: Send, *, bodiless: bool) -> None:
        try:
            status, kind, body = 200, METRICS_TYPE, self.metrics.text()
        except EngineClosed as error:
            status, fields, body = self.service.problem(503, "The log is closed", str(error))
            await _respond(send, status, fields, b"" if bodiless else body)
            return
        headers = self._fields(status, kind, len(body))
        await _respond(send, status, headers, b"" if bodiless else body)

    def _fields(self, status: int, content_type: bytes, length: int) -> list[tuple[bytes, bytes]]:
        """With the CORS and security fields that every response has."""
        _, fields, _ = self.service.problem(status, "", "")
        own = (b"content-type", b"content-length")
        headers = [field for field in fields if field[0] not in own]
        return [
            *headers,
            (b"content-type", content_type),
            (b"content-length", b"%d" % length),
        ]

    def _unready(self) -> str | None:
        if self.shutting_down:
            return "shutting down"
        engine = self._native_engine()
        if engine.closed:
            return "the log is closed"
        return engine.poisoned()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.shut_down()
                await send({"type": "lifespan.shutdown.complete"})
                return


async def _respond(
    send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _authority(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"host":
            return str(value, "latin-1")
    server = scope.get("server")
    if not server:
        return ""
    host, port = server
    return f"{host}:{port}" if port else str(host)
