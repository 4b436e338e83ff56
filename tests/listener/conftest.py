"""Server processes for the tests of the listener."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from listener.clients import get

SERVE_APP = Path(__file__).parent / "serve_app.py"


@dataclass
class AppServer:
    """A process that serves the test application."""

    process: subprocess.Popen[str]
    port: int

    def serves(self) -> bool:
        """Whether it lives and answers another client."""
        try:
            return get(self.port, "/ok").startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False

    def rss(self) -> int:
        """Resident memory in bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the process has ended")

    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


AppServerFactory = Callable[..., AppServer]


@pytest.fixture(params=["trio", "native"])
def ours(request: pytest.FixtureRequest) -> str:
    """The trio listener, and the native one in front of it, which forwards everything here."""
    return str(request.param)


@pytest.fixture
def app_server() -> Iterator[AppServerFactory]:
    """Start the test application: `app_server(ours, keep_alive=5)` or `app_server("plain")`."""
    with contextlib.ExitStack() as running:

        def start(kind: str, **options: float) -> AppServer:
            process = subprocess.Popen(
                [sys.executable, SERVE_APP, kind, json.dumps(options)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if kind == "plain" else None,
                text=True,
            )
            running.callback(_end, process)
            assert process.stdout is not None
            return AppServer(process, int(process.stdout.readline()))

        yield start


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
