"""A web example as a process of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Site:
    """A running web example."""

    module: str
    data: Path
    environment: dict[str, str]
    port: int
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and return when it says so and listens."""
        self.process = subprocess.Popen(
            [
                sys.executable, "-W", "error", "-m", self.module,
                "--port", str(self.port), "--data", self.data,
            ],
            cwd=ROOT,
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert self.url in said, said + self.process.stdout.read()
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self, by: signal.Signals) -> None:
        """End it and return when it has; by Ctrl-C it ends well, in time and without a word."""
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.send_signal(by)
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        said = self.process.stdout.read()
        self.process.stdout.close()
        self.process = None
        if by != signal.SIGKILL:
            assert (status, said) == (0, "")

    def close(self) -> None:
        """End it by Ctrl-C unless the test has ended it."""
        if self.process is not None:
            self.end(signal.SIGINT)


StartSite = Callable[..., Site]
