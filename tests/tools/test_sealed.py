"""Sealed files: checked, repaired, told of; never wrong bytes."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from durastream import DataDamaged, FormatVersion, LogEngine, ReadFailed
from tools.conftest import SEGMENT, Command, content, flip

STREAMS = ("a", "b", "c")
EVENTS = 400
FOOTER = -100
REFUSED = (DataDamaged, ReadFailed)


def event(stream: str, number: int) -> bytes:
    """As long as no other stream's, and unlike any other."""
    return f"{stream}:{number:05};".encode() * (20 + STREAMS.index(stream))


def whole(stream: str, events: int = EVENTS) -> bytes:
    return b"".join(event(stream, number) for number in range(events))


def sealed_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.sealed"))


def until_sealed(directory: Path, files: int) -> None:
    deadline = time.monotonic() + 30
    while len(sealed_files(directory)) < files:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A closed log most of which is in sealed files, and of which the log has only the end."""
    path = tmp_path / "log"
    # Compaction, which would make one file of them, does not get far; sealing hurries.
    with LogEngine(
        path, segment_bytes=SEGMENT, compaction_bytes_per_second=1, seal_backlog=1
    ) as log:
        for stream in STREAMS:
            log.create(stream)
        for number in range(EVENTS):
            log.append_many([(stream, event(stream, number)) for stream in STREAMS])
        until_sealed(path, 3)
        log.checkpoint()
        log.checkpoint()
    return path


def read(log: LogEngine, stream: str) -> bytes:
    return b"".join(bytes(page) for page in log.follow(stream, timeout=0))


def served(directory: Path) -> dict[str, bytes | None]:
    """Every stream's content, None for what is refused; whatever is given is what was written."""
    content: dict[str, bytes | None] = {}
    with LogEngine(directory, segment_bytes=SEGMENT) as log:
        for stream in STREAMS:
            try:
                content[stream] = read(log, stream)
            except REFUSED:
                content[stream] = None
            given = content[stream]
            assert given is None or given == whole(stream)
    return content


