"""A second reader of data directories, written from `docs/format.md` alone and strict about it.

It shares no code with the engine: what it can read, the document describes.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 4096
GROUP_HEAD = 48
FRAME_HEAD = 48
UNUSED = 2**64 - 1

EVENTS = {1: "create", 2: "append", 3: "delete", 4: "trim", 5: "touch"}


def _table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _table()


def crc(so_far: int, data: bytes) -> int:
    """CRC-32C, continued."""
    value = so_far ^ 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


class Input:
    """Varints, and bytes behind their length."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        number = shift = 0
        while True:
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def bytes(self) -> bytes:
        size = self.number()
        self.at += size
        assert self.at <= len(self.data)
        return self.data[self.at - size : self.at]

    def text(self) -> str:
        return self.bytes().decode()

    def end(self) -> None:
        assert self.at == len(self.data), "bytes left over"


@dataclass
class Manifest:
    next_number: int
    synced: int
    clean: bool
    checkpoint: tuple[int, int, int] | None
    segments: list[tuple[int, int, int, int]]

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        data = (directory / "MANIFEST").read_bytes()
        assert data[:8] == b"DSmanif\n"
        assert u32(data, 8) == 1
        assert u32(data, 12) == crc(0, data[16:])
        marks, count = u32(data, 32), u32(data, 36)
        assert marks <= 3
        assert len(data) == 80 + 32 * count
        assert data[64:80] == bytes(16)
        checkpoint = (u64(data, 40), u64(data, 48), u64(data, 56))
        return cls(
            next_number=u64(data, 16),
            synced=u64(data, 24),
            clean=bool(marks & 1),
            checkpoint=checkpoint if marks & 2 else None,
            segments=[struct.unpack_from("<4Q", data, 80 + 32 * i) for i in range(count)],
        )


@dataclass
class Event:
    """A frame, and what the engine says in it."""

    lsn: int
    stream: int
    position: int
    what: str
    flags: int
    producer: tuple[str, int, int] | None
    stream_seq: bytes | None
    payload: bytes
    facts: dict[str, Any]


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
                self.events.append(_event(body))
                frame += whole
            assert frame == at + size
            at = frame


def _event(body: bytes) -> Event:
    size, kind, flags, version, marks = struct.unpack_from("<I4B", body, 32)
    meta_size, id_size, seq_size = struct.unpack_from("<IHH", body, 40)
    assert version == 1
    assert marks <= 3
    at = FRAME_HEAD
    epoch, seq = struct.unpack_from("<2Q", body, at) if marks & 1 else (0, 0)
    at += 16 if marks & 1 else 0
    meta, at = body[at : at + meta_size], at + meta_size
    producer, at = body[at : at + id_size].decode(), at + id_size
    stream_seq, at = body[at : at + seq_size], at + seq_size
    payload, at = body[at : at + size], at + size
    assert len(body) == (at + 7) // 8 * 8
    assert body[at:] == bytes(len(body) - at)
    what = EVENTS[kind]
    position = u64(body, 24)
    facts = _FACTS[what](meta, flags)
    if what == "create":
        assert position == (facts["fork"]["point"] if facts["fork"] else 0)
    if what in {"delete", "touch"}:
        assert position == 0
    if what not in {"create", "append"}:
        assert not payload
    if what != "append":
        assert marks == 0
    return Event(
        lsn=u64(body, 8),
        stream=u64(body, 16),
        position=position,
        what=what,
        flags=flags,
        producer=(producer, epoch, seq) if marks & 1 else None,
        stream_seq=stream_seq if marks & 2 else None,
        payload=payload,
        facts=facts,
    )


def _create(meta: bytes, flags: int) -> dict[str, Any]:
    source = Input(meta)
    assert source.byte() == 1
    facts: dict[str, Any] = {
        "path": source.text(),
        "content_type": source.text(),
        "created_at": source.number(),
        "expiry": _expiry(source),
        "fork": _fork(source),
        "closed": bool(flags & 1),
    }
    source.end()
    assert flags <= 1
    return facts


