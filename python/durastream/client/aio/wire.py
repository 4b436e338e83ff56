"""Steps performed on httpx by the running task, on trio or asyncio."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
import anyio.lowlevel
import httpx

from durastream.client.core import beneath, clients
from durastream.client.core.athand import AtHand, at_hand
from durastream.client.core.steps import Answer, Broken, Current, Operation, Request, Step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from durastream.client.core.reader import Reading
    from durastream.client.results import Chunk

T = TypeVar("T")

CLOSE_SECONDS = 2.0


def own_client() -> httpx.AsyncClient:
    """A client for those who bring none. It belongs to the event loop that it is first used in."""
    return httpx.AsyncClient(**clients.client_options())


async def close_client(client: httpx.AsyncClient) -> None:
    """Close a client of our own, also while this task is being cancelled."""
    with anyio.move_on_after(CLOSE_SECONDS, shield=True):
        await client.aclose()


class AsyncWire:
    """One operation's way to the server: at most one answer is open at a time."""

    def __init__(self, client: httpx.AsyncClient, *, own: bool, timeout: float | None) -> None:
        self._client = client
        self._timeout = clients.timeouts(client, own, timeout)
        self._response: httpx.Response | None = None
        self._url = httpx.URL()
        self._pieces: AsyncIterator[bytes] | None = None
        self._body: beneath.Body | None = None
        self._at_hand: AtHand | None = None

    async def send(self, request: Request) -> Answer:
        """Send it and read the whole answer."""
        built = clients.build(self._client, request, self._timeout)
        try:
            response = await self._client.send(built)
        except BaseException as error:
            if (meaning := clients.lost(self._client, built.url, error)) is None:
                raise
            raise meaning from error
        return Answer(response.status_code, response.headers, response.content)

    async def begin(self, request: Request) -> Answer:
        """Send it and read the head of the answer."""
        await self.shut()
        built = clients.build(self._client, request, self._timeout)
        try:
            response = await self._client.send(built, stream=True)
        except BaseException as error:
            if (meaning := clients.lost(self._client, built.url, error)) is None:
                raise
            raise meaning from error
        self._response = response
        self._url = built.url
        # Undecoded bytes are handed through without httpx's second look at each piece.
        decoded = "content-encoding" in response.headers or response.is_stream_consumed
        self._pieces = response.aiter_bytes() if decoded else response.aiter_raw()
        self._body = None if decoded else beneath.body(response, beneath.LOOP_READ_SIZE)
        self._at_hand = None if self._body is None else at_hand(self._body.stream)
        return Answer(response.status_code, response.headers)

    async def piece(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        if self._pieces is None:
            return b""
        try:
            if self._body is not None:
                return await self._piece_of(self._body, self._pieces)
            async for data in self._pieces:
                if data:
                    return data
        except Exception as error:
            if (meaning := clients.lost(self._client, self._url, error)) is None:
                raise
            raise meaning from error
        return b""

    async def lent(self) -> bytes | memoryview:
        """As `piece`; what it gives is gone at the next step."""
        if self._body is not None and self._at_hand is not None:
            room = self._body.room()
            if room is not None:
                await self._turn_of_others(self._at_hand)
                if count := self._at_hand.read_into(room):
                    return self._body.took(room, count)
        return await self.piece()

    async def _turn_of_others(self, at_hand: AtHand) -> None:
        if at_hand.spent:
            at_hand.spent = False
            await anyio.lowlevel.checkpoint()

    async def _piece_of(self, body: beneath.Body, pieces: AsyncIterator[bytes]) -> bytes:
        data, body.first = body.first, b""
        while not data and not body.ended:
            found = b""
            if self._at_hand is not None:
                await self._turn_of_others(self._at_hand)
                found = self._at_hand.read(body.wanted)
            data = body.feed(found or await body.stream.read(body.wanted, body.timeout))
        if not data:
            self._body = None
            body.finish()
            async for _ in pieces:
                pass
        return data

    async def rest(self) -> bytes:
        """The rest of the body."""
        found = []
        while data := await self.piece():
            found.append(data)
        return b"".join(found)

    async def shut(self) -> None:
        """Give the connection back, also while this task is being cancelled."""
        response, self._response = self._response, None
        pieces, self._pieces = self._pieces, None
        body, self._body = self._body, None
        if response is None:
            return
        if response.http_version == "HTTP/2" and not response.is_closed:
            beneath.retire(self._client, self._url)
        if pieces is not None and body is None and not response.is_closed:
            await _unwind(pieces)
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await response.aclose()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)

    async def current(self, headers: Mapping[str, Any], params: Mapping[str, Any]) -> Current:
        """Ask the callables among the values."""
        return Current(
            {name: await _value(value) for name, value in headers.items()},
            {name: await _value(value) for name, value in params.items()},
        )

    async def ask(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401
        """Call a function of the caller's, and await it if it wants that."""
        answer = function(*arguments)
        return await answer if inspect.isawaitable(answer) else answer


async def _unwind(pieces: AsyncIterator[bytes]) -> None:
    """End the generators that httpx and httpcore have stacked here, each of which holds the next.

    Closing the outermost would leave the others to the garbage collector, which cannot await. A cancellation
    at the bottom runs through all of them, and they give the connection back as it does.
    """
    with anyio.CancelScope(shield=True) as scope:
        scope.cancel()
        with contextlib.suppress(httpx.RequestError, httpx.StreamError):
            async for _ in pieces:  # bytes that had arrived already
                pass


async def _value(value: Any) -> str:  # noqa: ANN401  (text, or a function of the caller's)
    if callable(value):
        value = value()
        if inspect.isawaitable(value):
            value = await value
    return cast("str", value)


async def perform(operation: Operation[T], wire: AsyncWire) -> T:
    """Run an operation to its end."""
    try:
        step = next(operation)
        while True:
            try:
                result = await getattr(wire, step.name)(*step.arguments)
            except Broken as broken:
                step = operation.throw(broken)
            else:
                step = operation.send(result)
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        operation.close()


class AsyncReel:
    """A reading operation, advanced from one list of chunks to the next."""

    def __init__(self, reading: Reading, wire: AsyncWire) -> None:
        self._reading = reading
        self._wire = wire
        self._interrupted: Step | None = None
        self.ended = False

    async def advance(self) -> list[Chunk] | None:
        """The next chunks; `None` at the end. Cancelled, it gives its connection back and can go on."""
        if self.ended:
            return None
        try:
            step = self._resumed()
            while not isinstance(step, list):
                self._interrupted = step
                try:
                    result = await getattr(self._wire, step.name)(*step.arguments)
                except Broken as broken:
                    step = self._reading.throw(broken)
                else:
                    step = self._reading.send(result)
        except StopIteration:
            await self.end()
            return None
        except Exception:
            await self.end()
            raise
        except BaseException:
            await self._wire.shut()
            raise
        self._interrupted = None
        return step

    def _resumed(self) -> Step | list[Chunk]:
        step, self._interrupted = self._interrupted, None
        if step is None or step.name in ("sleep", "ask"):
            return self._reading.send(None)
        return self._reading.throw(Broken("interrupted", sent=True, interrupted=True))

    async def end(self) -> None:
        """Give everything back."""
        self.ended = True
        self._reading.close()
        await self._wire.shut()
