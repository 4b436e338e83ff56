"""What docs/client.md and docs/cli.md show is what happens."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pages import prints_what_it_says, programs
from support.server import COMMAND, Server

DOCS = Path(__file__).parents[2] / "docs"
PROGRAMS = programs(DOCS / "client.md")
SHOWN = re.findall(r"```console\n(.*?)```", (DOCS / "cli.md").read_text(), flags=re.DOTALL)
HELD = 1.0
"""Seconds that a command which goes on is given to print something."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    server = Server(tmp_path / "data")
    server.start()
    yield server.url
    server.close()


@pytest.mark.parametrize("program", PROGRAMS, ids=["threads", "loops"])
def test_each_program_runs_and_prints_what_its_comments_say(
    program: str, url: str, tmp_path: Path
) -> None:
    prints_what_it_says(program.replace("http://127.0.0.1:4437", url), tmp_path)


@pytest.mark.parametrize("shown", SHOWN)
def test_each_command_prints_what_is_shown(shown: str, url: str) -> None:
    bash = shutil.which("bash")
    assert bash
    environment = {
        "DURABLE_STREAMS_URL": url,
        "PATH": f"{COMMAND.parent}:/usr/bin:/bin",
    }
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", shown, flags=re.MULTILINE)
    assert steps
    for command, output in steps:
        try:
            ran = subprocess.run(
                [bash, "-c", f"{command} 2>&1"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=HELD if "--follow" in command else 30,
            )
        except subprocess.TimeoutExpired as goes_on:
            assert "--follow" in command
            printed = (goes_on.stdout or b"").decode()
        else:
            assert (command, ran.returncode) == (command, 0)
            printed = ran.stdout
        assert printed.replace(url, "http://127.0.0.1:4437") == output


def test_there_is_something_to_check() -> None:
    assert len(PROGRAMS) == 2
    assert SHOWN
