"""The same proxy for clients that speak HTTP/2: over TLS, by ALPN, many requests on one connection.

Where the other closes a connection this one resets the request's stream; `cut` closes connections here, too.
"""

from __future__ import annotations

import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import h2.config
import h2.connection
import h2.events
import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from .proxy import MOST, Fault, Proxy, Seen

_LOST = (OSError, trio.BrokenResourceError)
"""The server went away."""


class Http2Proxy(Proxy):
    """`serving` has its certificate; the server's is one that this process trusts."""

    scheme = "https"

    def __init__(self, server: str, serving: ssl.SSLContext) -> None:
        super().__init__(server)
        self._serving = serving
        self._trusting = ssl.create_default_context()
        for context in (self._serving, self._trusting):
            context.set_alpn_protocols(["h2"])

    async def _requests(self, client: trio.SocketStream) -> None:
        stream = trio.SSLStream(client, self._serving, server_side=True, https_compatible=True)
        await stream.do_handshake()
        if stream.selected_alpn_protocol() == "h2":
            await _Connection(self, stream, self._trusting).run()


@dataclass
class _Request:
    """What has come of a request."""

    fields: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class _Connection:
    """One client's."""

    def __init__(
        self, proxy: Proxy, stream: trio.SSLStream[trio.SocketStream], trusting: ssl.SSLContext
    ) -> None:
        self._proxy = proxy
        self._stream = stream
        self._trusting = trusting
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)
        self._requests: dict[int, _Request] = {}
        self._sending = trio.Lock()
        self._moved = trio.Event()

    async def run(self) -> None:
        self._h2.initiate_connection()
        await self._flush()
        async with trio.open_nursery() as nursery:
            while data := await self._stream.receive_some(MOST):
                for event in self._h2.receive_data(data):
                    self._take(event, nursery)
                await self._flush()
            nursery.cancel_scope.cancel()

    def _take(self, event: h2.events.Event, nursery: trio.Nursery) -> None:
        match event:
            case h2.events.RequestReceived():
                fields = {str(name): str(value) for name, value in event.headers}
                self._requests[event.stream_id] = _Request(fields)
            case h2.events.DataReceived():
                self._requests[event.stream_id].body += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                nursery.start_soon(self._answered, event.stream_id)
            case h2.events.StreamReset():
                # A client that gives a request up takes it from the server, too.
                self._requests[event.stream_id].scope.cancel()
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                self._moved.set()
                self._moved = trio.Event()
            case _:
                pass

    async def _answered(self, number: int) -> None:
        request = self._requests[number]
        with request.scope:
            whole = await self._answer(number, request)
            if not whole:
                with contextlib.suppress(ProtocolError):
                    self._h2.reset_stream(number, ErrorCodes.INTERNAL_ERROR)
                await self._flush()

    async def _answer(self, number: int, request: _Request) -> bool:
        """Answer one request; whether its answer is whole."""
        target = urlsplit(request.fields[":path"])
        params = {name: values[0] for name, values in parse_qs(target.query).items()}
        headers = {name: value for name, value in request.fields.items() if name[0] != ":"}
        seen = Seen(request.fields[":method"], target.path, params, headers, bytes(request.body))
        self._proxy.seen.append(seen)
        fault = self._proxy.fault_for(seen)
        await trio.sleep(fault.delay)
        if fault.drop:
            return False
        if fault.status is not None:
            body = b"" if seen.method == "HEAD" or fault.status == 204 else b"injected"
            fields = [(name.lower(), value) for name, value in fault.headers]
            self._head(number, [(":status", str(fault.status)), *fields])
            await self._data(number, body, end=True)
            return True
        with contextlib.suppress(*_LOST):
            return await self._forwarded(number, request.fields[":path"], seen, fault)
        return False

    async def _forwarded(self, number: int, target: str, seen: Seen, fault: Fault) -> bool:
        async with _asked(self._proxy.server, self._trusting) as upstream:
            await upstream.ask(seen, target)
            if fault.lose:
                while await upstream.piece():
                    pass
                return False
            self._head(number, await upstream.head())
            await self._data(number, fault.inject)
            left = fault.cut_after
            piece = b""
            while len(piece) < left:
                left -= len(piece)
                await self._data(number, fault.corrupt(piece) if fault.corrupt else piece)
                piece = await upstream.piece()
                if not piece:
                    await self._data(number, b"", end=True)
                    return True
            await self._data(number, piece[: int(left)])
            if fault.stall:
                await trio.sleep_forever()
            return False

    def _head(self, number: int, fields: list[tuple[str, str]]) -> None:
        with contextlib.suppress(ProtocolError):  # it was given up
            self._h2.send_headers(number, fields)

    async def _data(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Send as the client's windows allow."""
        try:
            while data:
                window = min(
                    self._h2.local_flow_control_window(number),
                    self._h2.max_outbound_frame_size,
                    len(data),
                )
                if window > 0:
                    self._h2.send_data(number, data[:window])
                    data = data[window:]
                moved = self._moved
                await self._flush()
                if window <= 0:
                    await moved.wait()
            if end:
                self._h2.end_stream(number)
        except ProtocolError:
            return  # it was given up
        await self._flush()

    async def _flush(self) -> None:
        async with self._sending:
            if data := self._h2.data_to_send():
                await self._stream.send_all(data)


class _Upstream:
    """One request to the server, on a connection of its own."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._head: list[tuple[str, str]] = []
        self._pieces: deque[bytes] = deque()
        self._ended = False

    async def ask(self, seen: Seen, target: str) -> None:
        self._h2.initiate_connection()
        fields = [(":method", seen.method), (":scheme", "https"), (":path", target)]
        fields += [(":authority", "127.0.0.1"), *seen.headers.items()]
        self._h2.send_headers(1, fields, end_stream=not seen.body)
        body = seen.body
        while body:
            window = min(self._h2.local_flow_control_window(1), self._h2.max_outbound_frame_size)
            if window > 0:
                self._h2.send_data(1, body[:window], end_stream=len(body) <= window)
                body = body[window:]
                await self._stream.send_all(self._h2.data_to_send())
            else:
                await self._receive()
        await self._stream.send_all(self._h2.data_to_send())

    async def head(self) -> list[tuple[str, str]]:
        while not self._head:
            await self._receive()
        return self._head

    async def piece(self) -> bytes:
        """The next of the body; empty at its end."""
        while not self._pieces:
            if self._ended:
                return b""
            await self._receive()
        return self._pieces.popleft()

    async def _receive(self) -> None:
        data = await self._stream.receive_some(MOST)
        if not data:
            raise trio.BrokenResourceError
        for event in self._h2.receive_data(data):
            match event:
                case h2.events.ResponseReceived():
                    self._head = [(str(name), str(value)) for name, value in event.headers]
                case h2.events.DataReceived():
                    self._h2.acknowledge_received_data(event.flow_controlled_length, 1)
                    if event.data:
                        self._pieces.append(event.data)
                case h2.events.StreamEnded():
                    self._ended = True
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    raise trio.BrokenResourceError
                case _:
                    pass
        await self._stream.send_all(self._h2.data_to_send())


@contextlib.asynccontextmanager
async def _asked(url: str, trusting: ssl.SSLContext) -> AsyncIterator[_Upstream]:
    parts = urlsplit(url)
    plain = await trio.open_tcp_stream(parts.hostname or "", parts.port or 0)
    try:
        yield _Upstream(
            trio.SSLStream(plain, trusting, server_hostname=parts.hostname, https_compatible=True)
        )
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(plain)
