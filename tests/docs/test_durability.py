"""docs/durability.md names only tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "durability.md"


def names() -> set[str]:
    """The names of all tests, Rust and Python."""
    found: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        found |= set(re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE))
    for file in (ROOT / "rust").rglob("*.rs"):
        source = file.read_text()
        found |= set(re.findall(r"#\[test\]\s+(?:#\[[^\]]*\]\s+)*fn (\w+)", source))
    return found


def test_every_test_that_proves_a_promise_exists() -> None:
    named = set(re.findall(r"`(\w+_\w+_\w+)`", PAGE.read_text()))
    assert len(named) > 50
    assert named - names() == set()


def test_every_promise_is_proved() -> None:
    proved, rows = False, 0
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|"):
            proved = False
        elif line.endswith("| proof |"):
            proved = True
        elif proved and not line.startswith("|---"):
            assert re.search(r"`\w+_\w+_\w+`[^|]*\|$", line), line
            rows += 1
    assert rows > 30
