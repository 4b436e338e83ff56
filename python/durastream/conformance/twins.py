"""The two clients behind one asynchronous face."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any, Protocol, Self

import anyio
import anyio.to_thread

from durastream.client import (
    AsyncDurableStream,
    AsyncIdempotentProducer,
    DurableStream,
    IdempotentProducer,
    Retry,
    StreamResponse,
    astream,
    stream,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from durastream.client import AsyncStreamResponse, Chunk

# Short, since the suite waits 30 s for a result and injects 20 failures in a row.
RETRY = Retry(max_retries=6, max_delay=2.0, deadline=20.0, append_after_500=True)


class Collector(Protocol):
    """What a read is to bring back."""

    options: dict[str, Any]
    live: bool
    timeout: float

    def began(self, response: StreamResponse | AsyncStreamResponse) -> None:
        """The first answer is there."""

    def whole(self, data: bytes) -> None:
        """Everything up to the tail."""

    def chunk(self, chunk: Chunk) -> bool:
        """One chunk; whether that is enough."""


class SyncTwin:
    """The client for threads: each call runs in one."""

    name = "durastream"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def stream(self, url: str, **options: Any) -> Any:  # noqa: ANN401  (either twin's)
        """A handle whose methods can be awaited."""
        return _Threaded(DurableStream(url, retry=RETRY, **options))

    async def producer(self, handle: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """A producer whose methods can be awaited."""
        return _Threaded(IdempotentProducer(handle.inner, *arguments, **options))

    async def read(self, url: str, collector: Collector) -> None:
        """Read until the collector has enough."""
        await anyio.to_thread.run_sync(self._read, url, collector)

    def _read(self, url: str, collector: Collector) -> None:
        with stream(url, retry=RETRY, **collector.options) as response:
            collector.began(response)
            if not collector.live:
                collector.whole(response.read())
                return
            timer = threading.Timer(collector.timeout, response.cancel)
            timer.start()
            with contextlib.closing(response.iter_chunks()) as chunks:  # type: ignore[type-var]
                for chunk in chunks:
                    if collector.chunk(chunk):
                        break
            timer.cancel()


class _Threaded:
    def __init__(self, inner: Any) -> None:  # noqa: ANN401
        self.inner = inner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.inner, name)

        async def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            return await anyio.to_thread.run_sync(functools.partial(method, *arguments, **options))

        return call


class AsyncTwin:
    """The client for event loops."""

    name = "durastream-async"

    def __init__(self) -> None:
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def stream(self, url: str, **options: Any) -> AsyncDurableStream:  # noqa: ANN401
        """A handle."""
        handle = AsyncDurableStream(url, retry=RETRY, **options)
        self._open.push_async_callback(handle.aclose)
        return handle

    async def producer(
        self,
        handle: AsyncDurableStream,
        *arguments: Any,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> AsyncIdempotentProducer:
        """A producer; it stays entered until the adapter ends."""
        producer = AsyncIdempotentProducer(handle, *arguments, **options)
        return await self._open.enter_async_context(producer)

    async def read(self, url: str, collector: Collector) -> None:
        """Read until the collector has enough."""
        async with astream(url, retry=RETRY, **collector.options) as response:
            collector.began(response)
            if not collector.live:
                collector.whole(await response.read())
                return
            with anyio.move_on_after(collector.timeout):
                async for chunk in response.iter_chunks():
                    if collector.chunk(chunk):
                        break
