"""A producer and readers of every mode, connections that are cut at random, a server that is killed again and again."""

import random
import threading
import time
from collections.abc import Callable

import anyio
import pytest

from conftest import ServerFactory
from durastream.client import DurableStream, IdempotentProducer, Live, Retry, astream, stream
from support.cells import ONLY_HTTP1, Authority
from support.server import Server

from .proxy import Fault, Proxy, Seen

SEED = 20261121
SECONDS = 4.0
KILLS = 3
PATIENT = Retry(max_retries=1000, initial_delay=0.01, max_delay=0.2, deadline=60)
MODES: list[Live] = ["long-poll", "sse", True]
WAYS = ["messages", "chunks", "trio", "asyncio"]


class Reader(threading.Thread):
    """Follows the stream to its end: on this thread by messages or by chunks, or on an event loop."""

    def __init__(self, url: str, live: Live, way: str) -> None:
        super().__init__(name=f"{live}-{way}", daemon=True)
        self.url, self.live, self.way = url, live, way
        self.got: list[int] = []
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
                self.got.extend(response.iter_json())
            else:
                for chunk in response.iter_chunks():
                    self.got.extend(chunk.json())

    async def _on_loop(self) -> None:
        reading = astream(self.url, live=self.live, retry=PATIENT, stall_timeout=2)
        async with reading as response:
            async for message in response.iter_json():
                self.got.append(message)


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


@ONLY_HTTP1
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
            given = write_while_it_burns(target, server, proxy)
            for reader in readers:
                reader.join(40)
            proxy.plan = None
            failed = [(r.name, r.failure) for r in readers if r.failure is not None]
            assert not failed
            assert not [r.name for r in readers if r.is_alive()], "a reader did not reach the end"
            for reader in readers:
                assert reader.got == list(range(given)), reader.name
            assert target.stream().json() == list(range(given))
    finally:
        server.kill()


def write_while_it_burns(target: DurableStream, server: Server, proxy: Proxy) -> int:
    """Give messages for a while, killing the server in between; how many."""
    given = 0
    # Each part is as long as it is, however long a busy machine takes to start the server.
    part = SECONDS / (KILLS + 1)
    kills = 0
    began = time.monotonic()
    with IdempotentProducer(target, "p", max_batch_messages=20, linger=0.001) as producer:
        while kills < KILLS or time.monotonic() - began < part:
            producer.append(given)
            given += 1
            time.sleep(0.0005)
            if kills < KILLS and time.monotonic() - began >= part:
                kills += 1
                server.kill()
                server.start()
                proxy.server = server.url
                proxy.cut()
                began = time.monotonic()
        producer.close(given)
    return given + 1
