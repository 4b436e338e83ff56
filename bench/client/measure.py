"""The section of the Python client."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.client.cases import MESSAGE
from bench.client.recorded import record
from bench.rounds import Goal, Row, Sample, UnmeasuredError, interleaved
from durastream.client import DurableStream, IdempotentProducer
from durastream.testing import LocalServer

OFFICIAL = "official client"
HTTPX = "plain httpx"
OURS = "durastream"
CPU = "CPU us/op"
CHECKOUT = os.environ.get("BENCH_OFFICIAL_CLIENT")
"""Where a checkout of the official client has its package, in place of the one from PyPI."""


def measure(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    small = 10 if quick else 1
    rows = imports(rounds)
    with LocalServer(directory / "client") as server:
        url = server.stream_url("client")
        rows += produced(url, 100_000 // small, rounds)
        rows += caught_up(f"{url}/filled", 300_000 // small, rounds)
        with record(f"{url}/recorded", 2_000 // small) as recording:
            rows += replayed(recording.url, 50_000 // small, rounds)
        rows += followed(f"{url}/followed", 5_000 // small, rounds)
    return rows


def imports(rounds: int) -> list[Row]:
    def load() -> Sample:
        command = [sys.executable, "-c", "import durastream"]
        bare = [sys.executable, "-c", ""]
        return Sample(_best_ms(command) - _best_ms(bare))

    goals = {OURS: Goal(60, at_most=True)}
    return interleaved("import durastream", "ms", {OURS: load}, goals, rounds)


def _best_ms(command: list[str]) -> float:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True)
        took.append((time.perf_counter() - began) * 1e3)
    return min(took)


def produced(url: str, count: int, rounds: int) -> list[Row]:
    handle = DurableStream(url)
    handle.create("application/json")
    contenders = {
        OFFICIAL: case("produce-official@asyncio", url, count),
        OURS: case("produce", url, count),
        f"{OURS}, asyncio": case("produce@asyncio", url, count),
        f"{OURS}, trio": case("produce@trio", url, count),
    }
    goals = dict.fromkeys(list(contenders)[1:], Goal(3, over=OFFICIAL))
    return interleaved("producer, JSON of 100 B", "messages/s", contenders, goals, rounds)


def caught_up(url: str, count: int, rounds: int) -> list[Row]:
    handle = DurableStream(url)
    handle.create("application/json")
    with IdempotentProducer(handle, "fill") as producer:
        for _ in range(count):
            producer.append(MESSAGE)
    contenders = {
        OFFICIAL: case("catch-up-official", url, count),
        OURS: case("catch-up", url, count),
        f"{OFFICIAL}, asyncio": case("catch-up-official@asyncio", url, count),
        f"{OURS}, asyncio": case("catch-up@asyncio", url, count),
        f"{OURS}, trio": case("catch-up@trio", url, count),
        "json.loads alone": case("parse-json", url, count),
        "orjson.loads alone": case("parse-orjson", url, count),
    }
    on_loops = Goal(3, over=f"{OFFICIAL}, asyncio")
    goals = {
        OURS: Goal(3, over=OFFICIAL),
        f"{OURS}, asyncio": on_loops,
        f"{OURS}, trio": on_loops,
    }
    rows = interleaved("catch-up, JSON of 100 B", "MB/s", contenders, goals, rounds)
    contenders = {
        HTTPX: case("bytes-httpx", url, count),
        OFFICIAL: case("bytes-official", url, count),
        OURS: case("bytes", url, count),
        "a socket, nothing kept": case("bytes-socket", url, count),
    }
    wanted = {OURS: [Goal(0.7, over=HTTPX), Goal(3, over=OFFICIAL)]}
    return rows + interleaved("catch-up, the same as bytes", "MB/s", contenders, wanted, rounds)


def replayed(url: str, count: int, rounds: int) -> list[Row]:
    contenders = {
        OFFICIAL: case("events-official", url, count),
        OURS: case("events", url, count),
        f"{OURS}, asyncio": case("events@asyncio", url, count),
        f"{OURS}, trio": case("events@trio", url, count),
    }
    goals = dict.fromkeys(list(contenders)[1:], Goal(2, over=OFFICIAL))
    return interleaved("SSE, as fast as taken", "events/s", contenders, goals, rounds)


def followed(url: str, count: int, rounds: int) -> list[Row]:
    DurableStream(url).create("application/json")
    contenders = {
        OFFICIAL: case("live-official", url, count),
        OURS: case("live", url, count),
    }
    goals = {OURS: Goal(0.5, over=OFFICIAL, at_most=True, note=CPU)}
    return interleaved("SSE, 1,000 events/s written", "events/s", contenders, goals, rounds)


def case(name: str, url: str, count: int) -> Callable[[], Sample]:
    """A case in a process of its own."""

    def run() -> Sample:
        command = [sys.executable, "-m", "bench.client.cases", name, url, str(count)]
        environment = dict(os.environ)
        if CHECKOUT:
            environment["PYTHONPATH"] = CHECKOUT
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=60, check=False, env=environment
            )
        except subprocess.TimeoutExpired:
            raise UnmeasuredError(f"{name} took more than 60 s") from None
        if done.returncode:
            raise UnmeasuredError(f"{name}: {done.stderr[-300:]}")
        found: dict[str, float] = json.loads(done.stdout)
        return Sample(found.pop("value"), found)

    return run
