"""Interleaved rounds, medians and ratios: what makes figures of a noisy machine comparable."""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

Contender = Callable[[], "Sample"]


@dataclass(frozen=True)
class Sample:
    """One round of one contender: `value` in the measurement's unit, and what else was seen."""

    value: float
    notes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Goal:
    """What the figure (or its ratio to a contender) must reach."""

    bound: float
    over: str | None = None  # a contender: the goal is about the ratio to it
    at_most: bool = False

    def words(self) -> str:
        sign = "<=" if self.at_most else ">="
        return f"{sign} {self.bound:g}" + (f" of {self.over}" if self.over else "")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    measurement: str
    unit: str
    contender: str
    median: float
    samples: list[float]
    ratio: float | None
    goal: str | None
    met: bool | None
    notes: dict[str, float]


def interleaved(
    measurement: str,
    unit: str,
    contenders: dict[str, Contender],
    goals: dict[str, Goal],
    rounds: int,
) -> list[Row]:
    """Runs every contender once a round; the goals say which is compared to which."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            samples[name].append(run())
    medians = {name: median(s.value for s in taken) for name, taken in samples.items()}
    rows = []
    for name, taken in samples.items():
        goal = goals.get(name)
        ratio = medians[name] / medians[goal.over] if goal and goal.over else None
        figure = medians[name] if ratio is None else ratio
        met = (
            None if goal is None else (figure <= goal.bound) == goal.at_most or figure == goal.bound
        )
        notes = {key: median(s.notes[key] for s in taken) for key in taken[0].notes}
        values = [s.value for s in taken]
        words = goal.words() if goal else None
        rows.append(Row(measurement, unit, name, medians[name], values, ratio, words, met, notes))
    return rows


def show(rows: list[Row]) -> str:
    """The table, as text."""
    lines = []
    for row in rows:
        notes = ", ".join(f"{key} {number(value)}" for key, value in row.notes.items())
        met = "" if row.met is None else " met" if row.met else " MISSED"
        ratio = "" if row.ratio is None else f"ratio {row.ratio:.2f} "
        goal = "" if row.goal is None else f"[{ratio}goal {row.goal}:{met}]"
        spread = f"{number(min(row.samples))}..{number(max(row.samples))}"
        lines.append(
            f"{row.measurement:<38} {row.contender:<28} {number(row.median):>12} {row.unit:<10} "
            f"({spread}) {goal} {notes}".rstrip()
        )
    return "\n".join(lines)


def number(value: float) -> str:
    if value >= 1000:
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
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "cpu": f"{model} x {os.cpu_count()}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
    }


def plain(rows: list[Row]) -> list[dict[str, object]]:
    return [asdict(row) for row in rows]
