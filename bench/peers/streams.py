"""How many streams one process holds, created over HTTP, and how long it takes to start again with them."""

import contextlib
import http.client
import os
import signal
import tempfile
import time
from pathlib import Path

from bench.peers.contest import notes
from bench.peers.processes import Running, Server
from bench.peers.servers import OURS, PEER_E, ours
from bench.peers.tools import load
from bench.rounds import Contender, Goal, Row, Sample, UnmeasuredError, interleaved

PATH = "/v1/stream/many"
E_STREAMS = 25_000
PATIENCE = 300.0


def _ready(server: Running, last: int) -> None:
    """Waits until the server answers for its last stream."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("HEAD", f"{PATH}/{last}")
            if connection.getresponse().status == 200:
                return
            raise UnmeasuredError(f"stream {last} is not there after the start")
        time.sleep(0.02)
    raise UnmeasuredError("no answer after the start")


def _once(server: Server, count: int, directory: Path, boots: list[float]) -> Sample:
    with tempfile.TemporaryDirectory(dir=directory) as name:
        home = Path(name)
        with server.start(home) as up:
            seen = load("create", up, path=PATH, count=count, stop_at_error=1)
        made = int(seen["made"])
        began = time.perf_counter()
        with server.start(home) as up:
            _ready(up, made - 1)
            boots.append(time.perf_counter() - began)
            again = up.resident_mib()
            # The next start has to replay what has no checkpoint.
            os.kill(up.process.pid, signal.SIGKILL)
        told = notes(seen, "p99_ms", "cpu_us", "rss_mib") | {"RSS MiB reopened": again}
        return Sample(made, told | {"created/s": made / seen["seconds"]})


def measure(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    """One round: each takes a minute."""
    del rounds
    wanted = 50_000 if quick else 1_000_000
    counts = {ours(): wanted}
    if not quick:
        counts[PEER_E] = E_STREAMS
    boots: dict[str, list[float]] = {server.name: [] for server in counts}
    creators: dict[str, Contender] = {
        server.name: lambda server=server, count=count: _once(  # type: ignore[misc]
            server, count, directory, boots[server.name]
        )
        for server, count in counts.items()
    }
    label = "streams in one process, created over HTTP"
    rows = interleaved(label, "streams", creators, {OURS: Goal(wanted)}, 1)
    starters: dict[str, Contender] = {
        name: lambda name=name: Sample(_taken(boots[name]))  # type: ignore[misc]
        for name in boots
    }
    return rows + interleaved(
        "start again with them", "s", starters, {OURS: Goal(3, at_most=True)}, 1
    )


def _taken(seconds: list[float]) -> float:
    if not seconds:
        raise UnmeasuredError("it did not start again")
    return seconds[-1]
