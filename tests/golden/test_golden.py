"""What earlier versions of this program wrote can still be read, all of it; what later ones write is refused."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from durastream import DataDamaged, FormatVersion, LogEngine

from . import layout
from .codec import crc, u32
from .events import EVENTS, Event
from .layout import Manifest, Segment
from .sealed import BLOCK, SealedFile
from .state import describe

HERE = Path(__file__).parent
VERSIONS = [1, 2]
KNOWN = {"manifest": 2, "segment": 1, "reserve": 1, "checkpoint": 1, "sealed": 2}
SEGMENT_BYTES = 16 << 10

Recovered = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(params=[f"v{version}" for version in VERSIONS])
def golden(request: pytest.FixtureRequest) -> Path:
    """A golden directory and its description."""
    return HERE / str(request.param)


@pytest.fixture
def directory(golden: Path, tmp_path: Path) -> Path:
    """A copy of the data that may be written to."""
    return snapshot(golden / "data", tmp_path / "data")


def snapshot(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("LOCK"))
    return target


def open_log(directory: Path) -> LogEngine:
    return LogEngine(directory, segment_bytes=SEGMENT_BYTES)


def opened_and_killed(directory: Path) -> None:
    """Another process opens it, reads something, and ends without a farewell."""
    script = (
        "import os, sys; from durastream import LogEngine\n"
        f"log = LogEngine(sys.argv[1], segment_bytes={SEGMENT_BYTES})\n"
        "[bytes(log.read(info.path, info.floor)) for info in log.list()]\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, directory], check=True, timeout=60)


def report(log: LogEngine) -> dict[str, Any]:
    found = log.recovery
    names = ("replay_from", "end", "frames", "torn_bytes", "clean")
    return {name: getattr(found, name) for name in names}


def content(log: LogEngine, expected: dict[str, Any]) -> dict[str, Any]:
    """The part of a description that does not change when the log is opened once more."""
    questions = [asked["question"] for asked in expected["answers"]]
    end = log.stats().end_lsn
    found = describe(log, questions)
    assert log.stats().end_lsn == end, "a question changed something"
    return found


def test_all_of_a_golden_directory_is_read_and_recovering_again_changes_nothing(
    golden: Path, directory: Path, tmp_path: Path
) -> None:
    expected = json.loads((golden / "description.json").read_text(encoding="utf-8"))
    recovery, next_id = expected.pop("recovery"), expected.pop("next_id")
    opened_and_killed(snapshot(directory, tmp_path / "killed"))
    for copy in (directory, tmp_path / "killed"):
        with open_log(copy) as log:
            assert report(log) == recovery
            assert content(log, expected) == expected
    with open_log(directory) as log:
        assert log.recovery.clean
        assert content(log, expected) == expected
        assert log.create("one more").info.id == next_id, "numbers are never reused"


def test_what_was_torn_is_kept_aside(golden: Path, directory: Path) -> None:
    expected = json.loads((golden / "description.json").read_text(encoding="utf-8"))
    with open_log(directory):
        pass
    torn = [file.stat().st_size for file in (directory / "torn").iterdir()]
    assert torn == [expected["recovery"]["torn_bytes"]]


def segments(directory: Path) -> list[Segment]:
    """The segments in use, in order, read by the second reader."""
    listed = Manifest.read(directory).segments
    read = [Segment.read(directory, number, salt, size) for number, salt, size, _ in listed]
    return sorted(
        (segment for segment in read if segment.base is not None), key=lambda segment: segment.end
    )


RETENTIONS = ("max_bytes", "max_age", "max_events")


def traits(event: Event) -> set[str]:
    """Everything that an event is an example of."""
    facts = event.facts
    found = {event.what}
    if event.what == "create":
        expiry, fork = facts["expiry"], facts["fork"]
        found |= {"create closed"} if facts["closed"] else set()
        found |= {"create with content"} if event.payload else set()
        if expiry:
            found.add(f"create {expiry['kind']}{' inherited' if expiry['inherited'] else ''}")
            found |= {"create with nanoseconds"} if expiry["nanos"] else set()
        if fork:
            found.add("fork at offset" if fork["offset"] else "fork at tail")
            found |= {"fork with sub-offset"} if fork["sub_offset"] else set()
    if event.what == "append":
        close = "append and close" if event.payload else "close"
        found |= {close} if facts["closes"] else set()
        found |= {"append with time"} if facts["at"] else set()
        found |= {"append with producer"} if event.producer else set()
        found |= {"append with Stream-Seq"} if event.stream_seq else set()
        found |= {"producer closes"} if event.producer and facts["closes"] else set()
    if event.what == "delete" and facts["expired"]:
        found.add("expired")
    if event.what in {"create", "configure"}:
        found |= {f"{event.what} {limit}" for limit in facts["retention"]}
    if event.what == "configure" and not facts["retention"]:
        found.add("configure to everything")
    return found


ALL_TRAITS = {
    *EVENTS.values(),
    *("create closed", "create with content", "create with nanoseconds"),
    *("create ttl", "create at", "create ttl inherited", "create at inherited"),
    *("fork at tail", "fork at offset", "fork with sub-offset"),
    *("append with time", "append with producer", "append with Stream-Seq"),
    *("close", "append and close", "producer closes", "expired"),
}
LIMITS = {f"{event} {limit}" for event in ("create", "configure") for limit in RETENTIONS}


@pytest.mark.parametrize(
    ("version", "wanted"),
    [(1, ALL_TRAITS - {"configure"}), (2, ALL_TRAITS | LIMITS | {"configure to everything"})],
)
def test_it_holds_every_kind_of_event_behind_its_checkpoint(version: int, wanted: set[str]) -> None:
    directory = HERE / f"v{version}" / "data"
    entry = Manifest.read(directory).checkpoint
    assert entry is not None
    replayed = [
        event
        for segment in segments(directory)
        for event in segment.events
        if event.lsn >= entry[1]
    ]
    found = set().union(*map(traits, replayed))
    assert found == wanted
    creations = [event.facts["version"] for event in replayed if event.what == "create"]
    assert set(creations) == {version}


@pytest.mark.parametrize("version", VERSIONS)
def test_it_holds_every_kind_of_segment_and_an_unclean_end(version: int) -> None:
    directory = HERE / f"v{version}" / "data"
    manifest = Manifest.read(directory)
    in_use = segments(directory)
    assert manifest.version == version
    assert not manifest.clean
    assert len(in_use) < len(manifest.segments), "no reserve"
    assert any(segment.had_earlier_life for segment in in_use)
    assert version > 1 or not all(segment.had_earlier_life for segment in in_use)
    assert max(size for _, _, size, _ in manifest.segments) > SEGMENT_BYTES
    *earlier, last = in_use
    for segment, following in zip(earlier, in_use[1:], strict=True):
        assert segment.end == following.base
        assert not segment.torn_group
    assert last.torn_group
    assert manifest.synced <= last.end


def sealed_files(directory: Path) -> list[SealedFile]:
    """The sealed files in LSN order, read by the second reader."""
    files = [SealedFile.read(directory, entry) for entry in Manifest.read(directory).files]
    return sorted(files, key=lambda file: file.lsns)


def test_version_2_has_sealed_files_with_everything_that_they_can_have() -> None:
    directory = HERE / "v2" / "data"
    manifest, files = Manifest.read(directory), sealed_files(directory)
    for one, following in itertools.pairwise(files):
        assert one.lsns[1] <= following.lsns[0]
    assert files[-1].lsns[1] <= manifest.sealed
    assert any(file.body > BLOCK for file in files), "no file of two blocks"
    extents = [extent for file in files for extent in file.extents]
    assert any(extent.restarts for extent in extents)
    assert any(len(extent.events) == 1 for extent in extents)
    runs: dict[int, list[tuple[int, int]]] = {}
    for extent in extents:
        runs.setdefault(extent.stream, []).append((extent.start, extent.end))
    assert any(len(places) > 1 for places in runs.values()), "no stream in several files"
    assert any(places[0][0] > 0 for places in runs.values()), "nothing was dead"
    # What both the log and a sealed file have is the same.
    frames = {
        (event.stream, event.position): event.payload
        for segment in segments(directory)
        for event in segment.events
        if event.payload and event.lsn < manifest.sealed
    }
    twice = 0
    for extent in extents:
        for position, payload in extent.events:
            if (extent.stream, position) in frames:
                assert frames[extent.stream, position] == payload
                twice += 1
    assert twice > 0


def state_of(directory: Path, entry: tuple[int, int, int] | None) -> dict[str, Any]:
    """A checkpoint's state, every payload that it names looked up."""
    assert entry is not None
    state = layout.checkpoint(directory, *entry)
    frames = {event.lsn: event for segment in segments(directory) for event in segment.events}
    sealed = {
        (extent.stream, position): payload
        for file in sealed_files(directory)
        for extent in file.extents
        for position, payload in extent.events
    }
    for stream in state["streams"].values():
        for lsn, begin, end in stream["payloads"]:
            if lsn in frames:
                event = frames[lsn]
                held = (event.stream, event.position, event.position + len(event.payload))
                assert held == (stream["id"], begin, end), stream["path"]
            else:
                assert len(sealed[stream["id"], begin]) == end - begin
    return state


