"""Durable appends of 256 B: throughput, latency at a fixed rate, many streams and connections, HTTP/2."""

from pathlib import Path

from bench.peers.contest import CPU, RSS, Measure, contest, notes
from bench.peers.processes import Running
from bench.peers.servers import LIMIT, LIMIT_H2, OURS, PEER_E, E, L, ours
from bench.peers.tools import Figures, h2load, load, wrk
from bench.rounds import Goal, Row, Sample, UnmeasuredError

BODY = 256
STREAM = "/v1/stream/bench"
SHAPES = [(1, 64), (1, 256), (64, 64), (64, 256), (1000, 64), (1000, 256)]
SHORT = [(64, 64)]
SEEN = ("p50_ms", "p99_ms", "cpu_us", "rss_mib", "generator_cpu")


def create(server: Running, streams: int) -> None:
    made = load("create", server, count=streams, path=STREAM)
    if made["made"] != streams:
        raise UnmeasuredError(f"only {made['made']} of {streams} streams: {made['statuses']}")


def warm_up(server: Running, streams: int, connections: int) -> float:
    """Short load beforehand; how many appends it made."""
    shape = {"streams": streams, "connections": connections}
    seen = load("append", server, path=STREAM, rate=0, warm=0, seconds=0.4, bytes=BODY, **shape)
    return appended(seen)


def appended(seen: Figures) -> float:
    """All of the generator's requests, when they were answered well."""
    statuses: dict[str, int] = seen["statuses"]
    if bad := {status: count for status, count in statuses.items() if status not in {"200", "204"}}:
        raise UnmeasuredError(f"appends were answered {bad}")
    if seen["unanswered"]:
        raise UnmeasuredError(f"{seen['unanswered']} appends were not answered")
    return float(sum(statuses.values()))


def complete(server: Running, streams: int, answered: float, unknown: int) -> None:
    """Every answered append is in its stream; `unknown` more may be: cut off without an answer."""
    there = load("count", server, path=STREAM, streams=streams)["bytes"] / BODY
    if not answered <= there <= answered + unknown:
        raise UnmeasuredError(f"{answered:.0f} appends were answered, {there} are there")


def closed(streams: int, connections: int, seconds: int, *, stores: bool = True) -> Measure:
    """As many appends as the server answers, one in flight on each connection."""

    def measure(server: Running, _: Path) -> Sample:
        if stores:
            create(server, streams)
        before = warm_up(server, streams, connections)
        seen = wrk(
            server, STREAM, connections=connections, seconds=seconds, streams=streams, body=BODY
        )
        if stores:
            complete(server, streams, before + seen["answers"], connections)
        return Sample(seen["rate"], notes(seen, *SEEN))

    return measure


def throughput(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    """The six rows of performance.md."""
    rows = []
    seconds = 1 if quick else 3
    for streams, connections in SHORT if quick else SHAPES:
        stored = closed(streams, connections, seconds)
        goals = [Goal(1.5, over=E), Goal(0.75, over=L)]
        if connections == SHORT[0][1]:
            goals.append(Goal(0.5, over=E, note=CPU, at_most=True))
        rows += contest(
            f"appends: {_count(streams)}, {connections} connections",
            "appends/s",
            {
                PEER_E: stored,
                ours(): stored,
                LIMIT: closed(streams, connections, seconds, stores=False),
            },
            {OURS: goals},
            directory,
            rounds,
        )
    return rows


def many(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    """Many streams and connections, and what memory they take."""
    streams, connections = (2000, 1000) if quick else (10_000, 4000)
    stored = closed(streams, connections, 1 if quick else 3)
    goals = [Goal(1.5, over=E), Goal(1, over=E, note=RSS, at_most=True)]
    return contest(
        f"appends: {_count(streams)}, {connections:,} connections",
        "appends/s",
        {PEER_E: stored, ours(): stored},
        {OURS: goals},
        directory,
        rounds,
    )


def latency(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    """At half of E's peak rate, that of the same shape, measured first."""
    streams = connections = 64
    seconds = 2 if quick else 5
    peak = contest("peak", "", {PEER_E: closed(streams, connections, 1)}, {}, directory, 1)[0]
    rate = round((peak.median or 20_000) / 2, -2)

    def measure(server: Running, _: Path) -> Sample:
        create(server, streams)
        before = warm_up(server, streams, connections)
        shape = {"streams": streams, "connections": connections, "rate": rate, "seconds": seconds}
        seen = load("append", server, path=STREAM, warm=0.5, bytes=BODY, **shape)
        complete(server, streams, before + appended(seen), 0)
        told = notes(seen, "p50_ms", "p999_ms", "cpu_us", "rss_mib", "generator_cpu")
        return Sample(seen["p99_ms"], told | {"rate": seen["rate"]})

    return contest(
        f"append p99 at {rate:,.0f}/s, open loop, 64 streams, 64 connections",
        "ms",
        {PEER_E: measure, ours(): measure},
        {OURS: Goal(0.7, over=E, at_most=True)},
        directory,
        rounds,
    )


def http2(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    """E speaks no HTTP/2."""

    def over_h2(*, stores: bool) -> Measure:
        def measure(server: Running, _: Path) -> Sample:
            if stores:
                create(server, 1)
            shape = {"connections": 64, "streams": 32, "seconds": 1 if quick else 3}
            seen = h2load(server, f"{STREAM}/0", body=BODY, **shape)
            if stores:
                there = load("count", server, path=STREAM, streams=1)["bytes"] / BODY
                if there < seen["answers"]:
                    raise UnmeasuredError(f"{seen['answers']} answered, {there} are there")
            return Sample(
                seen["rate"], notes(seen, "mean_ms", "cpu_us", "rss_mib", "generator_cpu")
            )

        return measure

    return contest(
        "appends over h2: 64 connections x 32 streams",
        "appends/s",
        {ours(): over_h2(stores=True), LIMIT_H2: over_h2(stores=False)},
        {OURS: Goal(0.8, over=LIMIT_H2.name)},
        directory,
        rounds,
    )


def _count(streams: int) -> str:
    return "1 stream" if streams == 1 else f"{streams:,} streams"
