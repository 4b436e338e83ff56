"""`durable-streams` as people run it: real processes against a real server."""

import itertools
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from durastream.testing import LocalServer
from support.server import COMMAND

_names = itertools.count()
SETTINGS = ("DURABLE_STREAMS_URL", "DURABLE_STREAMS_AUTH")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """What it printed."""
        return self.out.decode().splitlines()


Run = Callable[..., Ended]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def environment(durable_streams_server: LocalServer) -> dict[str, str]:
    """Names the server of the session."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return inherited | {"DURABLE_STREAMS_URL": durable_streams_server.url}


@pytest.fixture
def start(environment: dict[str, str]) -> Start:
    """Start the command, with pipes."""

    def begin(*arguments: str | Path, **changes: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment | changes,
        )

    return begin


@pytest.fixture
def run(start: Start) -> Run:
    """Run the command to its end; whatever happens, without a traceback."""

    def finish(*arguments: str | Path, stdin: bytes = b"", **changes: str) -> Ended:
        with start(*arguments, **changes) as running:
            out, err = running.communicate(stdin, timeout=60)
        assert b"Traceback" not in err
        return Ended(running.returncode, out, err.decode())

    return finish


@pytest.fixture
def path() -> str:
    """A stream's path that no other test uses."""
    return f"cli/{next(_names)}"
