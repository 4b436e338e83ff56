"""Any file of a directory flipped, cut or gone: never wrong bytes, always named, and repair says the truth."""

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from durastream import DataDamaged, DurableStreamError, FormatVersion, LogEngine, _native
from durastream._shapes import Examined, Fault, Repaired
from tools.conftest import SEGMENT, flip
from tools.test_sealed import read, until_sealed

from . import damage

STREAMS = ("a", "b", "c")
EVENTS = 250
FLIPS = max(4, settings().max_examples // 10)
"""Of each file; half of them near its ends, where headers and footers are. Many more in `make fuzz`."""


@dataclass(frozen=True)
class Case:
    """What is done to a file, and where."""

    file: str
    how: str
    at: int

    def hurt(self, directory: Path) -> Path:
        file = directory / self.file
        if self.how == "flip":
            flip(file, self.at)
        elif self.how == "cut":
            os.truncate(file, self.at)
        else:
            file.unlink()
        return file


def event(stream: str, number: int) -> bytes:
    return f"{stream}:{number:05};".encode() * 24


EVERYTHING = {
    stream: b"".join(event(stream, number) for number in range(EVENTS)) for stream in STREAMS
}


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    path = damage.scratch()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def original(home: Path) -> Path:
    """Sealed files, two checkpoints, a log behind the newest, not closed."""
    path = home / "live"
    with LogEngine(
        path, segment_bytes=SEGMENT, compaction_bytes_per_second=1, seal_backlog=1
    ) as log:
        for stream in STREAMS:
            log.create(stream)
        for number in range(EVENTS):
            log.append_many([(stream, event(stream, number)) for stream in STREAMS])
            if number in {EVENTS - 90, EVENTS - 60}:
                log.checkpoint()
        until_sealed(path, 2)
        killed = damage.copy(path, home / "killed")
    # Killed once more, after a start that noted where the log ends: otherwise damage to the last group could look
    # like a write that did not finish.
    script = "import os, sys; from durastream import LogEngine; log = LogEngine(sys.argv[1]); os._exit(0)"
    subprocess.run([sys.executable, "-c", script, killed], check=True, timeout=60)
    (killed / "LOCK").unlink()
    return killed


def cases(original: Path) -> list[Case]:
    """Every file is flipped at some places, cut, and removed."""
    chosen = random.Random(4)
    found = []
    for file in sorted(file for file in original.iterdir() if file.stat().st_size):
        size = file.stat().st_size
        places = {chosen.randrange(min(size, 128)), size - 1 - chosen.randrange(min(size, 512))}
        while len(places) < min(FLIPS, size):
            places.add(chosen.randrange(size))
        found += [Case(file.name, "flip", at) for at in sorted(places)]
        found += [Case(file.name, "cut", chosen.randrange(size)), Case(file.name, "remove", 0)]
    return found


def served(directory: Path) -> dict[str, bytes | None]:
    """What each stream serves, None where that is refused; nothing when the log does not open."""
    try:
        log = LogEngine(directory, segment_bytes=SEGMENT)
    except DurableStreamError:
        return {}
    with log:
        content: dict[str, bytes | None] = {}
        for stream in STREAMS:
            try:
                content[stream] = read(log, stream)
            except DurableStreamError:
                content[stream] = None
        return content


def repaired(directory: Path) -> Repaired | None:
    """None when too little is left."""
    try:
        return _native.repair(directory, False)
    except DataDamaged as hopeless:
        if "cannot be repaired" not in str(hopeless):
            raise
        return None


def harmful(found: Examined) -> list[Fault]:
    return [fault for fault in found["faults"] if not fault["harmless"]]


def outcome(original: Path, home: Path, case: Case) -> list[str]:
    """Hurts a copy and asserts what holds of any; what became of it."""
    directory = damage.copy(original, home / "hurt")
    file = case.hurt(directory)
    # A start changes some of it, such as the name of a damaged checkpoint, so another copy is repaired.
    started = served(damage.copy(directory, home / "started"))
    for stream, content in started.items():
        assert content in {None, EVERYTHING[stream]}, case
    try:
        found = _native.examine(directory, True)
    except FormatVersion as refusal:
        # Whoever wrote it may know better: nothing is served, and nothing repaired.
        assert (refusal.file, started) == (str(file), {}), case  # noqa: PT017
        return ["of another version"]
    outcomes = ["whole" if started == EVERYTHING else "refused"]
    if started != EVERYTHING:
        named = {fault["file"] for fault in harmful(found)}
        assert str(file) in named or str(directory / "MANIFEST") in named, (case, named)
    if not found["damaged"]:
        return outcomes
    done = repaired(directory)
    if done is None:
        return [*outcomes, "hopeless"]
    assert done["after"] is not None
    told = {loss["path"] for loss in done["losses"]}
    told |= {fault["path"] for fault in harmful(done["after"])}
    # Whose the events of a damaged place of the log were cannot always be told.
    unknown = done["unknown"] or harmful(done["after"])
    after = served(directory)
    assert after, (case, "it opens")
    for stream, right in EVERYTHING.items():
        content = after.get(stream)
        assert content is None or right.startswith(content), case
        assert content == right or stream in told or unknown, case
    return [*outcomes, "repaired in whole" if after == EVERYTHING else "repaired in part"]


@pytest.mark.property
def test_no_damage_to_any_file_gets_wrong_bytes_served(original: Path, home: Path) -> None:
    assert served(damage.copy(original, home / "sound")) == EVERYTHING
    outcomes: Counter[str] = Counter()
    for case in cases(original):
        outcomes.update(outcome(original, home, case))
        for copy in ("hurt", "started"):
            shutil.rmtree(home / copy)
    # Otherwise little would have been proved.
    met = {"whole", "refused", "repaired in whole", "repaired in part"}
    assert met <= set(outcomes), outcomes
