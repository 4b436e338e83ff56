"""docs/durability.md and docs/format.md name only tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DURABILITY = ROOT / "docs" / "durability.md"
FORMAT = ROOT / "docs" / "format.md"


def names() -> set[str]:
    """The names of all tests, Rust and Python."""
    found: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        found |= set(re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE))
    for file in (ROOT / "rust").rglob("*.rs"):
        source = file.read_text()
        found |= set(re.findall(r"#\[test\]\s+(?:#\[[^\]]*\]\s+)*fn (\w+)", source))
    return found


@pytest.mark.parametrize(("page", "many"), [(DURABILITY, 50), (FORMAT, 25)])
def test_every_test_that_proves_a_promise_exists(page: Path, many: int) -> None:
    named = set(re.findall(r"`(\w+_\w+_\w+)`", page.read_text()))
    assert len(named) > many
    assert named - names() == set()


@pytest.mark.parametrize(("page", "many"), [(DURABILITY, 30), (FORMAT, 9)])
def test_every_promise_is_proved(page: Path, many: int) -> None:
    proved, rows = False, 0
    for line in page.read_text().splitlines():
        if not line.startswith("|"):
            proved = False
        elif line.endswith("| proof |"):
            proved = True
        elif proved and not line.startswith("|---"):
            assert re.search(r"`\w+_\w+_\w+`[^|]*\|$", line), line
            rows += 1
    assert rows > many
