"""What README.md shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.server import COMMAND

README = (Path(__file__).parents[2] / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
FLAGS = sorted(set(re.findall(r"`(--[a-z0-9-]+)", README)))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda text: text.splitlines()[0])
def test_each_program_runs_and_prints_what_its_comments_say(program: str, tmp_path: Path) -> None:
    said = re.findall(r"# prints: (.*)", program)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    assert ran.stdout.splitlines() == said


@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag_is_one_that_serve_knows(flag: str) -> None:
    shown = subprocess.run([COMMAND, "serve", "--help"], capture_output=True, text=True, check=True)
    assert re.search(rf"{flag}\b", shown.stdout)


def test_there_is_something_to_check() -> None:
    assert PROGRAMS
    assert FLAGS
