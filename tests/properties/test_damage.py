"""Any cut and any single flipped bit of any file: nothing acknowledged is missing, or it says so."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given

from durastream import errors

from . import damage
from .driver import body, compare, start
from .model import JSON, Model, Producer

LOUD = (errors.DataDamaged, errors.FormatVersion, errors.OpenFailed)


@dataclass(frozen=True)
class History:
    """A data directory and what was acknowledged in it."""

    directory: Path
    model: Model


def write(directory: Path, *, clean: bool) -> History:
    """A history with every kind of event, several segments and a checkpoint in the middle."""
    model = Model()
    engine = start(directory / "live")
    for path, kind in (("text", "text/plain"), ("json", JSON), ("gone", "text/plain")):
        _, stream = model.create(path, kind, [], closed=False)
        stream.incarnation = engine.create(path, content_type=kind).info.tail.incarnation
    for n in range(60):
        path = ("text", "json", "gone")[n % 3]
        messages = [b'"%d"' % n, b'"' + b"x" * (n * 997) + b'"']
        producer = Producer(f"p{n % 2}", 0, n // 6) if path == "text" else None
        triple = (producer.id, producer.epoch, producer.seq) if producer else None
        model.append(path, messages, producer=producer)
        engine.append(path, body(model.find(path), messages), producer=triple)
        if n == 30:
            engine.checkpoint()
    model.fork("fork", "json", None, 0)
    engine.fork("json", "fork")
    model.append("fork", [b"1"])
    engine.append("fork", b"1")
    model.delete("gone")
    engine.delete("gone")
    model.append("json", [b"2"], close=True)
    engine.append("json", b"2", close=True)
    model.append("text", [b"the last word"])
    engine.append("text", b"the last word")
    if clean:
        engine.close()
    left = damage.copy(directory / "live", directory / "left")
    engine.close()
    return History(left, model)


def history(*, clean: bool) -> Iterator[History]:
    home = damage.scratch()
    yield write(home, clean=clean)
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def closed() -> Iterator[History]:
    yield from history(clean=True)


@pytest.fixture(scope="module")
def crashed() -> Iterator[History]:
    yield from history(clean=False)


def survive(history: History, fault: damage.Damage) -> None:
    hurt = damage.copy(history.directory, history.directory.with_name("hurt"))
    try:
        said = fault.strike(hurt)
        with contextlib.suppress(*LOUD), start(hurt) as engine:
            try:
                compare(engine, history.model)
            except AssertionError as silent:
                raise AssertionError(
                    f"{said}: opened, but acknowledged events are missing"
                ) from silent
    finally:
        shutil.rmtree(hurt)


@pytest.mark.property
@given(fault=damage.FLIPS)
def test_any_flipped_bit_of_a_closed_log_is_harmless_or_loud(
    closed: History, fault: damage.Damage
) -> None:
    survive(closed, fault)


@pytest.mark.property
@given(fault=damage.CUTS)
@example(fault=damage.Damage(0, 0.0, None))
def test_any_cut_of_a_closed_log_is_harmless_or_loud(closed: History, fault: damage.Damage) -> None:
    survive(closed, fault)


@pytest.mark.property
@given(fault=damage.FLIPS)
def test_any_flipped_bit_of_a_crashed_log_is_harmless_or_loud(
    crashed: History, fault: damage.Damage
) -> None:
    survive(crashed, fault)


@pytest.mark.property
@given(fault=damage.CUTS)
def test_any_cut_of_a_crashed_log_is_harmless_or_loud(
    crashed: History, fault: damage.Damage
) -> None:
    survive(crashed, fault)


@pytest.mark.parametrize("keep", ["closed", "crashed"])
def test_a_missing_file_is_harmless_or_loud(keep: str, request: pytest.FixtureRequest) -> None:
    history: History = request.getfixturevalue(keep)
    names = [f.relative_to(history.directory) for f in history.directory.rglob("*") if f.is_file()]
    for name in names:
        hurt = damage.copy(history.directory, history.directory.with_name("hurt"))
        (hurt / name).unlink()
        with contextlib.suppress(*LOUD), start(hurt) as engine:
            compare(engine, history.model)
        shutil.rmtree(hurt)


def test_the_histories_themselves_are_sound(closed: History, crashed: History) -> None:
    for history in (closed, crashed):
        whole = damage.copy(history.directory, history.directory.with_name("whole"))
        with start(whole) as engine:
            compare(engine, history.model)
        shutil.rmtree(whole)
