"""Disks that are small on purpose."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(directory: Path, size: int) -> Iterator[Path]:
    """A file system of its own, of `size` bytes of memory; the test fails where none can be mounted."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(
            f"no file system can be mounted here: {done.stderr.strip()}\n"
            "be root, or run pytest in `unshare --user --map-root-user --mount`, as `make test` does",
            pytrace=False,
        )
    try:
        yield directory
    finally:
        # A server that is stopped later may still hold it.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
