"""What can go wrong, as types that carry the facts.

Every exception derives from `DurableStreamError`; its text says what was wrong and what would be
right, its attributes are the facts, and it can be pickled. Sections refer to the Durable Streams
protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durastream._native import AppendResult, Offset

__all__ = [
    "DurableStreamError",
    "StreamNotFound",
    "StreamExists",
    "StreamDeleted",
    "StreamClosed",
    "OffsetGone",
    "TailMoved",
    "SeqConflict",
    "ContentTypeMismatch",
    "ProducerFenced",
    "ProducerGap",
    "ProducerEpochStart",
    "InvalidInput",
    "InvalidPath",
    "InvalidOffset",
    "InvalidPayload",
    "PayloadTooDeep",
    "InvalidContentType",
    "InvalidForkPoint",
    "InvalidProducer",
    "LimitExceeded",
    "Overloaded",
    "StorageFull",
    "LogFailed",
    "ReadFailed",
    "DataDamaged",
    "OpenFailed",
    "DirectoryInUse",
    "DirectoryNotEmpty",
    "BackupFailed",
    "NotRepairable",
    "FormatVersion",
    "EngineClosed",
    "ForkedProcess",
]


class DurableStreamError(Exception):
    """The base of everything that this package raises on its own account."""

    index: int | None = None
    """Which item of `append_many` was refused; `None` for any other call."""

    completed: list[AppendResult] = []  # noqa: RUF012  (never changed in place: append_many sets its own)
    """What `append_many` had durably appended before that item."""

    def __init__(self, message: str, *facts: object) -> None:
        super().__init__(message, *facts)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StreamNotFound(DurableStreamError, KeyError):
    """No stream at the path: never created, deleted or expired (sections 5.2, 5.4 to 5.6)."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message, path)
        self.path = path


class StreamExists(DurableStreamError):
    """The path is taken by a stream with another configuration (section 5.1).

    `differs` says what is different: content type, expiry, closure status or fork.
    """

    def __init__(self, message: str, path: str, differs: str) -> None:
        super().__init__(message, path, differs)
        self.path = path
        self.differs = differs


class StreamDeleted(DurableStreamError):
    """The stream was deleted and is kept for its forks only; its path is not free (section 4.2)."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message, path)
        self.path = path


class StreamClosed(DurableStreamError):
    """The stream is closed and takes no more appends (section 4.1). `tail` is its final offset."""

    def __init__(self, message: str, tail: Offset) -> None:
        super().__init__(message, tail)
        self.tail = tail


class OffsetGone(DurableStreamError):
    """The offset asked for is of an earlier life of the path, trimmed, or beyond the tail (section 5.6).

    Read again from `earliest`; `tail` is the end.
    """

    def __init__(self, message: str, asked: Offset, earliest: Offset, tail: Offset) -> None:
        super().__init__(message, asked, earliest, tail)
        self.asked = asked
        self.earliest = earliest
        self.tail = tail


class TailMoved(DurableStreamError):
    """`if_tail` was `expected`, but the tail is `tail`: somebody appended meanwhile."""

    def __init__(self, message: str, expected: Offset, tail: Offset) -> None:
        super().__init__(message, expected, tail)
        self.expected = expected
        self.tail = tail


class SeqConflict(DurableStreamError):
    """`stream_seq` is not byte-wise greater than the last one accepted (section 5.2)."""

    def __init__(self, message: str, last: bytes, got: bytes) -> None:
        super().__init__(message, last, got)
        self.last = last
        self.got = got


class ContentTypeMismatch(DurableStreamError):
    """The content type is `got`, the stream (or the fork's source) holds `expected` (section 5.2)."""

    def __init__(self, message: str, expected: str, got: str) -> None:
        super().__init__(message, expected, got)
        self.expected = expected
        self.got = got


class ProducerFenced(DurableStreamError):
    """A newer epoch of this producer is known: another instance took over (section 5.2.1)."""

    def __init__(self, message: str, received_epoch: int, current_epoch: int) -> None:
        super().__init__(message, received_epoch, current_epoch)
        self.received_epoch = received_epoch
        self.current_epoch = current_epoch


class ProducerGap(DurableStreamError):
    """An append before this one is missing (section 5.2.1). Send `expected` first."""

    def __init__(self, message: str, expected: int, received: int) -> None:
        super().__init__(message, expected, received)
        self.expected = expected
        self.received = received


class ProducerEpochStart(DurableStreamError):
    """A new epoch must begin with sequence number 0, not with `received` (section 5.2.1)."""

    def __init__(self, message: str, received: int) -> None:
        super().__init__(message, received)
        self.received = received


class InvalidInput(DurableStreamError, ValueError):
    """An argument that no stream could take."""


class InvalidPath(InvalidInput):
    """Not a stream path: 1 to 1,024 bytes, segments neither empty nor `.` nor `..`, no control characters."""


class InvalidOffset(InvalidInput):
    """Not an offset, or not one of this stream (section 8). `given` is its text."""

    def __init__(self, message: str, given: str) -> None:
        super().__init__(message, given)
        self.given = given


class InvalidPayload(InvalidInput):
    """A body that the stream cannot take: empty, or not JSON for a JSON stream (sections 5.2, 7.1).

    `at` is the byte where the fault is, when it has a place.
    """

    def __init__(self, message: str, at: int | None, *facts: object) -> None:
        super().__init__(message, at, *facts)
        self.at = at


class PayloadTooDeep(InvalidPayload):
    """JSON nested `value` levels deep, the limit (`max_json_depth`) is `limit`."""

    flag = "max_json_depth"

    def __init__(self, message: str, at: int | None, limit: int, value: int) -> None:
        super().__init__(message, at, limit, value)
        self.limit = limit
        self.value = value


class InvalidContentType(InvalidInput):
    """Not a content type: use type/subtype (section 5.1)."""

    def __init__(self, message: str, got: str) -> None:
        super().__init__(message, got)
        self.got = got


class InvalidForkPoint(InvalidInput):
    """The fork point is not in the source: beyond its tail, trimmed or of another life (section 4.2)."""


class InvalidProducer(InvalidInput):
    """A producer id that is empty, or a number that is not from 0 to 2^53-1 (section 5.2.1)."""


class LimitExceeded(InvalidInput):
    """`value` is over `limit`; `flag` names the argument of `LogEngine` that sets it."""

    def __init__(self, message: str, limit: int, value: int, flag: str) -> None:
        super().__init__(message, limit, value, flag)
        self.limit = limit
        self.value = value
        self.flag = flag


class Overloaded(DurableStreamError):
    """`value` bytes would wait to be committed, `limit` may: slow down and try again."""

    def __init__(self, message: str, limit: int, value: int) -> None:
        super().__init__(message, limit, value)
        self.limit = limit
        self.value = value


class StorageFull(DurableStreamError):
    """No space left in `directory`. Nothing was lost; the same append may succeed later."""

    def __init__(self, message: str, directory: str) -> None:
        super().__init__(message, directory)
        self.directory = directory


class LogFailed(DurableStreamError):
    """A write or sync failed: the log takes no more writes until it is reopened. Reads go on."""

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message, cause)
        self.cause = cause


