"""`astream` and `AsyncStreamResponse`: reading a stream on trio or asyncio."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from durastream._native import Relay
from durastream.client.aio.wire import AsyncReel, AsyncWire, close_client, own_client
from durastream.client.core.reader import Reader
from durastream.client.core.target import Target
from durastream.client.core.view import View, text_decoder
from durastream.client.options import Retry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator
    from types import TracebackType

    import httpx

    from durastream.client.options import AsyncOnError, AsyncValues, Live
    from durastream.client.results import Chunk

T = TypeVar("T")


class _Iterator(Generic[T]):
    """Hands out chunk after chunk in one way. Not an async generator: those outlive a `break` unfinished."""

    def __init__(
        self, response: AsyncStreamResponse, hand: Callable[[list[Chunk]], Iterator[T]]
    ) -> None:
        self._response = response
        self._hand = hand
        self._current: Iterator[T] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            try:
                for item in self._current:
                    return item
            except Exception:  # not JSON, not UTF-8: going on would leave out the rest of the page
                await self._response.cancel()
                raise
            chunks = await self._response._next()
            if chunks is None:
                raise StopAsyncIteration
            self._current = self._hand(chunks)


class _Lists:
    """What a relay of messages is filled with."""

    def __init__(self, response: AsyncStreamResponse) -> None:
        self._response = response
        self._current: Iterator[list[Any]] = iter(())

    async def refill(self, relay: Relay) -> Any:  # noqa: ANN401  (any JSON value)
        while True:
            try:
                for messages in self._current:
                    if messages:
                        relay.fill(messages)
                        del messages
                        return await anext(relay)
            except Exception:  # not JSON: going on would leave out the rest of the page
                await self._response.cancel()
                raise
            chunks = await self._response._next()
            if chunks is None:
                raise StopAsyncIteration
            self._current = self._response._hand_lists(chunks)


class AsyncStreamResponse(View):
    """As `StreamResponse`, for event loops. Leaving it as a context manager gives the connection back.

    A wait that is cancelled (a timeout around `anext`, say) loses nothing: the next one goes on from there.
    """

    def __init__(self, reader: Reader, wire: AsyncWire, own: httpx.AsyncClient | None) -> None:
        super().__init__(reader)
        self._reel = AsyncReel(reader.run(), wire)
        self._own = own

    async def _next(self) -> list[Chunk] | None:
        try:
            chunks = await self._reel.advance()
        except Exception:
            await self.cancel()
            raise
        if chunks is None:
            await self.cancel()
        return chunks

    def iter_chunks(self) -> AsyncIterator[Chunk]:
        """Pages with their positions. Save `chunk.offset` with what was made of it: exactly once."""
        self._take("iter_chunks")
        return _Iterator(self, self._hand_chunks)

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """The stream's bytes, in pieces of no particular size."""
        self._take("iter_bytes", piecewise=True)
        return _Iterator(self, self._hand_bytes)

    def iter_text(self) -> AsyncIterator[str]:
        """The stream's bytes as UTF-8, never within a character."""
        self._take("iter_text", piecewise=True)
        decoder = text_decoder()
        return _Iterator(self, lambda chunks: self._hand_text(chunks, decoder))

    def iter_json(self) -> AsyncIterator[Any]:
        """The messages of a JSON stream, one by one; `offset` moves with the last message of each page."""
        self._take_json("iter_json")
        return Relay(_Lists(self).refill)

    async def read(self) -> bytes:
        """Everything: up to the tail, or, live, until the stream is closed. JSON comes as one array."""
        self._take("read")
        pages: list[bytes] = []
        while (chunks := await self._next()) is not None:
            pages.extend(chunk.data for chunk in self._hand_chunks(chunks))
        return self._whole(pages)

    async def text(self) -> str:
        """Everything, as UTF-8."""
        return (await self.read()).decode()

    async def json(self) -> list[Any]:
        """Every message of a JSON stream."""
        self._take_json("json")
        messages: list[Any] = []
        while (chunks := await self._next()) is not None:
            for found in self._hand_lists(chunks):
                messages.extend(found)
        return messages

    async def cancel(self) -> None:
        """End the iteration and give the connection back. `offset` stays valid."""
        await self._reel.end()
        own, self._own = self._own, None
        if own is not None:
            await close_client(own)

    def __del__(self) -> None:
        reel = getattr(self, "_reel", None)
        if reel is not None and not reel.ended:
            # Its connection cannot be given back from here, where nothing can be awaited.
            warnings.warn(
                f"{self!r} was neither read to its end nor left", ResourceWarning, 2, self
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.cancel()


class Opening:
    """`await` it for the response, or enter it with `async with`."""

    def __init__(self, open_it: Callable[[], Generator[Any, None, AsyncStreamResponse]]) -> None:
        self._open = open_it
        self._response: AsyncStreamResponse | None = None

    def __await__(self) -> Generator[Any, None, AsyncStreamResponse]:
        return self._open()

    async def __aenter__(self) -> AsyncStreamResponse:
        self._response = await self
        return self._response

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._response is not None:
            await self._response.cancel()


async def opened(
    reader: Reader, client: httpx.AsyncClient | None, timeout: float | None, *, own: bool
) -> AsyncStreamResponse:
    """A response at the head of its first answer."""
    mine = own_client() if client is None else None
    used = mine or client
    assert used is not None
    response = AsyncStreamResponse(reader, AsyncWire(used, own=own, timeout=timeout), mine)
    try:
        await response._next()
    except BaseException:
        await response.cancel()
        raise
    return response


def astream(
    url: str,
    *,
    offset: str = "-1",
    live: Live = False,
    headers: AsyncValues | None = None,
    params: AsyncValues | None = None,
    on_error: AsyncOnError | None = None,
    client: httpx.AsyncClient | None = None,
    retry: Retry | None = None,
    timeout: float | None = None,
    stall_timeout: float = 75.0,
) -> Opening:
    """Read a stream; see `durastream.client.stream`. Callables may be coroutine functions.

    `async with astream(url) as response: ...`, or `response = await astream(url)`.
    """
    target = Target.of(url, headers, params)
    reader = Reader(
        target, offset, live, retry or Retry(), stall_timeout=stall_timeout, on_error=on_error
    )
    return Opening(lambda: opened(reader, client, timeout, own=client is None).__await__())
