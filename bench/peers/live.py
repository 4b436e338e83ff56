"""Waiting readers: fan-out by server-sent events, long-poll."""

from pathlib import Path

from bench.peers.contest import Measure, contest, notes
from bench.peers.processes import Running
from bench.peers.servers import OURS, PEER_E, E, ours
from bench.peers.tools import Figures, load
from bench.rounds import Goal, Row, Sample, UnmeasuredError

CPU = "CPU us/delivery"
IN_TIME = "in time"


def _delivered(seen: Figures) -> None:
    for what in ("out_of_order", "refused"):
        if seen[what]:
            raise UnmeasuredError(f"{seen[what]:.0f} events {what.replace('_', ' ')}")


def fanout(subscribers: int, rate: int, seconds: int) -> Measure:
    """p99 from when an event was due to be published; in time is within a second."""

    def measure(server: Running, _: Path) -> Sample:
        shape = {"subscribers": subscribers, "rate": rate, "seconds": seconds, "bytes": 220}
        seen = load("sse", server, path="/v1/stream/fanout", in_time=1000, **shape)
        _delivered(seen)
        share = seen["in_time"] / seen["expected"]
        told = {IN_TIME: share, CPU: seen["cpu_us"]}
        return Sample(seen["p99_ms"], told | notes(seen, "p50_ms", "rss_mib", "generator_cpu"))

    return measure


def waits(waiters: int, rate: int, seconds: int) -> Measure:
    def measure(server: Running, _: Path) -> Sample:
        shape = {"waiters": waiters, "rate": rate, "seconds": seconds, "bytes": 256}
        seen = load("wait", server, path="/v1/stream/wait", **shape)
        _delivered(seen)
        told = {IN_TIME: seen["delivered"] / seen["expected"], CPU: seen["cpu_us"]}
        return Sample(seen["p99_ms"], told | notes(seen, "p50_ms", "rss_mib", "generator_cpu"))

    return measure


def measure(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    rows = []
    seconds = 2 if quick else 5
    better = Goal(0.67, over=E, at_most=True)
    all_in_time = Goal(1, note=IN_TIME)
    for subscribers, rate in ((1000, 100),) if quick else ((1000, 100), (5000, 20)):
        delivered = fanout(subscribers, rate, seconds)
        rows += contest(
            f"SSE fan-out {subscribers:,} x {rate}/s, p99",
            "ms",
            {PEER_E: delivered, ours(): delivered},
            {OURS: [all_in_time, better, Goal(0.67, over=E, note=CPU, at_most=True)]},
            directory,
            rounds,
        )
    woken = waits(1000, 4, seconds)
    return rows + contest(
        "long-poll wake, 1,000 waiters, p99",
        "ms",
        {PEER_E: woken, ours(): woken},
        {OURS: [all_in_time, better]},
        directory,
        rounds,
    )
