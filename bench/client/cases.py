"""What one process does to be measured: `python -m bench.client.cases NAME URL COUNT`.

Each case gets ready first (imports, a connection), is timed over its work only, and prints what came of it.
"""

import asyncio
import contextlib
import importlib
import itertools
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import orjson

from durastream.client import DurableStream, IdempotentProducer, aio, stream

MESSAGE = {"id": 1234567, "text": "x" * 76}
MESSAGE_BYTES = len(json.dumps(MESSAGE, separators=(",", ":")))
WAITING = 1_000
SOCKET_READ = 256 << 10
LIVE_RATE = 1_000


class Watch:
    """Seconds on the clock and of the processor, between its two ends."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def report(self, amount: float, unit: float = 1.0) -> None:
        """Print the rate in `unit`s of `amount` a second, and what one of them cost."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        print(
            json.dumps(
                {
                    "value": amount / unit / wall,
                    "CPU us/op": cpu * 1e6 / (amount / unit),
                    "of a core": cpu / wall,
                    "peak MiB": peak_mib(),
                }
            )
        )


def peak_mib() -> float:
    """Of this program: what `getrusage` tells is that of the process which started it, too."""
    fields = Path("/proc/self/status").read_text().split()
    return int(fields[fields.index("VmHWM:") + 1]) / 1024


def official() -> Any:  # noqa: ANN401  (a package without types for everything)
    return importlib.import_module("durable_streams")


# Producers: from the first append until everything is confirmed.


def produce(url: str, count: int) -> None:
    handle = DurableStream(url)
    handle.head()
    watch = Watch()
    with IdempotentProducer(handle, f"ours-{time.time_ns()}") as producer:
        for _ in range(count):
            producer.append(MESSAGE)
    watch.report(count)


async def produce_async(url: str, count: int) -> None:
    async with aio.DurableStream(url) as handle:
        await handle.head()
        watch = Watch()
        producer = aio.IdempotentProducer(handle, f"ours-{time.time_ns()}")
        async with producer:
            for _ in range(count):
                await producer.append(MESSAGE)
        watch.report(count)


async def produce_official(url: str, count: int) -> None:
    """Its producer if the installed version has one, else its batching of those who wait together."""
    theirs = official()
    if not hasattr(theirs, "IdempotentProducer"):
        await batch_official(theirs, url, count)
        return
    async with httpx.AsyncClient() as client:
        await client.head(url)
        watch = Watch()
        producer = theirs.IdempotentProducer(
            url, f"theirs-{time.time_ns()}", client=client, content_type="application/json"
        )
        for n in range(count):
            producer.append(json.dumps(MESSAGE))
            if n % WAITING == 0:  # it sends when the loop runs, and cannot make its caller wait
                await asyncio.sleep(0)
        await producer.flush()
        watch.report(count)


async def batch_official(theirs: Any, url: str, count: int) -> None:  # noqa: ANN401
    async with theirs.AsyncDurableStream(url, content_type="application/json") as handle:
        await handle.head()
        watch = Watch()
        left = iter(range(count))

        async def append() -> None:
            for _ in left:
                await handle.append(MESSAGE)

        await asyncio.gather(*(append() for _ in range(WAITING)))
        watch.report(count)


# Catch-up: the whole stream, page after page.


def catch_up(url: str, count: int) -> None:
    with stream(url, offset="now") as response:
        response.read()
    watch = Watch()
    with stream(url) as response:
        checked(sum(1 for _ in response.iter_json()), count)
    watch.report(count * MESSAGE_BYTES, 1e6)


async def catch_up_async(url: str, count: int) -> None:
    async with aio.DurableStream(url) as handle:
        await handle.head()
        watch = Watch()
        seen = 0
        async with handle.stream() as response:
            async for _ in response.iter_json():
                seen += 1
        checked(seen, count)
        watch.report(count * MESSAGE_BYTES, 1e6)


def catch_up_official(url: str, count: int) -> None:
    theirs = official()
    with httpx.Client() as client:
        client.head(url)
        watch = Watch()
        with theirs.stream(url, offset="-1", live=False, client=client) as response:
            checked(sum(1 for _ in response.iter_json()), count)
        watch.report(count * MESSAGE_BYTES, 1e6)


async def catch_up_official_async(url: str, count: int) -> None:
    theirs = official()
    async with httpx.AsyncClient() as client:
        await client.head(url)
        watch = Watch()
        seen = 0
        response = await theirs.astream(url, offset="-1", live=False, client=client)
        async with response:
            async for _ in response.iter_json():
                seen += 1
        checked(seen, count)
        watch.report(count * MESSAGE_BYTES, 1e6)


def parse_orjson(url: str, count: int) -> None:
    """No client at all: the stream's pages as they are, parsed and dropped."""
    pages = pages_of(url)
    watch = Watch()
    checked(sum(len(orjson.loads(page)) for page in pages), count)
    watch.report(count * MESSAGE_BYTES, 1e6)


def parse_json(url: str, count: int) -> None:
    pages = pages_of(url)
    watch = Watch()
    checked(sum(len(json.loads(page)) for page in pages), count)
    watch.report(count * MESSAGE_BYTES, 1e6)


def pages_of(url: str) -> list[bytes]:
    with stream(url) as response:
        return [chunk.data for chunk in response.iter_chunks() if chunk.data]


