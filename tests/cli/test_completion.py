"""Completion scripts, in the real shells."""

import shutil
import subprocess
from pathlib import Path

import pytest

from support.server import COMMAND

from .conftest import Run

BASH = r"""
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_durable_streams
printf '%s\n' "${COMPREPLY[@]}"
"""


def bash(script: Path, *words: str) -> list[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", script, COMMAND.name, *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_flags_and_choices(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_bytes(run("completion", "bash").out)
    assert bash(script, "wri") == ["write"]
    assert {"serve", "read", "check", "completion"} <= set(bash(script, ""))
    assert bash(script, "write", "--prod") == ["--producer"]
    assert bash(script, "read", "x", "--live", "") == ["sse", "long-poll"]
    assert bash(script, "completion", "f") == ["fish"]
    assert str(script) in bash(script, "write", "--file", str(tmp_path) + "/")


CHECKS = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_names_every_command_and_parses_where_the_shell_is(
    run: Run, tmp_path: Path, shell: str
) -> None:
    script = tmp_path / "script"
    script.write_bytes(run("completion", shell).out)
    text = script.read_text()
    for command in ("serve", "write", "read", "bench", "check", "completion"):
        assert command in text
    assert "retry-for" in text
    if shutil.which(shell):
        done = subprocess.run([*CHECKS[shell], script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_shell_is_wrong_usage(run: Run) -> None:
    assert run("completion", "tcsh").status == 2
