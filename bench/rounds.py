"""Interleaved rounds, medians and ratios: what makes figures of a noisy machine comparable."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

Contender = Callable[[], "Sample"]


class UnmeasuredError(Exception):
    """A contender could not be measured: it does not run, or its answers were wrong."""


@dataclass(frozen=True)
class Sample:
    """One round of one contender: `value` in the measurement's unit, and what else was seen."""

    value: float
    notes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Goal:
    """What the figure, one of its notes, or the ratio of either to a contender must reach."""

    bound: float
    over: str | None = None  # a contender: the goal is about the ratio to it
    at_most: bool = False
    note: str | None = None  # a note: the goal is about it instead of the figure

    def words(self) -> str:
        sign = "<=" if self.at_most else ">="
        of = f" of {self.over}" if self.over else ""
        return f"{self.note + ' ' if self.note else ''}{sign} {self.bound:g}{of}"

    def met_by(self, figure: float) -> bool:
        return figure <= self.bound if self.at_most else figure >= self.bound


@dataclass(frozen=True)
class Verdict:
    """A goal, and what came of it: `figure` is the ratio when the goal is about one."""

    goal: str
    figure: float | None
    met: bool | None


@dataclass(frozen=True)
class Row:
    """One contender of one measurement. Without samples it could not be measured; `failure` says why."""

    measurement: str
    unit: str
    contender: str
    median: float | None
    samples: list[float]
    notes: dict[str, float]
    verdicts: list[Verdict]
    failure: str | None = None


def interleaved(
    measurement: str,
    unit: str,
    contenders: Mapping[str, Contender],
    goals: Mapping[str, Goal | Sequence[Goal]],
    rounds: int,
) -> list[Row]:
    """Runs every contender once a round, prints the rows; the goals say which is compared to which."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    failures: dict[str, str] = {}
    for _ in range(rounds):
        for name, run in contenders.items():
            if name in failures:
                continue
            try:
                samples[name].append(run())
            except UnmeasuredError as error:
                failures[name] = " ".join(str(error).split())
                print(
                    f"!!! {measurement}: {name} IS LEFT OUT: {failures[name]}",
                    file=sys.stderr,
                    flush=True,
                )
    seen = {
        name: _medians(taken) for name, taken in samples.items() if taken and name not in failures
    }
    rows = []
    for name in contenders:
        wanted = goals.get(name, ())
        verdicts = [
            _judge(goal, seen, name) for goal in ([wanted] if isinstance(wanted, Goal) else wanted)
        ]
        middle = seen.get(name)
        rows.append(
            Row(
                measurement,
                unit,
                name,
                None if middle is None else middle.value,
                [] if middle is None else [sample.value for sample in samples[name]],
                {} if middle is None else middle.notes,
                verdicts,
                failures.get(name),
            )
        )
    print(show(rows), flush=True)
    return rows


def _medians(taken: list[Sample]) -> Sample:
    notes = {key: median(sample.notes[key] for sample in taken) for key in taken[0].notes}
    return Sample(median(sample.value for sample in taken), notes)


def _judge(goal: Goal, seen: Mapping[str, Sample], name: str) -> Verdict:
    if name not in seen or (goal.over and goal.over not in seen):
        return Verdict(goal.words(), None, None)
    figure = _figure(goal, seen[name])
    if goal.over:
        base = _figure(goal, seen[goal.over])
        if base == 0:
            return Verdict(goal.words(), None, None)
        figure /= base
    return Verdict(goal.words(), figure, goal.met_by(figure))


def _figure(goal: Goal, sample: Sample) -> float:
    return sample.notes[goal.note] if goal.note else sample.value


def show(rows: list[Row]) -> str:
    """The rows, as text."""
    lines = []
    for row in rows:
        if row.median is None:
            lines.append(f"{row.measurement:<42} {row.contender:<22} LEFT OUT: {row.failure}")
            continue
        notes = ", ".join(f"{key} {number(value)}" for key, value in row.notes.items())
        spread = f"{number(min(row.samples))}..{number(max(row.samples))}"
        verdicts = " ".join(f"[{words(verdict)}]" for verdict in row.verdicts)
        lines.append(
            f"{row.measurement:<42} {row.contender:<22} {number(row.median):>9} {row.unit:<10} "
            f"({spread}) {verdicts} {notes}".rstrip()
        )
    return "\n".join(lines)


def words(verdict: Verdict) -> str:
    if verdict.figure is None:
        return f"goal {verdict.goal}: not measured"
    return f"{number(verdict.figure)}, goal {verdict.goal}: {'met' if verdict.met else 'MISSED'}"


def number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def machine() -> dict[str, str]:
    """What the figures depend on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "cpu": f"{model} x {os.cpu_count()}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
        "command": " ".join(["python -m bench", *sys.argv[1:]]),
    }


def plain(rows: list[Row]) -> list[dict[str, object]]:
    return [asdict(row) for row in rows]


def uncached(*directories: Path) -> None:
    """Has the kernel forget what it keeps of the files in these directories."""
    os.sync()
    for file in (file for directory in directories for file in directory.rglob("*")):
        if file.is_file():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
