"""HTTP/2 on one connection: hypercorn's `H2Protocol` with its hazards taken out.

Checked against hypercorn 0.18.0. Replaced there, and why:

- `_handle_events`: DATA of a stream that was answered already is counted and dropped (a `KeyError`
  ends the process); a body is credited to the peer as it is read, so that an unread one holds up its
  own stream and no other (ten unread frames hang the connection).
- `_create_stream`: any bytes in `:path`, and none at all (CONNECT), reach the application, which
  refuses them (both end the process); no WebSocket.
- `_priority_updated`: PRIORITY is ignored, as RFC 9113 allows (1,000 frames end the process).
- `initiate`, `stream_send`, `_window_updated`: each response sends for itself as its windows allow;
  no buffers, no priority tree, so a stalled stream is seen as one and reset after a deadline.
- GOAWAY ends the connection's state in the `h2` library, here (with `keep_alive_max_requests` an SSE
  response in flight hangs) and in every client made with it. So it waits for the streams in flight, for
  `AT_ONCE` at most, or half of the grace where one sends its body; new ones wait meanwhile, and are then
  refused, which clients may retry elsewhere.
  While a stream is left it goes past the library (`_tell`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2.events
import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.utils import filter_pseudo_headers

from durastream.listener.base import hypercorn_arguments
from durastream.listener.pace import Pace
from durastream.listener.request import Request, make_scope

if TYPE_CHECKING:
    from durastream.listener.limits import Headers
    from durastream.listener.link import Link

STREAM_WINDOW = 65_535
"""Body bytes a client may send before the application asks for them."""
WANTED_WINDOW = 1 << 20
"""Body bytes a client may send ahead once the application reads them."""
CONNECTION_WINDOW = 16 << 20
CREDIT = 32_768
"""Windows are opened again in steps of this."""
BATCH = 65_536
"""Bytes encoded before they are handed to the socket."""
AT_ONCE = 0.25
"""Seconds in which what is in flight at a shutdown is answered, or clients are told to go elsewhere.

