"""HTTP/1.1 on one connection: hypercorn's `H11Protocol` with its hazards taken out.

Checked against hypercorn 0.18.0. Replaced there, and why:

- `_handle_events`: no WebSocket and no `h2c` upgrade (trailing bytes after the first crash the
  process); `100 Continue` goes out when the application asks for the body, not before, so that a
  refusal can come first; an unread body is drained, never queued without bound; a head over the limit
  is refused also when it came whole, and so is a body with two lengths; what follows the last request
  is not taken for an error of it.
- `stream_send`: a response's head and first body bytes leave in one write.
- `_maybe_recycle`: a body that is left unread never resets the socket under the answer.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import h11
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol

from durastream.listener.base import hypercorn_arguments
from durastream.listener.request import Request, make_scope

if TYPE_CHECKING:
    from durastream.listener.limits import Headers
    from durastream.listener.link import Link

KEEP_ALIVE_DRAIN = 65_536
"""A body rest up to this is read and dropped to keep the connection; a longer one ends it."""

ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)")
BYTES_SHOWN = re.compile(r"bytearray\(b(.*)\)")
"""How h11 shows what it could not parse."""
REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


class Http1(H11Protocol):
    """One HTTP/1.1 connection, requests one after the other."""

    def __init__(self, link: Link) -> None:
        super().__init__(*hypercorn_arguments(link))
        self._http = cast("h11.Connection", self.connection)
        self._link = link
        self._request: Request | None = None
        self._held = b""
        self._body_left: int | None = 0
        self._drain_left = 0

    async def initiate(self) -> None:
        """Nothing: the client speaks first."""

    async def received(self, data: bytes) -> None:
        """Parse bytes of the client. Raises `H2ProtocolAssumedError` at an HTTP/2 preface."""
        self._http.receive_data(data)
        await self._handle_events()

    def eof(self) -> None:
        """The client sends nothing more; an answer in the making is still sent."""
        if self._request is not None:
            # A client may half-close after its request and still read.
            self._request.disconnect(answerable=True)

    async def wind_down(self) -> None:
        """Close now when no request is in flight, else after its answer."""
        if self._request is None:
            self._link.close()

    def check(self, now: float) -> None:
        """End the connection when its client stalls in the middle of a body, or sends it too slowly."""
        request = self._request
        if request is not None and request.is_late(now, self._link.limits):
            request.disconnect()

    # The reader's side.

    async def _handle_events(self) -> None:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                if self._request is not None and self._request.body_ended:
                    # It follows what was said to be the last request, whose answer is still due.
                    await self._next_turn()
                else:
                    await self._reject(error)
                return
            if type(event) is h11.Request:
                await self._begin(event)
            elif event is h11.NEED_DATA or type(event) is h11.ConnectionClosed:
                return
            elif event is h11.PAUSED:
                if not await self._next_turn():
                    return
            elif type(event) is h11.Data:
                if not await self._body_data(bytes(event.data)):
                    return
            elif type(event) is h11.EndOfMessage:
                if self._request is not None:
                    self._request.feed_end()
                else:
                    self._next_cycle()

    async def _begin(self, event: h11.Request) -> None:
        if event.method == b"PRI" and event.target == b"*" and event.http_version == b"2.0":
            raise H2ProtocolAssumedError(b"PRI * HTTP/2.0\r\n\r\n" + self._http.trailing_data[0])
        self._link.busy()
        headers = list(event.headers)
        if refusal := self._refusal(event, headers):
            await self._answer(*refusal, to_head=event.method == b"HEAD")
            self._link.linger()
            return
        target = event.target
        if absolute := ABSOLUTE.fullmatch(target):
            # RFC 9112 section 3.2.2: the target's authority goes before the host field.
            target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
            headers = [field for field in headers if field[0] != b"host"]
            headers.append((b"host", absolute[1]))
        self._body_left = _body_length(headers)
        self._request = Request(
            self,
            make_scope(
                http_version=event.http_version.decode("ascii"),
                method=event.method.decode("ascii"),
                scheme="https" if self._link.tls else "http",
                target=target,
                headers=headers,
                client=self._link.client,
                server=self._link.server,
            ),
            1,
            has_body=self._body_left != 0,
        )
        self._link.spawn(self._request.run, self._link.app)

    def _refusal(self, event: h11.Request, headers: Headers) -> tuple[int, str, str] | None:
        """What speaks against a head that h11 takes: status, title and detail."""
        limit = self._link.limits.max_header_bytes
        size = len(event.target) + sum(len(name) + len(value) + 4 for name, value in headers)
        if size > limit:
            detail = f"The request head has {size} bytes, the limit is {limit}."
            return 431, "Request head too large", detail
        names = {name for name, _ in headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            # A proxy that believes the other one would see other requests in the same bytes.
            detail = "A request has Content-Length or Transfer-Encoding, not both."
            return 400, "Bad Request", detail
        return None

    async def _body_data(self, data: bytes) -> bool:
        """Pass a piece of a body on, or drop it; false when the rest is not worth parsing."""
        if self._body_left is not None:
            self._body_left -= len(data)
        request = self._request
        if request is not None:
            request.feed(data)
            await request.room(self._link.limits.body_buffer)
            return True
        self._drain_left -= len(data)
        if self._drain_left < 0:
            self._link.linger()
            return False
        return True

    async def _next_turn(self) -> bool:
        """Wait with a pipelined request until the answer before it is out; false when none will be."""
        if self._request is None:
            return False
        await self.can_read.clear()
        await self.can_read.wait()
        return self._http.our_state is h11.IDLE

    async def _reject(self, error: h11.RemoteProtocolError) -> None:
        if self._request is not None:
            self._request.disconnect()
        status = int(error.error_status_hint)
        to_head = self._request is not None and self._request.scope["method"] == "HEAD"
        detail = BYTES_SHOWN.sub(r"\1", f"{error}")
        await self._answer(status, HTTPStatus(status).phrase, detail, to_head=to_head)
        self._link.linger()

    async def _answer(self, status: int, title: str, detail: str, *, to_head: bool) -> None:
        """Send an error of the listener's own, if an answer is still due."""
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        status, headers, body = self._link.limits.problem(status, title, detail)
        fields = [*headers, (b"connection", b"close"), (b"date", self._link.date())]
        out = self._encode(_head(status, fields))
        if not to_head:
            out += self._encode(h11.Data(data=body))
        await self._link.write(out + self._encode(h11.EndOfMessage()))

    # The application's side (`Wire`).

    async def start(self, request: Request, status: int, headers: Headers) -> None:
        """Encode the response's head; it leaves with the first piece of the body."""
        fields = [*headers, (b"date", self._link.date())]
        if self._link.winding_down or self._too_much_unread(request):
            fields.append((b"connection", b"close"))
        self._held = self._encode(_head(status, fields))

    async def body(self, request: Request, data: bytes, more: bool) -> None:
        """Send a piece of the body, the held head before it and the end after it."""
        out = self._held
        self._held = b""
        if len(data):
            piece = self._encode(h11.Data(data=bytes(data)))
            out = out + piece if out else piece
        if not more:
            end = self._encode(h11.EndOfMessage())
            out = out + end if end else out
        if out:
            await self._link.write(out)

    async def wanted(self, request: Request) -> None:
        """Tell a client that waits for it to send the body."""
        if self._http.they_are_waiting_for_100_continue and not request.started:
            await self._link.write(
                self._encode(h11.InformationalResponse(status_code=100, headers=[]))
            )

    async def consumed(self, request: Request, size: int) -> None:
        """Nothing: a full queue stops the reader."""

    async def finished(self, request: Request) -> None:
        """Make the connection ready for the next request, or close it."""
        if not request.started and not request.hung_up:
            await self._answer(
                500,
                "Internal Server Error",
                "The request could not be answered.",
                to_head=request.scope["method"] == "HEAD",
            )
        cut_short = request.started and not request.ended
        request.release()
        self._request = None
        if request.gone or (request.hung_up and not request.started) or cut_short:
            self._link.close()
        elif self._http.our_state is not h11.DONE or self._link.winding_down:
            if request.body_ended and self._http.their_state is not h11.ERROR:
                self._link.close()
            else:
                self._link.linger()
        elif self._http.their_state is h11.DONE:
            self._next_cycle()
        else:
            self._drain_left = KEEP_ALIVE_DRAIN
            self._link.idle()
        await self.can_read.set()

    def _next_cycle(self) -> None:
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._link.idle()

    def _too_much_unread(self, request: Request) -> bool:
        if request.body_ended:
            return False
        waiting = self._http.they_are_waiting_for_100_continue
        return waiting or self._body_left is None or self._body_left > KEEP_ALIVE_DRAIN

    def _encode(self, event: Any) -> bytes:  # noqa: ANN401 - h11 has no common type of its events
        try:
            return self._http.send(event) or b""
        except h11.LocalProtocolError:
            if self._http.their_state is h11.ERROR:
                # The client broke the protocol while being answered; it was told so already.
                return b""
            raise


def _head(status: int, fields: Headers) -> h11.Response:
    return h11.Response(status_code=status, headers=fields, reason=REASONS.get(status, b""))


def _body_length(headers: Headers) -> int | None:
    """Body bytes a head announces; none when the body ends by itself (chunked)."""
    for name, value in headers:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            return int(value)
    return 0
