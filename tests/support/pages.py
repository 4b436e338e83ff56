"""Programs that pages of the documentation show."""

import re
import subprocess
import sys
from pathlib import Path

PROGRAM = re.compile(r"```python\n(.*?)```", re.DOTALL)
SAID = re.compile(r"# prints: (.*)")


def programs(page: Path) -> list[str]:
    return PROGRAM.findall(page.read_text())


def prints_what_it_says(program: str, directory: Path) -> None:
    """Fails unless it runs without a warning and prints what its comments say."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    assert ran.stdout.splitlines() == SAID.findall(program)
