"""Many idle streams: memory, descriptors, start from a checkpoint, replay. Each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.rounds import Goal, Row, Sample, interleaved

Task = Callable[..., None]
STREAMS = 1_000_000
MIB = 1 << 20


def resident() -> int:
    """Memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def worker(task: str, directory: Path, *arguments: object) -> dict[str, float]:
    """Runs one of the tasks below in a fresh process; gives what it reports."""
    command = [sys.executable, "-m", "bench.idle", task, str(directory), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode not in (0, -signal.SIGKILL) or not lines:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}")
    report: dict[str, float] = json.loads(lines[-1])
    return report


def report(**figures: float) -> None:
    print(json.dumps(figures), flush=True)


def build(directory: Path, streams: int, body: int) -> None:
    """Makes streams of one event of `body` bytes (or none), closes cleanly."""
    from durastream import LogEngine  # noqa: PLC0415  (memory is measured around it)

    log = LogEngine(directory, durability="none", hot_bytes=MIB)
    few = descriptors()
    before, began = resident(), time.perf_counter()
    payload = b"x" * body or None
    for n in range(streams):
        log.create(f"room/{n:08}", body=payload)
    seconds, grown = time.perf_counter() - began, resident() - before
    many = descriptors()
    log.close()
    report(
        seconds=seconds, bytes_per_stream=grown / streams, descriptors=many, descriptors_empty=few
    )


def reopen(directory: Path) -> None:
    """Opens what `build` left and tells time and memory."""
    from durastream import LogEngine  # noqa: PLC0415

    before, began = resident(), time.perf_counter()
    log = LogEngine(directory, hot_bytes=MIB)
    seconds = time.perf_counter() - began
    streams = log.stats().streams
    report(
        seconds=seconds,
        bytes_per_stream=(resident() - before) / streams,
        streams=streams,
        frames_replayed=log.recovery.frames,
        descriptors=descriptors(),
    )
    os.kill(os.getpid(), signal.SIGKILL)  # the next round finds it as it was


def fill(directory: Path, record: int, total: int) -> None:
    """Leaves a log of `total` payload bytes and no checkpoint, as a crash does."""
    from durastream import LogEngine  # noqa: PLC0415

    log = LogEngine(directory, durability="none", hot_bytes=MIB, checkpoint_bytes=1 << 50)
    streams = 100
    for n in range(streams):
        log.create(f"s{n}")
    batch = [(f"s{n % streams}", b"x" * record) for n in range(max(1, MIB // record))]
    for _ in range(total // (record * len(batch))):
        log.append_many(batch)
    report(bytes=log.stats().log_bytes)
    os.kill(os.getpid(), signal.SIGKILL)


def replay(directory: Path, total: int) -> None:
    from durastream import LogEngine  # noqa: PLC0415

    began = time.perf_counter()
    log = LogEngine(directory, hot_bytes=MIB, checkpoint_bytes=1 << 50)
    seconds = time.perf_counter() - began
    report(seconds=seconds, mb_per_s=total / seconds / 1e6, frames=log.recovery.frames)
    os.kill(os.getpid(), signal.SIGKILL)


def idle_streams(directory: Path, rounds: int, streams: int, body: int) -> list[Row]:
    label = f"{streams:,} idle streams, " + (f"one event of {body} B" if body else "empty")
    home = directory / f"idle-{body}"
    built = worker("build", home, streams, body)
    opened = [worker("reopen", home) for _ in range(rounds)]
    assert all(seen["streams"] == streams for seen in opened), opened
    again = iter(opened * 2)
    rows = interleaved(
        label,
        "B/stream",
        {"LogEngine, reopened": lambda: Sample(next(again)["bytes_per_stream"])},
        {"LogEngine, reopened": Goal(300, at_most=True)},
        rounds,
    )
    rows += interleaved(
        label,
        "B/stream",
        {"LogEngine, as created": lambda: Sample(built["bytes_per_stream"])},
        {"LogEngine, as created": Goal(300, at_most=True)},
        1,
    )
    rows += interleaved(
        label,
        "s to open",
        {
            "LogEngine, from a checkpoint": lambda: Sample(
                (seen := next(again))["seconds"], {"frames replayed": seen["frames_replayed"]}
            )
        },
        {"LogEngine, from a checkpoint": Goal(2, at_most=True)},
        rounds,
    )
    rows += interleaved(
        label,
        "more fds",
        {
            "LogEngine": lambda: Sample(
                built["descriptors"] - built["descriptors_empty"], {"in all": built["descriptors"]}
            )
        },
        {"LogEngine": Goal(16, at_most=True)},
        1,
    )
    return rows


def replays(directory: Path, rounds: int, total: int) -> list[Row]:
    rows = []
    for record in (256, 4096, 65536):
        home = directory / f"replay-{record}"
        size = int(worker("fill", home, record, total)["bytes"])

        def once(home: Path = home, size: int = size) -> Sample:
            seen = worker("replay", home, size)
            return Sample(seen["mb_per_s"], {"frames": seen["frames"]})

        goals = {"LogEngine": Goal(1000)}
        label = f"replay of {size / 1e6:,.0f} MB, {record} B appends"
        rows += interleaved(label, "MB/s", {"LogEngine": once}, goals, rounds)
        subprocess.run(["rm", "-rf", str(home)], check=True)
    return rows


def measure(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    rows = []
    for body in (0, 64):
        rows += idle_streams(directory, rounds, STREAMS // 20 if quick else STREAMS, body)
    return rows + replays(directory, rounds, (64 if quick else 1024) * MIB)


def main() -> None:
    task, directory, *arguments = sys.argv[1:]
    tasks: dict[str, Callable[..., None]] = {
        "build": build,
        "reopen": reopen,
        "fill": fill,
        "replay": replay,
    }
    tasks[task](Path(directory), *map(int, arguments))


if __name__ == "__main__":
    main()
