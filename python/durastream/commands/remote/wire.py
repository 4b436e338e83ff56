"""A bare HTTP/1.1 client for load: it costs so little that the server is what is measured."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

RECEIVE: Final = 256 << 10


class WireError(Exception):
    """The server hung up, or answered what this client does not read."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The status answered, if that is what was wrong."""


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


class Connection:
    """One connection, one request at a time. A context manager."""

    def __init__(self, url: str, headers: Mapping[str, str], verify: Any) -> None:  # noqa: ANN401
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        own = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._fields = f"host: {parts.netloc.rpartition('@')[2]}\r\n{own}".encode()
        self._verify = verify
        self._buffer = b""
        self._stream: anyio.abc.ByteStream

    async def __aenter__(self) -> Self:
        if not self._tls:
            self._stream = await anyio.connect_tcp(self._host, self._port)
            return self
        context = self._verify
        if not isinstance(context, ssl.SSLContext):
            context = ssl.create_default_context()
            if self._verify is False:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        self._stream = await anyio.connect_tcp(
            self._host, self._port, tls=True, ssl_context=context, tls_standard_compatible=False
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

    def request(self, method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
        """The bytes of a request, to be sent as often as one likes."""
        fields = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
        head = f"{method} {target} HTTP/1.1\r\n{fields}content-length: {len(body)}\r\n".encode()
        return head + self._fields + b"\r\n" + body

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its answer."""
        await self._stream.send(request)
        status, headers = await self._head()
        if status == 204 or status == 304:
            return Answer(status, headers, b"")
        if b"content-length" in headers:
            return Answer(status, headers, await self._exactly(int(headers[b"content-length"])))
        return Answer(status, headers, b"".join([piece async for piece in self._chunks(headers)]))

    async def follow(self, request: bytes) -> AsyncIterator[bytes]:
        """Send a request and give the body as it comes. Raises WireError unless the status is 200."""
        await self._stream.send(request)
        status, headers = await self._head()
        if status != 200:
            raise WireError(f"a live read was answered {status}", status)
        async for piece in self._chunks(headers):
            yield piece

    async def _head(self) -> tuple[int, dict[bytes, bytes]]:
        while b"\r\n\r\n" not in self._buffer:
            await self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        fields = (line.partition(b":") for line in lines)
        try:
            status = int(first.split(b" ")[1])
        except (IndexError, ValueError):
            raise WireError(f"this is no HTTP/1.1: {first[:80]!r}") from None
        return status, {name.lower(): value.strip() for name, _, value in fields}

    async def _chunks(self, headers: Mapping[bytes, bytes]) -> AsyncIterator[bytes]:
        if headers.get(b"transfer-encoding", b"").lower() != b"chunked":
            raise WireError("the answer has neither a length nor chunks")
        while True:
            while b"\r\n" not in self._buffer:
                await self._more()
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            length = int(line.partition(b";")[0], 16)
            piece = await self._exactly(length + 2)
            if not length:
                return
            yield piece[:-2]

    async def _exactly(self, count: int) -> bytes:
        pieces = [self._buffer]
        have = len(self._buffer)
        while have < count:
            pieces.append(await self._received())
            have += len(pieces[-1])
        whole = b"".join(pieces)
        self._buffer = whole[count:]
        return whole[:count]

    async def _more(self) -> None:
        self._buffer += await self._received()

    async def _received(self) -> bytes:
        try:
            return await self._stream.receive(RECEIVE)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            raise WireError("the server hung up") from None
