"""Bytes in and out of one accepted socket, plain or TLS."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    import ssl

READ_BYTES = 65_536


class Transport(Protocol):
    """What a connection needs of its socket. `OSError` and `trio.BrokenResourceError` mean it is gone."""

    tls: bool
    client: tuple[str, int] | None
    server: tuple[str, int] | None

    async def handshake(self) -> str | None:
        """Make the connection usable; the protocol chosen by ALPN, if any."""

    async def read(self) -> bytes:
        """Read what is there, at least one byte; empty at the end of the stream."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it. Cancelling leaves an unknown part written: only `close` is left then."""

    def end_writing(self) -> None:
        """Tell the peer that nothing follows, where that is possible without waiting."""

    def close(self) -> None:
        """Close at once, without a farewell."""


def _endpoint(address: object) -> tuple[str, int] | None:
    if isinstance(address, tuple) and len(address) >= 2:
        return str(address[0]), int(address[1])
    return None


def _endpoints(sock: socket.socket) -> tuple[tuple[str, int] | None, tuple[str, int] | None]:
    return _endpoint(sock.getpeername()), _endpoint(sock.getsockname())


class PlainTransport:
    """A non-blocking socket. One scheduler round for a read and none for a write that fits."""

    tls = False

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._closed = False
        self.client, self.server = _endpoints(sock)

    async def handshake(self) -> str | None:
        """Nothing to do without TLS."""
        return None

    async def read(self) -> bytes:
        """Read what is there; see `Transport`."""
        while True:
            # Waiting first costs a failed `recv` less per request, and always yields to other tasks.
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._sock.recv(READ_BYTES)
            except BlockingIOError:
                continue

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it; see `Transport`."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        while rest:
            await trio.lowlevel.wait_writable(self._sock)
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                continue

    def end_writing(self) -> None:
        """Shut the sending side down."""
        if not self._closed:
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close at once."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


class TlsTransport:
    """TLS over a trio stream."""

    tls = True

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.client, self.server = _endpoints(sock)
        self._raw = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._stream = trio.SSLStream(self._raw, context, server_side=True, https_compatible=True)

    async def handshake(self) -> str | None:
        """Shake hands; the protocol chosen by ALPN."""
        await self._stream.do_handshake()
        protocol: str | None = self._stream.selected_alpn_protocol()
        return protocol

    async def read(self) -> bytes:
        """Read what is there; see `Transport`."""
        return bytes(await self._stream.receive_some(READ_BYTES))

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of it; see `Transport`."""
        await self._stream.send_all(data)

    def end_writing(self) -> None:
        """Nothing: a TLS connection cannot be half closed."""

    def close(self) -> None:
        """Close at once, without `close_notify`."""
        self._raw.socket.close()
