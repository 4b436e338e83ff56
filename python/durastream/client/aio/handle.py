"""`AsyncDurableStream`: one stream at a server, on trio or asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

from anyio.lowlevel import RunVar

from durastream.client.aio.batching import AsyncBatcher
from durastream.client.aio.response import Opening, opened
from durastream.client.aio.wire import AsyncWire, close_client, own_client, perform
from durastream.client.core.commands import Commands
from durastream.client.core.delivery import Delivery
from durastream.client.core.reader import Reader
from durastream.client.core.target import Target
from durastream.client.options import Retry

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta
    from types import TracebackType

    import httpx

    from durastream.client.core.ledger import Ledger
    from durastream.client.core.steps import Operation
    from durastream.client.options import AsyncOnError, AsyncValues, Live, Message
    from durastream.client.results import Appended, Created, StreamHead

T = TypeVar("T")


class AsyncDurableStream:
    """As `DurableStream`, for event loops; the methods are documented there.

    Without a `client` it makes one at its first request in an event loop, for that loop: leave the handle as
    a context manager, or `aclose` it, to give its connections back. A client passed in belongs to one loop.
    """

    def __init__(
        self,
        url: str,
        *,
        content_type: str | None = None,
        headers: AsyncValues | None = None,
        params: AsyncValues | None = None,
        client: httpx.AsyncClient | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        batching: bool = False,
    ) -> None:
        self._commands = Commands(Target.of(url, headers, params), content_type, retry or Retry())
        self._client = client
        # One for each event loop: connections cannot move to another.
        self._own: RunVar[httpx.AsyncClient | None] = RunVar("durastream.client", None)
        self._timeout = timeout
        self._batcher = AsyncBatcher(self._send_batch) if batching else None

    @property
    def url(self) -> str:
        """The stream's URL, without password and query."""
        return self._commands.target.shown

    @property
    def content_type(self) -> str | None:
        """The stream's content type, once it is known."""
        return self._commands.content_type

    async def create(
        self,
        content_type: str | None = None,
        *,
        ttl: int | timedelta | None = None,
        expires_at: str | datetime | None = None,
        body: Message | None = None,
        closed: bool = False,
    ) -> Created:
        """Create the stream, or ensure that it exists with this configuration (section 5.1)."""
        operation = self._commands.create(
            content_type, ttl=ttl, expires_at=expires_at, body=body, closed=closed
        )
        return await self._perform(operation)

    async def connect(self) -> StreamHead:
        """Check that the stream exists, and learn its content type."""
        return await self.head()

    async def head(self) -> StreamHead:
        """Tail, content type, expiry and closure (section 5.5)."""
        return await self._perform(self._commands.head())

    async def append(
        self, message: Message, *, seq: str | None = None, if_match: str | None = None
    ) -> Appended:
        """Append one message (section 5.2)."""
        if self._batcher is not None and seq is None and if_match is None:
            kind = await self._perform(self._commands.known_type())
            return await self._batcher.append(message, kind)
        return await self._perform(self._commands.append([message], seq=seq, if_match=if_match))

    async def append_many(
        self, messages: Iterable[Message], *, seq: str | None = None, if_match: str | None = None
    ) -> Appended:
        """Append several messages in one request: all of them or none."""
        return await self._perform(self._commands.append(messages, seq=seq, if_match=if_match))

    async def close(self, final: Message | None = None) -> Appended:
        """Close the stream for good, with a last message or without (section 5.3)."""
        return await self._perform(self._commands.close(final))

    async def next_producer_seq(self, producer: str, *, epoch: int = 0) -> int:
        """Which sequence number the server expects next of a producer with this id and epoch."""
        return await self._perform(self._commands.next_producer_seq(producer, epoch))

    async def delete(self) -> None:
        """Delete the stream (section 5.4)."""
        await self._perform(self._commands.delete())

    async def fork(
        self,
        to: str,
        *,
        offset: str | None = None,
        sub_offset: int | None = None,
        ttl: int | timedelta | None = None,
        expires_at: str | datetime | None = None,
    ) -> AsyncDurableStream:
        """Create a stream at `to` that shares this one's past (section 4.2). It shares a `client`, too.

        `to` is a URL, a path from the server's root, or a name without `/`, beside this stream; see
        `durastream.client.DurableStream.fork`. Raises ValueError.
        """
        operation = self._commands.fork(
            to, offset=offset, sub_offset=sub_offset, ttl=ttl, expires_at=expires_at
        )
        target = await self._perform(operation)
        return AsyncDurableStream(
            target.url,
            content_type=self.content_type,
            headers=target.headers,
            params=target.params,
            client=self._client,
            retry=self._commands.retry,
            timeout=self._timeout,
            batching=self._batcher is not None,
        )

    def stream(
        self,
        *,
        offset: str = "-1",
        live: Live = False,
        on_error: AsyncOnError | None = None,
        stall_timeout: float = 75.0,
    ) -> Opening:
        """Read it; see `durastream.client.astream`."""
        target = self._commands.target
        reader = Reader(
            Target.of(target.url, target.headers, target.params),
            offset,
            live,
            self._commands.retry,
            stall_timeout=stall_timeout,
            on_error=on_error,
        )
        own = self._client is None
        return Opening(lambda: opened(reader, self._used(), self._timeout, own=own).__await__())

    async def aclose(self) -> None:
        """Give back the connections of this event loop, unless the client was passed in."""
        own = self._own.get()
        if own is not None:
            self._own.set(None)
            await close_client(own)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncDurableStream {self.url}>"

    def _used(self) -> httpx.AsyncClient:
        if self._client is not None:
            return self._client
        own = self._own.get()
        if own is None:
            own = own_client()
            self._own.set(own)
        return own

    def _wire(self) -> AsyncWire:
        return AsyncWire(self._used(), own=self._client is None, timeout=self._timeout)

    async def _perform(self, operation: Operation[T]) -> T:
        return await perform(operation, self._wire())

    async def _send_batch(self, payloads: list[bytes], kind: str) -> Appended:
        return await self._perform(self._commands.append_encoded(payloads, kind))

    async def _for_producer(self, ledger: Ledger) -> tuple[str, Delivery]:
        """What an `AsyncIdempotentProducer` needs to send by itself."""
        kind = await self._perform(self._commands.known_type())
        return kind, Delivery(ledger, self._commands.target, kind, self._commands.retry)
