"""Requests of the trio listener, counted and logged as the native one does it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from durastream._native import is_traced, trace_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durastream.listener.request import Application, Message, Receive, Scope, Send

access = logging.getLogger("durastream.access")

OPERATIONS = ("append", "create", "read", "live", "head", "delete", "other")
_BY_METHOD = {"POST": 0, "PUT": 1, "GET": 2, "HEAD": 4, "DELETE": 5}
_LIVE, _OTHER = 3, 6
_FIRST, _BUCKETS = 14, 24


class Counted(Protocol):
    """`durastream._native.Distribution`, or what looks like one."""

    @property
    def bounds(self) -> Sequence[int]: ...
    @property
    def counts(self) -> Sequence[int]: ...
    @property
    def sum(self) -> int: ...


class Figures(Protocol):
    """`durastream._native.ListenerStats`, or what looks like one."""

    @property
    def connections(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def upload_bytes(self) -> int: ...
    @property
    def received_bytes(self) -> int: ...
    @property
    def sent_bytes(self) -> int: ...
    @property
    def sharing(self) -> int: ...
    @property
    def answer_times(self) -> Sequence[tuple[str, Counted]]: ...
    @property
    def statuses(self) -> Sequence[tuple[int, int]]: ...


class Histogram:
    """Nanoseconds in buckets that double, from 2^14 on."""

    bounds: Sequence[int] = tuple(1 << (_FIRST + bucket) for bucket in range(_BUCKETS))

    def __init__(self) -> None:
        self.counts = [0] * (_BUCKETS + 1)
        self.sum = 0

    def record(self, value: int) -> None:
        """Count a value."""
        power = max(value - 1, 0).bit_length()
        self.counts[min(max(power - _FIRST, 0), _BUCKETS)] += 1
        self.sum += value


@dataclass
class TrioFigures:
    """A snapshot of a `Tally` and its listener."""

    connections: int
    accepted: int
    refused: int
    upload_bytes: int
    received_bytes: int
    sent_bytes: int
    answer_times: Sequence[tuple[str, Counted]]
    statuses: Sequence[tuple[int, int]]
    sharing: int = 0


@dataclass
class Tally:
    """Counts of one event loop."""

    received_bytes: int = 0
    sent_bytes: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    times: tuple[Histogram, ...] = field(
        default_factory=lambda: tuple(Histogram() for _ in OPERATIONS)
    )

    def snapshot(
        self, connections: int, accepted: int, refused: int, upload_bytes: int
    ) -> TrioFigures:
        """Everything, with what the listener itself knows."""
        return TrioFigures(
            connections,
            accepted,
            refused,
            upload_bytes,
            self.received_bytes,
            self.sent_bytes,
            list(zip(OPERATIONS, self.times, strict=True)),
            sorted(self.statuses.items()),
        )


class Observed:
    """An application whose requests are counted, one in `every` logged (0: none), some `traced`.

    `base_path` says which base path a raw path is below, if any.
    """

    def __init__(
        self,
        app: Application,
        tally: Tally,
        base_path: Callable[[bytes], str | None],
        every: int,
        *,
        traced: bool = False,
    ) -> None:
        self._traced = traced
        self._app = app
        self._tally = tally
        self._base_path = base_path
        self._every = every
        self._passed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = _Seen(scope, self._tally, receive, send)
        operation = self._operation(scope)
        parent = dict(scope["headers"]).get(b"traceparent") if self._traced else None
        traced = self._traced and is_traced(parent)
        try:
            await self._app(scope, seen.receive, seen.send)
        finally:
            if seen.status:
                self._tally.times[operation].record(seen.answered - seen.begun)
            if traced:
                seen.trace(OPERATIONS[operation], self._base_path(scope["raw_path"]), parent)
            if self._every:
                self._passed = (self._passed + 1) % self._every
                if self._passed == 0:
                    seen.log()

    def _operation(self, scope: Scope) -> int:
        if self._base_path(scope["raw_path"]) is None:
            return _OTHER
        method = scope["method"]
        if method == "GET" and b"live=" in scope["query_string"]:
            return _LIVE
        return _BY_METHOD.get(method, _OTHER)


class _Seen:
    """One request."""

    __slots__ = (
        "_receive", "_scope", "_send", "_tally", "answered", "begun", "received", "sent", "status",
        "whole",
    )  # fmt: skip

    def __init__(self, scope: Scope, tally: Tally, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._tally = tally
        self._receive = receive
        self._send = send
        self.begun = self.answered = time.perf_counter_ns()
        self.received = self.sent = self.status = 0
        self.whole = False

    async def receive(self) -> Message:
        message = await self._receive()
        size = len(message.get("body", b""))
        self.received += size
        self._tally.received_bytes += size
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.answered = time.perf_counter_ns()
            statuses = self._tally.statuses
            statuses[self.status] = statuses.get(self.status, 0) + 1
        else:
            size = len(message.get("body", b""))
            self.sent += size
            self._tally.sent_bytes += size
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.whole = True

    @property
    def peer(self) -> str:
        """Address and port."""
        client = self._scope["client"]
        return f"{client[0]}:{client[1]}" if client else "unix"

    @property
    def target(self) -> str:
        """Path and query, as sent."""
        path, query = self._scope["raw_path"], self._scope["query_string"]
        whole: bytes = path + b"?" + query if query else path
        return whole.decode("ascii", "backslashreplace")

    @property
    def seconds(self) -> float:
        """Since its head."""
        return (time.perf_counter_ns() - self.begun) / 1e9

    def log(self) -> None:
        """As the native listener logs it."""
        access.info(
            "request",
            extra={
                "fields": {
                    "peer": self.peer,
                    "method": self._scope["method"],
                    "target": self.target,
                    "version": self._scope["http_version"],
                    "status": self.status,
                    "received": self.received,
                    "sent": self.sent,
                    "milliseconds": round(self.seconds * 1e3, 3),
                    "whole": self.whole,
                }
            },
        )

    def trace(self, operation: str, base: str | None, parent: bytes | None) -> None:
        """As the native listener traces it."""
        texts = [
            ("peer", self.peer),
            ("method", self._scope["method"]),
            ("target", self.target),
            ("version", self._scope["http_version"]),
            ("traceparent", (parent or b"").decode("latin-1")),
        ]
        if base is not None:
            texts.append(("base", base))
        # Behind the base, which is none of what is no operation.
        texts.append(("operation", operation))
        numbers = [("status", self.status), ("received", self.received), ("sent", self.sent)]
        trace_request(self.seconds, texts, numbers, self.whole)
