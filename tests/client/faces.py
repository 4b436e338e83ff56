# ruff: noqa: ANN401  (what passes through here is of either twin)
"""The client's twins behind one face, so that each test runs against every one of them."""

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import anyio.to_thread

from durastream.client import (
    AsyncDurableStream,
    AsyncIdempotentProducer,
    DurableStream,
    IdempotentProducer,
    Retry,
    astream,
    stream,
)

# Failures are injected one at a time: tests need not wait long for the next attempt.
QUICK = Retry(max_retries=8, initial_delay=0.01, max_delay=0.2, deadline=20)

_END = object()
_ITERATORS = {"iter_chunks", "iter_bytes", "iter_text", "iter_json"}
_PLAIN = {
    "url", "offset", "cursor", "up_to_date", "closed", "content_type", "status", "epoch", "next_seq", "pending",
    "acknowledged",
}  # fmt: skip


class Face(Protocol):
    """What a test needs of a client."""

    name: str

    def handle(self, url: str, **options: Any) -> Any:
        """A `DurableStream` whose methods are awaited."""

    def read(self, url: str, **options: Any) -> contextlib.AbstractAsyncContextManager[Any]:
        """A `StreamResponse` whose methods are awaited and whose iterators are asynchronous."""

    def producer(
        self, handle: Any, *arguments: Any, **options: Any
    ) -> contextlib.AbstractAsyncContextManager[Any]:
        """An `IdempotentProducer` whose methods are awaited."""


class Threaded:
    """An object of the synchronous twin; each call runs in a thread."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name in _PLAIN:
            return getattr(self.inner, name)
        method = getattr(self.inner, name)
        if name == "stream":
            return functools.partial(_opened, method)
        if name in _ITERATORS:
            return functools.partial(_iterate, method)

        async def call(*arguments: Any, **options: Any) -> Any:
            answer = await in_thread(method, *arguments, **options)
            return Threaded(answer) if isinstance(answer, DurableStream) else answer

        return call


@contextlib.asynccontextmanager
async def _opened(method: Callable[..., Any], **options: Any) -> AsyncIterator[Threaded]:
    response = await in_thread(method, **options)
    try:
        yield Threaded(response)
    finally:
        response.cancel()


async def in_thread(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return await anyio.to_thread.run_sync(
        functools.partial(function, *arguments, **options), abandon_on_cancel=True
    )


async def _iterate(method: Callable[[], Iterator[Any]]) -> AsyncIterator[Any]:
    iterator = method()
    while (item := await in_thread(next, iterator, _END)) is not _END:
        yield item


class SyncFace:
    """`durastream.client` for threads."""

    name = "sync"

    def handle(self, url: str, **options: Any) -> Any:
        return Threaded(DurableStream(url, **{"retry": QUICK, **options}))

    @contextlib.asynccontextmanager
    async def read(self, url: str, **options: Any) -> AsyncIterator[Any]:
        opening = functools.partial(stream, url)
        async with _opened(opening, **{"retry": QUICK, **options}) as response:
            yield response

    @contextlib.asynccontextmanager
    async def producer(self, handle: Any, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        producer = IdempotentProducer(handle.inner, *arguments, **options)
        try:
            yield Threaded(producer)
        except BaseException as error:
            await in_thread(producer.__exit__, type(error), error, error.__traceback__)
            raise
        await in_thread(producer.__exit__, None, None, None)


class AsyncFace:
    """`durastream.client.aio`."""

    name = "async"

    def __init__(self) -> None:
        self.handles: list[AsyncDurableStream] = []

    def handle(self, url: str, **options: Any) -> Any:
        self.handles.append(AsyncDurableStream(url, **{"retry": QUICK, **options}))
        return self.handles[-1]

    def read(self, url: str, **options: Any) -> contextlib.AbstractAsyncContextManager[Any]:
        return astream(url, **{"retry": QUICK, **options})

    def producer(
        self, handle: Any, *arguments: Any, **options: Any
    ) -> contextlib.AbstractAsyncContextManager[Any]:
        return AsyncIdempotentProducer(handle, *arguments, **options)
