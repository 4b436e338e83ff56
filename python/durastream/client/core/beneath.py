"""What lies beneath httpx, where it is the httpcore and h11 that we know; elsewhere nothing is found.

A parser that hands every chunk through eight generators costs an event stream more than all else that is done
about an event. So bodies over HTTP/1.1 are read from their connections as they come, and the parser is told
at the end, so that the connection can be used again.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

import h11
import httpcore

from durastream.client.core.framing import Chunked, Sized

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

READ_SIZE: Final = 96 << 10
"""Bytes that a thread reads at once: more would be memory that the system has to bring first."""
LOOP_READ_SIZE: Final = 256 << 10
"""As many as asyncio reads by itself: it copies what is left of a larger piece."""
ROOM: Final = 256 << 10
"""Bytes that are read at once into memory that is used again and again: it is there already."""
WORTH: Final = 64 << 10
"""Bytes from which on that is worth while."""
MARK: Final = "durastream.wire"
"""The extension of a request by which it is found again."""
GUARD: Final = "durastream.guard"
"""The extension with the lock that is held while its connection is given back."""
_TO_CONNECTION = ("_stream", "_httpcore_stream", "_stream", "_connection")


class Body:
    """The body of an answer that is read past httpx."""

    def __init__(
        self,
        state: Any,  # noqa: ANN401  (h11.Connection, more of it than is public)
        stream: Any,  # noqa: ANN401  (of either twin)
        framing: Sized | Chunked,
        timeout: float | None,
        most: int,
    ) -> None:
        self._state = state
        self._most = most
        self._framing = framing
        self.stream = stream
        """httpcore's network stream, of either twin."""
        self.timeout = timeout
        """Seconds to wait for bytes."""
        self._room: memoryview | None = None
        self._socket: socket.socket | None = None
        self.first = b""
        """What had come with the head."""
        buffered = state._receive_buffer
        if early := bytes(buffered):
            taken = early[: framing.wanted] if isinstance(framing, Sized) else early
            buffered.maybe_extract_at_most(len(taken))
            self.first = framing.feed(taken)

    @property
    def ended(self) -> bool:
        """Whether all of it has come."""
        return self._framing.ended

    @property
    def wanted(self) -> int:
        """How many bytes to read next, at most."""
        return min(self._framing.wanted, self._most)

    def feed(self, data: bytes) -> bytes:
        """The content in what was read. Raises Broken."""
        return self._framing.feed(data)

    def room(self) -> memoryview | None:
        """Where to read the next bytes to, the same for all of a body; `None` where they come as `bytes`."""
        if self.first or not isinstance(self._framing, Sized) or self._framing.wanted < WORTH:
            return None
        if self._room is None:
            self._room = memoryview(bytearray(min(ROOM, self._framing.wanted)))
        return self._room[: self._framing.wanted]

    # These two wait, on a thread. What they do themselves httpcore does in twice the time. They raise what it
    # would, and Broken.

    def read(self) -> bytes:
        """The next content, `wanted` bytes at most."""
        sock = self._plain()
        if sock is None:
            return self.feed(self.stream.read(self.wanted, self.timeout))
        with _as_httpcore():
            data = sock.recv(self.wanted)
        return self.feed(data)

    def read_into(self, room: memoryview) -> memoryview | None:
        """As `read`, into memory that is there; `None` where only httpcore can."""
        sock = self._plain()
        if sock is None:
            return None
        with _as_httpcore():
            count = sock.recv_into(room)
        return self.took(room, count)

    def _plain(self) -> socket.socket | None:
        """The socket, where bytes come as they are: TLS has an end of its own."""
        if self._socket is None:
            found = socket_under(self.stream)
            if type(found) is not socket.socket:
                return None
            found.settimeout(self.timeout)
            self._socket = found
        return self._socket

    def took(self, room: memoryview, count: int) -> memoryview:
        """So many bytes were read. Raises Broken."""
        if isinstance(self._framing, Sized):
            self._framing.pass_over(count)
        return room[:count]

    def finish(self) -> None:
        """Tell the parser, whose iterator ends then by itself."""
        if isinstance(self._framing, Sized):
            self._state._reader._remaining = 0
        else:
            self._state.receive_data(b"0\r\n\r\n" + self._framing.rest)


class _as_httpcore:  # noqa: N801  (a context manager; as a generator it would cost more than what it guards)
    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise httpcore.ReadTimeout(error) from error
        if isinstance(error, OSError):
            raise httpcore.ReadError(error) from error


