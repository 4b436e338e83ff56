"""Streams of which parts are lost, event by event, through `LogEngine`."""

from itertools import pairwise
from typing import Any

from durastream import DataDamaged, LogEngine


def describe(log: LogEngine, ends: dict[str, list[int]]) -> dict[str, Any]:
    """Of every stream, whose events end at `ends`: where each begins and ends, and its content; `None`: it is refused."""
    return {
        "ends": ends,
        "streams": {
            path: [
                [start, end, read(log, path, start, end)]
                for start, end in pairwise([0, *ends[path]])
            ]
            for path in ends
        },
        "lost_bytes": log.stats().lost_bytes,
    }


def read(log: LogEngine, path: str, start: int, end: int) -> str | None:
    incarnation = str(log.head(path).tail).split("_")[0]
    try:
        page = log.read(path, f"{incarnation}_{start:016}", max_bytes=1)
    except DataDamaged:
        return None
    assert str(page.next_offset) == f"{incarnation}_{end:016}"
    return bytes(page).decode()
