"""One exchange of the protocol, driven over ASGI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from durastream._loop import LoopQueue
from durastream._native import CommitFailure, Exchange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durastream._loop import Woken
    from durastream._native import _Step
    from durastream.asgi import DurableStreams, Receive, Scope, Send

PIECE = 262_144
"""Bytes handed to the server at once: a client that does not read holds a copy of no more."""
ONE_SEND = 65_536
DRAIN_BYTES = 64 << 20
"""How much of an unwanted body is read after its refusal, for clients that read only when done."""
DRAIN_SECONDS = 10.0


class ClientGoneError(Exception):
    """The client went away; nobody is left to be answered."""


class Call:
    """Does what the exchange says until its response is out or the client is gone."""

    def __init__(
        self,
        app: DurableStreams,
        exchange: Exchange,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._app = app
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._length, self._unread, self._expects = _body_of(scope)
        self._waiting: anyio.CancelScope | None = None
        self._gone = False
        self._told = False

    def wake(self) -> None:
        """Step again: the service is shutting down."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def answer(self) -> None:
        """Answer the request."""
        try:
            step: _Step | None = self._exchange.step()
            while step is not None:
                if step[0] == Exchange.WAIT and step[1] is not None:
                    await self._live(step)
                    return
                step = await self._act(step)
        except ClientGoneError:
            return

    async def _live(self, step: _Step | None) -> None:
        """Go on, and notice when the client hangs up: only a wait for data is long enough to care."""
        async with anyio.create_task_group() as tasks:
            # It reads what there may be of a body as well, so nothing is left to drain.
            self._unread = False
            tasks.start_soon(self._watch_client)
            try:
                while step is not None and not self._gone:
                    step = await self._act(step)
            except ClientGoneError:
                pass
            tasks.cancel_scope.cancel()

    async def _watch_client(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        # Never a send: cancelled half-way, it could take other streams of the connection with it.
        if self._waiting is not None:
            self._waiting.cancel()

    async def _act(self, step: _Step) -> _Step | None:
        match step:
            case (Exchange.WAIT, seconds):
                await self._wait(seconds)
            case (Exchange.CHUNK, data):
                await self._send_body(bytes(data), more=True)
            case (Exchange.NEED_BODY, limit):
                if not await self._read_body(limit):
                    return None
            case (Exchange.RESPOND, status, headers, body):
                await self._respond(status, headers, body)
                return None
            case (Exchange.START, status, headers):
                return await self._start(status, headers)
            case (Exchange.BLOCK,):
                await anyio.to_thread.run_sync(self._exchange.block)
            case _:
                await self._send_body(b"", more=False)
                return None
        return self._exchange.step()

    async def _wait(self, seconds: float | None) -> None:
        queue = LoopQueue.current()
        if seconds is None:
            # An acknowledgement: it comes with the next commit, whatever the client does.
            woken = await queue.wait(self._exchange.register, None)
        else:
            woken = await self._wait_live(queue, seconds)
        if isinstance(woken, CommitFailure):
            self._exchange.fail(woken)

    async def _wait_live(self, queue: LoopQueue, seconds: float) -> Woken:
        if self._app.shutting_down and not self._told:
            self._told = True
            return None
        if self._gone:
            return None
        woken: Woken = None
        with anyio.CancelScope() as self._waiting:
            self._app.live.add(self)
            try:
                woken = await queue.wait(self._exchange.register, seconds)
            finally:
                self._app.live.discard(self)
        self._waiting = None
        return woken

    # The request body.

    async def _read_body(self, limit: int) -> bool:
        """Read the body for the exchange; false when the server refused it for want of room."""
        if self._length is not None and self._length > limit:
            self._exchange.body_too_large(self._length)
            return True
        app = self._app
        pieces: list[bytes] = []
        size = 0
        try:
            while True:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                data = message.get("body", b"")
                size += len(data)
                app.upload_bytes += len(data)
                self._unread = bool(message.get("more_body", False))
                if size > limit:
                    self._exchange.body_too_large(None)
                    return True
                if app.upload_bytes > app.max_upload_bytes:
                    await self._overloaded()
                    return False
                if data:
                    pieces.append(data)
                if not self._unread:
                    self._exchange.body(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                    return True
        finally:
            app.upload_bytes -= size

    async def _overloaded(self) -> None:
        app = self._app
        status, headers, body = app.service.problem(
            503,
            "Too many uploads",
            f"Request bodies of {app.upload_bytes} bytes are being received at once and "
            f"{app.max_upload_bytes} are allowed; try again later.",
        )
        await self._respond(status, [*headers, (b"retry-after", b"1")], [body])

    # The response.

    async def _respond(
        self, status: int, headers: Sequence[tuple[bytes, bytes]], body: Sequence[Any]
    ) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        drain = self._unread and not self._expects
        if not body:
            last = b""
        elif len(body) == 1 and len(body[0]) <= ONE_SEND:
            last = bytes(body[0])
        else:
            last = await self._send_pieces(body)
        if drain:
            await self._send_body(last, more=True)
            await self._drain()
            last = b""
        await self._send_body(last, more=False)

    async def _send_pieces(self, body: Sequence[Any]) -> bytes:
        """Send all but the last piece, which is returned."""
        held = b""
        for part in body:
            view = memoryview(part)
            for start in range(0, len(view), PIECE):
                if held:
                    await self._send_body(held, more=True)
                held = bytes(view[start : start + PIECE])
        return held

    async def _start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> _Step:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        step = self._exchange.step()
        if step[0] == Exchange.WAIT:
            # Nothing to send yet: an empty piece makes servers send the head.
            await self._send_body(b"", more=True)
        return step

    async def _send_body(self, data: bytes, *, more: bool) -> None:
        message = {"type": "http.response.body", "body": data, "more_body": more}
        timeout = self._app.write_timeout
        if timeout is None:
            await self._send(message)
            return
        with anyio.move_on_after(timeout) as waiting:
            await self._send(message)
        if waiting.cancelled_caught:
            raise ClientGoneError

    async def _drain(self) -> None:
        """Read the rest of a refused body, within bounds, so that its sender gets to the answer."""
        left = DRAIN_BYTES
        with anyio.move_on_after(DRAIN_SECONDS):
            while left > 0:
                message = await self._receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))


def _body_of(scope: Scope) -> tuple[int | None, bool, bool]:
    """Declared length of the request's body, whether it may have one, whether it waits to be asked."""
    length: int | None = None
    chunked = expects = False
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = True
        elif name == b"expect":
            expects = True
    # HTTP/2 needs neither field to send one.
    undeclared = (
        length is None
        and scope["method"] in ("POST", "PUT", "PATCH")
        and not scope.get("http_version", "1.1").startswith("1")
    )
    return length, chunked or bool(length) or undeclared, expects
