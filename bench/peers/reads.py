"""GETs of large, middling and small streams, beside nginx with sendfile."""

import time
from pathlib import Path

from bench.peers.contest import CPU, Measure, contest, notes
from bench.peers.processes import Running
from bench.peers.servers import NGINX, OURS, PEER_E, STATIC, E, ours
from bench.peers.tools import Figures, load, wrk
from bench.rounds import Goal, Row, Sample, UnmeasuredError

KIB = 1 << 10
MIB = 1 << 20
STREAM = "/v1/stream/read"
CPU_PER_GB = "CPU ms/GB"
# More than a segment of ours; and what its background work takes.
BEHIND = 96 * MIB
SEALING_SECONDS = 3


def pattern(stream: int, length: int) -> bytes:
    """The bytes that bench/load writes into a stream and expects of it."""
    mask = (1 << 64) - 1
    state = (stream * 0x9E3779B97F4A7C15 & mask) | 1
    words = bytearray()
    while len(words) < length:
        state ^= state << 13 & mask
        state ^= state >> 7
        state ^= state << 17 & mask
        words += state.to_bytes(8, "little")
    return bytes(words[:length])


def large(
    size: int, streams: int, connections: int, seconds: int, *, sealed: bool = False
) -> Measure:
    """Reads streams through, page by page; GB/s.

    What was just written may be in the newest segment of a log; `sealed`: so much was written behind
    it that it is not.
    """

    def measure(server: Running, _: Path) -> Sample:
        load("fill", server, path=STREAM, streams=streams, bytes=size)
        if sealed:
            load("fill", server, path=f"{STREAM}-behind", streams=1, bytes=BEHIND)
            time.sleep(SEALING_SECONDS)
        shape = {"streams": streams, "connections": connections, "bytes": size}
        return _reads(load("get", server, path=STREAM, seconds=seconds, **shape))

    return measure


def large_files(size: int, streams: int, connections: int, seconds: int) -> Measure:
    contents = {stream: pattern(stream, size) for stream in range(streams)}

    def measure(server: Running, home: Path) -> Sample:
        (home / "files").mkdir()
        for stream, content in contents.items():
            (home / "files" / str(stream)).write_bytes(content)
        shape = {"streams": streams, "connections": connections, "bytes": size}
        return _reads(load("get", server, path="", plain=1, seconds=seconds, **shape))

    return measure


def _reads(seen: Figures) -> Sample:
    gigabytes = seen["bytes"] / 1e9
    told = notes(seen, "p50_ms", "p99_ms", "rss_mib", "generator_cpu")
    used = seen["server_cpu_s"] * 1000 / gigabytes
    return Sample(seen["bytes_per_s"] / 1e9, {CPU_PER_GB: used} | told)


def small(connections: int, seconds: int, path: str) -> Measure:
    """GETs of 1 KiB with wrk: one answer is one read."""

    def measure(server: Running, home: Path) -> Sample:
        if path:
            load("fill", server, path=path, streams=1, bytes=KIB)
        else:
            (home / "files").mkdir()
            (home / "files" / "0").write_bytes(pattern(0, KIB))
        check = {"connections": 1, "bytes": KIB, "plain": 0 if path else 1}
        load("get", server, path=path, seconds=0.2, warm=0.1, **check)
        query = "?offset=-1" if path else ""
        seen = wrk(server, path, query=query, connections=connections, seconds=seconds)
        if not KIB <= seen["bytes"] / seen["answers"] <= 2 * KIB:
            raise UnmeasuredError(f"{seen['bytes']} bytes in {seen['answers']} answers")
        told = notes(seen, "p50_ms", "p99_ms", "cpu_us", "rss_mib", "generator_cpu")
        return Sample(seen["rate"], told)

    return measure


def measure(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    rows = []
    seconds = 1 if quick else 3
    for size, streams, connections, sealed in (
        (64 * MIB, 4, 4, True),
        (MIB, 32, 32, True),
        (MIB, 32, 32, False),
    ):
        if quick and size > MIB:
            continue
        shape = (size, streams, connections, seconds)
        streaming = large(*shape, sealed=sealed)
        rows += contest(
            f"GET {size // MIB} MiB, {connections} connections, {'sealed' if sealed else 'new'}",
            "GB/s",
            {PEER_E: streaming, ours(): streaming, STATIC: large_files(*shape)},
            {OURS: [Goal(1, over=E), Goal(1, over=E, note=CPU_PER_GB, at_most=True)]},
            directory,
            rounds,
        )
    read = small(64, seconds, STREAM)
    return rows + contest(
        "GET 1 KiB, 64 connections",
        "answers/s",
        {PEER_E: read, ours(): read, STATIC: small(64, seconds, "")},
        {OURS: [Goal(1.5, over=E), Goal(0.9, over=NGINX), Goal(1, over=E, note=CPU, at_most=True)]},
        directory,
        rounds,
    )
