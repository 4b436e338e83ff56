"""`repair`: the directory opens, what is lost is told, and nothing else is."""

import os
from pathlib import Path

import pytest

from durastream import DataDamaged, LogEngine
from tools.conftest import Command, content, flip, grown


def late_frame(command: Command, directory: Path, position: int) -> dict[str, object]:
    lines = command("dump", directory, "--json", "--stream", "bytes/raw").lines()
    return next(line for line in lines if line["position"] == position)


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


@pytest.mark.parametrize("name", ["MANIFEST", "*.checkpoint", "*.wal"])
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


def test_a_lost_checkpoint_without_the_log_before_it_is_hopeless(
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
    (checkpoint,) = path.glob("*.checkpoint")
    flip(checkpoint, 70)
    refused = command("repair", path, "--yes")
    assert refused.status == 5
    assert "restore a backup" in refused.err
