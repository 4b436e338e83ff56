"""`repair`: the directory opens, what is lost is told, and nothing else is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from durastream import DataDamaged, LogEngine
from tools.conftest import SEGMENT, Command, content, flip, grown


def late_frame(command: Command, directory: Path, position: int) -> dict[str, object]:
    lines = command("dump", directory, "--json", "--stream", "bytes/raw").lines()
    return next(line for line in lines if line.get("position") == position)


def test_a_sound_directory_is_left_alone(directory: Path, command: Command) -> None:
    before = content(directory)
    assert command("repair", directory, "--dry-run").status == 0
    assert content(directory) == before
    done = command("repair", directory, "--yes")
    assert (done.status, "nothing to repair" in done.out) == (0, True)
    after = content(directory)
    assert {**after, "LOCK": b""} == {**before, "LOCK": b""}


def test_damage_behind_the_checkpoint_is_cut_and_the_loss_is_told(
    directory: Path, command: Command
) -> None:
    grown(directory)
    frame = late_frame(command, directory, 40_000 + 5 * 200)
    flip(Path(str(frame["file"])), int(str(frame["offset"])) + 100)
    with pytest.raises(DataDamaged):
        LogEngine(directory)
    before = content(directory)
    planned = command("repair", directory, "--dry-run", "--json")
    assert planned.status == 1
    assert content(directory) == before
    assert planned.json()["cut"] == frame["lsn"]
    losses = {loss["path"]: loss for loss in planned.json()["losses"]}
    assert losses["orders"]["events"] == 4
    assert losses["bytes/raw"]["positions"] == [41_200, 42_000]
    assert planned.json()["unknown"] == 1
    done = command("repair", directory, "--yes", "--json")
    assert done.status == 0
    assert done.json()["losses"] == planned.json()["losses"]
    aside = Path(done.json()["aside"])
    assert aside.is_relative_to(directory / "damaged")
    name = Path(str(frame["file"])).name
    assert (aside / name).read_bytes() == before[name]
    assert command("check", directory).status == 0
    with LogEngine(directory) as log:
        assert log.head("bytes/raw").tail.position == 41_000
        assert log.read("orders").json()[-1] == {"late": 5}
        log.append("orders", b'{"after": 1}')
        assert log.read("orders").json()[-1] == {"after": 1}
    assert command("repair", directory, "--yes").out.endswith("nothing to repair\n")


def test_damage_below_the_checkpoint_costs_that_event_alone(
    directory: Path, command: Command
) -> None:
    frame = late_frame(command, directory, 5000)
    flip(Path(str(frame["file"])), int(str(frame["offset"])) + 100)
    done = command("repair", directory, "--yes", "--json")
    assert done.status == 1
    assert done.json()["cut"] is None
    assert done.json()["changed"] == []
    with LogEngine(directory) as log:
        assert len(log.read("orders").json()) == 40
        with pytest.raises(DataDamaged):
            log.read("bytes/raw")


KILLED = """
import os, sys
from durastream import LogEngine
log = LogEngine(sys.argv[1])
log.create("a")
for number in range(70):
    log.append("a", b"%05d" % number * 20)
    if number == 49:
        log.checkpoint()
