"""What backups and the offline tools answer: dicts that become JSON as they are (but for bytes)."""

from __future__ import annotations

from typing import TypedDict

__all__ = [
    "Backup",
    "Examined",
    "Extent",
    "Fault",
    "Fork",
    "Frame",
    "Limits",
    "Loss",
    "Repaired",
    "Sealed",
    "Segment",
    "Triple",
]


class Backup(TypedDict):
    """What a backup took: everything below log address `end`: segments, sealed files, a checkpoint.

    `linked` of the sealed files are hard links, which take no space of their own.
    """

    end: int
    bytes: int
    segments: int
    sealed_files: int
    linked: int


class Fault(TypedDict):
    """One thing that is wrong with a directory.

    `kind` is damage, impossible, unreadable, torn or left-over; the last two are harmless. `lsn` is the
    log address, `position` one in the stream, `end` the one behind what is concerned. `acknowledged`:
    what is hurt was acknowledged, or may have been.
    """

    kind: str
    harmless: bool
    file: str
    offset: int
    lsn: int | None
    stream: int | None
    path: str | None
    position: int | None
    end: int | None
    acknowledged: bool
    detail: str


class Segment(TypedDict):
    """A log file in use: its first log address and its length."""

    file: str
    base: int
    bytes: int


class Sealed(TypedDict):
    """A sealed file: what was alive of the log from address `start` up to `end`."""

    file: str
    start: int
    end: int
    bytes: int
    payload_bytes: int
    streams: int
    events: int


class Examined(TypedDict):
    """What is in a directory. Log addresses: `oldest`, `sealed`, `checkpoint`, `synced`, `end`."""

    damaged: bool
    in_use_by: str | None
    segments: list[Segment]
    reserves: int
    sealed: int
    sealed_files: list[Sealed]
    checkpoint: int | None
    checkpoint_bytes: int
    oldest: int
    synced: int
    end: int
    clean: bool
    frames: int
    torn_bytes: int
    streams: int
    events: int
    payload_bytes: int
    recovery_seconds: float
    faults: list[Fault]


class Loss(TypedDict):
    """What is lost of one stream: events behind a cut, payload of these and of sealed files, and where."""

    stream: int
    path: str | None
    events: int
    bytes: int
    positions: tuple[int, int] | None
    creation_lost: bool
    deletion_lost: bool


class Repaired(TypedDict):
    """What a repair did, or would do; `after` is the directory afterwards, `cut` a log address."""

    dry_run: bool
    sound: bool
    faults: list[Fault]
    cut: int | None
    losses: list[Loss]
    unknown: int
    checkpoint_dropped: bool
    aside: str | None
    changed: list[str]
    removed: list[str]
    after: Examined | None


class Triple(TypedDict):
    """The producer of an idempotent append."""

    id: str
    epoch: int
    seq: int


class Fork(TypedDict):
    """Where a fork leaves which stream."""

    source: int
    source_path: str
    position: int


class Limits(TypedDict):
    """How much of a stream is kept from here on; `max_age` in seconds."""

    max_bytes: int | None
    max_age: float | None
    max_events: int | None


class Extent(TypedDict):
    """A run of a stream's payload in a sealed file, which is for the log between two addresses (`lsns`).

    `start` and `end` are positions in the stream, `head` the first bytes; None for what cannot be read.
    """

    file: str
    offset: int
    lsns: tuple[int, int]
    stream: int
    path: str | None
    start: int
    end: int
    events: int | None
    head: bytes | None


class Frame(TypedDict):
    """One event of the log; times are in seconds since 1970.

    `kind` is create, append, close, delete, expire, trim, touch, configure or unknown.
    """

    kind: str
    lsn: int
    end: int
    file: str
    offset: int
    stream: int
    path: str | None
    position: int
    payload: bytes
    closes: bool
    producer: Triple | None
    stream_seq: bytes | None
    at: float | None
    content_type: str | None
    ttl: float | None
    expires_at: float | None
    fork: Fork | None
    retention: Limits | None