Not told before half of the grace while a body is under way, which nobody may be able to send again."""
ALL_STREAMS = 2**31 - 1
GOAWAY_HEAD = b"\0\0\x08\x07\0\0\0\0\0"
GONE_ROUND = b"leaving."
"""Payload of the PING behind the first GOAWAY: when it is answered, nothing is under way that came before."""
NOT_IN_HTTP2 = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"})


class Http2(H2Protocol):
    """One HTTP/2 connection."""

    def __init__(self, link: Link) -> None:
        super().__init__(*hypercorn_arguments(link))
        self.connection.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: link.limits.max_streams_per_connection,
                SettingCodes.MAX_HEADER_LIST_SIZE: link.limits.max_header_bytes,
            },
        )
        self.connection.decoder.max_header_list_size = link.limits.max_header_bytes
        self._link = link
        self._requests: dict[int, Request] = {}
        self._unpaid: dict[int, int] = {}
        self._left: dict[int, int] = {}
        """Bytes of answers of declared lengths that are still to come; below 0: the end was sent."""
        self._connection_unpaid = 0
        self._pace: Pace | None = None
        """Of all bodies together, while one is waited for."""
        self._came = 0
        """Bytes of bodies that came since it was looked at, the last of them at `_heard`."""
        self._heard = 0.0
        self._windows_moved = trio.Event()
        self._late: list[int] | None = None
        """Streams opened while the connection winds down; refused when clients are told to go elsewhere."""
        self._told = False
        self._last = ALL_STREAMS
        """The last stream that GOAWAY named. It names no higher one again (RFC 9113 section 6.8)."""

    async def initiate(self, headers: Headers | None = None, settings: bytes | None = None) -> None:
        """Send the server's preface."""
        self.connection.initiate_connection()
        self.connection.increment_flow_control_window(CONNECTION_WINDOW - STREAM_WINDOW)
        await self._flush()

    async def received(self, data: bytes) -> None:
        """Parse bytes of the client and act on them."""
        try:
            events = self.connection.receive_data(data)
        except ProtocolError:
            await self._flush()
            self.eof()
            self._link.linger()
        else:
            await self._handle_events(events)

    def eof(self) -> None:
        """The client is gone: no stream of it can be answered."""
        for request in self._requests.values():
            request.disconnect()
        self._wake_senders()

    async def wind_down(self) -> None:
        """Say GOAWAY when no stream is left in flight, or soon."""
        if self._requests:
            if self._late is None:
                self._late = []
                self._link.spawn(self._go_elsewhere)
            return
        self._refuse_late()
        await self._flush()
        try:
            last = min(self._last, self.connection.highest_inbound_stream_id)
            self.connection.close_connection(last_stream_id=last)
        except ProtocolError:
            pass
        else:
            await self._flush()
        self._link.close()

    async def _go_elsewhere(self) -> None:
        """Tell clients that new streams belong elsewhere; those in flight go on (RFC 9113 section 6.8)."""
        await trio.sleep(AT_ONCE)
        if self._has_body_under_way():
            await trio.sleep(max(0.0, self._link.limits.grace / 2 - AT_ONCE))
        if self._requests:
            self._told = True
            self._refuse_late()
            await self._tell(ALL_STREAMS)
            self.connection.ping(GONE_ROUND)
            await self._flush()

    def _has_body_under_way(self) -> bool:
        requests = self._requests.values()
        return any(not request.body_ended and not request.started for request in requests)

    async def _tell(self, last: int) -> None:
        """Say GOAWAY in a way that keeps the library's state."""
        self._last = min(self._last, last)
        frame = GOAWAY_HEAD + self._last.to_bytes(4) + bytes(4)
        await self._link.write(self.connection.data_to_send() + frame)

    def _refuse_late(self) -> None:
        for stream_id in self._late or ():
            self._reset(stream_id, ErrorCodes.REFUSED_STREAM)
        self._late = []

    def check(self, now: float) -> None:
        """Reset the streams whose peer has stalled, or sends its body too slowly."""
        together = self._together(now)
        for request in list(self._requests.values()):
            if request.is_late(now, self._link.limits, together):
                self._disconnect(request)
                self._reset(request.stream_id, ErrorCodes.CANCEL)
                self._link.spawn(self._flush)

    def _together(self, now: float) -> Pace | None:
        """How all bodies that are waited for have come."""
        limits = self._link.limits
        if not any(request.wants_body for request in self._requests.values()):
            self._pace = None
        elif self._pace is None:
            self._pace = Pace.begin(limits, now)
        elif self._came:
            self._pace.go_on(limits, self._heard, self._came)
        self._came = 0
        return self._pace

    # The reader's side.

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            match event:
                case h2.events.DataReceived():
                    self._body_data(event)
                case h2.events.RequestReceived():
                    await self._create_stream(event)
                case h2.events.StreamEnded():
                    request = self._requests.get(event.stream_id or 0)
                    if request is not None:
                        request.feed_end()
                case h2.events.StreamReset():
                    request = self._requests.get(event.stream_id)
                    if request is not None:
                        self._disconnect(request)
                case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                    self._wake_senders()
                case h2.events.PingAckReceived(ping_data=data) if data == GONE_ROUND:
                    await self._tell(self.connection.highest_inbound_stream_id)
                case h2.events.ConnectionTerminated():
                    self._link.close()
                case _:
                    pass
        await self._flush()

    def _body_data(self, event: h2.events.DataReceived) -> None:
        size = event.flow_controlled_length or 0
        self._connection_unpaid += size
        if self._connection_unpaid >= CREDIT:
            self.connection.increment_flow_control_window(self._connection_unpaid)
            self._connection_unpaid = 0
        data = event.data or b""
        self._came += len(data)
        self._heard = trio.current_time()
        request = self._requests.get(event.stream_id)
        if request is not None:
            request.feed(bytes(data))
            self._pay(request, size - len(data))

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        stream_id = request.stream_id
        fields = request.headers
        if (
            len(self._requests) + len(self._late or ())
            >= 2 * self._link.limits.max_streams_per_connection
        ):
            # Streams that were reset while their request still runs: the client floods.
            self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            await self._flush()
            self._link.close()
            return
        if self._link.winding_down:
            if self._late is None or self._told:
                self._reset(stream_id, ErrorCodes.REFUSED_STREAM)
            else:
                self._late.append(stream_id)
            return
        pseudo = {name: value for name, value in fields if name[:1] == b":"}
        running = Request(
            self,
            make_scope(
                http_version="2",
                method=pseudo.get(b":method", b"").decode("latin-1"),
                scheme="https" if self._link.tls else "http",
                target=pseudo.get(b":path", b""),
                headers=filter_pseudo_headers(fields),
                client=self._link.client,
                server=self._link.server,
            ),
            stream_id,
            has_body=request.stream_ended is None,
        )
        self._requests[stream_id] = running
        self._link.busy()
        self._link.spawn(running.run, self._link.app)

    async def _priority_updated(self, event: h2.events.PriorityUpdated) -> None:
        """Ignored."""

    def _wake_senders(self) -> None:
        self._windows_moved.set()
        self._windows_moved = trio.Event()

    def _disconnect(self, request: Request) -> None:
        request.disconnect()
        self._wake_senders()

    # The application's side (`Wire`).

    async def start(self, request: Request, status: int, headers: Headers) -> None:
        """Encode the response's head; it leaves with the first piece of the body."""
        fields = [(b":status", b"%d" % status)]
        fields += [field for field in headers if field[0] not in NOT_IN_HTTP2]
        fields.append((b"date", self._link.date()))
        try:
            self.connection.send_headers(request.stream_id, fields)
        except ProtocolError:
            request.disconnect()
        length = next((value for name, value in headers if name == b"content-length"), b"")
        if length.isdigit() and request.scope["method"] != "HEAD":
            self._left[request.stream_id] = int(length)

    async def body(self, request: Request, data: bytes, more: bool) -> None:
        """Send a piece of the body as the windows allow, and its end.

        The last of a declared length is the end even when more was announced: the application may go on
        reading what the client sends, and the client need not wait for that.
        """
        if (left := self._left.get(request.stream_id)) is not None:
            if left < 0:
                return
            more = more and (not data or left > len(data))
            self._left[request.stream_id] = left - len(data) if more else -1
        try:
            await self._send(request, memoryview(data), more)
        except (ProtocolError, KeyError):
            # Stream or connection closed meanwhile.
            request.disconnect()
        finally:
            request.stalled_since = None

    async def _send(self, request: Request, data: memoryview, more: bool) -> None:
        stream_id = request.stream_id
        encoded = 0
        if not data and not more:
            self.connection.end_stream(stream_id)
        while data:
            window = min(
                self.connection.local_flow_control_window(stream_id),
                self.connection.max_outbound_frame_size,
                len(data),
            )
            if window > 0:
                last = not more and window == len(data)
                self.connection.send_data(stream_id, bytes(data[:window]), end_stream=last)
                data = data[window:]
                request.stalled_since = None
                encoded += window
            if window <= 0 or encoded >= BATCH:
                encoded = 0
                moved = self._windows_moved
                await self._flush()
                if window <= 0 and not request.gone:
                    if request.stalled_since is None:
                        request.stalled_since = trio.current_time()
                    await moved.wait()
                if request.gone:
                    return
        await self._flush()

    async def wanted(self, request: Request) -> None:
        """Let the client send further ahead."""
        self._pay(request, WANTED_WINDOW - STREAM_WINDOW)
        await self._flush()

    async def consumed(self, request: Request, size: int) -> None:
        """Let the client send as much again."""
        self._pay(request, size)
        await self._flush()

    async def finished(self, request: Request) -> None:
        """End the stream, whatever the application has left undone."""
        stream_id = request.stream_id
        if not request.gone:
            if not request.started:
                await self._fail(request)
            elif not request.ended:
                self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)
            elif not request.body_ended:
                # RFC 9113 section 8.1: the answer stands, the rest of the body is not wanted.
                self._reset(stream_id, ErrorCodes.NO_ERROR)
        request.release()
        self._requests.pop(stream_id, None)
        self._unpaid.pop(stream_id, None)
        self._left.pop(stream_id, None)
        await self._flush()
        if not self._requests:
            self._link.idle()
            if self._link.winding_down:
                await self.wind_down()

    async def _fail(self, request: Request) -> None:
        detail = "The request could not be answered."
        status, headers, body = self._link.limits.problem(500, "Internal Server Error", detail)
        await self.start(request, status, list(headers))
        await self.body(request, b"" if request.scope["method"] == "HEAD" else body, more=False)

    def _pay(self, request: Request, size: int) -> None:
        """Open a stream's window by `size`, in steps worth a frame."""
        owed = self._unpaid.get(request.stream_id, 0) + size
        if owed >= CREDIT and not request.body_ended:
            try:
                self.connection.increment_flow_control_window(owed, request.stream_id)
            except (ProtocolError, KeyError):
                return
            owed = 0
        self._unpaid[request.stream_id] = owed

    def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        try:
            self.connection.reset_stream(stream_id, code)
        except (ProtocolError, KeyError):
            return

    async def _flush(self) -> None:
        data = self.connection.data_to_send()
        if data:
            await self._link.write(data)
