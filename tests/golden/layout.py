"""A second reader of data directories, written from `docs/format.md` alone and strict about it.

It shares no code with the engine: what it can read, the document describes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import streams
from .codec import crc, u32, u64
from .events import FRAME_HEAD, Event, event

BLOCK = 4096
GROUP_HEAD = 48


@dataclass
class Manifest:
    version: int
    next_number: int
    synced: int
    clean: bool
    checkpoint: tuple[int, int, int] | None
    """File number, LSN, length."""
    previous: tuple[int, int, int] | None
    segments: list[tuple[int, int, int, int]]
    """File number, salt, length, base."""
    sealed: int
    files: list[tuple[int, int, int, int]]
    """Of the sealed ones: file number, first LSN, LSN behind, length."""

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        data = (directory / "MANIFEST").read_bytes()
        assert data[:8] == b"DSmanif\n"
        version = u32(data, 8)
        assert version in {1, 2}
        assert u32(data, 12) == crc(0, data[16:])
        marks, segments = u32(data, 32), u32(data, 36)
        head, known, sealed, files = (128, 7, u64(data, 88), u64(data, 96))
        if version == 1:
            head, known, sealed, files = (80, 3, 0, 0)
        assert marks <= known
        assert marks & 4 == 0 or marks & 2
        assert len(data) == head + 32 * (segments + files)
        assert not any(data[64:80] if version == 1 else data[104:128])
        rows = [struct.unpack_from("<4Q", data, at) for at in range(head, len(data), 32)]
        for _, first, behind, _ in rows[segments:]:
            assert first < behind <= sealed
        return cls(
            version=version,
            next_number=u64(data, 16),
            synced=u64(data, 24),
            clean=bool(marks & 1),
            checkpoint=struct.unpack_from("<3Q", data, 40) if marks & 2 else None,
            previous=struct.unpack_from("<3Q", data, 64) if marks & 4 else None,
            segments=rows[:segments],
            sealed=sealed,
            files=rows[segments:],
        )


@dataclass
class Segment:
    """A segment and the events of its groups, up to the first hole."""

    number: int
    salt: int
    had_earlier_life: bool
    base: int | None = None
    events: list[Event] = field(default_factory=list)
    end: int = 0
    """LSN of the first hole."""
    torn_group: bool = False
    """The hole lies in a group."""
    marked: bool = False
    """A mark is at the hole."""

    @classmethod
    def read(cls, directory: Path, number: int, salt: int, size: int) -> "Segment":
        data = (directory / f"{number:016}.wal").read_bytes()
        assert len(data) == size
        assert data[:8] == b"DSsegmt\n"
        assert u32(data, 8) == 1
        assert u32(data, 12) == crc(0, data[16:64])
        assert (u64(data, 16), u64(data, 24), u64(data, 32)) == (number, salt, size)
        assert data[48:512] == bytes(464)
        assert data[544:BLOCK] == bytes(BLOCK - 544)
        segment = cls(number, salt, bool(u64(data, 40) & 1))
        opening = data[512:544]
        if opening != bytes(32):
            assert opening[:8] == b"DSopen!\n"
            assert u32(opening, 8) == crc(salt & 0xFFFFFFFF, opening[16:])
            assert (u32(opening, 12), u64(opening, 24)) == (0, 0)
            segment.base = u64(opening, 16)
            segment._walk(data)
        return segment

    def _walk(self, data: bytes) -> None:
        assert self.base is not None
        seed, at = self.salt & 0xFFFFFFFF, BLOCK
        while True:
            self.end = self.base + at - BLOCK
            head = data[at : at + GROUP_HEAD]
            if (
                head[:4] != b"DSgr"
                or u32(head, 4) != crc(seed, head[8:])
                or (u64(head, 8), u64(head, 16)) != (self.salt, self.end)
            ):
                return
            size, frames = u64(head, 32), u32(head, 40)
            assert u64(head, 24) <= self.end
            assert size % 8 == 0
            assert u32(head, 44) == 0
            if frames == 0:
                assert (size, u64(head, 24)) == (GROUP_HEAD, self.end)
                self.marked = True
                return
            frame = at + GROUP_HEAD
            for _ in range(frames):
                whole = u32(data, frame + 4)
                body = data[frame : frame + whole]
                self.end = self.base + frame - BLOCK
                if whole < FRAME_HEAD or u32(body, 0) != crc(seed, body[4:]):
                    self.torn_group = True
                    return
                assert u64(body, 8) == self.end
                self.events.append(event(body))
                frame += whole
            assert frame == at + size
            at = frame


def checkpoint(directory: Path, number: int, lsn: int, size: int) -> dict[str, Any]:
    """The state in a checkpoint: the next id and the streams by path."""
    data = (directory / f"{number:016}.checkpoint").read_bytes()
    assert len(data) == size
    assert data[:8] == b"DSckpnt\n"
    assert u32(data, 8) == 1
    assert u32(data, 12) == crc(0, data[16:64])
    assert (u64(data, 16), u64(data, 24)) == (number, lsn)
    assert data[40:64] == bytes(24)
    payload = b"".join(_blocks(data[64:]))
    assert len(payload) == u64(data, 32)
    return streams.state(payload)


def _blocks(data: bytes) -> Iterator[bytes]:
    index = 0
    while data:
        size = u32(data, 4)
        block, rest = data[8 : 8 + size], data[8 + size :]
        assert size == 1 << 20 or not rest
        assert u32(data, 0) == crc(crc(0, index.to_bytes(8, "little")), block)
        yield block
        data, index = rest, index + 1
