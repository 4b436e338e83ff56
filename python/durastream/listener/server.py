"""Accepts connections and guards each: a fault in one ends that one only."""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING

import h11
import trio
from hypercorn.config import Config

from durastream.listener.base import check_hypercorn
from durastream.listener.connection import Connection, Shared
from durastream.listener.limits import Limits
from durastream.listener.transport import PlainTransport, TlsTransport, Transport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from pathlib import Path

    from durastream.listener.request import Application

log = logging.getLogger("durastream.listener")

BACKLOG = 1024
RETRY_ACCEPT = 0.1
"""Pause after the system refused a connection for want of descriptors or memory."""
REFUSALS = 64
"""Connections over the limit that are being told so at once; more wait in the backlog."""
REFUSAL_TIME = 2.0
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def open_socket(host: str, port: int) -> socket.socket:
    """Bind and listen; port 0 takes a free one. Raises `OSError`."""
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later with ALPN. Raises `OSError` or `ssl.SSLError` when the files cannot be used."""
    config = Config()
    config.certfile = str(certificate)
    config.keyfile = str(key)
    context = config.create_ssl_context()
    assert context is not None
    return context


class Listener:
    """Serves an ASGI application on listening sockets until `stop`."""

    def __init__(
        self,
        app: Application,
        sockets: Sequence[socket.socket],
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        check_hypercorn()
        self.limits = limits or Limits()
        config = Config()
        config.h11_max_incomplete_size = self.limits.max_header_bytes
        self._shared = Shared(app, config, self.limits)
        self._sockets = sockets
        self._tls = tls
        self._connections: set[Connection] = set()
        self._refusals = trio.Semaphore(REFUSALS)
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._stopping = False
        self.accepted = 0
        """Connections accepted, those over the limit included."""
        self.refused = 0
        """Connections over the limit."""

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._connections)

    async def run(self) -> None:
        """Accept and serve. Returns after `stop`, at the latest `limits.grace` seconds later."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            try:
                with self._serving:
                    async with trio.open_nursery() as connections:
                        with self._accepting:
                            async with trio.open_nursery() as accepting:
                                for sock in self._sockets:
                                    accepting.start_soon(self._accept, sock, connections)
                        # Only now: a task that just woke would wait on a closed descriptor.
                        self._close_sockets()
            finally:
                self._close_sockets()
            nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Accept nothing more, wind connections down, and end those left after `limits.grace`."""
        if self._stopping:
            return
        self._stopping = True
        self._accepting.cancel()
        self._serving.deadline = trio.current_time() + self.limits.grace
        for connection in list(self._connections):
            connection.wind_down()

    def abort(self) -> None:
        """End all connections now."""
        self.stop()
        self._serving.cancel()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            if sock.fileno() >= 0:
                trio.lowlevel.notify_closing(sock)
                sock.close()

    async def _accept(self, listening: socket.socket, connections: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listening)
            try:
                sock, _ = listening.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in EXHAUSTED:
                    log.warning("cannot accept a connection: %s", error)
                    await trio.sleep(RETRY_ACCEPT)
                continue
            self.accepted += 1
            if len(self._connections) < self.limits.max_connections:
                connections.start_soon(self._guarded, sock)
            else:
                self.refused += 1
                await self._refusals.acquire()
                connections.start_soon(self._refuse, sock)

    async def _guarded(self, sock: socket.socket) -> None:
        """Serve one connection; whatever it raises is logged and ends here."""
        try:
            sock.setblocking(False)
            connection = Connection(self._shared, self._transport(sock))
        except OSError:
            # Reset before it was looked at.
            sock.close()
            return
        self._connections.add(connection)
        try:
            if not self._stopping:
                await connection.run()
        except* Exception:
            log.exception("connection with %s failed", connection.client)
        finally:
            sock.close()
            self._connections.discard(connection)

    def _transport(self, sock: socket.socket) -> Transport:
        if self._tls is not None:
            return TlsTransport(sock, self._tls)
        return PlainTransport(sock)

    async def _refuse(self, sock: socket.socket) -> None:
        """Tell a client over the limit, if it speaks HTTP/1.1 without TLS; close in any case."""
        try:
            sock.setblocking(False)
            if self._tls is None:
                with trio.move_on_after(REFUSAL_TIME):
                    transport = PlainTransport(sock)
                    # The request first: closing over unread bytes would reset the answer away.
                    await transport.read()
                    await transport.write(self._refusal())
                    transport.end_writing()
                    while await transport.read():
                        pass
        except OSError as error:
            log.debug("a connection over the limit was gone before it was told: %s", error)
        except Exception:
            log.exception("refusing a connection failed")
        finally:
            trio.lowlevel.notify_closing(sock)
            sock.close()
            self._refusals.release()

    def _refusal(self) -> bytes:
        limit = self.limits.max_connections
        status, headers, body = self.limits.problem(
            503,
            "Too many connections",
            f"The server allows {limit} connections at once and {len(self._connections)} are open; "
            "try again later.",
        )
        fields = [*headers, (b"connection", b"close"), (b"date", self._shared.date())]
        answer = h11.Connection(h11.SERVER)
        return b"".join(
            answer.send(event) or b""
            for event in (
                h11.Response(status_code=status, headers=fields),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
        )

    async def _watch(self) -> None:
        limits = self.limits
        shortest = min(limits.handshake, limits.keep_alive, limits.stall, limits.linger)
        while True:
            await trio.sleep(min(1.0, shortest / 4))
            now = trio.current_time()
            for connection in list(self._connections):
                try:
                    connection.check(now)
                except Exception:
                    log.exception("checking the connection with %s failed", connection.client)
                    connection.abort()
