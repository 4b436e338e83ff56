"""The loads of `durable-streams bench`: appends, reads, fan-out."""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import anyio

from durastream.commands.remote.wire import Answer, Connection, WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TEXT: Final = "application/json"
READ_BYTES: Final = 16 << 20
"""What the stream that is read holds."""
PIECE: Final = 1 << 20
PACE: Final = 0.01
"""Seconds between two messages that are fanned out: latencies of an idle server, not of a queue."""
NUMBER: Final = re.compile(rb'"#(\d+) ')
"""How a message begins."""
LONGEST_MARK: Final = 16
STARTED: Final = 10.0
"""Seconds that connections may take to be ready."""


@dataclass
class Figures:
    """What one load found. Times are in seconds."""

    name: str
    count: int = 0
    bytes: int = 0
    elapsed: float = 0.0
    latencies: list[float] = field(default_factory=list)
    lost: int = 0

    def percentile(self, part: float) -> float:
        """A latency that this part of all are not above."""
        if not self.latencies:
            return 0.0
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]

    def facts(self) -> dict[str, Any]:
        """As JSON has it; latencies in milliseconds."""
        per_second = 1 / self.elapsed if self.elapsed else 0.0
        return {
            "name": self.name,
            "count": self.count,
            "per_second": round(self.count * per_second, 1),
            "mb_per_second": round(self.bytes * per_second / 1e6, 3),
            "seconds": round(self.elapsed, 3),
            "p50_ms": round(self.percentile(0.5) * 1000, 3),
            "p99_ms": round(self.percentile(0.99) * 1000, 3),
            "max_ms": round(max(self.latencies, default=0.0) * 1000, 3),
            "lost": self.lost,
        }