def hurt(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [fault for fault in found["faults"] if not fault["harmless"]]


def test_a_sound_directory_is_read_in_whole(sealed: Path, command: Command) -> None:
    found = command("check", sealed, "--json")
    assert (found.status, hurt(found.json())) == (0, [])
    report = found.json()
    assert report["events"] == EVENTS * len(STREAMS)
    assert report["payload_bytes"] == sum(len(whole(stream)) for stream in STREAMS)
    assert [file["file"] for file in report["sealed_files"]] == list(map(str, sealed_files(sealed)))
    assert report["sealed"] > 0
    assert "sealed files" in command("check", sealed).out
    assert command("stats", sealed, "--json").json()["events"] == EVENTS * len(STREAMS)


def test_a_damaged_block_is_named_with_whom_it_hurts_and_costs_them_alone(
    sealed: Path, command: Command
) -> None:
    file = sealed_files(sealed)[1]
    flip(file, 4096 + 100)
    found = command("check", sealed, "--json")
    assert found.status == 1
    damage, *unreadable = hurt(found.json())
    assert (damage["kind"], damage["file"], damage["offset"]) == ("damage", str(file), 4096)
    assert {fault["path"] for fault in unreadable} == set(STREAMS)
    assert {fault["kind"] for fault in unreadable} == {"unreadable"}
    content = served(sealed)
    assert None in content.values()
    done = command("repair", sealed, "--yes", "--json")
    assert (done.status, done.json()["cut"], done.json()["changed"]) == (1, None, [])
    losses = {loss["path"]: loss["positions"] for loss in done.json()["losses"]}
    assert losses == {fault["path"]: [fault["position"], fault["end"]] for fault in unreadable}
    assert served(sealed) == content


def test_a_damaged_header_is_written_again_and_nothing_is_lost(
    sealed: Path, command: Command
) -> None:
    file = sealed_files(sealed)[0]
    before = file.read_bytes()
    flip(file, 24)
    damaged = file.read_bytes()
    with pytest.raises(DataDamaged, match=file.name):
        LogEngine(sealed)
    done = command("repair", sealed, "--yes", "--json")
    assert (done.status, done.json()["losses"]) == (0, [])
    assert file.read_bytes() == before
    assert (Path(done.json()["aside"]) / file.name).read_bytes() == damaged
    assert served(sealed) == {stream: whole(stream) for stream in STREAMS}


@pytest.mark.parametrize("what", ["footer", "cut short", "missing"])
def test_a_lost_sealed_file_costs_what_was_in_it_and_that_is_told(
    sealed: Path, command: Command, what: str
) -> None:
    file = sealed_files(sealed)[1]
    if what == "footer":
        flip(file, file.stat().st_size + FOOTER)
    elif what == "cut short":
        os.truncate(file, file.stat().st_size - 1)
    else:
        file.unlink()
    with pytest.raises(DataDamaged, match=file.name):
        LogEngine(sealed)
    found = command("check", sealed, "--json")
    assert found.status == 1
    assert str(file) in {fault["file"] for fault in hurt(found.json())}
    lost = {fault["path"]: [fault["position"], fault["end"]] for fault in hurt(found.json())}
    planned = command("repair", sealed, "--dry-run", "--json").json()
    losses = {loss["path"]: loss["positions"] for loss in planned["losses"]}
    assert losses == {stream: lost[stream] for stream in STREAMS}
    text = command("repair", sealed, "--dry-run").out
    assert "stream 'a'" in text
    assert f"at positions {losses['a'][0]} to {losses['a'][1]}" in text
    done = command("repair", sealed, "--yes", "--json")
    assert (done.status, done.json()["losses"]) == (1, planned["losses"])
    assert what == "missing" or (Path(done.json()["aside"]) / file.name).exists()
    assert not file.exists()
    with LogEngine(sealed, segment_bytes=SEGMENT) as log:
        for stream in STREAMS:
            first, end = losses[stream]
            incarnation = f"{log.head(stream).id:016}"
            with pytest.raises(REFUSED):
                log.read(stream, f"{incarnation}_{first:016}")
            behind = log.read(stream, f"{incarnation}_{end:016}")
            assert bytes(behind) == whole(stream)[end:]
            log.append(stream, b"goes on")
    after = command("check", sealed, "--json")
    assert {fault["kind"] for fault in hurt(after.json())} == {"unreadable"}


def test_a_lost_manifest_is_worked_out_with_its_sealed_files(
    sealed: Path, command: Command
) -> None:
    (sealed / "MANIFEST").unlink()
    with pytest.raises(DataDamaged):
        LogEngine(sealed)
    done = command("repair", sealed, "--yes", "--json")
    assert (done.status, done.json()["losses"]) == (0, [])
    assert served(sealed) == {stream: whole(stream) for stream in STREAMS}


def test_a_cut_takes_what_sealed_files_have_behind_it(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "log"
    script = (
        "import os, sys; from durastream import LogEngine\n"
        "from tools.test_sealed import event, until_sealed, STREAMS\n"
        "from pathlib import Path\n"
        f"log = LogEngine(sys.argv[1], segment_bytes={SEGMENT}, compaction_bytes_per_second=1, seal_backlog=1)\n"
        "for stream in STREAMS: log.create(stream)\n"
        f"for n in range({EVENTS}): log.append_many([(s, event(s, n)) for s in STREAMS])\n"
        "until_sealed(Path(sys.argv[1]), 3)\n"
        "os._exit(0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script, path], check=True, timeout=60, env=environment)
    frames = command("dump", path, "--json", "--stream", "b").lines()
    frame = next(line for line in frames if line.get("position", 0) == len(whole("b", 150)))
    flip(Path(frame["file"]), frame["offset"] + 60)
    done = command("repair", path, "--yes", "--json")
    assert (done.status, done.json()["cut"]) == (0, frame["lsn"])
    assert {loss["path"] for loss in done.json()["losses"]} == set(STREAMS)
    with LogEngine(path, segment_bytes=SEGMENT) as log:
        assert read(log, "a") == whole("a", 151)
        assert read(log, "b") == whole("b", 150)
        # Positions are given anew: what sealed files had there must not come back.
        for number in range(EVENTS):
            log.append_many([(stream, b"%05d" % number * 40) for stream in STREAMS])
    assert command("check", path).status == 0
    with LogEngine(path, segment_bytes=SEGMENT) as log:
        anew = b"".join(b"%05d" % number * 40 for number in range(EVENTS))
        assert read(log, "b") == whole("b", 150) + anew


def test_sealed_files_are_dumped_readable(sealed: Path, command: Command) -> None:
    lines = command("dump", sealed, "--json", "--stream", "b").lines()
    extents = [line["extent"] for line in lines if "extent" in line]
    assert [extent["path"] for extent in extents] == ["b"] * len(extents)
    assert extents[0]["start"] == 0
    assert all(one["end"] == two["start"] for one, two in itertools.pairwise(extents))
    assert extents[0]["head"] == {"text": event("b", 0)[:64].decode()}
    assert sum(extent["events"] for extent in extents) <= EVENTS
    text = command("dump", sealed, "--stream", "b").out.splitlines()
    line = f"sealed  {extents[0]['stream']} b @0 to {extents[0]['end']}"
    assert line in next(line for line in text if not line.startswith("!!"))


def test_a_file_of_a_later_version_is_refused_and_nothing_is_changed(
    sealed: Path, command: Command
) -> None:
    file = sealed_files(sealed)[1]
    data = file.read_bytes()
    later = b"\x63\0\0\0"
    file.write_bytes(data[:8] + later + data[12:-72] + later + data[-68:])
    before = content(sealed)
    for arguments in (["check"], ["repair", "--yes"], ["repair", "--dry-run"], ["stats"]):
        done = command(arguments[0], sealed, *arguments[1:])
        assert (done.status, "format version 99" in done.err) == (4, True), arguments
    assert content(sealed) == before
    with pytest.raises(FormatVersion, match=file.name):
        LogEngine(sealed)
