"""Fail when a source file is too long to fit in the head."""

import subprocess
import sys
from pathlib import Path

LIMIT = 500
SUFFIXES = {".rs", ".py", ".pyi", ".js"}


def main() -> int:
    """Check every tracked or new source file; return the exit status."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    sources = [Path(name) for name in listing.split("\0") if Path(name).suffix in SUFFIXES]
    counted = {path: len(path.read_bytes().splitlines()) for path in sources if path.exists()}
    too_long = {path: lines for path, lines in counted.items() if lines > LIMIT}
    for path, lines in too_long.items():
        print(f"{path}: {lines} lines; split it, {LIMIT} is the limit", file=sys.stderr)
    print(f"file lengths: {len(counted)} files, {len(too_long)} over {LIMIT} lines")
    return 1 if too_long or not counted else 0


if __name__ == "__main__":
    sys.exit(main())
