"""What an earlier version noted as lost is refused by this one, and nothing else is."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from durastream import LogEngine

from .codec import u32
from .layout import Manifest
from .lost import describe
from .sealed import SealedFile
from .test_golden import SEGMENT_BYTES, snapshot

HERE = Path(__file__).parent / "v2-lost"


@pytest.fixture
def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "description.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the data that may be written to."""
    return snapshot(HERE / "data", tmp_path / "data")


def test_every_event_is_read_or_refused_as_when_it_was_written(
    directory: Path, expected: dict[str, Any]
) -> None:
    for turn in range(3):
        with LogEngine(directory, segment_bytes=SEGMENT_BYTES, hot_bytes=0) as log:
            assert describe(log, expected["ends"]) == expected
            log.create(f"new {turn}", body=b"x")
            log.compact()
            assert describe(log, expected["ends"]) == expected


def test_what_is_lost_of_each_stream_is_in_the_files_as_the_format_says(
    directory: Path, expected: dict[str, Any]
) -> None:
    with LogEngine(directory, segment_bytes=SEGMENT_BYTES) as log:
        ids = {log.head(path).id: path for path in ("plain", "json", "whole")}
    wanted = {
        (path, start, end)
        for path in ids.values()
        for start, end, content in expected["streams"][path]
        if content is None
    }
    lost = []
    for entry in Manifest.read(HERE / "data").files:
        file = SealedFile.read(HERE / "data", entry)
        data = (HERE / "data" / f"{file.number:016}.sealed").read_bytes()
        assert u32(data, 8) == (2 if file.lost else 1)
        lost += file.lost
    assert sorted(lost) == lost
    assert {number for *_, number in lost} == {2}
    assert (HERE / "data" / "damaged" / "0000000000000002.wal").exists()
    parts = {(ids[stream], start, end) for stream, start, end, _ in lost}
    assert len(parts) < len(wanted), "no part of two events"
    ends = {path: [0, *expected["ends"][path]] for path in ids.values()}
    covered = {
        (path, one, next_)
        for path, start, end in parts
        for one, next_ in pairwise(ends[path])
        if start <= one and next_ <= end
    }
    assert covered == wanted
    assert sum(end - start for _, start, end in parts) == expected["lost_bytes"]