@pytest.mark.parametrize("version", VERSIONS)
def test_it_has_a_checkpoint_with_every_kind_of_state(version: int) -> None:
    directory = HERE / f"v{version}" / "data"
    state = state_of(directory, Manifest.read(directory).checkpoint)
    assert state["version"] == version
    streams = state["streams"].values()
    expiries = {
        (expiry["kind"], expiry["inherited"])
        for stream in streams
        if (expiry := stream.get("expiry"))
    }
    assert expiries == {(kind, inherited) for kind in ("ttl", "at") for inherited in (False, True)}
    assert any(stream["closed"] for stream in streams)
    assert any(stream["soft_deleted"] for stream in streams)
    assert any(stream["floor"] for stream in streams)
    assert any(stream["forks"] for stream in streams)
    assert any(stream["root"] != stream["id"] for stream in streams)
    for fact in ("fork", "producers", "closing", "stream_seq"):
        assert any(stream.get(fact) for stream in streams), fact
    assert state["next_id"] > max(stream["id"] for stream in streams)


def test_version_2_has_two_checkpoints_and_what_retentions_remember() -> None:
    directory = HERE / "v2" / "data"
    manifest = Manifest.read(directory)
    newest, older = (
        state_of(directory, entry) for entry in (manifest.checkpoint, manifest.previous)
    )
    assert newest["streams"].keys() == older["streams"].keys()
    assert newest["streams"] != older["streams"]
    streams = newest["streams"].values()
    for limit in RETENTIONS:
        assert any(limit in stream.get("retention", {}) for stream in streams), limit
    assert any(
        stream["runs by max_age"]["runs"] for stream in streams if "runs by max_age" in stream
    )
    runs = [
        stream["runs by max_events"]["runs"] for stream in streams if "runs by max_events" in stream
    ]
    assert max(map(len, runs)) > 1
    assert any(stream["kept"] < stream["floor"] for stream in streams)
    assert any(stream["start"] > stream["kept"] for stream in streams)


