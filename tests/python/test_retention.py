"""Streams that keep only so much."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from durastream import AsyncLogEngine, LogEngine, Retention, errors

HOUR = timedelta(hours=1)


def until(log: LogEngine, path: str, left: bytes) -> None:
    """Wait until the reaper has left just this."""
    end = time.monotonic() + 10
    while bytes(log.read(path)) != left:
        assert time.monotonic() < end, bytes(log.read(path))
        time.sleep(0.005)


@pytest.fixture
def quick() -> LogEngine:
    return LogEngine(":memory:", reap_interval=0.005)


def test_a_retention_is_a_value() -> None:
    retention = Retention(max_bytes=10, max_age=3600, max_events=7)
    assert (retention.max_bytes, retention.max_age, retention.max_events) == (10, HOUR, 7)
    assert retention == Retention(max_bytes=10, max_age=HOUR, max_events=7)
    assert hash(retention) == hash(Retention(max_bytes=10, max_age=HOUR, max_events=7))
    assert retention != Retention(max_bytes=10)
    assert repr(Retention(max_events=7)) == "Retention(max_bytes=None, max_age=None, max_events=7)"
    assert Retention().max_age is None


@pytest.mark.parametrize(
    "limits",
    [{"max_bytes": 0}, {"max_bytes": -1}, {"max_events": 0}, {"max_events": 1 << 64}]
    + [{"max_age": age} for age in (0, -1, 0.0009, timedelta(0), float("nan"))],
    ids=str,
)
def test_a_limit_of_nothing_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"limit|duration"):
        Retention(**limits)  # type: ignore[arg-type]


def test_a_limit_is_a_number() -> None:
    with pytest.raises(TypeError):
        Retention(max_bytes="all")  # type: ignore[arg-type]


def test_what_lies_beyond_a_limit_is_trimmed(quick: LogEngine) -> None:
    with quick as log:
        created = log.create("s", retention=Retention(max_events=2), body=b"one")
        assert created.info.retention == Retention(max_events=2)
        for data in (b"two", b"three"):
            log.append("s", data)
        until(log, "s", b"twothree")
        with pytest.raises(errors.OffsetGone):
            log.read("s", f"{created.info.id:016}_{0:016}")
        assert log.head("s").floor.position == 3
        assert log.stats().retention_trims == 1


def test_what_is_too_old_is_trimmed_from_an_idle_stream(quick: LogEngine) -> None:
    with quick as log:
        log.create("s", retention=Retention(max_age=0.05))
        log.append("s", b"x")
        until(log, "s", b"")
        assert log.head("s").floor == log.head("s").tail
        log.append("s", b"y")
        until(log, "s", b"")


def test_a_retention_is_changed_and_taken_away(quick: LogEngine) -> None:
    with quick as log:
        log.create("s", body=b"one")
        assert log.head("s").retention is None
        log.append("s", b"two")
        log.configure("s", retention=Retention(max_bytes=4))
        assert log.head("s").retention == Retention(max_bytes=4)
        until(log, "s", b"two")
        log.configure("s", retention=None)
        assert log.head("s").retention is None
        log.append("s", b"three")
        log.append("s", b"four")
        time.sleep(0.05)
        assert bytes(log.read("s")) == b"twothreefour"
    with LogEngine(":memory:") as log, pytest.raises(errors.StreamNotFound):
        log.configure("s", retention=None)


def test_creating_again_compares_the_retention_when_it_is_given(memory: LogEngine) -> None:
    memory.create("s", retention=Retention(max_events=2))
    assert not memory.create("s", retention=Retention(max_events=2)).created
    assert not memory.create("s").created
    with pytest.raises(errors.StreamExists) as caught:
        memory.create("s", retention=Retention())
    assert caught.value.differs == "retention"


def test_a_fork_takes_the_retention_over(memory: LogEngine) -> None:
    memory.create("s", retention=Retention(max_events=2))
    assert memory.fork("s", "same").info.retention == Retention(max_events=2)
    own = Retention(max_age=HOUR)
    assert memory.fork("s", "own", retention=own).info.retention == own
    assert memory.fork("s", "all", retention=Retention()).info.retention is None


def test_a_retention_survives_a_restart(tmp_path: Path) -> None:
    retention = Retention(max_bytes=1000, max_age=HOUR, max_events=3)
    with LogEngine(tmp_path / "log", reap_interval=3600) as log:
        log.create("s", retention=retention)
        for data in b"abcde":
            log.append("s", bytes([data]))
    with LogEngine(tmp_path / "log", reap_interval=0.005) as log:
        assert log.head("s").retention == retention
        until(log, "s", b"cde")
        log.append("s", b"f")
        until(log, "s", b"def")


@pytest.mark.anyio
async def test_the_twin_configures_too() -> None:
    async with AsyncLogEngine(":memory:") as log:
        await log.create("s", retention=Retention(max_events=2))
        await log.configure("s", retention=Retention(max_events=3))
        assert (await log.head("s")).retention == Retention(max_events=3)
        await log.fork("s", "f", retention=Retention(max_bytes=1))
        assert (await log.head("f")).retention == Retention(max_bytes=1)