def body(response: httpx.Response, most: int) -> Body | None:
    """The body of this answer, of which nothing has been read; `None` where only httpx can read it.

    `most` bytes are read at once.
    """
    found: Any = response.stream
    for name in _TO_CONNECTION:
        found = getattr(found, name, None)
    if not isinstance(found, httpcore.HTTP11Connection | httpcore.AsyncHTTP11Connection):
        return None
    state = getattr(found, "_h11_state", None)
    stream = response.extensions.get("network_stream")
    if not isinstance(state, h11.Connection) or state.their_state is not h11.SEND_BODY:
        return None
    if not hasattr(stream, "read") or not hasattr(state, "_receive_buffer"):
        return None
    framing = _framing(response, getattr(state, "_reader", None))
    if framing is None:
        return None
    timeout = response.request.extensions.get("timeout", {}).get("read")
    return Body(state, stream, framing, timeout, most)


def socket_of(client: httpx.Client, mark: object) -> socket.socket | None:
    """The connection on which the request with this mark waits; `None` when others share it, or unknown."""
    for pool, apart in _pools(client):
        kinds = (httpcore.HTTP11Connection, httpcore.HTTP2Connection)[: 1 + apart]
        for each in tuple(getattr(pool, "_requests", ())):
            request = getattr(each, "request", None)
            if getattr(request, "extensions", {}).get(MARK) is not mark:
                continue
            found: Any = getattr(each, "connection", None)
            while found is not None and not isinstance(found, kinds):
                found = getattr(found, "_connection", None)
            stream = getattr(found, "_network_stream", None)
            return None if stream is None else socket_under(stream)
    return None


def context_of(client: httpx.Client | httpx.AsyncClient) -> object:
    """What the client does TLS with; `None` where that is unknown."""
    return getattr(getattr(client._transport, "_pool", None), "_ssl_context", None)


def retire(client: httpx.Client | httpx.AsyncClient, url: httpx.URL) -> bool:
    """Take no new requests on the HTTP/2 connections to this origin; whether there are any.

    A request that is given up over HTTP/2 leaves its stream open (httpcore 1.0 sends no RST_STREAM), and a
    hundred of those leave no room for another. The connection ends when what is on its way over it has ended.
    """
    found = False
    for pool, apart in _pools(client):
        for each in () if apart else tuple(getattr(pool, "_connections", ())):
            connection: Any = each
            while connection is not None and not isinstance(
                connection, httpcore.HTTP2Connection | httpcore.AsyncHTTP2Connection
            ):
                connection = getattr(connection, "_connection", None)
            if connection is None:
                continue
            origin = connection._origin
            if origin.host == url.raw_host and _port(origin) == _port(url):
                connection._used_all_stream_ids = True
                found = True
    return found


def is_spoken_to(transport: httpx.BaseTransport) -> bool:
    """Whether the server said something on an idle connection: mostly that it has ended it."""
    for each in tuple(getattr(getattr(transport, "_pool", None), "_connections", ())):
        found: Any = each
        while hasattr(found, "_connection"):
            found = found._connection
        stream = getattr(found, "_network_stream", None)
        if stream is not None and stream.get_extra_info("is_readable"):
            return True
    return False


def _pools(client: httpx.Client | httpx.AsyncClient) -> Iterator[tuple[Any, bool]]:
    """Pools of httpcore, and whether each of their connections has one request at a time."""
    for transport in (client._transport, *client._mounts.values()):
        if (pools := getattr(transport, "pools", None)) is not None:
            yield from pools()
        else:
            yield getattr(transport, "_pool", None), False


def _port(place: Any) -> int:  # noqa: ANN401  (an origin of httpcore's, a URL of httpx's)
    https = place.scheme in ("https", b"https")
    return place.port or (443 if https else 80)


def socket_under(stream: Any) -> socket.socket | None:  # noqa: ANN401
    """The socket of one of httpcore's network streams."""
    found = stream.get_extra_info("socket")
    return found if isinstance(found, socket.socket) else None


def _framing(response: httpx.Response, reader: Any) -> Sized | Chunked | None:  # noqa: ANN401
    if "transfer-encoding" in response.headers:
        chunked = response.headers["transfer-encoding"].strip().lower() == "chunked"
        return Chunked() if chunked else None
    left = getattr(reader, "_remaining", None)
    return Sized(left) if isinstance(left, int) and left > 0 else None
