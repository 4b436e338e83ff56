"""A server process for one measurement: started, measured from outside, ended."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.rounds import UnmeasuredError

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
START_SECONDS = 120.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Running:
    """A server that accepts connections."""

    process: subprocess.Popen[bytes]
    port: int
    boot_seconds: float

    @property
    def pids(self) -> list[int]:
        """The process and its children (workers)."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def cpu_seconds(self) -> float:
        """User and system time of all of them so far."""
        return sum(map(cpu_seconds, self.pids))

    def resident_mib(self) -> float:
        return sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in self.pids
        ) / (1 << 20)


@dataclass(frozen=True)
class Server:
    """How to start one, with its data in a directory."""

    name: str
    start: Callable[[Path], AbstractContextManager[Running]]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[Running]:
    """The server of this command, once it accepts; ended in order afterwards."""
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        _await(process, port, log)
        yield Running(process, port, time.perf_counter() - began)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            told = log.read_text(errors="replace")[-500:]
            raise UnmeasuredError(f"ended with {process.returncode}: {told}")
        time.sleep(0.01)
    raise UnmeasuredError(f"did not accept within {START_SECONDS:g} s")
