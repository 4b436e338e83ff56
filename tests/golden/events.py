"""Events as frames hold them. Written from `docs/format.md` alone."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .codec import Input, u64

FRAME_HEAD = 48
EVENTS = {1: "create", 2: "append", 3: "delete", 4: "trim", 5: "touch", 6: "configure"}


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


def event(body: bytes) -> Event:
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
    if what in {"delete", "touch", "configure"}:
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
    version = source.byte()
    assert version in {1, 2}
    facts: dict[str, Any] = {
        "version": version,
        "path": source.text(),
        "content_type": source.text(),
        "created_at": source.number(),
        "expiry": take_expiry(source),
        "fork": take_fork(source),
        "retention": take_retention(source) if version == 2 else {},
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


def _configure(meta: bytes, flags: int) -> dict[str, Any]:
    assert flags == 0
    source = Input(meta[8:])
    facts = {"at": u64(meta, 0), "retention": take_retention(source)}
    source.end()
    return facts


_FACTS: dict[str, Callable[[bytes, int], dict[str, Any]]] = {
    "create": _create,
    "append": _append,
    "delete": _delete,
    "trim": _trim,
    "touch": _touch,
    "configure": _configure,
}


def take_expiry(source: Input) -> dict[str, Any] | None:
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


def take_fork(source: Input) -> dict[str, Any] | None:
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


def take_retention(source: Input) -> dict[str, int]:
    """The limits that there are, by name."""
    tag = source.byte()
    assert tag < 8
    names = ("max_bytes", "max_age", "max_events")
    limits = {name: source.number() for bit, name in enumerate(names) if tag >> bit & 1}
    assert 0 not in limits.values()
    return limits
