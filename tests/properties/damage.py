"""What crashes and bad disks leave behind: copies of a data directory, whole or hurt."""

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

UNREAD = ("LOCK", "BALLAST")
"""Files whose bytes mean nothing."""
MEMORY = Path("/dev/shm")
ENOUGH = 1 << 30


def scratch() -> Path:
    """A directory for many small logs: in memory when there is room, since no test here is about fsync."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH
    return Path(tempfile.mkdtemp(prefix="durastream-", dir=MEMORY if roomy else None))


def copy(source: Path, target: Path) -> Path:
    """Copies a directory as `kill -9` would leave it, holes as holes.

    The source may be in use: the log prepares segments and writes checkpoints in the background. A
    kill freezes all files at one moment, so a copy during which any of them changed is made again.
    """
    while True:
        target.mkdir(parents=True)
        with contextlib.suppress(FileNotFoundError):
            before = _state(source)
            for name in before:
                _copy_file(source / name, target / name)
            if _state(source) == before:
                return target
        shutil.rmtree(target)


def _state(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Files by name, and what tells that one was written, replaced or renamed."""
    seen = {file.name: file.stat() for file in sorted(directory.iterdir())}
    return {name: (at.st_ino, at.st_size, at.st_ctime_ns) for name, at in seen.items()}


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("wb") as new:
        size, at = os.fstat(old.fileno()).st_size, 0
        new.truncate(size)
        while at < size:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # no data behind this point
                return
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            old.seek(at)
            new.seek(at)
            new.write(old.read(end - at))
            at = end


@dataclass(frozen=True)
class Damage:
    """One fault: a flipped bit, or a file cut short, at a fraction of a file's used bytes."""

    file: int
    place: float
    bit: int | None  # None: cut

    def strike(self, directory: Path) -> str:
        """Hurts one file of the log; says what it did."""
        files = [
            f
            for f in sorted(directory.rglob("*"))
            if f.is_file() and f.name not in UNREAD and used(f)
        ]
        file = files[self.file % len(files)]
        at = min(int(used(file) * self.place), used(file) - 1)
        if self.bit is None:
            os.truncate(file, at)
            return f"{file.name} cut at {at}"
        with file.open("r+b") as opened:
            opened.seek(at)
            (byte,) = opened.read(1)
            opened.seek(at)
            opened.write(bytes([byte ^ 1 << self.bit]))
        return f"{file.name} bit {self.bit} of byte {at} flipped"


def used(file: Path) -> int:
    """Bytes of a file up to the last that is not zero: the rest is preallocated."""
    return len(file.read_bytes().rstrip(b"\0"))


PLACES = st.floats(0, 1, exclude_max=True)
FILES = st.integers(0, 15)
CUTS = st.builds(Damage, FILES, PLACES, st.none())
FLIPS = st.builds(Damage, FILES, PLACES, st.integers(0, 7))