def read_bytes(url: str, count: int) -> None:
    with stream(url, offset="now") as response:
        response.read()
    watch = Watch()
    with stream(url) as response:
        size = sum(map(len, response.iter_bytes()))
    checked(size // (MESSAGE_BYTES + 1), count)
    watch.report(size, 1e6)


def read_bytes_official(url: str, count: int) -> None:
    theirs = official()
    with httpx.Client() as client:
        client.head(url)
        watch = Watch()
        with theirs.stream(url, offset="-1", live=False, client=client) as response:
            size = sum(map(len, response))
        checked(size // (MESSAGE_BYTES + 1), count)
        watch.report(size, 1e6)


def read_bytes_httpx(url: str, count: int) -> None:
    with httpx.Client() as client:
        client.head(url)
        watch = Watch()
        size, offset, more = 0, "-1", True
        while more:
            with client.stream("GET", url, params={"offset": offset}) as page:
                size += sum(map(len, page.iter_raw()))
                offset = page.headers["stream-next-offset"]
                more = page.headers.get("stream-up-to-date") != "true"
        checked(size // (MESSAGE_BYTES + 1), count)
        watch.report(size, 1e6)


def read_bytes_socket(url: str, count: int) -> None:
    """No client at all: into one buffer over and over, and nothing is kept."""
    parts = urlsplit(url)
    size, offset, more = 0, "-1", True
    with memoryview(bytearray(SOCKET_READ)) as buffer:
        address = parts.hostname, parts.port
        with socket.create_connection(address) as server:
            watch = Watch()
            while more:
                request = (
                    f"GET {parts.path}?offset={offset} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n"
                )
                server.sendall(request.encode())
                head, _, body = server.recv(1 << 16).partition(b"\r\n\r\n")
                fields = dict(
                    line.split(": ", 1) for line in head.decode().lower().splitlines()[1:]
                )
                length = int(fields["content-length"])
                size += length
                left = length - len(body)
                while left:
                    left -= server.recv_into(buffer, min(left, SOCKET_READ))
                offset = fields["stream-next-offset"]
                more = fields.get("stream-up-to-date") != "true"
        checked(size // (MESSAGE_BYTES + 1), count)
        watch.report(size, 1e6)


# Events: a recording as fast as it is taken, or a writer at an even pace.


def events(url: str, count: int) -> None:
    with stream(url, offset="now", live="sse") as response:
        timed(response.iter_json(), count)


def events_official(url: str, count: int) -> None:
    with official().stream(url, offset="now", live="sse") as response:
        timed(response.iter_json(), count)


async def events_async(url: str, count: int) -> None:
    async with aio.stream(url, offset="now", live="sse") as response:
        messages = response.iter_json()
        await anext(messages)
        watch = Watch()
        for _ in range(count - 1):
            await anext(messages)
        watch.report(count - 1)


def timed(messages: Iterable[Any], count: int) -> None:
    iterator = iter(messages)
    next(iterator)
    watch = Watch()
    checked(sum(1 for _ in itertools.islice(iterator, count - 1)), count - 1)
    watch.report(count - 1)


@contextlib.contextmanager
def written_to(url: str, count: int) -> Iterator[None]:
    """While another process appends, message by message."""
    command = [sys.executable, "-m", "bench.client.cases", "write", url]
    with subprocess.Popen([*command, str(count)]) as writer:
        yield
        writer.wait()


def live(url: str, count: int) -> None:
    with stream(url, offset="now", live="sse") as response, written_to(url, count + WAITING):
        timed(response.iter_json(), count)


def live_official(url: str, count: int) -> None:
    with (
        official().stream(url, offset="now", live="sse") as response,
        written_to(url, count + WAITING),
    ):
        timed(response.iter_json(), count)


def write(url: str, count: int) -> None:
    """Appends single messages, LIVE_RATE a second."""
    handle = DurableStream(url)
    handle.head()
    time.sleep(0.3)  # readers get ready
    began = time.perf_counter()
    writer = IdempotentProducer(handle, f"w{time.time_ns()}", max_batch_messages=1, linger=0)
    with writer as producer:
        for n in range(count):
            producer.append(MESSAGE)
            time.sleep(max(0.0, began + n / LIVE_RATE - time.perf_counter()))


def checked(seen: int, wanted: int) -> None:
    if seen != wanted:
        sys.exit(f"{seen} came instead of {wanted}")


THREADED: dict[str, Callable[[str, int], None]] = {
    "produce": produce,
    "catch-up": catch_up,
    "catch-up-official": catch_up_official,
    "parse-orjson": parse_orjson,
    "parse-json": parse_json,
    "bytes": read_bytes,
    "bytes-official": read_bytes_official,
    "bytes-httpx": read_bytes_httpx,
    "bytes-socket": read_bytes_socket,
    "events": events,
    "events-official": events_official,
    "live": live,
    "live-official": live_official,
    "write": write,
}
LOOPED: dict[str, Callable[[str, int], Awaitable[None]]] = {
    "produce": produce_async,
    "produce-official": produce_official,
    "catch-up": catch_up_async,
    "catch-up-official": catch_up_official_async,
    "events": events_async,
}


def main(case: str, url: str, count: int) -> None:
    name, _, backend = case.partition("@")
    if backend:
        anyio.run(LOOPED[name], url, count, backend=backend)
    else:
        THREADED[name](url, count)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
