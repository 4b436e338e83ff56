"""The real `durable-streams serve`, started and stopped as its users do."""

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

COMMAND = Path(sys.executable).parent / "durable-streams"
START_SECONDS = 20.0
STOP_SECONDS = 10.0
URL = re.compile(r"(?<= serving )https?://[^\s/]+")


@dataclass
class Server:
    """One running server process and what it prints."""

    data: Path
    arguments: Sequence[str] = ()
    url: str = ""
    banner: str = ""
    process: subprocess.Popen[str] = field(init=False)
    _log: list[str] = field(default_factory=list)
    _reader: threading.Thread = field(init=False)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    @property
    def log(self) -> str:
        """Everything printed so far, standard output and error together."""
        return "".join(self._log)

    def start(self) -> None:
        """Start it, again if it ended, and return when it says where it listens."""
        self.url, self.banner = "", ""
        self._log.clear()
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("DURASTREAM_", "OTEL_"))
        }
        self.process = subprocess.Popen(
            [COMMAND, "serve", "--data", self.data, "--port", "0", *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=inherited | {"PYTHONUNBUFFERED": "1"},
        )
        started = threading.Event()
        self._reader = threading.Thread(
            target=self._read, args=(self.process, started), daemon=True
        )
        self._reader.start()
        if not started.wait(START_SECONDS) or not self.url:
            self.kill()
            raise RuntimeError(f"the server did not start: {self.log}")

    def stop(self, *, by: signal.Signals = signal.SIGTERM) -> None:
        """Stop it as a service manager does; a status other than 0 or a slow end is a failure."""
        self.process.send_signal(by)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"running {STOP_SECONDS} s after {by.name}: {self.log}") from None
        self._finish()
        assert status == 0, f"exit status {status} after {by.name}: {self.log}"

    def close(self) -> None:
        """Stop it unless it has ended already."""
        if self.process.poll() is None:
            self.stop()
        else:
            self._finish()

    def kill(self) -> None:
        """End it at once, as a crash would; harmless when it has ended."""
        self.process.kill()
        self.process.wait()
        self._finish()

    def running(self) -> bool:
        """Whether the process lives and answers its health check."""
        if self.process.poll() is not None:
            return False
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.URLError:
            return False

    def _read(self, process: subprocess.Popen[str], started: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._log.append(line)
            if not started.is_set() and (found := URL.search(line)):
                self.url, self.banner = found[0], line
                started.set()
        started.set()

    def _finish(self) -> None:
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
