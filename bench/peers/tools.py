"""The load generators: wrk, h2load and bench/load, and what they report."""

import json
import re
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.peers import build
from bench.peers.processes import Running
from bench.rounds import UnmeasuredError

Figures = dict[str, Any]
BINARY = "application/octet-stream"
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
SIZES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
WRK_SCRIPT = """wrk.method = "{method}"
wrk.body = {body}
wrk.headers["Content-Type"] = wrk.body and "{content_type}" or nil
"""
WRK_MANY = """local requests, at = {{}}, 0
function init(args)
  for n = 0, {streams} - 1 do requests[n + 1] = wrk.format(nil, "{path}/" .. n) end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"""


def load(task: str, server: Running, **options: float | str) -> Figures:
    """Runs a task of bench/load; its JSON."""
    command = [build.generator(), task, "--port", str(server.port)]
    command += ["--pids", ",".join(map(str, server.pids))]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except subprocess.TimeoutExpired:
        raise UnmeasuredError(f"load {task} did not end") from None
    if done.returncode:
        raise UnmeasuredError(f"load {task}: {done.stderr.strip()[-300:]}")
    figures: Figures = json.loads(done.stdout)
    return figures


def wrk(
    server: Running,
    path: str,
    *,
    connections: int,
    seconds: int,
    streams: int = 1,
    body: int = 0,
    query: str = "",
) -> Figures:
    """Loads streams `path/0` and so on in turn: POST with a body of so many bytes, or GET without."""
    method = "POST" if body else "GET"
    text = f'string.rep("x", {body})' if body else "nil"
    script = WRK_SCRIPT.format(method=method, body=text, content_type=BINARY)
    if streams > 1:
        script += WRK_MANY.format(streams=streams, path=path)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [build.program("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{seconds}s"]
        url = f"http://127.0.0.1:{server.port}{path}/0{query}"
        command += ["--latency", "--timeout", "10s", "-s", file.name, url]
        figures, told = _timed(command, server)
    counted = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m), ([\d.]+)([KMG]?B) read", told)
    if counted is None:
        raise UnmeasuredError(f"wrk: {told[-300:]}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    broken = re.search(r"Socket errors: (.*)", told)
    if refused or broken:
        raise UnmeasuredError(f"wrk: {(refused or broken or counted)[0]}")
    answers = int(counted[1])
    figures |= {
        "answers": answers,
        "rate": answers / (float(counted[2]) * SECONDS[counted[3]]),
        "bytes": float(counted[4]) * SIZES[counted[5]],
        "cpu_us": figures["server_cpu_s"] / max(1, answers) * 1e6,
    }
    for percent in (50, 99):
        found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", told)
        figures[f"p{percent}_ms"] = float(found[1]) * SECONDS[found[2]] * 1000 if found else 0.0
    return figures


def h2load(
    server: Running, path: str, *, connections: int, streams: int, seconds: int, body: int
) -> Figures:
    """POSTs over HTTP/2 with prior knowledge, so many at once on each connection."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("x" * body)
        file.flush()
        command = [build.program("h2load", "nghttp2-client"), f"-c{connections}", f"-m{streams}"]
        command += ["-t1", f"-D{seconds}", "--warm-up-time=1", "-d", file.name]
        command += ["-H", f"content-type: {BINARY}", f"http://127.0.0.1:{server.port}{path}"]
        figures, told = _timed(command, server)
    rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", told)
    good = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", told)
    ended = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", told)
    if rate is None or good is None or ended is None or not int(good[1]):
        raise UnmeasuredError("h2load: no answers over HTTP/2")
    if any(map(int, good.groups()[1:])) or any(map(int, ended.groups())):
        raise UnmeasuredError(f"h2load: {good[0]}; {ended[0]}")
    latency = re.search(r"time for request:\s+\S+\s+([\d.]+)(us|ms|s)\s+([\d.]+)(us|ms|s)", told)
    # It tells no percentiles; the server's time includes the second of warming up.
    answers = float(rate[1]) * (seconds + 1)
    figures |= {
        "rate": float(rate[1]),
        "answers": float(good[1]),
        "cpu_us": figures["server_cpu_s"] / answers * 1e6,
        "mean_ms": float(latency[3]) * SECONDS[latency[4]] * 1000 if latency else 0.0,
    }
    return figures


def _timed(command: list[str], server: Running) -> tuple[Figures, str]:
    """What the generator told, and what it and the server used meanwhile."""
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    before, began = server.cpu_seconds(), time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        raise UnmeasuredError(f"{Path(command[0]).name} did not end") from None
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - own.ru_utime - own.ru_stime
    figures = {
        "server_cpu_s": server.cpu_seconds() - before,
        "generator_cpu": cpu / seconds,
        "rss_mib": server.resident_mib(),
    }
    return figures, done.stdout + done.stderr
