"""Compaction through the engine: what can be read stays, the rest gives its disk back."""

from pathlib import Path

import pytest

from durastream import AsyncLogEngine, LogEngine, Retention, StreamNotFound

SEGMENT = 16 << 10
EVENT = 700


def body(stream: int, event: int) -> bytes:
    return f"{stream}/{event} ".encode() * 200


def disk_bytes(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.glob("*.sealed"))


def fill(log: LogEngine, streams: int, events: int) -> None:
    for stream in range(streams):
        log.create(f"s/{stream}")
    for event in range(events):
        for stream in range(streams):
            log.append(f"s/{stream}", body(stream, event)[:EVENT])


def content(log: LogEngine, path: str) -> bytes:
    read, offset = b"", "-1"
    while True:
        page = log.read(path, offset, max_bytes=5000)
        read += bytes(page)
        offset = str(page.next_offset)
        if page.up_to_date:
            return read


def test_deleted_and_trimmed_data_gives_its_disk_back(tmp_path: Path) -> None:
    with LogEngine(tmp_path, segment_bytes=SEGMENT) as log:
        fill(log, 20, 100)
        log.compact()
        before = disk_bytes(tmp_path)
        assert before > 20 * 100 * EVENT
        for stream in range(2, 20):
            log.delete(f"s/{stream}")
        half = log.read("s/1", max_bytes=50 * EVENT).next_offset
        log.trim("s/1", half)
        log.compact()
        stats = log.stats()
        live = (100 + 50) * EVENT
        assert disk_bytes(tmp_path) <= 1.3 * live < before / 10
        assert stats.space_amplification is not None
        assert stats.space_amplification <= 1.3
        assert stats.write_amplification > 1.0
        assert stats.compactions > 0
        assert stats.compacted_bytes > 0
    with LogEngine(tmp_path, segment_bytes=SEGMENT) as log:
        assert content(log, "s/0") == b"".join(body(0, event)[:EVENT] for event in range(100))
        assert bytes(log.read("s/1", half)) == b"".join(
            body(1, event)[:EVENT] for event in range(50, 100)
        )
        with pytest.raises(StreamNotFound):
            log.head("s/2")


def test_a_fork_keeps_what_it_needs_of_a_source_that_was_deleted(tmp_path: Path) -> None:
    with LogEngine(tmp_path, segment_bytes=SEGMENT) as log:
        fill(log, 3, 60)
        at = log.read("s/0", max_bytes=40 * EVENT).next_offset
        log.fork("s/0", "fork", at)
        log.append("fork", b"own")
        for stream in range(3):
            log.delete(f"s/{stream}")
        log.compact()
        expected = b"".join(body(0, event)[:EVENT] for event in range(40)) + b"own"
        assert content(log, "fork") == expected
        log.delete("fork")
        log.compact()
        assert (log.stats().sealed_bytes, log.stats().sealed_live_bytes) == (0, 0)
    with LogEngine(tmp_path) as log:
        assert list(log.list()) == []


def test_a_fork_keeps_nothing_that_it_does_not_read(tmp_path: Path) -> None:
    with LogEngine(tmp_path, segment_bytes=SEGMENT) as log:
        fill(log, 1, 2)
        log.fork("s/0", "fork")
        for event in range(2, 100):
            log.append("s/0", body(0, event)[:EVENT])
        kept = log.read("s/0", max_bytes=90 * EVENT).next_offset
        log.trim("s/0", kept)
        log.compact()
        assert log.stats().sealed_live_bytes == (2 + 10) * EVENT
        log.delete("s/0")
        log.compact()
        assert log.stats().sealed_live_bytes == 2 * EVENT
        assert disk_bytes(tmp_path) < 2 * EVENT + 5000
        assert content(log, "fork") == b"".join(body(0, event)[:EVENT] for event in range(2))


def test_forks_that_come_and_go_leave_nothing_of_a_source_with_a_retention(tmp_path: Path) -> None:
    most = 10 * EVENT
    with LogEngine(tmp_path, segment_bytes=SEGMENT, reap_interval=0.001) as log:
        log.create("s", retention=Retention(max_bytes=most))
        log.fork("s", "fork/0")
        for generation in range(1, 20):
            for event in range(20):
                log.append("s", body(generation, event)[:EVENT])
            while (info := log.head("s")).tail.position - info.floor.position > most:
                pass
            log.fork("s", f"fork/{generation}")
            log.delete(f"fork/{generation - 1}")
        log.compact()
        assert log.stats().sealed_live_bytes == most


@pytest.mark.anyio
async def test_the_asynchronous_engine_compacts_too(tmp_path: Path) -> None:
    async with AsyncLogEngine(tmp_path, segment_bytes=SEGMENT) as log:
        await log.create("a", body=b"x" * 20_000)
        await log.compact()
        assert log.stats().sealed_lsn > 0
        assert bytes(await log.read("a")) == b"x" * 20_000
