"""Sealed history: what making, reading and giving it up cost and give. Each task in a process of its own."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from bench.rounds import Contender, Goal, Row, Sample, UnmeasuredError, interleaved, uncached

ROOT = Path(__file__).parent.parent
EXAMPLES = ("history", "history_memory", "checkpoint_stall")
MIB = 1 << 20


def built() -> Path:
    """Where the programs that do the tasks are, built when they are not yet."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    command = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "durastream-engine"]
    for example in EXAMPLES:
        command += ["--example", example]
    subprocess.run(command, cwd=ROOT, check=True)
    return target / "release/examples"


def task(program: Path, *arguments: object) -> dict[str, float]:
    """What a task reports: the JSON in its last line."""
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnmeasuredError(f"{command} ended with {done.returncode}: {done.stderr[-500:]}")
    report: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return report


def afresh(directory: Path) -> Path:
    """A directory that is not there, and nothing left to be written of earlier ones."""
    shutil.rmtree(directory, ignore_errors=True)
    os.sync()
    return directory


def sample(seen: dict[str, float], value: str) -> Sample:
    return Sample(seen.pop(value), seen)


def appends(program: Path, home: Path, rounds: int, seconds: int) -> list[Row]:
    def run(busy: int) -> Contender:
        def once() -> Sample:
            directory = afresh(home / "appends")
            seen = sample(task(program, "appends", directory, seconds, busy), "rate")
            shutil.rmtree(directory)
            return seen

        return once

    quiet, busy = "neither", "sealing and compacting"
    return interleaved(
        "durable appends, 1 KiB, 8 writers",
        "appends/s",
        {quiet: run(0), busy: run(1)},
        {busy: [Goal(0.8, over=quiet), Goal(2, over=quiet, at_most=True, note="p99_ms")]},
        rounds,
    )


def cold(program: Path, home: Path, rounds: int, size: int) -> list[Row]:
    """Some of many streams, one after the other, each in pages as large as a server's."""
    streams, read = 1000, 16
    directory = afresh(home / "cold")
    plain = directory.with_suffix(".plain")
    task(program, "interleave", directory, streams, size, 16 << 10)

    def run(name: str) -> Contender:
        def once() -> Sample:
            uncached(directory, plain)
            return sample(task(program, name, directory, read), "mib_per_s")

        return once

    rows = interleaved(
        f"cold read, {size / MIB:g} MiB, of {streams:,} streams",
        "MiB/s",
        {"cat": run("cat"), "engine": run("read")},
        {"engine": Goal(0.7, over="cat")},
        rounds,
    )
    shutil.rmtree(directory)
    shutil.rmtree(plain)
    return rows


def space(program: Path, home: Path, streams: int, size: int) -> list[Row]:
    def once() -> Sample:
        directory = afresh(home / "space")
        seen = sample(task(program, "delete", directory, streams, size, 16 << 10), "to_live")
        shutil.rmtree(directory)
        return seen

    label = f"disk, 90 % of {streams:,} streams deleted"
    return interleaved(label, "of live", {"engine": once}, {"engine": Goal(1.3, at_most=True)}, 1)


def index(program: Path, home: Path, streams: int, files: int) -> list[Row]:
    """Memory of a directory with these streams in so many sealed files, less that of one with two."""

    def once() -> Sample:
        return sample(task(program, streams, files, 4, home / "index"), "each")

    return interleaved(
        f"index of {streams:,} streams in sealed files",
        "B/(stream, file)",
        {"engine": once},
        {"engine": Goal(40, at_most=True)},
        1,
    )


def checkpoints(program: Path, home: Path, streams: int) -> list[Row]:
    """The example interleaves its rounds itself."""

    def once() -> Sample:
        seen = task(program, streams, 4, home / "checkpoints")
        ratio = seen["p99_ms_with"] / seen["p99_ms_without"]
        return Sample(ratio, seen | {"rate_ratio": seen["rate_with"] / seen["rate_without"]})

    return interleaved(
        f"checkpoints of {streams:,} streams",
        "of p99",
        {"engine": once},
        {"engine": Goal(1.5, at_most=True)},
        1,
    )


def measure(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    """All but what takes ten minutes."""
    programs = built()
    history = programs / "history"
    # Short turns, many of them: a disk that others use changes its mind within seconds.
    rows = appends(history, directory, rounds if quick else 2 * rounds + 1, 3 if quick else 5)
    rows += cold(history, directory, rounds, (MIB // 4) if quick else 4 * MIB)
    rows += space(history, directory, 1000, MIB)
    rows += index(programs / "history_memory", directory, 10_000, 5 if quick else 40)
    stalled = 50_000 if quick else 1_000_000
    rows += checkpoints(programs / "checkpoint_stall", directory, stalled)
    return rows


def sustained(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    """Appends for ten minutes, once, however many `rounds`; half a minute when `quick`."""
    program = built() / "history"
    seconds, cap = (30, 16 * MIB) if quick else (600, 64 * MIB)

    def once() -> Sample:
        home = afresh(directory / "sustained")
        seen = sample(task(program, "sustained", home, seconds, cap), "last_to_second")
        shutil.rmtree(home)
        return seen

    goals = [
        Goal(0.9),
        Goal(4, note="data_to_cap"),
        Goal(1.1, at_most=True, note="memory_last_to_second"),
    ]
    return interleaved(
        f"{seconds} s of appends, {cap // MIB} MiB of memory",
        "of 2nd tenth",
        {"engine, last tenth": once},
        {"engine, last tenth": goals},
        min(rounds, 1),
    )
