"""The examples that run to their end check themselves, and can be run again."""

import re
import subprocess
import sys
from pathlib import Path

from support.site import ROOT


def run(module: str, *arguments: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_event_log_keeps_its_balances_over_runs(tmp_path: Path) -> None:
    for _ in range(2):
        said = run("examples.event_log", tmp_path / "accounts")
        assert sum(int(amount) for amount in re.findall(r"\w+ (\d+)(?:,|\n)", said)) == 300


def test_the_fan_out_agrees_with_the_table_after_many_crashes() -> None:
    said = run("examples.fan_out")
    assert re.fullmatch(r"400 changes, \d+ crashes .*: all agree with the table\n", said)
    assert not re.search(r"\b0 crashes of the relay, 0 ", said)
