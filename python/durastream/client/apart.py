"""HTTP/2 on threads: a connection for each request under way.

Threads that share a connection of httpcore 1.0 spoil its state: stream numbers and compressed fields are
made by one thread and sent by another (a program with many threads sees `StreamIDTooLowError`, `KeyError` and
timeouts). Requests that do not overlap share connections, as over HTTP/1.1.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx

from durastream.client.core import beneath
from durastream.client.core.clients import KEPT, KEPT_FOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Origin = tuple[bytes, int | None]


class Apart(httpx.BaseTransport):
    """Takes a transport from `make` for each request over TLS that is under way."""

    def __init__(self, make: Callable[[], httpx.BaseTransport]) -> None:
        self._make = make
        self._plain = make()  # httpx chooses HTTP/2 by ALPN alone
        self._lock = threading.Lock()
        # Of each origin, those used last at the end, with the time of that.
        self._idle: dict[Origin, list[tuple[float, httpx.BaseTransport]]] = {}
        self._busy: set[httpx.BaseTransport] = set()
        self._closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it on a connection that nobody else uses until the answer is closed."""
        if request.url.scheme != "https":
            return self._plain.handle_request(request)
        origin = request.url.raw_host, request.url.port
        transport = self._take(origin)
        try:
            response = transport.handle_request(request)
        except BaseException:
            # What ended this one (a server that was started again, say) has ended the idle ones, too.
            self._forget(origin, transport)
            raise
        guard = request.extensions.get(beneath.GUARD, contextlib.nullcontext())
        back = functools.partial(self._back, origin, transport)
        response.stream = _Held(response.stream, back, guard)
        return response

    def pools(self) -> Iterator[tuple[Any, bool]]:
        """Pools of httpcore in use, and whether each of their connections has one request at a time."""
        with self._lock:
            busy = tuple(self._busy)
        yield getattr(self._plain, "_pool", None), False
        for transport in busy:
            yield getattr(transport, "_pool", None), True

    def close(self) -> None:
        """Close what is idle; what is in use ends with its answer."""
        with self._lock:
            self._closed = True
            idle = [transport for kept in self._idle.values() for _, transport in kept]
            self._idle.clear()
        for transport in (self._plain, *idle):
            transport.close()

    def _take(self, origin: Origin) -> httpx.BaseTransport:
        ended = []
        with self._lock:
            kept = self._idle.get(origin, [])
            # httpcore itself looks only at idle connections of HTTP/1.1.
            while kept and beneath.is_spoken_to(kept[-1][1]):
                ended.append(kept.pop()[1])
            transport = kept.pop()[1] if kept else self._make()
            self._busy.add(transport)
        for each in ended:
            each.close()
        return transport

    def _back(self, origin: Origin, transport: httpx.BaseTransport, whole: bool) -> None:
        """The answer was closed. One not read to its end leaves its stream open: the connection is lost."""
        ended = [] if whole else [transport]
        now = time.monotonic()
        with self._lock:
            self._busy.discard(transport)
            if self._closed:
                ended = [transport]
            elif whole:
                kept = self._idle.setdefault(origin, [])
                kept.append((now, transport))
                while kept and (len(kept) > KEPT or kept[0][0] < now - KEPT_FOR):
                    ended.append(kept.pop(0)[1])
        for each in ended:
            each.close()

    def _forget(self, origin: Origin, transport: httpx.BaseTransport) -> None:
        with self._lock:
            self._busy.discard(transport)
            kept = self._idle.pop(origin, [])
        for each in (transport, *(idle for _, idle in kept)):
            each.close()


class _Held(httpx.SyncByteStream):
    """An answer's body, whose end gives the transport back."""

    def __init__(
        self,
        body: Any,  # noqa: ANN401  (httpx does not say)
        back: Callable[[bool], None],
        guard: contextlib.AbstractContextManager[object],
    ) -> None:
        self._body = body
        self._back: Callable[[bool], None] | None = back
        self._guard = guard
        self._whole = False
        self._httpcore_stream = getattr(body, "_httpcore_stream", None)
        """As in httpx's own, for those who look beneath."""

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body
        self._whole = True

    def close(self) -> None:
        """Give the transport back, once."""
        with self._guard:
            back, self._back = self._back, None
            try:
                self._body.close()
            finally:
                if back is not None:
                    back(self._whole)


class ThreadClient(httpx.Client):
    """httpx's client, safe to share between threads over HTTP/2 as well."""

    def _init_transport(self, *arguments: Any, **options: Any) -> httpx.BaseTransport:  # noqa: ANN401  (httpx's own)
        return Apart(functools.partial(super()._init_transport, *arguments, **options))

    def _init_proxy_transport(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  (httpx's own)
        return Apart(functools.partial(super()._init_proxy_transport, *arguments, **options))
