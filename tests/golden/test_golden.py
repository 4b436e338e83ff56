"""What earlier versions of this program wrote can still be read, all of it; what later ones write is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from durastream import DataDamaged, FormatVersion, LogEngine

from . import layout
from .layout import Event, Manifest, Segment
from .state import describe

HERE = Path(__file__).parent
KNOWN = 1
SEGMENT_BYTES = 16 << 10

Recovered = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(params=[f"v{version}" for version in range(1, KNOWN + 1)])
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
    with open_log(directory) as log:
        assert report(log) == recovery
        assert content(log, expected) == expected
        killed = snapshot(directory, tmp_path / "killed")
    with open_log(killed) as log:
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
    return found


def test_version_1_holds_every_kind_of_event_behind_its_checkpoint() -> None:
    directory = HERE / "v1" / "data"
    entry = Manifest.read(directory).checkpoint
    assert entry is not None
    replayed = [
        event
        for segment in segments(directory)
        for event in segment.events
        if event.lsn >= entry[1]
    ]
    found = set().union(*map(traits, replayed))
    assert found == {
        *layout.EVENTS.values(),
        *("create closed", "create with content", "create with nanoseconds"),
        *("create ttl", "create at", "create ttl inherited", "create at inherited"),
        *("fork at tail", "fork at offset", "fork with sub-offset"),
        *("append with time", "append with producer", "append with Stream-Seq"),
        *("close", "append and close", "producer closes", "expired"),
    }


def test_version_1_holds_every_kind_of_segment_and_an_unclean_end() -> None:
    directory = HERE / "v1" / "data"
    manifest = Manifest.read(directory)
    in_use = segments(directory)
    assert not manifest.clean
    assert len(in_use) < len(manifest.segments), "no reserve"
    assert any(segment.had_earlier_life for segment in in_use)
    assert not all(segment.had_earlier_life for segment in in_use)
    assert max(size for _, _, size, _ in manifest.segments) > SEGMENT_BYTES
    *earlier, last = in_use
    for segment, following in zip(earlier, in_use[1:], strict=True):
        assert segment.end == following.base
        assert not segment.torn_group
    assert last.torn_group
    assert manifest.synced <= last.end


def test_version_1_has_a_checkpoint_with_every_kind_of_state() -> None:
    directory = HERE / "v1" / "data"
    entry = Manifest.read(directory).checkpoint
    assert entry is not None
    state = layout.checkpoint(directory, *entry)
    streams = state["streams"].values()
    frames = {event.lsn: event for segment in segments(directory) for event in segment.events}
    for stream in streams:
        for lsn, begin, end in stream["payloads"]:
            event = frames[lsn]
            held = (event.stream, event.position, event.position + len(event.payload))
            assert held == (stream["id"], begin, end), stream["path"]
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
    }


@pytest.mark.parametrize("version", [0, KNOWN + 1, 2**32 - 1])
@pytest.mark.parametrize("kind", ["manifest", "segment", "reserve", "checkpoint"])
def test_a_file_of_another_version_is_refused_with_both_versions_named(
    tmp_path: Path, kind: str, version: int
) -> None:
    directory = snapshot(HERE / f"v{KNOWN}" / "data", tmp_path / "data")
    file = one_of_each(directory)[kind]
    data = file.read_bytes()
    assert layout.u32(data, 8) == KNOWN
    file.write_bytes(data[:8] + version.to_bytes(4, "little") + data[12:])
    before = contents(directory)
    with pytest.raises(FormatVersion) as caught:
        open_log(directory)
    refusal = caught.value
    assert (refusal.file, refusal.found, refusal.known) == (str(file), version, KNOWN)
    assert f"version {version}, this program knows up to {KNOWN}" in str(refusal)
    assert contents(directory) == before, "nothing is changed by a refusal"


def contents(directory: Path) -> dict[str, bytes]:
    files = (file for file in directory.rglob("*") if file.is_file() and file.name != "LOCK")
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def test_a_checkpoint_of_another_engine_is_refused(tmp_path: Path) -> None:
    directory = snapshot(HERE / f"v{KNOWN}" / "data", tmp_path / "data")
    file = one_of_each(directory)["checkpoint"]
    data = file.read_bytes()
    assert data[72] == 1
    payload = b"\x02" + data[73:]
    crc = layout.crc(layout.crc(0, bytes(8)), payload).to_bytes(4, "little")
    file.write_bytes(data[:64] + crc + data[68:72] + payload)
    with pytest.raises(DataDamaged, match="unknown version"):
        open_log(directory)
