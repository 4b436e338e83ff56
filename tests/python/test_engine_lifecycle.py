"""Opening, closing and reopening."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durastream import LogEngine, errors


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    with LogEngine(tmp_path) as log:
        log.create("s", content_type="application/json", ttl=1000)
        tail = log.append("s", b'{"n": 1}', stream_seq="7").next_offset
        before = log.head("s")
    with LogEngine(tmp_path) as log:
        assert log.recovery.clean
        assert log.head("s") == before
        assert log.read("s").json() == [{"n": 1}]
        assert log.append("s", b"2").offset == tail
        with pytest.raises(errors.SeqConflict):
            log.append("s", b"3", stream_seq="7")


def test_checkpoint_shortens_the_replay(tmp_path: Path) -> None:
    with LogEngine(tmp_path) as log:
        log.create("s")
        log.append("s", b"abc")
        lsn = log.checkpoint()
        assert lsn > 0
        assert log.stats().checkpoint_lsn == lsn
    with LogEngine(tmp_path) as log:
        assert log.recovery.replay_from >= lsn
        assert bytes(log.read("s")) == b"abc"


def test_a_path_is_text_or_path(tmp_path: Path) -> None:
    for path in (tmp_path / "a", str(tmp_path / "b")):
        with LogEngine(path) as log:
            assert log.path == str(path)
            log.create("s")
        assert Path(path).is_dir()


def test_memory_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with LogEngine(":memory:") as log:
        log.create("s", body=b"abc")
        assert bytes(log.read("s")) == b"abc"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_open_once(tmp_path: Path) -> None:
    with LogEngine(tmp_path), pytest.raises(errors.DirectoryInUse) as caught:
        LogEngine(tmp_path)
    assert caught.value.directory == str(tmp_path)
    assert caught.value.holder
    LogEngine(tmp_path).close()


def test_a_file_in_the_way_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(errors.OpenFailed) as caught:
        LogEngine(tmp_path / "file")
    assert str(tmp_path / "file") in caught.value.file


@pytest.mark.parametrize(
    "durability", ["", "SYNC", "interval", "interval=", "interval=0", "interval=-1", "interval=x"]
)
def test_other_durabilities_are_refused(tmp_path: Path, durability: str) -> None:
    with pytest.raises(ValueError, match="interval=MS"):
        LogEngine(tmp_path / "log", durability=durability)
    assert list(tmp_path.iterdir()) == []


def test_unknown_and_impossible_limits_are_refused() -> None:
    with pytest.raises(TypeError, match="max_wishes"):
        LogEngine(":memory:", max_wishes=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="max_append_bytes"):
        LogEngine(":memory:", max_append_bytes=0)


@pytest.mark.parametrize(
    ("name", "value", "kind", "right"),
    [
        ("max_append_bytes", "10", TypeError, "bytes"),
        ("max_append_bytes", -1, ValueError, "at least 1"),
        ("hot_bytes", -1, ValueError, "at least 0"),
        ("hot_bytes", "1MiB", TypeError, "whole number"),
        ("hot_bytes", 1.5, TypeError, "whole number"),
        ("hot_bytes", 1 << 64, ValueError, "2^63"),
        ("segment_bytes", 1, ValueError, "at least 4096"),
        ("max_streams", True, TypeError, "streams"),
        ("reap_interval", "1s", TypeError, "seconds"),
        ("reap_interval", -1, ValueError, "above 0"),
        ("reap_interval", float("nan"), ValueError, "above 0"),
    ],
)
def test_a_limit_that_cannot_be_is_named_with_what_would_be_right(
    tmp_path: Path, name: str, value: object, kind: type[Exception], right: str
) -> None:
    limits: Any = {name: value}
    with pytest.raises(kind, match=f"^{name} is {re.escape(repr(value))}.*{re.escape(right)}"):
        LogEngine(tmp_path / "log", **limits)
    assert list(tmp_path.iterdir()) == []


def test_limits_are_in_force() -> None:
    with LogEngine(":memory:", max_streams=2) as log:
        log.create("a")
        log.create("b")
        with pytest.raises(errors.LimitExceeded) as caught:
            log.create("c")
    assert (caught.value.flag, caught.value.limit) == ("max_streams", 2)


def test_a_closed_log_answers_nothing(tmp_path: Path) -> None:
    log = LogEngine(tmp_path)
    log.create("s", body=b"abc")
    follower = log.follow("s")
    log.close()
    log.close()
    assert log.closed
    calls: list[Callable[[], object]] = [
        lambda: log.create("t"),
        lambda: log.append("s", b"x"),
        lambda: log.append_many([("s", b"x")]),
        lambda: log.read("s"),
        lambda: log.follow("s"),
        lambda: log.head("s"),
        lambda: log.exists("s"),
        lambda: list(log.list()),
        lambda: log.fork("s", "t"),
        lambda: log.close_stream("s"),
        lambda: log.delete("s"),
        lambda: log.trim("s", "0000000000000000_0000000000000000"),
        lambda: log.stats(),
        lambda: log.checkpoint(),
        lambda: log.recovery,
        lambda: next(follower),
    ]
    for call in calls:
        with pytest.raises(errors.EngineClosed):
            call()
    assert repr(log) == f"<LogEngine '{tmp_path}', closed>"


def test_close_ends_a_follower_that_waits(tmp_path: Path) -> None:
    log = LogEngine(tmp_path)
    log.create("s")
    caught: list[BaseException] = []

    def follow() -> None:
        try:
            next(log.follow("s"))
        except BaseException as error:  # noqa: BLE001
            caught.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    time.sleep(0.1)
    log.close()
    thread.join(5)
    assert not thread.is_alive()
    assert [type(error) for error in caught] == [errors.EngineClosed]
