"""Fixtures of the LogEngine tests: real engines on real directories."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from durastream import LogEngine


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogEngine]:
    """A log on a directory of its own, durable by fdatasync."""
    with LogEngine(tmp_path / "log") as engine:
        yield engine


@pytest.fixture
def memory() -> Iterator[LogEngine]:
    """A log without a disk."""
    with LogEngine(":memory:") as engine:
        yield engine
