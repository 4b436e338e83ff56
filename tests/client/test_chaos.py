"""Producers of every twin and readers of every mode, connections that are cut at random, a server that is killed again and again."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from conftest import ServerFactory
from durastream.client import (
    AsyncDurableStream,
    AsyncIdempotentProducer,
    DurableStream,
    IdempotentProducer,
    Live,
    Retry,
    astream,
    stream,
)
from support.cells import Authority
from support.server import Server

from .proxy import Fault, Proxy, Seen

SEED = 20261121
SECONDS = 4.0
KILLS = 3
PATIENT = Retry(max_retries=1000, initial_delay=0.01, max_delay=0.2, deadline=60)
MODES: list[Live] = ["long-poll", "sse", True]
WAYS = ["messages", "chunks", "trio", "asyncio"]
TWINS = ["threads", "trio", "asyncio"]
PACE = 0.0015
"""Seconds between two messages of a producer."""
BATCHES: dict[str, Any] = {"max_batch_messages": 20, "linger": 0.001}
Message = tuple[str, int]
"""Who wrote it, and its number among those."""
LAST: Message = ("last", 0)


class Reader(threading.Thread):
    """Follows the stream to its end: on this thread by messages or by chunks, or on an event loop."""

    def __init__(self, url: str, live: Live, way: str) -> None:
        super().__init__(name=f"{live}-{way}", daemon=True)
        self.url, self.live, self.way = url, live, way
        self.got: list[Message] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            if self.way in ("trio", "asyncio"):
                anyio.run(self._on_loop, backend=self.way)
            else:
                self._on_thread()
        except Exception as error:  # noqa: BLE001  (the test tells)
            self.failure = error

    def _on_thread(self) -> None:
        with stream(self.url, live=self.live, retry=PATIENT, stall_timeout=2) as response:
            if self.way == "messages":
                self.got.extend(map(tuple, response.iter_json()))
            else:
                for chunk in response.iter_chunks():
                    self.got.extend(map(tuple, chunk.json()))

    async def _on_loop(self) -> None:
        reading = astream(self.url, live=self.live, retry=PATIENT, stall_timeout=2)
        async with reading as response:
            async for message in response.iter_json():
                self.got.append(tuple(message))


class Writer(threading.Thread):
    """A producer of one of the twins, which writes until there is enough."""

    def __init__(self, url: str, twin: str) -> None:
        super().__init__(name=f"producer-{twin}", daemon=True)
        self.url, self.twin = url, twin
        self.given = 0
        self.enough = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            if self.twin == "threads":
                self._on_thread()
            else:
                anyio.run(self._on_loop, backend=self.twin)
        except Exception as error:  # noqa: BLE001  (the test tells)
            self.failure = error

    def _on_thread(self) -> None:
        handle = DurableStream(self.url, retry=PATIENT)
        with IdempotentProducer(handle, self.twin, **BATCHES) as producer:
            while not self.enough.is_set():
                producer.append(self._next())
                time.sleep(PACE)

    async def _on_loop(self) -> None:
        async with (
            AsyncDurableStream(self.url, retry=PATIENT) as handle,
            AsyncIdempotentProducer(handle, self.twin, **BATCHES) as producer,
        ):
            while not self.enough.is_set():
                await producer.append(self._next())
                await anyio.sleep(PACE)

    def _next(self) -> Message:
        self.given += 1
        return self.twin, self.given - 1


def cut_at_random(dice: random.Random) -> Fault | None:
    draw = dice.random()
    if draw < 0.05:
        return Fault(drop=True)
    if draw < 0.10:
        return Fault(lose=True)
    if draw < 0.30:
        return Fault(cut_after=dice.randrange(4000))
    if draw < 0.33:
        return Fault(stall=True, cut_after=dice.randrange(2000))
    return Fault(status=503) if draw < 0.36 else None


# httpcore on event loops leaves sockets and bodies to the garbage collector where a connection of HTTP/2 breaks.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(90)
def test_every_message_exactly_once_in_order_for_each_reader(
    server_factory: ServerFactory,
    proxied: Callable[[str], Proxy],
    version: str,
    authority: Authority,
) -> None:
    tls = authority.flags if version == "HTTP/2" else ()
    server = server_factory("--long-poll-timeout", "1", *tls)
    dice = random.Random(SEED)
    try:
        with proxied(server.url) as proxy:
            url = f"{proxy.url}/v1/stream/chaos"
            target = DurableStream(url, retry=PATIENT)
            target.create("application/json")

            def only_reads_stall(seen: Seen) -> Fault | None:
                fault = cut_at_random(dice)
                return None if fault and fault.stall and "live" not in seen.params else fault

            proxy.plan = only_reads_stall
            readers = [Reader(url, live, way) for live in MODES for way in WAYS]
            for reader in readers:
                reader.start()
            writers = write_while_it_burns(target, server, proxy)
            for reader in readers:
                reader.join(40)
            proxy.plan = None
            failed = [(r.name, r.failure) for r in readers if r.failure is not None]
            assert not failed
            assert not [r.name for r in readers if r.is_alive()], "a reader did not reach the end"
            for reader in readers:
                for writer in writers:
                    got = [number for twin, number in reader.got if twin == writer.twin]
                    assert got == list(range(writer.given)), (reader.name, writer.twin)
                assert len(reader.got) == sum(writer.given for writer in writers) + 1
                assert reader.got[-1] == LAST
            assert list(map(tuple, target.stream().json())) == readers[0].got
    finally:
        server.kill()


def write_while_it_burns(target: DurableStream, server: Server, proxy: Proxy) -> list[Writer]:
    """Let every twin write for a while, killing the server in between, and close the stream."""
    writers = [Writer(target.url, twin) for twin in TWINS]
    for writer in writers:
        writer.start()
    # Each part is as long as it is, however long a busy machine takes to start the server.
    part = SECONDS / (KILLS + 1)
    for _ in range(KILLS):
        time.sleep(part)
        server.kill()
        server.start()
        proxy.server = server.url
        proxy.cut()
    time.sleep(part)
    for writer in writers:
        writer.enough.set()
    for writer in writers:
        writer.join(40)
        assert not writer.is_alive(), f"{writer.name} did not come to its end"
        assert writer.failure is None, (writer.name, writer.failure)
    with IdempotentProducer(target, "last") as producer:
        producer.close(LAST)
    return writers