os._exit(0)
"""


def test_damage_that_reaches_across_the_checkpoint_is_cut_there(
    tmp_path: Path, command: Command
) -> None:
    directory = tmp_path / "log"
    # The second start notes how far the log was synced.
    for script in (
        KILLED,
        "import os, sys, durastream; log = durastream.LogEngine(sys.argv[1]); os._exit(0)",
    ):
        subprocess.run([sys.executable, "-c", script, directory], check=True, timeout=60)
    lines = command("dump", directory, "--json", "--stream", "a").lines()
    frame = next(line for line in lines if line.get("position") == 1000)
    os.truncate(str(frame["file"]), int(str(frame["offset"])) + 10)
    done = command("repair", directory, "--yes", "--json").json()
    assert done["cut"] > frame["lsn"]
    with LogEngine(directory) as log:
        # What the checkpoint knows is there, what lay in the log is not.
        tail = log.head("a").tail
        assert tail.position == 5000
        with pytest.raises(DataDamaged):
            log.read("a")
        log.append("a", b"after")
        assert bytes(log.read("a", tail).data) == b"after"


@pytest.mark.parametrize("name", ["MANIFEST", "*.wal"])
def test_what_can_be_worked_out_is_and_nothing_is_lost(
    directory: Path, command: Command, name: str
) -> None:
    grown(directory)
    segments = [Path(s["file"]) for s in command("stats", directory, "--json").json()["segments"]]
    file = segments[0] if name == "*.wal" else next(directory.glob(name))
    flip(file, 20)
    with pytest.raises(DataDamaged):
        LogEngine(directory)
    done = command("repair", directory, "--yes", "--json")
    assert (done.status, done.json()["losses"], done.json()["cut"]) == (0, [], None)
    assert command("check", directory).status == 0
    with LogEngine(directory) as log:
        assert len(log.read("orders").json()) == 50
        assert log.head("bytes/raw").tail.position == 42_000


def checkpoints(directory: Path) -> list[Path]:
    """Their files, the newest first."""
    return sorted(directory.glob("*.checkpoint"), reverse=True)


@pytest.fixture
def twice(directory: Path) -> Path:
    """A log with two checkpoints and something behind them."""
    with LogEngine(directory, segment_bytes=64 << 10) as log:
        log.checkpoint()
        log.append("orders", b'{"n": 40}')
    assert len(checkpoints(directory)) == 2
    grown(directory)
    return directory


def test_the_older_checkpoint_stands_in_for_a_damaged_one_and_that_is_told(
    twice: Path, command: Command
) -> None:
    newest, older = checkpoints(twice)
    flip(newest, 70)
    found = command("check", twice, "--json")
    assert found.status == 1
    (fault,) = [fault for fault in found.json()["faults"] if not fault["harmless"]]
    assert (fault["file"], fault["acknowledged"]) == (str(newest), False)
    assert "serves instead" in fault["detail"]
    hurt = newest.read_bytes()
    with LogEngine(twice) as log:
        assert len(log.read("orders").json()) == 51
        assert log.head("bytes/raw").tail.position == 42_000
        assert str(newest) in str(log.recovery.checkpoint_damage)
    assert newest.with_name(newest.name + ".damaged").read_bytes() == hurt
    assert older.exists()
    assert command("check", twice).status == 0


def test_repair_promotes_the_older_checkpoint_and_loses_nothing(
    twice: Path, command: Command
) -> None:
    newest, _ = checkpoints(twice)
    flip(newest, 70)
    hurt = newest.read_bytes()
    planned = command("repair", twice, "--dry-run", "--json")
    assert (planned.status, planned.json()["losses"]) == (1, [])
    done = command("repair", twice, "--yes", "--json")
    assert (done.status, done.json()["losses"], done.json()["cut"]) == (0, [], None)
    assert not done.json()["checkpoint_dropped"]
    assert (Path(done.json()["aside"]) / newest.name).read_bytes() == hurt
    assert str(newest) in done.json()["removed"]
    assert command("check", twice).status == 0
    with LogEngine(twice) as log:
        assert log.recovery.checkpoint_damage is None
        assert len(log.read("orders").json()) == 51


def test_a_damaged_older_checkpoint_is_given_up(twice: Path, command: Command) -> None:
    _, older = checkpoints(twice)
    flip(older, 70)
    found = command("check", twice, "--json")
    assert (found.status, found.json()["faults"][0]["acknowledged"]) == (1, False)
    assert command("repair", twice, "--yes").status == 0
    assert not older.exists()
    assert command("check", twice).status == 0
    with LogEngine(twice) as log:
        assert len(log.read("orders").json()) == 51


def test_without_any_checkpoint_all_of_the_log_is_replayed_if_it_is_all_there(
    tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "log"
    with LogEngine(path) as log:
        log.create("s", body=b"first")
        log.checkpoint()
        log.append("s", b" last")
    for file in checkpoints(path):
        flip(file, 70)
    done = command("repair", path, "--yes", "--json")
    assert (done.status, done.json()["losses"], done.json()["cut"]) == (0, [], None)
    assert done.json()["checkpoint_dropped"]
    with LogEngine(path) as log:
        assert bytes(log.read("s")) == b"first last"


def test_a_torn_tail_is_left_to_the_next_start_and_loses_nothing_acknowledged(
    directory: Path, command: Command
) -> None:
    grown(directory)
    report = command("stats", directory, "--json").json()
    last = report["segments"][-1]
    # The beginning of a group that never got to the disk as a whole.
    with Path(last["file"]).open("r+b") as file:
        file.seek(4096 + report["end"] - last["base"])
        file.write(b"DSgr" + os.urandom(60))
    found = command("check", directory, "--json")
    assert found.status == 0
    assert found.json()["torn_bytes"] > 0
    done = command("repair", directory, "--yes")
    assert (done.status, "nothing to repair" in done.out) == (0, True)
    with LogEngine(directory) as log:
        assert len(log.read("orders").json()) == 50


def test_no_checkpoint_and_no_log_from_the_start_is_hopeless(
    tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "log"
    with LogEngine(path, segment_bytes=64 << 10) as log:
        log.create("s")
        for _ in range(300):
            log.append("s", b"x" * 1000)
        log.trim("s", log.head("s").tail)
        log.checkpoint()
        log.append("s", b"last")
    assert len(checkpoints(path)) == 2
    for file in checkpoints(path):
        flip(file, 70)
    with pytest.raises(DataDamaged):
        LogEngine(path)
    refused = command("repair", path, "--yes")
    assert refused.status == 5
    assert "restore a backup" in refused.err


def test_without_the_segment_of_its_checkpoint_the_log_ends_at_the_checkpoint(
    tmp_path: Path, command: Command
) -> None:
    """What lies in later segments does not follow what the checkpoint says."""
    directory = tmp_path / "log"
    script = (
        "import os, sys, time; from durastream import LogEngine\n"
        f"log = LogEngine(sys.argv[1], segment_bytes={SEGMENT})\n"
        "log.create('a')\n"
        "for n in range(90):\n"
        "    if n in (30, 40): log.checkpoint()\n"
        "    log.append('a', b'%03d;' % n * 250)\n"
        "while not log.stats().sealed_lsn: time.sleep(0.01)\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, directory], check=True, timeout=60)
    found = command("check", directory, "--json").json()
    holding = [it for it in found["segments"] if it["base"] <= found["checkpoint"]]
    assert 0 < len(holding) < len(found["segments"])
    Path(holding[-1]["file"]).unlink()
    with pytest.raises(DataDamaged):
        LogEngine(directory)
    done = command("repair", directory, "--yes", "--json").json()
    assert (done["cut"], done["unknown"] > 0) == (found["checkpoint"], True)
    assert command("check", directory).status == 0
    with LogEngine(directory, segment_bytes=SEGMENT) as log:
        assert bytes(log.read("a")) == b"".join(b"%03d;" % n * 250 for n in range(40))
        log.append("a", b"more")
        assert log.head("a").tail.position == 40_004