def _append(meta: bytes, flags: int) -> dict[str, Any]:
    assert flags <= 3
    assert len(meta) == (8 if flags & 2 else 0)
    return {"closes": bool(flags & 1), "at": u64(meta, 0) if flags & 2 else None}


def _delete(meta: bytes, flags: int) -> dict[str, Any]:
    assert meta == b""
    assert flags <= 1
    return {"expired": bool(flags & 1)}


def _trim(meta: bytes, flags: int) -> dict[str, Any]:
    assert (meta, flags) == (b"", 0)
    return {}


def _touch(meta: bytes, flags: int) -> dict[str, Any]:
    assert (len(meta), flags) == (8, 0)
    return {"at": u64(meta, 0)}


_FACTS: dict[str, Callable[[bytes, int], dict[str, Any]]] = {
    "create": _create,
    "append": _append,
    "delete": _delete,
    "trim": _trim,
    "touch": _touch,
}


def _expiry(source: Input) -> dict[str, Any] | None:
    tag = source.byte()
    if tag == 0:
        return None
    assert tag in {1, 2, 5, 6}
    return {
        "kind": "ttl" if tag & 3 == 1 else "at",
        "inherited": bool(tag & 4),
        "seconds": source.number(),
        "nanos": source.number(),
    }


def _fork(source: Input) -> dict[str, Any] | None:
    tag = source.byte()
    assert tag <= 2
    if tag == 0:
        return None
    return {
        "source_id": source.number(),
        "point": source.number(),
        "source": source.text(),
        "offset": (source.number(), source.number()) if tag == 2 else None,
        "sub_offset": source.number(),
    }


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
    return _state(Input(payload))


def _blocks(data: bytes) -> Iterator[bytes]:
    index = 0
    while data:
        size = u32(data, 4)
        block, rest = data[8 : 8 + size], data[8 + size :]
        assert size == 1 << 20 or not rest
        assert u32(data, 0) == crc(crc(0, index.to_bytes(8, "little")), block)
        yield block
        data, index = rest, index + 1


def _state(source: Input) -> dict[str, Any]:
    assert source.byte() == 1
    next_id = source.number()
    types = [source.text() for _ in range(source.number())]
    streams = [_stream(source, types) for _ in range(source.number())]
    source.end()
    paths = [stream["path"] for stream in streams]
    assert paths == sorted(paths, key=str.encode)
    return {"next_id": next_id, "streams": dict(zip(paths, streams, strict=True))}


def _stream(source: Input, types: list[str]) -> dict[str, Any]:
    flags = source.byte()
    assert flags < 16
    stream: dict[str, Any] = {
        "closed": bool(flags & 1),
        "soft_deleted": bool(flags & 2),
        "id": source.number(),
        "root": source.number(),
        "path": source.text(),
        "content_type": types[source.number()],
        "created_at": source.number(),
        "floor": source.number(),
        "start": source.number(),
        "forks": source.number(),
    }
    end, lsn, payloads = stream["start"], 0, []
    for _ in range(source.number()):
        begin = end
        end, lsn = end + source.number(), lsn + source.number()
        payloads.append((lsn, begin, end))
    stream["payloads"] = payloads
    if flags & 4:
        stream["expiry"], stream["last_access"] = _expiry(source), source.number()
        assert stream["expiry"] is not None
    if flags & 8:
        stream["fork"] = _fork(source)
        stream["producers"] = {
            source.text(): (source.number(), source.number()) for _ in range(source.number())
        }
        assert list(stream["producers"]) == sorted(stream["producers"], key=str.encode)
        closing = source.byte()
        assert closing <= 1
        stream["closing"] = (source.text(), source.number(), source.number()) if closing else None
        has_seq = source.byte()
        assert has_seq <= 1
        stream["stream_seq"] = source.bytes() if has_seq else None
    return stream
