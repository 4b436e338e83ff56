"""`check` and `stats`: what they find, what they print, how they end."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from durastream import LogEngine
from tools.conftest import Command, content, flip, grown

LOOK = """
import os, sys
from durastream.cli import main
if os.geteuid() == 0:  # whom no mode keeps from writing; beforehand, what Python loads late
    main([sys.argv[1], "."])
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    open("LOCK", "r+")
    sys.exit("it can be written")
except PermissionError:
    sys.exit(main([sys.argv[1], "."]))
"""


def frames(command: Command, directory: Path) -> list[dict[str, object]]:
    return [line for line in command("dump", directory, "--json").lines() if "lsn" in line]


def test_a_sound_directory_is_sound_and_stays_as_it_is(directory: Path, command: Command) -> None:
    before = content(directory)
    found = command("check", directory, "--json")
    assert found.status == 0
    report = found.json()
    assert (report["streams"], report["events"], report["damaged"]) == (2, 80, False)
    assert report["payload_bytes"] == 40_000 + sum(len(f'{{"n": {n}}},') for n in range(40))
    assert command("check", directory).out.endswith("sound\n")
    assert content(directory) == before


def test_damage_is_named_by_file_offset_stream_and_position(
    directory: Path, command: Command
) -> None:
    frame = next(f for f in frames(command, directory) if f["position"] == 5000)
    flip(Path(str(frame["file"])), int(str(frame["offset"])) + 200)
    found = command("check", directory, "--json")
    assert found.status == 1
    by_kind = {fault["kind"]: fault for fault in found.json()["faults"] if not fault["harmless"]}
    assert by_kind["damage"]["file"] == frame["file"]
    assert by_kind["damage"]["offset"] == frame["offset"]
    assert by_kind["damage"]["acknowledged"] is True
    assert by_kind["unreadable"]["path"] == "bytes/raw"
    assert by_kind["unreadable"]["position"] == 5000
    text = command("check", directory)
    assert text.status == 1
    assert "stream 'bytes/raw'" in text.out
    assert "repair --dry-run" in text.out


@pytest.mark.parametrize("name", ["MANIFEST", "*.checkpoint"])
def test_damage_beside_the_log_is_named_by_its_file(
    directory: Path, command: Command, name: str
) -> None:
    (file,) = directory.glob(name)
    flip(file, 70)
    found = command("check", directory, "--json")
    assert found.status == 1
    assert str(file) in [fault["file"] for fault in found.json()["faults"]]


def test_a_log_that_was_not_closed_is_sound(directory: Path, command: Command) -> None:
    grown(directory)
    found = command("check", directory, "--json")
    assert found.status == 0
    assert found.json()["events"] == 100
    assert found.json()["clean"] is False
    assert "was not closed" in command("check", directory).out


def test_a_directory_in_use_is_refused_with_its_holder(directory: Path, command: Command) -> None:
    with LogEngine(directory):
        for arguments in (["check"], ["repair", "--dry-run"], ["repair", "--yes"], ["compact"]):
            refused = command(*arguments, directory)
            assert refused.status == 3
            assert "in use by process" in refused.err
        assert command("stats", directory).status == 0
        assert command("dump", directory).status == 0


def test_no_log_is_no_log(tmp_path: Path, command: Command) -> None:
    for arguments in (["check"], ["stats"], ["dump"], ["repair", "--yes"], ["compact"]):
        for where in (tmp_path, tmp_path / "missing"):
            assert command(*arguments, where).status == 4
    assert list(tmp_path.iterdir()) == []


def test_stats_tell_what_is_there(directory: Path, command: Command) -> None:
    figures = command("stats", directory, "--json").json()
    assert (figures["streams"], figures["events"], figures["clean"]) == (2, 80, True)
    assert figures["disk_bytes"] > 40_000
    assert figures["recovery_seconds"] > 0
    assert "streams:" in command("stats", directory).out


def test_stats_tell_how_much_disk_a_byte_of_payload_takes(
    directory: Path, tmp_path: Path, command: Command
) -> None:
    figures = command("stats", directory, "--json").json()
    times = figures["disk_bytes"] / figures["payload_bytes"]
    assert figures["disk_amplification"] == pytest.approx(times)
    told = re.search(r", ([0-9,.]+) times the payload", command("stats", directory).out)
    assert told is not None
    assert float(told[1].replace(",", "")) == pytest.approx(times, abs=0.5)
    empty = tmp_path / "empty"
    with LogEngine(empty, segment_bytes=64 << 10) as log:
        log.create("a")
    assert command("stats", empty, "--json").json()["disk_amplification"] is None


def test_a_dump_of_a_stream_that_is_not_there_is_an_error(
    directory: Path, command: Command
) -> None:
    for arguments in (["--stream", "nope"], ["--stream", "77"]):
        done = command("dump", directory, *arguments)
        assert (done.status, done.out) == (4, "")
        assert f"nothing of a stream '{arguments[1]}'" in done.err
    end = command("stats", directory, "--json").json()["end"]
    behind = command("dump", directory, "--stream", "orders", "--from", str(end))
    assert behind.status == 4
    assert f"from LSN {end} on" in behind.err
    assert command("dump", directory, "--stream", "orders").status == 0


def test_a_log_address_that_is_none_is_named(directory: Path, command: Command) -> None:
    for wrong in ("x", "-1", str(1 << 64)):
        done = command("dump", directory, f"--from={wrong}")
        assert done.status == 2
        assert f"'{wrong}' is not a log address" in done.err


def test_wrong_usage_says_so(directory: Path, command: Command) -> None:
    assert command("check").status == 2
    assert command("repair", directory).status == 2


def test_a_reader_that_goes_away_leaves_no_traceback(directory: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "durastream", "dump", str(directory), "--payload"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) in (0, -13)


def test_compacting_prepares_nothing_large_and_tells_what_the_log_takes(
    tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "log"
    with LogEngine(path) as log:  # with the segments that it has by itself
        log.create("a", body=b"x" * 100_000)
    done = command("compact", path, "--json")
    assert done.status == 0
    figures = done.json()
    # The segment in use stays, as long as nothing follows it; what keeps space back is small.
    assert figures["before_bytes"] > 96 << 20
    assert figures["after_bytes"] < 67 << 20
    assert 64 << 20 < figures["log_bytes"] < figures["after_bytes"]
    assert "of it the log's own" in command("compact", path).out
    assert command("check", path).status == 0
    with LogEngine(path) as log:
        assert bytes(log.read("a")) == b"x" * 100_000
        log.append("a", b"y")
    assert command("check", path).status == 0


def test_who_may_only_read_a_directory_can_look_at_it(directory: Path) -> None:
    for path in directory.iterdir():
        path.chmod(0o444)
    directory.chmod(0o555)
    for tool in ("check", "stats", "dump"):
        done = subprocess.run(
            [sys.executable, "-c", LOOK, tool],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), tool
    directory.chmod(0o755)


def test_compaction_gives_up_what_nobody_can_read(directory: Path, command: Command) -> None:
    with LogEngine(directory, segment_bytes=64 << 10) as log:
        for _ in range(600):
            log.append("bytes/raw", b"x" * 1000)
        log.delete("bytes/raw")
        log.create("bytes/raw", body=b"again")
        log.trim("orders", log.head("orders").tail)
    done = command("compact", directory, "--json")
    assert done.status == 0
    figures = done.json()
    assert figures["after_bytes"] < figures["before_bytes"]
    assert figures["removed"]
    checked = command("check", directory, "--json")
    assert (checked.status, checked.json()["faults"]) == (0, [])
    with LogEngine(directory) as log:
        assert bytes(log.read("bytes/raw")) == b"again"
