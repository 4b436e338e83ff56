"""Writes the golden directory with lost parts: `PYTHONPATH=python:tests python tests/golden/write_lost.py TARGET`.

Kept to show how `v2-lost` came about. A committed golden directory is never written again.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from durastream import LogEngine
from golden.lost import describe
from golden.write import snapshot

SEGMENT_BYTES = 16 << 10
EVENTS = {"plain": 10, "json": 6, "whole": 6}
LOST = {"plain": (3, 5, 6), "json": (0,)}
"""Single ones, and two that are one lost part."""


def event(path: str, number: int) -> bytes:
    text = f"{path} {number}; " * (6 + number)
    return json.dumps([text]).encode() if path == "json" else text.encode()


def open_log(directory: Path) -> LogEngine:
    return LogEngine(directory, segment_bytes=SEGMENT_BYTES, hot_bytes=0, reap_interval=0.05)


def damage(directory: Path, path: str, number: int) -> None:
    """Flips a bit of an event in the log."""
    for segment in directory.glob("*.wal"):
        data = bytearray(segment.read_bytes())
        at = data.find(f"{path} {number}; ".encode() * (6 + number))
        if at >= 0:
            data[at + 20] ^= 1
            segment.write_bytes(data)
            return
    raise AssertionError(f"{path} {number} is not in the log")


def main() -> None:
    target = Path(sys.argv[1])
    ends: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        live = Path(scratch, "live")
        with open_log(live) as log:
            for path, count in EVENTS.items():
                log.create(path, content_type="application/json" if path == "json" else None)
                offsets = [log.append(path, event(path, n)).next_offset for n in range(count)]
                ends[path] = [int(str(offset).split("_")[1]) for offset in offsets]
            # One that reads all of what will be lost, and one that reads only the first of it.
            first_half = log.read("plain", max_bytes=ends["plain"][4]).next_offset
            log.fork("plain", "over", first_half)
            log.append("over", b"own")
            ends["over"] = [*ends["plain"][:5], ends["plain"][4] + 3]
            log.fork("plain", "tail")
            ends["tail"] = ends["plain"]
        for path, numbers in LOST.items():
            for number in numbers:
                damage(live, path, number)
        with open_log(live) as log:
            log.checkpoint()
            log.compact()
            # The second one gives the segment up.
            log.append("whole", event("whole", EVENTS["whole"]))
            ends["whole"].append(int(str(log.head("whole").tail).split("_")[1]))
            log.checkpoint()
            log.compact()
            log.append("plain", b"not sealed yet")
            ends["plain"] = [*ends["plain"], ends["plain"][-1] + len(b"not sealed yet")]
            log.checkpoint()
            time.sleep(1)  # until nothing more happens in the background
            description = describe(log, ends)
            snapshot(live, target / "data")
    for path, numbers in LOST.items():
        got = [number for number, found in enumerate(description["streams"][path]) if not found[2]]
        assert got == list(numbers), path
    (target / "description.json").write_text(
        json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
