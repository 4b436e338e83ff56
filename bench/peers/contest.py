"""One measurement over several servers: each round starts each of them afresh, with an empty directory."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.peers.processes import Running, Server
from bench.rounds import Contender, Goal, Row, Sample, interleaved

Measure = Callable[[Running, Path], Sample]


def contest(
    measurement: str,
    unit: str,
    servers: Mapping[Server, Measure],
    goals: Mapping[str, Goal | Sequence[Goal]],
    directory: Path,
    rounds: int,
) -> list[Row]:
    """Measures every server in turn; the second argument of a measure is the server's directory."""

    def once(server: Server, measure: Measure) -> Sample:
        # What the one before left to write is not charged to this one.
        os.sync()
        with tempfile.TemporaryDirectory(dir=directory) as home, server.start(Path(home)) as up:
            return measure(up, Path(home))

    contenders: dict[str, Contender] = {
        server.name: lambda server=server, measure=measure: once(server, measure)  # type: ignore[misc]
        for server, measure in servers.items()
    }
    return interleaved(measurement, unit, contenders, goals, rounds)


def notes(figures: Mapping[str, float], *names: str) -> dict[str, float]:
    """The notes of a sample by the names that the table has for them."""
    return {NOTES[name]: figures[name] for name in names}


CPU = "CPU us/op"
P99 = "p99 ms"
RSS = "RSS MiB"
NOTES = {
    "p50_ms": "p50 ms",
    "p99_ms": P99,
    "p999_ms": "p99.9 ms",
    "mean_ms": "mean ms",
    "cpu_us": CPU,
    "rss_mib": RSS,
    "generator_cpu": "generator cores",
}