@dataclass(frozen=True)
class Bench:
    """The loads on one server, below one URL that is new."""

    base: str
    """URL of a path without streams; every stream made is below it."""
    headers: Mapping[str, str]
    verify: Any
    seconds: float
    writers: int
    readers: int
    message_bytes: int
    made: list[str] = field(default_factory=list)
    """URLs of the streams that were created."""

    async def appends(self) -> Figures:
        """Writers append single messages, each to its stream, the next when the last is acknowledged."""
        figures = Figures("appends")
        ready = _Gate(self.writers)

        async def write(number: int) -> None:
            async with self._connection() as connection:
                target = await self._create(connection, f"appends-{number}")
                request = connection.request("POST", target, self._message(0), content_type=TEXT)
                await ready.pass_through()
                end = time.perf_counter() + self.seconds
                while (begun := time.perf_counter()) < end:
                    _demand(await connection.ask(request), 204, 200)
                    figures.latencies.append(time.perf_counter() - begun)

        figures.elapsed = await _timed(
            [partial(write, number) for number in range(self.writers)], ready
        )
        figures.count = len(figures.latencies)
        figures.bytes = figures.count * self.message_bytes
        return figures

    async def reads(self) -> Figures:
        """Some readers read one stream from its start to its tail, again and again; a read is a page."""
        figures = Figures("reads")
        at_once = min(4, self.readers)
        ready = _Gate(at_once)
        async with self._connection() as connection:
            target = await self._create(connection, "reads")
            message = self._message(0)
            piece = b"[" + b",".join([message] * (PIECE // (len(message) + 1) or 1)) + b"]"
            request = connection.request("POST", target, piece, content_type=TEXT)
            for _ in range(READ_BYTES // PIECE):
                _demand(await connection.ask(request), 204, 200)

        async def read() -> None:
            async with self._connection() as connection:
                await ready.pass_through()
                end = time.perf_counter() + self.seconds
                offset = "-1"
                while (begun := time.perf_counter()) < end:
                    asked = connection.request("GET", f"{target}?offset={offset}")
                    page = await connection.ask(asked)
                    _demand(page, 200)
                    figures.latencies.append(time.perf_counter() - begun)
                    figures.bytes += len(page.body)
                    offset = page.headers[b"stream-next-offset"].decode()
                    if page.headers.get(b"stream-up-to-date") == b"true":
                        offset = "-1"

        figures.elapsed = await _timed([read] * at_once, ready)
        figures.count = len(figures.latencies)
        return figures

    async def fan_out(self) -> Figures:
        """One stream, many live readers (SSE): how long from before the append until each has it."""
        figures = Figures("fan-out")
        ready = _Gate(self.readers + 1)
        sent: dict[int, float] = {}
        got = [0] * self.readers
        name = "fan-out"

        async def read(number: int) -> None:
            async with self._connection() as connection:
                asked = connection.request("GET", f"{self._target(name)}?offset=-1&live=sse")
                rest = b""
                async for piece in connection.follow(asked):
                    now = time.perf_counter()
                    data = rest + piece
                    end = 0
                    for found in NUMBER.finditer(data):
                        end = found.end()
                        if message := int(found[1]):
                            figures.latencies.append(now - sent[message])
                            got[number] += 1
                        else:
                            await ready.pass_through()
                    rest = data[max(end, len(data) - LONGEST_MARK) :]

        async with self._connection() as connection:
            target = await self._create(connection, name)
            async with anyio.create_task_group() as tasks:
                for number in range(self.readers):
                    tasks.start_soon(read, number)
                # Message 0 tells each reader that it is there.
                await self._send(connection, target, 0)
                with anyio.fail_after(STARTED):
                    await ready.pass_through()
                begun = time.perf_counter()
                for number in itertools.count(1):
                    await anyio.sleep(max(0.0, begun + number * PACE - time.perf_counter()))
                    if time.perf_counter() - begun > self.seconds:
                        break
                    sent[number] = time.perf_counter()
                    await self._send(connection, target, number)
                with anyio.move_on_after(2.0):
                    # An event would cost something at each delivery, and that is measured.
                    while min(got) < len(sent):  # noqa: ASYNC110
                        await anyio.sleep(0.01)
                figures.elapsed = time.perf_counter() - begun
                tasks.cancel_scope.cancel()
        figures.count = sum(got)
        figures.bytes = figures.count * self.message_bytes
        figures.lost = len(sent) * self.readers - figures.count
        return figures

    async def clean_up(self) -> None:
        """Delete what was made, as far as the server lets."""
        async with self._connection() as connection:
            while self.made:
                await connection.ask(connection.request("DELETE", self.made.pop()))

    async def _send(self, connection: Connection, target: str, number: int) -> None:
        request = connection.request("POST", target, self._message(number), content_type=TEXT)
        _demand(await connection.ask(request), 204, 200)

    async def _create(self, connection: Connection, name: str) -> str:
        target = self._target(name)
        answer = await connection.ask(connection.request("PUT", target, content_type=TEXT))
        _demand(answer, 201)
        self.made.append(target)
        return target

    def _target(self, name: str) -> str:
        return f"{urlsplit(self.base).path}/{name}"

    def _message(self, number: int) -> bytes:
        text = b'"#%d ' % number
        return text + b"x" * max(0, self.message_bytes - len(text) - 1) + b'"'

    def _connection(self) -> Connection:
        return Connection(self.base, self.headers, self.verify)


class _Gate:
    """Lets nobody through before all are there."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._open = anyio.Event()

    async def pass_through(self) -> None:
        """Wait for the others."""
        self._missing -= 1
        if self._missing == 0:
            self._open.set()
        await self._open.wait()

    @property
    def opened(self) -> anyio.Event:
        """Set when all are there."""
        return self._open


async def _timed(tasks: list[Callable[[], Any]], ready: _Gate) -> float:
    """Run tasks; how long they took from when all were ready."""
    async with anyio.create_task_group() as group:
        for task in tasks:
            group.start_soon(task)
        with anyio.fail_after(STARTED):
            await ready.opened.wait()
        begun = time.perf_counter()
    return time.perf_counter() - begun


def _demand(answer: Answer, *statuses: int) -> None:
    if answer.status not in statuses:
        said = answer.body[:300].decode(errors="replace")
        raise WireError(f"the server answered {answer.status}: {said}", answer.status)
