"""A real disk that is really full: deletions are taken, their space comes back, appends go on by themselves."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from durastream import LogEngine, StorageFull
from support.disks import mounted

SIZE = 64 << 20
SEGMENT = 1 << 20
EVENT = b"e" * 50_000
PATIENCE = 60.0
SETTLED = 3.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", SIZE) as disk:
        yield disk


def fill(log: LogEngine, paths: list[str]) -> int:
    """Append to the paths in turn until there is no space for good; how many appends were taken.

    The first refusals only last until checkpoints let the log go.
    """
    taken = 0
    refused = time.monotonic() + SETTLED
    while time.monotonic() < refused:
        try:
            log.append(paths[taken % len(paths)], EVENT)
        except StorageFull:
            time.sleep(0.02)
            continue
        taken += 1
        refused = time.monotonic() + SETTLED
        assert taken * len(EVENT) < 4 * SIZE, "the disk holds more than it can"
    return taken


def append_when_there_is_space(log: LogEngine, path: str, times: int) -> None:
    """Append so many times, trying again while the disk is full."""
    deadline = time.monotonic() + PATIENCE
    while times:
        try:
            log.append(path, EVENT)
            times -= 1
        except StorageFull:
            assert time.monotonic() < deadline, f"no space came back: {log.stats().storage_full}"
            time.sleep(0.05)


@pytest.mark.parametrize("deleted", [slice(None), slice(0, None, 2)], ids=["all", "every second"])
def test_what_is_deleted_on_a_full_disk_gives_its_space_back(
    small_disk: Path, deleted: slice
) -> None:
    paths = [f"stream/{number}" for number in range(10)]
    with LogEngine(small_disk / "log", segment_bytes=SEGMENT, reap_interval=0.1) as log:
        for path in paths:
            log.create(path)
        taken = fill(log, paths)
        assert taken * len(EVENT) > SIZE // 2
        assert log.stats().storage_full is not None
        # Reads go on.
        assert bytes(log.read(paths[1], max_bytes=1)) == EVENT
        for path in paths[deleted]:
            log.delete(path)
        log.create("after")
        append_when_there_is_space(log, "after", taken // 4)
        kept = [path for path in paths if path not in paths[deleted]]
        for path in kept:
            assert bytes(log.read(path, max_bytes=1)) == EVENT
        assert log.stats().storage_full is None
    with LogEngine(small_disk / "log", segment_bytes=SEGMENT) as log:
        assert bytes(log.read("after", max_bytes=1)) == EVENT
        assert {entry.path for entry in log.list()} == {*kept, "after"}


def test_what_is_trimmed_on_a_full_disk_gives_its_space_back(small_disk: Path) -> None:
    with LogEngine(small_disk / "log", segment_bytes=SEGMENT, reap_interval=0.1) as log:
        log.create("stream")
        taken = fill(log, ["stream"])
        log.trim("stream", log.head("stream").tail)
        append_when_there_is_space(log, "stream", taken // 2)


def test_a_process_out_of_descriptors_appends_again_once_it_has_some(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", OUT_OF_DESCRIPTORS, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "refused\nkept all\n"), ran.stderr


OUT_OF_DESCRIPTORS = """
import os, resource, sys, time
from durastream import LogEngine, StorageFull

resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
with LogEngine(sys.argv[1], segment_bytes=64 << 10) as log:
    log.create("a")
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    taken = 0
    try:
        while taken < 1000:
            log.append("a", b"x" * 1000)
            taken += 1
    except StorageFull as full:
        assert "Too many open files" in str(full), full
        print("refused")
    for descriptor in held:
        os.close(descriptor)
    deadline = time.monotonic() + 20
    for _ in range(200):
        while True:
            try:
                log.append("a", b"x" * 1000)
                break
            except StorageFull:
                assert time.monotonic() < deadline, "it does not recover"
                time.sleep(0.02)
    assert len(bytes(log.read("a", max_bytes=1 << 24))) == (taken + 200) * 1000
    print("kept all")
"""
