"""What README.md shows is what happens."""

import re
import subprocess
from pathlib import Path

import pytest

from support.pages import prints_what_it_says, programs
from support.server import COMMAND

README = Path(__file__).parents[2] / "README.md"
PROGRAMS = programs(README)
FLAGS = sorted(set(re.findall(r"`(--[a-z0-9-]+)", README.read_text())))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda text: text.splitlines()[0])
def test_each_program_runs_and_prints_what_its_comments_say(program: str, tmp_path: Path) -> None:
    prints_what_it_says(program, tmp_path)


@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag_is_one_that_serve_knows(flag: str) -> None:
    shown = subprocess.run([COMMAND, "serve", "--help"], capture_output=True, text=True, check=True)
    assert re.search(rf"{flag}\b", shown.stdout)


def test_there_is_something_to_check() -> None:
    assert PROGRAMS
    assert FLAGS
