"""Fixtures of the tests of the offline commands: real directories, hurt on purpose, real processes."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from durastream import LogEngine

SEGMENT = 64 << 10


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:  # noqa: ANN401  (JSON)
        """The one JSON value printed."""
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """The JSON values printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Ended]


@pytest.fixture
def command() -> Command:
    """Run `durable-streams` with these arguments; whatever happens, without a traceback."""

    def run(*arguments: str | Path) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "durastream", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A closed log: two streams, a checkpoint in the middle, a log behind it that is not in one."""
    path = tmp_path / "log"
    with LogEngine(path, segment_bytes=SEGMENT) as log:
        log.create("orders", content_type="application/json")
        log.create("bytes/raw")
        for number in range(40):
            log.append("orders", b'{"n": %d}' % number, producer=("shop", 0, number))
            log.append("bytes/raw", bytes([65 + number % 26]) * 1000)
    return path


def content(directory: Path) -> dict[str, bytes]:
    """Every file."""
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def flip(file: Path, at: int) -> None:
    """Turn one bit of a file around."""
    with file.open("r+b") as opened:
        opened.seek(at)
        (byte,) = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte ^ 0x20]))


def grown(path: Path, times: int = 10) -> None:
    """More events, and an end as `kill -9` leaves it: no checkpoint covers them."""
    script = (
        "import os, sys; from durastream import LogEngine\n"
        f"log = LogEngine(sys.argv[1], segment_bytes={SEGMENT})\n"
        f"for n in range({times}):\n"
        "    log.append('orders', b'{\"late\": %d}' % n)\n"
        "    log.append('bytes/raw', b'late' * 50)\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True, timeout=60)