def test_the_older_checkpoint_stands_in_for_the_newest_and_nothing_is_lost(tmp_path: Path) -> None:
    directory = snapshot(HERE / "v2" / "data", tmp_path / "data")
    expected = json.loads((HERE / "v2" / "description.json").read_text(encoding="utf-8"))
    del expected["recovery"], expected["next_id"]
    file = one_of_each(directory)["checkpoint"]
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    with open_log(directory) as log:
        previous = Manifest.read(HERE / "v2" / "data").previous
        assert previous is not None
        assert log.recovery.replay_from == previous[1]
        assert content(log, expected) == expected
    assert (directory / f"{file.name}.damaged").read_bytes() == data


def one_of_each(directory: Path) -> dict[str, Path]:
    manifest = Manifest.read(directory)
    assert manifest.checkpoint is not None
    used = segments(directory)[-1].number
    reserve = next(
        number
        for number, salt, size, _ in manifest.segments
        if Segment.read(directory, number, salt, size).base is None
    )
    return {
        "manifest": directory / "MANIFEST",
        "segment": directory / f"{used:016}.wal",
        "reserve": directory / f"{reserve:016}.wal",
        "checkpoint": directory / f"{manifest.checkpoint[0]:016}.checkpoint",
        "sealed": directory / f"{manifest.files[0][0]:016}.sealed",
    }


@pytest.mark.parametrize("version", [0, 3, 2**32 - 1])
@pytest.mark.parametrize(("kind", "known"), KNOWN.items())
def test_a_file_of_another_version_is_refused_with_both_versions_named(
    tmp_path: Path, kind: str, known: int, version: int
) -> None:
    directory = snapshot(HERE / "v2" / "data", tmp_path / "data")
    file = one_of_each(directory)[kind]
    data = file.read_bytes()
    assert u32(data, 8) <= known
    file.write_bytes(data[:8] + version.to_bytes(4, "little") + data[12:])
    before = contents(directory)
    with pytest.raises(FormatVersion) as caught:
        open_log(directory)
    refusal = caught.value
    assert (refusal.file, refusal.found, refusal.known) == (str(file), version, known)
    assert f"version {version}, this program knows up to {known}" in str(refusal)
    assert contents(directory) == before, "nothing is changed by a refusal"


def contents(directory: Path) -> dict[str, bytes]:
    files = (file for file in directory.rglob("*") if file.is_file() and file.name != "LOCK")
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def test_a_checkpoint_of_another_engine_is_refused(tmp_path: Path) -> None:
    directory = snapshot(HERE / "v2" / "data", tmp_path / "data")
    file = one_of_each(directory)["checkpoint"]
    data = file.read_bytes()
    assert data[72] == 2
    payload = b"\x03" + data[73:]
    sum_ = crc(crc(0, bytes(8)), payload).to_bytes(4, "little")
    file.write_bytes(data[:64] + sum_ + data[68:72] + payload)
    with pytest.raises(DataDamaged, match="unknown version"):
        open_log(directory)
