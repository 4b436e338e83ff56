"""`backup`: a log like any other, with everything acknowledged before it, made while others append."""

import shutil
import threading
from pathlib import Path

import anyio
import pytest

from durastream import AsyncLogEngine, DirectoryNotEmpty, LogEngine
from tools.conftest import Command


def everything(path: Path | str) -> dict[str, bytes]:
    with LogEngine(path) as log:
        return {
            info.path: b"".join(bytes(page) for page in log.follow(info.path, timeout=0))
            for info in log.list()
        }


def test_a_backup_made_under_appends_has_a_prefix_with_all_that_was_acknowledged(
    tmp_path: Path, command: Command
) -> None:
    with LogEngine(tmp_path / "log", segment_bytes=64 << 10) as log:
        names = [f"s{number}" for number in range(4)]
        acknowledged = dict.fromkeys(names, 0)
        stop = threading.Event()
        for name in names:
            log.create(name)

        def write(name: str) -> None:
            number = 0
            while not stop.is_set():
                log.append(name, f"{number:07},".encode() * 40)
                number += 1
                acknowledged[name] = number

        writers = [threading.Thread(target=write, args=(name,)) for name in names]
        for writer in writers:
            writer.start()
        try:
            for round_ in range(3):
                while min(acknowledged.values()) < 50 * (round_ + 1):
                    stop.wait(0.01)
                before = dict(acknowledged)
                report = log.backup(tmp_path / f"backup{round_}")
                assert report["segments"] >= 1
                checked = command("check", tmp_path / f"backup{round_}")
                assert (checked.status, checked.out.splitlines()[-1]) == (0, "sound")
                # A trim drops segments while the next backup is made.
                log.trim("s0", log.head("s0").tail)
                acknowledged_then = before
                copied = {
                    name: data
                    for name, data in everything(tmp_path / f"backup{round_}").items()
                    if name != "s0"
                }
                for name in names[1:]:
                    count = len(copied[name]) // 320
                    assert count >= acknowledged_then[name]
                    wanted = b"".join(f"{number:07},".encode() * 40 for number in range(count))
                    assert copied[name] == wanted
        finally:
            stop.set()
            for writer in writers:
                writer.join()
    assert command("check", tmp_path / "log").status == 0


def test_a_backup_holds_while_its_files_are_replaced(tmp_path: Path, command: Command) -> None:
    with LogEngine(tmp_path / "log", segment_bytes=64 << 10) as log:
        log.create("kept")
        stop = threading.Event()
        failed: list[BaseException] = []
        rounds = 0

        def churn() -> None:
            """Seals, and makes most of what was sealed worthless."""
            nonlocal rounds
            try:
                while not stop.is_set():
                    log.create("bulk")
                    for _ in range(40):
                        log.append_many([("bulk", b"x" * 2000), ("kept", b"%07d," % rounds * 10)])
                    log.delete("bulk")
                    log.checkpoint()
                    rounds += 1
            except BaseException as error:
                failed.append(error)
                raise

        writer = threading.Thread(target=churn)
        writer.start()
        backups = [tmp_path / f"backup{number}" for number in range(6)]
        try:
            reports = []
            for number, backup in enumerate(backups):
                while rounds < 4 * (number + 1) and not failed:
                    stop.wait(0.005)
                reports.append(log.backup(backup))
        finally:
            stop.set()
            writer.join()
    assert not failed
    assert any(report["sealed_files"] for report in reports)
    assert any(report["linked"] for report in reports)
    for backup, report in zip(backups, reports, strict=True):
        linked = [file for file in backup.glob("*.sealed") if file.stat().st_nlink > 1]
        assert len(linked) <= report["sealed_files"]
    # What is linked does not need the log that it came from.
    shutil.rmtree(tmp_path / "log")
    for number, backup in enumerate(backups):
        checked = command("check", backup)
        assert (checked.status, checked.out.splitlines()[-1]) == (0, "sound")
        data = everything(backup)["kept"]
        count = len(data) // 80
        assert count >= 40 * 4 * (number + 1)
        assert data == b"".join(b"%07d," % (n // 40) * 10 for n in range(count))


def test_a_backup_goes_on_as_a_log_of_its_own(directory: Path, tmp_path: Path) -> None:
    with LogEngine(directory, segment_bytes=64 << 10) as log:
        report = log.backup(tmp_path / "copy")
        log.append("orders", b"1")
    assert report["bytes"] < 200_000
    with LogEngine(tmp_path / "copy") as copy:
        assert len(copy.read("orders").json()) == 40
        assert copy.recovery.clean
        # The producer's state came along.
        assert copy.append("orders", b"39", producer=("shop", 0, 39)).duplicate
        copy.append("orders", b"2")
        assert copy.read("orders").json()[-1] == 2


def test_a_log_in_memory_is_saved(tmp_path: Path) -> None:
    with LogEngine(":memory:") as log:
        log.create("s", body=b"kept")
        log.backup(tmp_path / "saved")
    assert everything(tmp_path / "saved") == {"s": b"kept"}


def test_only_an_empty_place_is_taken(directory: Path, tmp_path: Path) -> None:
    with LogEngine(directory) as log:
        (tmp_path / "empty").mkdir()
        log.backup(tmp_path / "empty")
        before = sorted((tmp_path / "empty").iterdir())
        with pytest.raises(DirectoryNotEmpty) as refused:
            log.backup(tmp_path / "empty")
        assert refused.value.directory == str(tmp_path / "empty")
        assert sorted((tmp_path / "empty").iterdir()) == before
        with pytest.raises(DirectoryNotEmpty):
            log.backup(directory)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_the_async_twin_backs_up_too(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with AsyncLogEngine(tmp_path / "log") as log:
            await log.create("s", body=b"kept")
            await log.backup(tmp_path / "copy")

    anyio.run(main, backend=backend)
    assert everything(tmp_path / "copy") == {"s": b"kept"}