class ReadFailed(DurableStreamError):
    """The operating system could not read `file`."""

    def __init__(self, message: str, file: str) -> None:
        super().__init__(message, file)
        self.file = file


class DataDamaged(DurableStreamError):
    """Stored bytes are not what was written; they are never served. `offset` is the byte in `file`.

    `file` is `None` when the log as a whole does not make sense; then `offset` is a log address.
    """

    def __init__(self, message: str, file: str | None, offset: int) -> None:
        super().__init__(message, file, offset)
        self.file = file
        self.offset = offset


class OpenFailed(DurableStreamError):
    """The operating system refused `file` while the log was opened; `errno` is its code, if it gave one."""

    def __init__(self, message: str, file: str, errno: int | None) -> None:
        super().__init__(message, file, errno)
        self.file = file
        self.errno = errno


class DirectoryInUse(DurableStreamError):
    """Another process (or another `LogEngine`) has `directory` open: `holder`."""

    def __init__(self, message: str, directory: str, holder: str) -> None:
        super().__init__(message, directory, holder)
        self.directory = directory
        self.holder = holder


class DirectoryNotEmpty(DurableStreamError):
    """A backup goes into a directory that does not exist or is empty; `directory` is not."""

    def __init__(self, message: str, directory: str) -> None:
        super().__init__(message, directory)
        self.directory = directory


class BackupFailed(DurableStreamError):
    """The operating system refused `file` while a backup was made. Nothing of it is left."""

    def __init__(self, message: str, file: str) -> None:
        super().__init__(message, file)
        self.file = file


class NotRepairable(DurableStreamError):
    """Too little of `directory` can be read to make it a log again."""

    def __init__(self, message: str, directory: str) -> None:
        super().__init__(message, directory)
        self.directory = directory


class FormatVersion(DurableStreamError):
    """`file` was written by a newer version (`found`) than this program knows (`known`)."""

    def __init__(self, message: str, file: str, found: int, known: int) -> None:
        super().__init__(message, file, found, known)
        self.file = file
        self.found = found
        self.known = known


class EngineClosed(DurableStreamError, RuntimeError):
    """Used after `close()`, or while it closed: whether a waiting append was kept is not known."""


class ForkedProcess(DurableStreamError, RuntimeError):
    """Used after `fork()`: process `opened_by` owns the log, this is process `used_in`."""

    def __init__(self, message: str, opened_by: int, used_in: int) -> None:
        super().__init__(message, opened_by, used_in)
        self.opened_by = opened_by
        self.used_in = used_in
