"""`AsyncLogEngine`: the twin of `LogEngine` for trio and asyncio.

Nothing here blocks the event loop: waits go through the loop's completion queue, work that reads the
disk runs in a worker thread.
"""

from __future__ import annotations

import math
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final, Self, TypeVar, Unpack

import anyio
import anyio.lowlevel
import anyio.to_thread

from durastream import _limits, _native, errors
from durastream._loop import LoopQueue
from durastream._native import Offset
from durastream.engine import LIST_LIMIT, PAGE_BYTES, LogEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime, timedelta
    from types import TracebackType

    from typing_extensions import Buffer as BytesLike

    from durastream._native import (
        AppendResult,
        CreateResult,
        ListPage,
        Page,
        RecoveryReport,
        Retention,
        Stats,
        StreamInfo,
    )
    from durastream._shapes import Backup
    from durastream.engine import Durability, Limits, Producer

__all__ = ["AsyncLogEngine", "AsyncFollow", "AsyncListing"]

T = TypeVar("T")

SUBMITTED_ON_THE_LOOP: Final = 64 << 10
"""Bodies up to this size, in bytes, are validated on the event loop: it takes less than a thread does."""


class AsyncLogEngine:
    """An open log for trio and asyncio; the methods are those of `LogEngine`, to be awaited.

    Use it with `async with`, or call `open` and `close`. Several event loops in several threads may use
    one; `wrap` makes one of a `LogEngine` that somebody else closes. A cancelled append may or may not
    have been kept.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "sync",
        **limits: Unpack[Limits],
    ) -> None:
        self._path = os.fspath(path)
        self._durability = durability
        self._limits = limits
        self._engine: LogEngine | None = None
        self._owns = True
        self._turn = threading.Lock()
        """Held while the log is being opened or closed."""
        self._opened_for: threading.Event | None = None

    @classmethod
    def wrap(cls, engine: LogEngine) -> Self:
        """The twin of an open `LogEngine`. Closing the twin leaves the engine open."""
        twin = cls(engine.path)
        twin._engine = engine
        twin._owns = False
        return twin

    async def open(self) -> Self:
        """Open the log; recovery runs in a worker thread. Opens nothing when cancelled.

        Raises DirectoryInUse, DataDamaged, FormatVersion, OpenFailed.
        """
        given_up = threading.Event()
        try:
            await anyio.to_thread.run_sync(self._open, given_up)
        except BaseException:
            # asyncio's own cancellation goes through a shield and leaves the thread at work.
            given_up.set()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._undo, given_up)
            raise
        return self

    def _open(self, given_up: threading.Event) -> None:
        with self._turn:
            if self._engine is None and not given_up.is_set():
                self._engine = LogEngine(self._path, durability=self._durability, **self._limits)
                self._opened_for = given_up

    def _undo(self, given_up: threading.Event) -> None:
        with self._turn:
            if self._engine is not None and self._opened_for is given_up:
                self._engine.close()
                self._engine = None

    @property
    def engine(self) -> LogEngine:
        """The blocking twin. Raises EngineClosed before `open`."""
        if self._engine is None:
            raise errors.EngineClosed("the log is not open; use `async with` or `await log.open()`")
        return self._engine

    @property
    def _native(self) -> _native.Engine:
        return self.engine._native

    @property
    def path(self) -> str:
        """The directory, as given."""
        return self._path

    @property
    def closed(self) -> bool:
        """Whether the log is closed, or not yet open."""
        return self._engine is None or self._engine.closed

    @property
    def recovery(self) -> RecoveryReport:
        """What recovery found when the log was opened."""
        return self.engine.recovery

    async def create(
        self,
        path: str,
        *,
        content_type: str | None = None,
        ttl: timedelta | float | None = None,
        expires_at: datetime | None = None,
        closed: bool = False,
        body: BytesLike | None = None,
        retention: Retention | None = None,
    ) -> CreateResult:
        """See `LogEngine.create`."""
        moment = _limits.moment(expires_at)
        submit = partial(
            self._native.create, path, content_type, ttl, moment, closed, body, retention
        )
        return await _durable(await _submitted(submit, body))

    async def append(
        self,
        path: str,
        data: BytesLike,
        *,
        producer: Producer | None = None,
        stream_seq: str | BytesLike | None = None,
        close: bool = False,
        if_tail: Offset | str | None = None,
        content_type: str | None = None,
    ) -> AppendResult:
        """See `LogEngine.append`."""
        submit = partial(
            self._native.append,
            path,
            data,
            producer,
            stream_seq,
            close,
            if_tail,
            content_type,
        )
        return await _durable(await _submitted(submit, data))

    async def append_many(
        self,
        appends: Iterable[tuple[str, BytesLike] | tuple[str, BytesLike, Producer | None]],
    ) -> list[AppendResult]:
        """See `LogEngine.append_many`."""
        return await _durable(self._native.append_many(appends))

    async def close_stream(
        self, path: str, body: BytesLike | None = None, *, producer: Producer | None = None
    ) -> AppendResult:
        """See `LogEngine.close_stream`."""
        submit = partial(self._native.append, path, body, producer, None, True, None, None)
        return await _durable(await _submitted(submit, body))

    async def read(
        self,
        path: str,
        offset: Offset | str = Offset.START,
        *,
        max_bytes: int = PAGE_BYTES,
    ) -> Page:
        """See `LogEngine.read`."""
        reader = await _durable(self._native.reader(path))
        return await _page(reader, offset, max_bytes)

    def follow(
        self,
        path: str,
        offset: Offset | str = Offset.START,
        *,
        timeout: float | None = None,
        max_bytes: int = PAGE_BYTES,
    ) -> AsyncFollow:
        """See `LogEngine.follow`; to be used with `async for`."""
        return AsyncFollow(self._native, path, offset, timeout, max_bytes)

    async def head(self, path: str) -> StreamInfo:
        """See `LogEngine.head`."""
        return await _durable(self._native.head(path))

    async def exists(self, path: str) -> bool:
        """See `LogEngine.exists`."""
        try:
            await self.head(path)
        except (errors.StreamNotFound, errors.StreamDeleted):
            return False
        return True

    def list(
        self, prefix: str = "", *, cursor: str | None = None, limit: int | None = None
    ) -> AsyncListing:
        """See `LogEngine.list`; to be used with `async for`."""
        return AsyncListing(self, prefix, cursor, limit)

    async def list_page(
        self, prefix: str = "", *, cursor: str | None = None, limit: int = LIST_LIMIT
    ) -> ListPage:
        """See `LogEngine.list_page`."""
        await anyio.lowlevel.checkpoint()
        return self._native.list(prefix, cursor, limit)

    async def fork(
        self,
        source: str,
        target: str,
        offset: Offset | str | None = None,
        sub_offset: int = 0,
        *,
        content_type: str | None = None,
        ttl: timedelta | float | None = None,
        expires_at: datetime | None = None,
        closed: bool = False,
        body: BytesLike | None = None,
        retention: Retention | None = None,
    ) -> CreateResult:
        """See `LogEngine.fork`."""
        native = self._native
        moment = _limits.moment(expires_at)

        def decide() -> _native.Pending[CreateResult]:
            return native.fork(
                source,
                target,
                offset,
                sub_offset,
                content_type,
                ttl,
                moment,
                closed,
                body,
                retention,
            )

        # The append at an offset is looked up in the source, maybe on disk.
        pending = decide() if offset is None else await anyio.to_thread.run_sync(decide)
        return await _durable(pending)

    async def delete(self, path: str) -> None:
        """See `LogEngine.delete`."""
        await _durable(self._native.delete(path))

    async def trim(self, path: str, before: Offset | str) -> Offset:
        """See `LogEngine.trim`."""
        # The append there is looked up, maybe on disk.
        return await _durable(await anyio.to_thread.run_sync(self._native.trim, path, before))

    async def configure(self, path: str, *, retention: Retention | None) -> None:
        """See `LogEngine.configure`."""
        await _durable(self._native.configure(path, retention))

    def stats(self) -> Stats:
        """See `LogEngine.stats`; does not wait."""
        return self._native.stats()

    async def checkpoint(self) -> int:
        """See `LogEngine.checkpoint`."""
        return await anyio.to_thread.run_sync(self.engine.checkpoint)

    async def compact(self) -> None:
        """See `LogEngine.compact`. Runs in a worker thread; cancelling waits for it."""
        await anyio.to_thread.run_sync(self.engine.compact)

    async def backup(self, dest: str | os.PathLike[str]) -> Backup:
        """See `LogEngine.backup`. Runs in a worker thread; cancelling waits for it."""
        return await anyio.to_thread.run_sync(self.engine.backup, dest)

    async def close(self) -> None:
        """See `LogEngine.close`. Completes even when cancelled."""
        if self._owns:
            with anyio.CancelScope(shield=True):
                try:
                    await anyio.to_thread.run_sync(self._close)
                except anyio.get_cancelled_exc_class():
                    # asyncio's own cancellation goes through a shield; the second call waits for the first.
                    await anyio.to_thread.run_sync(self._close)
                    raise

    def _close(self) -> None:
        with self._turn:
            if self._engine is not None:
                self._engine.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncLogEngine {self._path!r}, {'closed' if self.closed else 'open'}>"


class AsyncListing:
    """Streams of a log, page by page; made by `AsyncLogEngine.list`. It may be left unfinished."""

    def __init__(
        self, log: AsyncLogEngine, prefix: str, cursor: str | None, limit: int | None
    ) -> None:
        self._log = log
        self._prefix = prefix
        self._cursor = cursor
        self._left: float = math.inf if limit is None else limit
        self._streams: Iterator[StreamInfo] = iter(())
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamInfo:
        while True:
            info = next(self._streams, None)
            if info is not None:
                return info
            if self._ended or self._left <= 0:
                raise StopAsyncIteration
            size = int(min(self._left, LIST_LIMIT))
            page = await self._log.list_page(self._prefix, cursor=self._cursor, limit=size)
            self._streams = iter(page.streams)
            self._cursor = page.cursor
            self._ended = page.cursor is None
            self._left -= len(page.streams)


class AsyncFollow:
    """Pages of one stream as they come; made by `AsyncLogEngine.follow`."""

    def __init__(
        self,
        native: _native.Engine,
        path: str,
        offset: Offset | str,
        timeout: float | None,
        max_bytes: int,
    ) -> None:
        self._native = native
        self._path = path
        self._offset = offset
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._reader: _native.Reader | None = None
        self._ended = False

    @property
    def offset(self) -> Offset | str:
        """Where the next page begins: behind the last one given, or as given at first."""
        return self._offset

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page:
        if self._ended:
            raise StopAsyncIteration
        if self._reader is None:
            self._reader = await _durable(self._native.reader(self._path))
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            page = await _page(self._reader, self._offset, self._max_bytes)
            position = self._offset = page.next_offset
            if page or page.closed:
                self._ended = page.closed
                return page
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not await _news(self._native, self._reader, position, left):
                raise StopAsyncIteration


async def _submitted(
    submit: Callable[[], _native.Pending[T]], body: BytesLike | None
) -> _native.Pending[T]:
    """What `submit` answers; off the loop when validating a large body would hold it up."""
    if body is not None and memoryview(body).nbytes > SUBMITTED_ON_THE_LOOP:
        return await anyio.to_thread.run_sync(submit)
    return submit()


async def _durable(pending: _native.Pending[T]) -> T:
    """The outcome of an operation, once it may be told."""
    if pending.ready:
        await anyio.lowlevel.checkpoint()
    else:
        failure = await LoopQueue.current().wait(pending.register, None)
        if isinstance(failure, _native.CommitFailure):
            raise failure.exception()
    return pending.result()


async def _page(reader: _native.Reader, offset: Offset | str, max_bytes: int) -> Page:
    """A page; off the loop when the disk must be read."""
    if reader.is_hot(offset, max_bytes):
        await anyio.lowlevel.checkpoint()
        return reader.page(offset, max_bytes)
    return await anyio.to_thread.run_sync(reader.page, offset, max_bytes)


async def _news(
    native: _native.Engine, reader: _native.Reader, position: Offset, timeout: float | None
) -> bool:
    """Wait for news behind `position`; `False` at the timeout.

    Raises LogFailed and EngineClosed when there will be none.
    """
    watch = reader.watch(position)
    try:
        woken = await LoopQueue.current().wait(watch.register, timeout)
    finally:
        watch.close()
    if native.closed:
        raise errors.EngineClosed("the log is closed")
    if isinstance(woken, _native.CommitFailure):
        raise woken.exception()
    return woken is not LoopQueue.TIMED_OUT
