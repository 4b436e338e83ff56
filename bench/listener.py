"""The hypercorn listener beside hypercorn-trio with an empty handler."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.rounds import Goal, Row, Sample, interleaved

CONNECTIONS = 64
BODY = 256
TICKS = os.sysconf("SC_CLK_TCK")
STREAM = "/v1/stream/bench"
LUA = """wrk.method = "POST"
wrk.body = string.rep("x", {body})
wrk.headers["Content-Type"] = "application/octet-stream"
"""


@dataclass(frozen=True)
class Target:
    """A server to be loaded."""

    process: subprocess.Popen[bytes]
    port: int

    def cpu_seconds(self) -> float:
        """Used by the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mib(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[Target]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            time.sleep(0.05)
        yield Target(process, port)
    finally:
        process.terminate()
        process.wait(15)


@contextlib.contextmanager
def ours(directory: Path) -> Iterator[Target]:
    port = free_port()
    program = str(Path(sys.executable).parent / "durable-streams")
    command = [program, "serve", "--listener", "hypercorn", "--port", str(port)]
    command += ["--data", str(directory / "served")]
    with running(command, port) as target:
        put = urllib.request.Request(f"http://127.0.0.1:{port}{STREAM}", method="PUT")
        urllib.request.urlopen(put, timeout=10).close()
        small = urllib.request.Request(
            f"http://127.0.0.1:{port}{STREAM}-small", data=b"x" * BODY, method="PUT"
        )
        urllib.request.urlopen(small, timeout=10).close()
        yield target


@contextlib.contextmanager
def empty() -> Iterator[Target]:
    port = free_port()
    with running([sys.executable, "-m", "bench.empty", str(port)], port) as target:
        yield target


def load(target: Target, method: str, path: str, seconds: float) -> Sample:
    """Answers a second, with CPU per answer, memory and latencies."""
    before = target.cpu_seconds()
    seen = wrk(target, method, path, seconds) or small_generator(target, method, path, seconds)
    if seen["refused"]:
        raise RuntimeError(f"{seen['refused']:.0f} answers to {method} {path} were errors")
    used = target.cpu_seconds() - before
    notes = {
        "p50 ms": seen["p50"],
        "p99 ms": seen["p99"],
        "CPU us/op": used / seen["answers"] * 1e6,
        "RSS MiB": target.resident_mib(),
    }
    return Sample(seen["answers"] / seen["seconds"], notes)


def wrk(target: Target, method: str, path: str, seconds: float) -> dict[str, float] | None:
    program = shutil.which("wrk")
    if program is None:
        return None
    url = f"http://127.0.0.1:{target.port}{path}"
    command = [program, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency", url]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if method == "POST":
            script.write(LUA.format(body=BODY))
            script.flush()
            command[-1:-1] = ["-s", script.name]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    counted = re.search(r"(\d+) requests in ([\d.]+)s", told)
    assert counted is not None, told
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    broken = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", told
    )
    figures = {
        "answers": float(counted[1]),
        "seconds": float(counted[2]),
        "refused": float(refused[1] if refused else 0)
        + sum(map(float, broken.groups() if broken else ())),
    }
    for percent in (50, 99):
        found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", told)
        assert found is not None, told
        figures[f"p{percent}"] = float(found[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[found[2]]
    return figures


def small_generator(target: Target, method: str, path: str, seconds: float) -> dict[str, float]:
    arguments = ["127.0.0.1", str(target.port), str(CONNECTIONS), str(seconds), method, path]
    arguments += [str(BODY)] if method == "POST" else []
    command = [sys.executable, "-m", "bench.load", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    seconds = 1 if quick else 4
    rows = []
    with ours(directory) as durastream, empty() as limit:
        for label, method, path in (
            (f"durable POST of {BODY} B", "POST", STREAM),
            (f"GET of {BODY} B", "GET", f"{STREAM}-small"),
        ):
            rows += interleaved(
                f"{label}, {CONNECTIONS} connections",
                "answers/s",
                {
                    "empty handler": lambda m=method, p=path: load(limit, m, p, seconds),  # type: ignore[misc]
                    "durable-streams serve": lambda m=method, p=path: load(
                        durastream, m, p, seconds
                    ),  # type: ignore[misc]
                },
                {"durable-streams serve": Goal(0.8, over="empty handler")},
                rounds,
            )
    return rows
