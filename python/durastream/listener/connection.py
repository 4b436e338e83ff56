"""One accepted connection: its reader, its writes in turn, its deadlines."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import format_date_time

import trio
from hypercorn.protocol.h11 import H2ProtocolAssumedError
from hypercorn.trio.worker_context import WorkerContext

from durastream.listener.http1 import Http1
from durastream.listener.http2 import Http2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config

    from durastream.listener.limits import Limits
    from durastream.listener.link import Dialect
    from durastream.listener.request import Application
    from durastream.listener.transport import Transport

log = logging.getLogger("durastream.listener")

GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
WRITE_BYTES = 65_536
"""A peer that takes this much within the write deadline counts as alive."""


class Shared:
    """What all connections of a listener have in common."""

    def __init__(self, app: Application, config: Config, limits: Limits) -> None:
        self.app = app
        self.config = config
        self.limits = limits
        self.context = WorkerContext(None)
        self._date = (0, b"")

    def date(self) -> bytes:
        """The `date` header's value, formatted once a second."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, format_date_time(now).encode("ascii"))
        return self._date[1]


class Connection:
    """Serves one transport until either side ends it. Implements `Link`.

    Deadlines are stamps that the listener's watchdog compares (`check`): a request costs no timer.
    """

    def __init__(self, shared: Shared, transport: Transport) -> None:
        self.app = shared.app
        self.config = shared.config
        self.context = shared.context
        self.limits = shared.limits
        self.date = shared.date
        self.tls = transport.tls
        self.client = transport.client
        self.server = transport.server
        self.winding_down = False
        self._transport = transport
        self._dialect: Dialect | None = None
        self._nursery: trio.Nursery | None = None
        self._reading = trio.CancelScope()
        self._everything = trio.CancelScope()
        self._turn = trio.Lock()
        self._broken = False
        self._heard_all = False
        self._lingering = False
        self._discarded = 0
        self._idle_since: float | None = None
        self._handshake_since: float | None = None
        self._linger_since: float | None = None
        self._write_since: float | None = None

    async def run(self) -> None:
        """Serve; returns when nothing of this connection is left."""
        try:
            with self._everything:
                self._handshake_since = trio.current_time()
                try:
                    protocol = await self._transport.handshake()
                except GONE as error:
                    log.debug("handshake with %s failed: %r", self.client, error.__cause__ or error)
                    return
                self._handshake_since = None
                self.idle()
                async with trio.open_nursery() as self._nursery:
                    self._dialect = Http2(self) if protocol == "h2" else Http1(self)
                    await self._serve()
        finally:
            self._transport.close()

    async def _serve(self) -> None:
        with self._reading:
            await self._current.initiate()
            if self.winding_down:
                await self._current.wind_down()
            while data := await self._read():
                if self._lingering:
                    self._discarded += len(data)
                    if self._discarded > self.limits.linger_bytes:
                        break
                    continue
                try:
                    await self._current.received(data)
                except H2ProtocolAssumedError as error:
                    self._dialect = Http2(self)
                    await self._dialect.initiate()
                    await self._dialect.received(error.data)
        self._heard_all = True
        self._current.eof()

    async def _read(self) -> bytes:
        try:
            return await self._transport.read()
        except GONE:
            return b""

    @property
    def _current(self) -> Dialect:
        assert self._dialect is not None
        return self._dialect

    # `Link`, for the protocol.

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes in turn; does nothing once the peer is gone."""
        try:
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            if self._broken:
                return
            self._write_since = trio.current_time()
            if len(data) <= WRITE_BYTES:
                await self._transport.write(data)
            else:
                await self._write_long(memoryview(data))
        except GONE:
            self._broken = True
            self.close()
        except trio.Cancelled:
            # Part of it may be out: nothing written after it could be understood.
            self._broken = True
            raise
        finally:
            self._write_since = None
            self._turn.release()

    async def _write_long(self, data: memoryview) -> None:
        while data:
            self._write_since = trio.current_time()
            await self._transport.write(data[:WRITE_BYTES])
            data = data[WRITE_BYTES:]

    def spawn(self, task: Callable[..., Awaitable[Any]], *args: object) -> None:
        """Run a task that ends with the connection."""
        assert self._nursery is not None
        self._nursery.start_soon(task, *args)

    def idle(self) -> None:
        """Nothing is in flight: the keep-alive deadline runs."""
        self._idle_since = trio.current_time()

    def busy(self) -> None:
        """A request is in flight: the keep-alive deadline stops."""
        self._idle_since = None

    def linger(self) -> None:
        """Send nothing more; discard what the peer still sends, then close.

        Closing at once would reset the connection, and the answer just sent could be lost with it.
        """
        if self._lingering:
            return
        self._lingering = True
        self._idle_since = None
        self._linger_since = trio.current_time()
        try:
            self._transport.end_writing()
        except GONE:
            self.close()

    def close(self) -> None:
        """Read nothing more; close when the applications have returned."""
        self._reading.cancel()

    def abort(self) -> None:
        """Cancel everything and close at once."""
        self._everything.cancel()

    # For the listener.

    def wind_down(self) -> None:
        """Accept no further request: close when idle, else after what is in flight."""
        self.winding_down = True
        if self._lingering or self._heard_all:
            return
        if self._dialect is not None:
            self.spawn(self._dialect.wind_down)
        else:
            self.abort()

    def check(self, now: float) -> None:
        """End what is past its deadline."""
        limits = self.limits
        for name, since, limit in (
            ("TLS handshake", self._handshake_since, limits.handshake),
            ("write", self._write_since, limits.stall),
            ("drain", self._linger_since, limits.linger),
        ):
            if since is not None and now - since > limit:
                log.info("%s with %s exceeded %g s: closed", name, self.client, limit)
                self.abort()
                return
        if self._dialect is None or self._heard_all:
            return
        self._dialect.check(now)
        if self._idle_since is not None and now - self._idle_since > limits.keep_alive:
            self._idle_since = None
            self.wind_down()
