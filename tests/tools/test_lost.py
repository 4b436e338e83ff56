"""Damage to the log below the checkpoint: sealed past, told of by everything, and gone with the streams that it hurt."""

import time
from pathlib import Path
from typing import Any

import pytest

from durastream import DataDamaged, LogEngine
from golden.layout import Manifest
from golden.sealed import SealedFile
from tools.conftest import Command, flip

SEGMENT = 256 << 10
EVENT = 2000


def event(stream: str, number: int) -> bytes:
    return f"{stream}:{number:04};".encode().ljust(EVENT, b".")


def opened(directory: Path) -> LogEngine:
    return LogEngine(directory, segment_bytes=SEGMENT, hot_bytes=0)


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Path, Path]:
    """A closed log of two streams of which the seventh event of `a` is damaged; its directory and the segment."""
    directory = tmp_path / "log"
    with opened(directory) as log:
        for stream in ("a", "b"):
            log.create(stream)
        for number in range(20):
            log.append_many([(stream, event(stream, number)) for stream in ("a", "b")])
    (segment,) = [file for file in directory.glob("*.wal") if event("a", 7) in file.read_bytes()]
    flip(segment, segment.read_bytes().index(event("a", 7)) + 50)
    return directory, segment


def hurt(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [fault for fault in found["faults"] if not fault["harmless"]]


def until_sealed(log: LogEngine) -> None:
    deadline = time.monotonic() + 30
    while log.stats().sealing_backlog or log.stats().sealing_halted:
        assert time.monotonic() < deadline, log.stats().sealing_halted
        time.sleep(0.01)


def assert_lost(log: LogEngine) -> None:
    """The seventh event of `a` is refused, all else is read."""
    incarnation = f"{log.head('a').id:016}"
    assert bytes(log.read("a", max_bytes=7 * EVENT)) == b"".join(
        event("a", number) for number in range(7)
    )
    for position in (7 * EVENT, 7 * EVENT + 100):
        with pytest.raises(DataDamaged, match=r"stream 1\b.*read of stream 'a'"):
            log.read("a", f"{incarnation}_{position:016}")
    behind = bytes(log.read("a", f"{incarnation}_{8 * EVENT:016}", max_bytes=12 * EVENT))
    assert behind == b"".join(event("a", number) for number in range(8, 20))
    assert bytes(log.read("b", max_bytes=20 * EVENT)) == b"".join(
        event("b", number) for number in range(20)
    )


def test_it_is_told_before_it_is_sealed_and_repair_says_what_is_lost(
    damaged: tuple[Path, Path], command: Command
) -> None:
    directory, segment = damaged
    found = command("check", directory, "--json")
    assert found.status == 1
    damage, unreadable = hurt(found.json())
    assert (damage["kind"], damage["file"]) == ("damage", str(segment))
    places = ("path", "position", "end")
    assert [unreadable[it] for it in places] == ["a", 7 * EVENT, 8 * EVENT]
    before = segment.read_bytes()
    done = command("repair", directory, "--yes", "--json")
    assert (done.status, done.json()["sound"], done.json()["changed"]) == (1, False, [])
    (loss,) = done.json()["losses"]
    assert (loss["path"], loss["events"], loss["bytes"]) == ("a", 1, EVENT)
    assert loss["positions"] == [7 * EVENT, 8 * EVENT]
    text = command("repair", directory, "--yes").out
    assert "sound" not in text
    assert f"stream 'a': 1 event, 2.0 KiB at positions {7 * EVENT} to {8 * EVENT}" in text
    assert "nothing was changed" in text
    assert segment.read_bytes() == before


def test_sealing_goes_on_and_the_loss_stays_told_until_its_stream_is_trimmed(
    damaged: tuple[Path, Path], command: Command
) -> None:
    directory, segment = damaged
    kept = directory / "damaged" / segment.name
    was = segment.read_bytes()
    with opened(directory) as log:
        assert_lost(log)
        for number in range(20, 400):
            log.append("b", event("b", number))
        until_sealed(log)
        stats = log.stats()
        assert (stats.lost_bytes, stats.sealed_lsn > 0) == (EVENT, True)
        assert_lost(log)
        log.compact()
        assert_lost(log)
        assert kept.read_bytes() == was
        assert not segment.exists()
        copy = directory.with_name("copy")
        log.backup(copy)
    with opened(copy) as log:
        assert_lost(log)
        assert log.stats().lost_bytes == EVENT
    # As the format describes it.
    entries = Manifest.read(directory).files
    lost = [part for entry in entries for part in SealedFile.read(directory, entry).lost]
    assert lost == [(1, 7 * EVENT, 8 * EVENT, int(segment.stem))]
    (telling,) = [entry[0] for entry in entries if SealedFile.read(directory, entry).lost]
    for place, named in ((directory, kept), (copy, copy / f"{telling:016}.sealed")):
        found = command("check", place, "--json")
        assert found.status == 1
        (fault,) = hurt(found.json())
        assert (fault["kind"], fault["file"]) == ("unreadable", str(named))
        assert (f"{segment.name}, is not here" in fault["detail"]) == (place == copy)
        assert named.exists()
        assert [fault[it] for it in ("path", "position", "end")] == ["a", 7 * EVENT, 8 * EVENT]
        told = command("stats", place, "--json")
        assert (told.status, hurt(told.json())) == (1, [fault])
        done = command("repair", place, "--yes", "--json")
        assert (done.status, done.json()["sound"]) == (1, False)
        assert [loss["positions"] for loss in done.json()["losses"]] == [[7 * EVENT, 8 * EVENT]]
    with opened(directory) as log:
        assert_lost(log)
        log.trim("a", f"{log.head('a').id:016}_{8 * EVENT:016}")
        log.compact()
        assert (log.stats().lost_bytes, kept.exists()) == (0, False)
    assert command("check", directory).status == 0
    assert "nothing to repair" in command("repair", directory, "--yes").out


def test_damage_behind_the_checkpoint_is_sealed_past_after_another_one(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    with opened(directory) as log:
        log.create("a")
        log.append("a", event("a", 0))
        log.append("a", event("a", 1))
        segment = next(
            file for file in directory.glob("*.wal") if event("a", 0) in file.read_bytes()
        )
        flip(segment, segment.read_bytes().index(event("a", 0)) + 50)
        # Nobody asks for a checkpoint but the sealer.
        for number in range(2, 400):
            log.append("a", event("a", number))
        until_sealed(log)
        assert (log.stats().lost_bytes, log.stats().checkpoints) == (EVENT, 1)
        log.trim("a", f"{log.head('a').id:016}_{EVENT:016}")
    with opened(directory) as log:
        content = b"".join(bytes(page) for page in log.follow("a", timeout=0))
        assert content == b"".join(event("a", number) for number in range(1, 400))
