"""What a user might pick instead, each syncing every write: Node reference, Redis Streams, NATS JetStream."""

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.peers import build
from bench.peers.appends import BODY, closed
from bench.peers.contest import Measure, contest, notes
from bench.peers.processes import Running, Server, free_port, running
from bench.peers.servers import NODE, OURS, ours
from bench.rounds import Goal, Row, Sample, UnmeasuredError

CONNECTIONS = STREAMS = 64
NATS_CONFIGURATION = """
listen: 127.0.0.1:{port}
jetstream {{ store_dir: "{home}/nats", sync_interval: always }}
"""


@contextlib.contextmanager
def _redis(home: Path) -> Iterator[Running]:
    port = free_port()
    command = [build.program("redis-server", "redis-server"), "--port", str(port)]
    command += ["--bind", "127.0.0.1", "--dir", str(home), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always"]
    with running(command, port, home / "log") as server:
        yield server


@contextlib.contextmanager
def _nats(home: Path) -> Iterator[Running]:
    port = free_port()
    configuration = home / "nats.conf"
    configuration.write_text(NATS_CONFIGURATION.format(port=port, home=home))
    with running([build.nats()[0], "-c", str(configuration)], port, home / "log") as server:
        yield server


REDIS = Server("Redis Streams", _redis)
NATS = Server("NATS JetStream", _nats)


def xadd(appends: int) -> Measure:
    """XADD with redis-benchmark, to streams drawn at random."""

    def measure(server: Running, _: Path) -> Sample:
        before = server.cpu_seconds()
        command = [build.program("redis-benchmark", "redis-tools"), "-p", str(server.port), "--csv"]
        command += ["-c", str(CONNECTIONS), "-n", str(appends), "-r", str(STREAMS)]
        command += ["XADD", "bench:__rand_int__", "*", "d", "x" * BODY]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        line = told.stdout.strip().splitlines()[-1] if told.stdout.strip() else ""
        # "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95...","p99...","max..."
        fields = re.findall(r'"([\d.]+)"', line)
        if told.returncode or len(fields) < 7:
            raise UnmeasuredError(f"redis-benchmark: {line} {told.stderr[-200:]}")
        rate, p50, p99 = float(fields[-7]), float(fields[-4]), float(fields[-2])
        used = server.cpu_seconds() - before
        cli = [build.program("redis-cli", "redis-tools"), "-p", str(server.port), "EVAL"]
        count = "local n=0 for _,k in ipairs(redis.call('KEYS','*')) do n=n+redis.call('XLEN',k) end return n"
        there = subprocess.run(
            [*cli, count, "0"], capture_output=True, text=True, check=True
        ).stdout
        if int(there) < appends:
            raise UnmeasuredError(f"{appends} were answered, {there.strip()} are there")
        told_notes = {"p50_ms": p50, "p99_ms": p99, "cpu_us": used / appends * 1e6}
        told_notes["rss_mib"] = server.resident_mib()
        return Sample(rate, notes(told_notes, "p50_ms", "p99_ms", "cpu_us", "rss_mib"))

    return measure


def publish(seconds: int) -> Measure:
    """Acknowledged publishing with the Go client, one message in flight on each connection."""

    def measure(server: Running, _: Path) -> Sample:
        before = server.cpu_seconds()
        shape = [server.port, CONNECTIONS, STREAMS, seconds, BODY]
        command = [build.nats()[1], *map(str, shape)]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if told.returncode:
            raise UnmeasuredError(f"nats driver: {told.stderr[-300:]}")
        seen: dict[str, float] = json.loads(told.stdout)
        seen["cpu_us"] = (server.cpu_seconds() - before) / seen["answers"] * 1e6
        seen["rss_mib"] = server.resident_mib()
        return Sample(seen["rate"], notes(seen, "p50_ms", "p99_ms", "cpu_us", "rss_mib"))

    return measure


def measure(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    seconds = 1 if quick else 3
    stored = closed(STREAMS, CONNECTIONS, seconds)
    return contest(
        f"beside others: {STREAMS} streams, {CONNECTIONS} connections",
        "appends/s",
        {
            ours(): stored,
            NODE: stored,
            REDIS: xadd(10_000 * seconds),
            NATS: publish(seconds),
        },
        {OURS: [Goal(1, over=name) for name in (NODE.name, REDIS.name, NATS.name)]},
        directory,
        rounds,
    )
