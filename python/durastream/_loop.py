"""The loop's side of a completion queue, for trio and asyncio alike.

Each running event loop has one `LoopQueue`. A wait registers a token that is never used again, so a
wake that comes after its wait was cancelled finds nobody and is dropped.
"""

from __future__ import annotations

import abc
import asyncio
import enum
import itertools
import sys
import weakref
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias

from durastream._native import CompletionQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from durastream._native import CommitFailure

    Register: TypeAlias = Callable[[CompletionQueue, int], None]


class TimedOut(enum.Enum):
    """What a wait answers at its timeout."""

    TIMED_OUT = enum.auto()


Woken: TypeAlias = "CommitFailure | Literal[TimedOut.TIMED_OUT] | None"


class LoopQueue(abc.ABC):
    """The completion queue of one event loop."""

    TIMED_OUT: Final = TimedOut.TIMED_OUT

    _of_asyncio: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncioQueue]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self) -> None:
        self._queue = CompletionQueue()
        self._tokens = itertools.count(1)

    @classmethod
    def current(cls) -> LoopQueue:
        """The queue of the running event loop; made on first use, ended with the loop.

        Raises RuntimeError outside of trio and asyncio.
        """
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_task():
            from durastream._loop_trio import TrioQueue  # noqa: PLC0415  (only where trio runs anyway)

            return TrioQueue.current_of_run()
        return AsyncioQueue.current_of_loop()

    @abc.abstractmethod
    async def wait(self, register: Register, timeout: float | None) -> Woken:
        """Register a fresh token and resume at its wake, or after `timeout` seconds.

        Returns `None` or the failure that the wake carries, or `TIMED_OUT`. Cancellation withdraws
        the token.
        """


class AsyncioQueue(LoopQueue):
    """The queue of an asyncio loop: the loop's own reader callback drains it.

    Holds no reference to the loop, so that it goes when the loop goes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[int, asyncio.Future[Woken]] = {}

    @classmethod
    def current_of_loop(cls) -> AsyncioQueue:
        loop = asyncio.get_running_loop()
        found = LoopQueue._of_asyncio.get(loop)
        if found is None:
            found = cls()
            loop.add_reader(found._queue.fileno(), found._drain)
            LoopQueue._of_asyncio[loop] = found
        return found

    async def wait(self, register: Register, timeout: float | None) -> Woken:
        loop = asyncio.get_running_loop()
        token = next(self._tokens)
        future: asyncio.Future[Woken] = loop.create_future()
        self._waiting[token] = future
        timer = (
            None if timeout is None else loop.call_later(timeout, _resolve, future, self.TIMED_OUT)
        )
        try:
            register(self._queue, token)
            return await future
        finally:
            del self._waiting[token]
            if timer is not None:
                timer.cancel()

    def _drain(self) -> None:
        for token, failure in self._queue.drain():
            future = self._waiting.get(token)
            if future is not None:
                _resolve(future, failure)


def _resolve(future: asyncio.Future[Woken], value: Woken) -> None:
    if not future.done():
        future.set_result(value)
