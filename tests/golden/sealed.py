"""Sealed files. Written from `docs/format.md` alone."""

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .codec import Input, crc, u32, u64

HEADER = 4096
BLOCK = 65_536
EXTENT = 40
LOST = 32
TRAILER = 80
STRIDE = 256
NO_MARKS = 2**64 - 1


@dataclass
class Extent:
    """A run of a stream's payload, as the events that it is made of."""

    stream: int
    start: int
    end: int
    events: list[tuple[int, bytes]]
    """Position and payload of each."""
    restarts: int


@dataclass
class SealedFile:
    number: int
    lsns: tuple[int, int]
    body: int
    """Length of data and marks."""
    extents: list[Extent]
    lost: list[tuple[int, int, int, int]]
    """Stream, start, end, file number of the segment."""

    @classmethod
    def read(cls, directory: Path, entry: tuple[int, int, int, int]) -> "SealedFile":
        """The file that a manifest lists: number, first LSN, LSN behind, length."""
        number, first, behind, size = entry
        data = (directory / f"{number:016}.sealed").read_bytes()
        assert len(data) == size
        header = data[:HEADER]
        assert header[:8] == b"DSseald\n"
        version = u32(header, 8)
        assert version in {1, 2}
        assert u32(header, 12) == crc(0, header[16:])
        assert [u64(header, at) for at in (16, 24, 32)] == [number, first, behind]
        assert header[40:] == bytes(HEADER - 40)
        trailer = data[-TRAILER:]
        assert trailer[:8] == b"DSsealf\n"
        assert u32(trailer, 8) == version
        assert u32(trailer, 12) == crc(0, trailer[16:])
        assert trailer[68:72] == bytes(4)
        missing = u64(trailer, 72)
        assert (missing > 0) == (version == 2)
        its_number, data_size, marks_size, extents, events, streams = (
            u64(trailer, at) for at in range(16, 64, 8)
        )
        assert its_number == number
        body = data[HEADER : HEADER + data_size + marks_size]
        footer = data[HEADER + len(body) : -TRAILER]
        blocks = -(-len(body) // BLOCK)
        assert len(footer) == 4 * blocks + EXTENT * extents + LOST * missing
        assert u32(trailer, 64) == crc(0, footer)
        for index in range(blocks):
            place = crc(crc(0, number.to_bytes(8, "little")), index.to_bytes(8, "little"))
            block = body[BLOCK * index : BLOCK * (index + 1)]
            assert u32(footer, 4 * index) == crc(place, block)
        rows = footer[4 * blocks :][: EXTENT * extents]
        lost = list(struct.iter_unpack("<4Q", footer[4 * blocks + len(rows) :]))
        assert lost == sorted(lost)
        for part, following_part in itertools.pairwise(lost):
            assert part[0] < following_part[0] or part[2] <= following_part[1]
        assert all(part[1] < part[2] for part in lost)
        found = list(
            _extents(body, data_size, [rows[i:][:EXTENT] for i in range(0, len(rows), EXTENT)])
        )
        places = [(extent.stream, extent.start, extent.end) for extent in found]
        assert places == sorted(places)
        for one, following in itertools.pairwise(places):
            assert one[0] < following[0] or one[2] <= following[1]
        assert sum(len(extent.events) for extent in found) == events
        assert len({extent.stream for extent in found}) == streams
        return cls(number, (first, behind), len(body), found, lost)


def _extents(body: bytes, data_size: int, rows: list[bytes]) -> Iterator[Extent]:
    data_at, marks_at = 0, data_size
    for row in rows:
        stream, start, end, its_data, its_marks = (u64(row, at) for at in range(0, EXTENT, 8))
        assert start < end
        assert its_data == data_at
        lengths, restarts = [end - start], 0
        if its_marks != NO_MARKS:
            assert its_marks == marks_at
            lengths, restarts, marks_at = _marks(body, marks_at, start)
        assert sum(lengths) == end - start
        events, position = [], start
        for length in lengths:
            events.append((position, body[data_at : data_at + length]))
            data_at, position = data_at + length, position + length
        yield Extent(stream, start, end, events, restarts)
    assert (data_at, marks_at) == (data_size, len(body))


def _marks(body: bytes, at: int, start: int) -> tuple[list[int], int, int]:
    """The lengths of an extent's events, the number of restarts, and where the marks end."""
    count, size = u64(body, at), u64(body, at + 8)
    assert count >= 2
    restarts = (count - 1) // STRIDE
    table, lengths_at = at + 16, at + 16 + 16 * restarts
    source = Input(body[lengths_at : lengths_at + size])
    lengths: list[int] = []
    for index in range(count):
        if index and index % STRIDE == 0:
            row = table + 16 * (index // STRIDE - 1)
            assert (u64(body, row), u64(body, row + 8)) == (start + sum(lengths), source.at)
        lengths.append(source.number())
        assert lengths[-1] > 0
    source.end()
    return lengths, restarts, lengths_at + size
