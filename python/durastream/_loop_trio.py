"""The completion queue of a trio run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import outcome
import trio
from trio.lowlevel import Abort, RunVar, Task

from durastream._loop import LoopQueue

if TYPE_CHECKING:
    from durastream._loop import Register, Woken


class TrioQueue(LoopQueue):
    """A system task drains the queue, and ends it with the run."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[int, Task] = {}

    @classmethod
    def current_of_run(cls) -> TrioQueue:
        """The queue of the running trio loop."""
        found = _of_run.get(None)
        if found is None:
            found = cls()
            _of_run.set(found)
            trio.lowlevel.spawn_system_task(found._drain_until_the_end, name="durastream drain")
        return found

    async def wait(self, register: Register, timeout: float | None) -> Woken:
        """See `LoopQueue.wait`."""
        token = next(self._tokens)
        self._waiting[token] = trio.lowlevel.current_task()

        def withdraw(_: object) -> Abort:
            self._waiting.pop(token, None)
            return Abort.SUCCEEDED

        try:
            register(self._queue, token)
            with trio.move_on_after(math.inf if timeout is None else timeout):
                woken: Woken = await trio.lowlevel.wait_task_rescheduled(withdraw)
                return woken
        finally:
            self._waiting.pop(token, None)
        return self.TIMED_OUT

    async def _drain_until_the_end(self) -> None:
        fd = self._queue.fileno()
        try:
            while True:
                await trio.lowlevel.wait_readable(fd)
                for token, failure in self._queue.drain():
                    task = self._waiting.pop(token, None)
                    if task is not None:
                        trio.lowlevel.reschedule(task, outcome.Value(failure))
        finally:
            trio.lowlevel.notify_closing(fd)
            self._queue.close()


_of_run: RunVar[TrioQueue | None] = RunVar("durastream completion queue")
