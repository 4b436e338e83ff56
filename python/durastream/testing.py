"""A real server for the tests of programs that talk to one: on a free port, killed and started at will.

    with LocalServer(tmp_path / "data") as server:
        requests.put(server.stream_url("orders"))
        server.kill()   # as a crash would
        server.start()  # the same data, at the same URL

`durastream.pytest_plugin` has it as a fixture.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["LocalServer", "ServerFailed"]

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0
LOG_NAME: Final = "server.log"
# Killing a process loses nothing that `none` acknowledged: only the power going would. And a log that no
# test fills need not reserve much disk. Its streams are nobody's secret: `durable-streams list` may see them.
ARGUMENTS: Final = (
    *("--durability", "none", "--segment-bytes", "4MiB", "--shutdown-grace", "1"),
    *("--listing", "on"),
)


class ServerFailed(RuntimeError):
    """The server did not start or stop as it should; says what it printed."""


class LocalServer:
    """`durable-streams serve` as a process of its own, listening on loopback only.

    `directory` is made; the data is in `data` below it, what the server logs in `server.log`.
    `arguments` are flags of `durable-streams serve`. It is on a free port unless they say otherwise,
    and keeps that port when it is started again. Acknowledged data survives `kill`; add
    `--durability sync` to measure what a sync costs.

    The server also ends when this process does, however that ends.
    """

    def __init__(self, directory: str | os.PathLike[str], arguments: Sequence[str] = ()) -> None:
        self.directory = Path(directory)
        self.data = self.directory / "data"
        """The data directory."""
        self.arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""

    @property
    def origin(self) -> str:
        """Scheme, host and port, such as `http://127.0.0.1:50123`. Raises ServerFailed before `start`."""
        return "/".join(self.url.split("/")[:3])

    @property
    def url(self) -> str:
        """Where streams live: `origin` and `/v1/stream`, unless `arguments` say otherwise.

        Stays the same over restarts. Raises ServerFailed before `start`.
        """
        if not self._url:
            raise ServerFailed("the server was not started yet; call start()")
        return self._url

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number. Raises ServerFailed unless it runs."""
        if self._process is None or not self.running:
            raise ServerFailed("the server does not run; call start()")
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server logged, of all its lives."""
        try:
            return (self.directory / LOG_NAME).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def stream_url(self, path: str) -> str:
        """The URL of the stream at `path`, percent-encoded."""
        return f"{self.url}/{quote(path.lstrip('/'))}"

    def start(self) -> None:
        """Start it and return when it listens; does nothing when it runs. Raises ServerFailed."""
        if self.running:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        port = self.origin.rpartition(":")[2] if self._url else "0"
        command = [sys.executable, "-m", __name__, "--data", str(self.data), "--port", port]
        # Settings of the machine's own server are not the test's.
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("DURASTREAM_", "OTEL_"))
        }
        with (self.directory / LOG_NAME).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  (this very package)
                [*command, *ARGUMENTS, *self.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=inherited,
            )
        assert self._process.stdout is not None
        banner = _first_line(self._process.stdout, START_SECONDS)
        found = [word for word in banner.split() if word.startswith(("http://", "https://"))]
        if not found:
            self.kill()
            raise ServerFailed(f"the server did not start: {banner}{self.log}")
        self._url = found[0].rstrip("/")

    def stop(self) -> None:
        """End it in order, as a service manager does (SIGTERM). Raises ServerFailed if it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"running {STOP_SECONDS} s after SIGTERM: {self.log}") from None
        self._forget()
        if status not in (0, -signal.SIGKILL):
            raise ServerFailed(f"exit status {status} after SIGTERM: {self.log}")

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would; does nothing when it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def restart(self, *, kill: bool = False) -> None:
        """Stop it, or `kill` it, and start it with the same data at the same URL. Raises ServerFailed."""
        if kill:
            self.kill()
        else:
            self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return (
            f"<LocalServer {self._url or self.directory}, {'running' if self.running else 'ended'}>"
        )

    def _forget(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None


def _first_line(pipe: IO[bytes], seconds: float) -> str:
    """The first line that comes, or what came of it when the pipe ended or the time was up."""
    deadline = time.monotonic() + seconds
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                break
            piece = os.read(pipe.fileno(), 4096)
            if not piece:
                break
            line += piece
    return line.decode(errors="replace")


def _main(arguments: Sequence[str]) -> int:
    """Serve until told to end, or until whoever started it is gone: then nobody holds standard input."""
    from durastream.cli import main  # noqa: PLC0415  (only the process that serves needs it)

    def watch() -> None:
        # Not through sys.stdin: a thread blocked in there is fatal to an interpreter that ends.
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    return main(["serve", *arguments])


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
