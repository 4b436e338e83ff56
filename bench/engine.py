"""LogEngine beside sqlite3 and beside bare system calls, everything durable."""

import os
import sqlite3
import time
from pathlib import Path

from bench.rounds import Goal, Row, Sample, interleaved
from durastream import LogEngine

RECORD = b"r" * 256
BATCH = 1000
TURNS = 10


class Raw:
    """`write` and `fdatasync` in a loop: the least that durability can cost from Python."""

    def __init__(self, file: Path, *, written: int = 0) -> None:
        self.fd = os.open(file, os.O_RDWR | os.O_CREAT)
        for _ in range(written >> 20):
            os.write(self.fd, b"\0" * (1 << 20))
        os.fsync(self.fd)
        os.lseek(self.fd, 0, os.SEEK_SET)

    def loop(self, record: bytes, times: int) -> float:
        fd = self.fd
        began = time.perf_counter()
        for _ in range(times):
            os.write(fd, record)
            os.fdatasync(fd)
        return time.perf_counter() - began

    def close(self) -> None:
        os.close(self.fd)


class Sqlite:
    """A table of events in WAL mode with synchronous=FULL."""

    def __init__(self, file: Path) -> None:
        self.db = sqlite3.connect(file, isolation_level=None)
        self.db.execute("pragma journal_mode=wal")
        self.db.execute("pragma synchronous=full")
        self.db.execute("create table event (id integer primary key, stream text, body blob)")

    def singles(self, times: int) -> float:
        execute = self.db.execute
        began = time.perf_counter()
        for _ in range(times):
            execute("insert into event (stream, body) values (?, ?)", ("s", RECORD))
        return time.perf_counter() - began

    def batches(self, times: int, streams: int) -> float:
        rows = [(f"s{n % streams}", RECORD) for n in range(BATCH)]
        began = time.perf_counter()
        for _ in range(times):
            self.db.execute("begin")
            self.db.executemany("insert into event (stream, body) values (?, ?)", rows)
            self.db.execute("commit")
        return time.perf_counter() - began

    def close(self) -> None:
        self.db.close()


def singles(directory: Path, rounds: int, times: int) -> list[Row]:
    """One durable append of 256 B after the other, by one thread."""
    growing = Raw(directory / "raw")
    written = Raw(directory / "raw-written", written=times * 256 * (rounds + 1) + (1 << 20))
    sqlite = Sqlite(directory / "single.db")
    with LogEngine(directory / "single") as log:
        log.create("s")
        append = log.append

        def ours() -> Sample:
            began = time.perf_counter()
            for _ in range(times):
                append("s", RECORD)
            return Sample(times / (time.perf_counter() - began))

        rows = interleaved(
            "single durable append, 256 B",
            "appends/s",
            {
                "write+fdatasync": lambda: Sample(times / growing.loop(RECORD, times)),
                "write+fdatasync, written file": lambda: Sample(
                    times / written.loop(RECORD, times)
                ),
                "LogEngine.append": ours,
                "sqlite3 insert": lambda: Sample(times / sqlite.singles(times)),
            },
            {"LogEngine.append": Goal(0.8, over="write+fdatasync")},
            rounds,
        )
    for contender in (growing, written, sqlite):
        contender.close()
    return rows


def batches(directory: Path, rounds: int, times: int, streams: int) -> list[Row]:
    """Batches of 1,000 events of 256 B, each batch durable before the next."""
    raw = Raw(directory / f"raw-batch-{streams}")
    sqlite = Sqlite(directory / f"batch-{streams}.db")
    events = BATCH * times
    items = [(f"s{n % streams}", RECORD) for n in range(BATCH)]
    with LogEngine(directory / f"batch-{streams}") as log:
        for n in range(streams):
            log.create(f"s{n}")

        def ours() -> Sample:
            began = time.perf_counter()
            for _ in range(times):
                log.append_many(items)
            return Sample(events / (time.perf_counter() - began))

        rows = interleaved(
            f"batches of 1,000 x 256 B, {streams} stream{'s' * (streams > 1)}",
            "events/s",
            {
                "write+fdatasync": lambda: Sample(events / raw.loop(RECORD * BATCH, times)),
                "LogEngine.append_many": ours,
                "sqlite3 executemany": lambda: Sample(events / sqlite.batches(times, streams)),
            },
            {"LogEngine.append_many": Goal(300_000)},
            rounds,
        )
    raw.close()
    sqlite.close()
    return rows


def measure(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    """In many short turns: a disk that others use changes its mind within seconds."""
    turns = rounds if quick else rounds * TURNS
    rows = singles(directory, turns, 300)
    for streams in (1, 64):
        rows += batches(directory, turns, 30, streams)
    return rows
