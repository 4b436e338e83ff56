"""kill -9 of a process with an embedded log: nothing acknowledged is lost, nothing is there twice."""

import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from durastream import LogEngine

from . import engine_worker

PRODUCERS = 6
KILLS = {"sync": 8, "interval=20": 4, "none": 4}  # what was written survives a kill, synced or not


def acknowledged(
    directory: Path, durability: str, first: list[int], seconds: float
) -> Iterator[tuple[int, int, str]]:
    """Runs the worker, kills it after about `seconds`, gives what it had been told."""
    command = [sys.executable, engine_worker.__file__, str(directory), durability, *map(str, first)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    with worker.stdout as told:
        assert told.readline() == b"ready\n"
        timer = threading.Timer(seconds, worker.kill)
        timer.start()
        for line in told:
            producer, seq, offset = line.split()
            yield int(producer), int(seq), offset.decode()
        timer.join()
    assert worker.wait() == -9


@pytest.mark.parametrize("durability", KILLS)
def test_no_acknowledged_event_is_lost_or_doubled(tmp_path: Path, durability: str) -> None:
    chance = random.Random(7)
    directory = tmp_path / "data"
    last = [-1] * PRODUCERS
    ends: dict[tuple[int, int], str] = {}
    for _ in range(KILLS[durability]):
        first, seconds = [n + 1 for n in last], chance.uniform(0.05, 0.6)
        for producer, seq, offset in acknowledged(directory, durability, first, seconds):
            assert seq > last[producer], "acknowledged twice"
            last[producer] = seq
            if offset != "-":
                ends[producer, seq] = offset
        check(directory, last, ends)
    assert min(last) > 20, "too little happened to prove anything"


def check(directory: Path, last: list[int], ends: dict[tuple[int, int], str]) -> None:
    with LogEngine(directory) as log:
        for n in range(engine_worker.STREAMS):
            path = f"stream/{n}"
            pages = [bytes(page) for page in log.follow(path, timeout=0)]
            found = [(int(p), int(s)) for p, s in re.findall(rb"(\d+):(\d+);", b"".join(pages))]
            for producer, of in groupby(
                sorted(found, key=lambda event: event[0]), key=lambda event: event[0]
            ):
                seqs = [seq for _, seq in of]
                # What was written but not told may be there, in order and once.
                assert seqs == list(range(len(seqs)))
                assert len(seqs) > last[producer]
            position = 0
            for producer, seq in found:
                position += len(b"%d:%d;" % (producer, seq))
                if (producer, seq) in ends:
                    assert int(ends[producer, seq].split("_")[1]) == position
