"""`LogEngine`: durable streams inside a Python program, the way sqlite3 is a database inside one."""

from __future__ import annotations

import os
import time
import warnings
from typing import TYPE_CHECKING, Final, Self, TypedDict, Unpack

from durastream import _limits, _native, errors
from durastream._native import Offset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta
    from types import TracebackType

    from typing_extensions import Buffer as BytesLike

    from durastream._native import (
        AppendResult,
        CreateResult,
        ListPage,
        Page,
        RecoveryReport,
        Retention,
        Stats,
        StreamInfo,
    )
    from durastream._shapes import Backup

__all__ = ["LogEngine", "Follow", "Limits", "Durability", "Producer", "PAGE_BYTES"]

PAGE_BYTES: Final = 4 << 20
"""How many bytes a read gives at most unless told otherwise (one append may be larger): 4 MiB."""

LIST_LIMIT: Final = 1000
"""How many streams a page of a listing holds unless told otherwise."""

Producer = tuple[str, int, int]
"""Id, epoch and sequence number of an idempotent append (section 5.2.1)."""

Durability = str
"""`"sync"`, `"none"` or `"interval=MS"`."""


class Limits(TypedDict, total=False):
    """Limits of a `LogEngine`; bytes unless said otherwise."""

    segment_bytes: int
    """Size of a log segment, at least 4 KiB; default 64 MiB."""
    hot_bytes: int
    """Payload kept in memory for reads; default 64 MiB."""
    pending_bytes: int
    """Frames waiting to be committed, beyond which `Overloaded` is raised; default 256 MiB."""
    frame_bytes: int
    """Largest payload of one frame; default 128 MiB."""
    seal_backlog: int
    """Full segments that may wait to be sealed before commits are slowed down, in segments; default 8."""
    compaction_bytes_per_second: int
    """What compaction writes in a second at most; default 128 MiB."""
    max_append_bytes: int
    """Largest body of one append or creation; default 64 MiB."""
    max_json_depth: int
    """Deepest nesting of a JSON message, in levels; default 128."""
    max_producers_per_stream: int
    """Producers one stream remembers; default 10,000."""
    max_streams: int
    """Streams; default 10,000,000."""
    max_fork_depth: int
    """Forks of forks in a chain; default 64."""
    max_producer_id_bytes: int
    """Longest producer id; default 1,024."""
    max_stream_seq_bytes: int
    """Longest `stream_seq`; default 1,024."""
    max_content_type_bytes: int
    """Longest content type; default 256."""
    reap_interval: float
    """How often expired streams, and what a retention gives up, are looked for, in seconds; default 1."""
    checkpoint_bytes: int
    """Log bytes after which a checkpoint is made in the background; default 256 MiB."""


class LogEngine:
    """An open log: a directory of durable streams, or `":memory:"`.

    One process has a directory open at a time (`DirectoryInUse`); within it every method may be
    called from any thread. Nothing is told before it is as durable as `durability` says:

    - `"sync"`: fdatasync covers it; concurrent callers share one.
    - `"interval=MS"`: written, synced within MS milliseconds.
    - `"none"`: written, synced when the operating system likes.

    Waiting releases the GIL and gives way to signals: after a `KeyboardInterrupt` out of an append it
    is not known whether the event was kept (a `producer` triple makes the repeat safe).

    Close it, or use it in a `with` statement; a `ResourceWarning` says so when you did not. It cannot
    be used after `fork()`, nor can the child open another while this one was open (`ForkedProcess`):
    open logs after the fork, or start processes by spawn or forkserver.

    Raises DirectoryInUse, DataDamaged, FormatVersion, OpenFailed; ValueError or TypeError for limits.
    """

    _native: _native.Engine

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "sync",
        **limits: Unpack[Limits],
    ) -> None:
        self._path = os.fspath(path)
        self._native = _native.Engine(self._path, durability, _limits.checked(limits))

    @property
    def path(self) -> str:
        """The directory, as given."""
        return self._path

    @property
    def closed(self) -> bool:
        """Whether the log was closed."""
        return self._native.closed

    @property
    def recovery(self) -> RecoveryReport:
        """What recovery found when the log was opened."""
        return self._native.recovery()

    def create(
        self,
        path: str,
        *,
        content_type: str | None = None,
        ttl: timedelta | float | None = None,
        expires_at: datetime | None = None,
        closed: bool = False,
        body: BytesLike | None = None,
        retention: Retention | None = None,
    ) -> CreateResult:
        """Create a stream, or confirm that it exists just so (section 5.1).

        `ttl` (seconds or timedelta) slides with every read and write, `expires_at` (with a zone) does
        not; give one at most. `content_type` is application/octet-stream unless given. `retention` limits
        how much is kept; a stream that exists is compared with it only when it is given.

        Raises StreamExists, StreamDeleted, InvalidPath, InvalidContentType, InvalidPayload, LimitExceeded.
        """
        return self._native.create(
            path, content_type, ttl, _limits.moment(expires_at), closed, body, retention
        ).wait()

    def append(
        self,
        path: str,
        data: BytesLike,
        *,
        producer: Producer | None = None,
        stream_seq: str | BytesLike | None = None,
        close: bool = False,
        if_tail: Offset | str | None = None,
        content_type: str | None = None,
    ) -> AppendResult:
        """Append an event and return once it is durable (section 5.2).

        `data` is any bytes-like object; for a JSON stream one message, or an array of messages.
        `producer` is `(id, epoch, seq)`: repeats are recognised and stored once (section 5.2.1).
        `stream_seq` must increase byte-wise. `close` closes the stream in the same event. `if_tail`
        refuses (TailMoved) unless this is still the end. `content_type` is checked when given.

        Raises StreamNotFound, StreamDeleted, StreamClosed, InvalidPayload, ContentTypeMismatch,
        ProducerFenced, ProducerGap, ProducerEpochStart, SeqConflict, TailMoved, LimitExceeded,
        Overloaded, StorageFull, LogFailed.
        """
        return self._native.append(
            path, data, producer, stream_seq, close, if_tail, content_type
        ).wait()

    def append_many(
        self,
        appends: Iterable[tuple[str, BytesLike] | tuple[str, BytesLike, Producer | None]],
    ) -> list[AppendResult]:
        """Append to many streams in one commit group; return when all of it is durable.

        Takes tuples `(path, data)` or `(path, data, producer)`. Malformed input appends nothing. The
        first refusal ends the batch: what went before it is durable, and the error carries it as
        `completed` and the refused item's `index`.

        Raises what `append` raises.
        """
        return self._native.append_many(appends).wait()

    def close_stream(
        self, path: str, body: BytesLike | None = None, *, producer: Producer | None = None
    ) -> AppendResult:
        """Close a stream, with a last event if `body` is given; closing again changes nothing (5.3).

        Raises what `append` raises.
        """
        return self._native.append(path, body, producer, None, True, None, None).wait()

    def read(
        self,
        path: str,
        offset: Offset | str = Offset.START,
        *,
        max_bytes: int = PAGE_BYTES,
    ) -> Page:
        """Every event that ends beyond `offset`, up to `max_bytes` but at least one (section 5.6).

        `offset` is an Offset, its text, `"-1"` (the start) or `"now"` (the end).

        Raises StreamNotFound, StreamDeleted, OffsetGone, InvalidOffset, DataDamaged, ReadFailed.
        """
        return self._native.reader(path).wait().page(offset, max_bytes)

    def follow(
        self,
        path: str,
        offset: Offset | str = Offset.START,
        *,
        timeout: float | None = None,
        max_bytes: int = PAGE_BYTES,
    ) -> Follow:
        """Iterate over pages as they come: what is there from `offset` on, then what is appended (5.7).

        Ends behind the page that says `closed`, which may be empty, or when nothing came for `timeout`
        seconds (`None`: wait for ever). `Follow.offset` says where to go on.

        Raises what `read` raises, also while iterating; LogFailed when nothing more can come.
        """
        return Follow(self._native.reader(path).wait(), offset, timeout, max_bytes)

    def head(self, path: str) -> StreamInfo:
        """Describe a stream without touching its time to live (section 5.5).

        Raises StreamNotFound, StreamDeleted, InvalidPath.
        """
        return self._native.head(path).wait()

    def exists(self, path: str) -> bool:
        """Whether there is a stream to read at the path. Raises InvalidPath."""
        try:
            self.head(path)
        except (errors.StreamNotFound, errors.StreamDeleted):
            return False
        return True

    def list(
        self, prefix: str = "", *, cursor: str | None = None, limit: int | None = None
    ) -> Iterator[StreamInfo]:
        """Iterate over streams whose path begins with `prefix`, in byte-wise order of paths.

        `cursor` is where an earlier listing stopped (`ListPage.cursor`, or a path: begin behind it);
        `limit` is the most streams to give. Streams made or deleted meanwhile may or may not show.
        """
        left = limit
        while left is None or left > 0:
            page = self.list_page(prefix, cursor=cursor, limit=min(left or LIST_LIMIT, LIST_LIMIT))
            yield from page.streams
            cursor = page.cursor
            if cursor is None:
                return
            if left is not None:
                left -= len(page.streams)

    def list_page(
        self, prefix: str = "", *, cursor: str | None = None, limit: int = LIST_LIMIT
    ) -> ListPage:
        """One page of `list`; pass its `cursor` for the next one, `None` is the end."""
        return self._native.list(prefix, cursor, limit)

    def fork(
        self,
        source: str,
        target: str,
        offset: Offset | str | None = None,
        sub_offset: int = 0,
        *,
        content_type: str | None = None,
        ttl: timedelta | float | None = None,
        expires_at: datetime | None = None,
        closed: bool = False,
        body: BytesLike | None = None,
        retention: Retention | None = None,
    ) -> CreateResult:
        """Create `target` as a fork of `source` that leaves it at `offset`, the tail by default (4.2).

        `sub_offset` goes further into the append behind `offset`: messages of a JSON stream, else bytes.
        `retention` is the source's unless given; `Retention()` keeps everything.

        Raises what `create` raises, StreamNotFound, ContentTypeMismatch and InvalidForkPoint.
        """
        return self._native.fork(
            source,
            target,
            offset,
            sub_offset,
            content_type,
            ttl,
            _limits.moment(expires_at),
            closed,
            body,
            retention,
        ).wait()

    def delete(self, path: str) -> None:
        """Delete a stream; while it has forks, their data stays and its path is not free (section 5.4).

        Raises StreamNotFound, StreamDeleted.
        """
        self._native.delete(path).wait()

    def trim(self, path: str, before: Offset | str) -> Offset:
        """Give up everything before the append that holds `before`; return the new earliest offset.

        Reads below it raise OffsetGone. Raises StreamNotFound, StreamDeleted, InvalidOffset.
        """
        return self._native.trim(path, before).wait()

    def configure(self, path: str, *, retention: Retention | None) -> None:
        """Change how much of a stream is kept; `None` keeps everything. Does not touch its time to live.

        All limits are replaced. What lies beyond them is trimmed within `reap_interval`. Where a limit by
        age or number is new, what the stream holds counts as one append made now.

        Raises StreamNotFound, StreamDeleted.
        """
        self._native.configure(path, retention).wait()

    def stats(self) -> Stats:
        """Counters, now."""
        return self._native.stats()

    def checkpoint(self) -> int:
        """Write a checkpoint, so that the next start replays less; return its log address.

        Raises StorageFull, LogFailed.
        """
        return self._native.checkpoint()

    def compact(self) -> None:
        """Give space back: seal the log, merge sealed files without what nobody can read, drop the log.

        Happens by itself in the background, but not as thoroughly. Returns when it is done; appends and
        reads go on meanwhile.

        Raises StorageFull, DataDamaged, LogFailed.
        """
        self._native.compact()

    def backup(self, dest: str | os.PathLike[str]) -> Backup:
        """Write a checkpoint, then copy the log to `dest`: a directory that does not exist, or is empty.

        Everything that was acknowledged before the call is in the copy, which is read back and verified;
        it is a log like any other. Appends and reads go on meanwhile. A log in memory is copied to disk.

        Raises DirectoryNotEmpty, BackupFailed, StorageFull, DataDamaged, LogFailed.
        """
        return self._native.backup(os.fspath(dest))

    def close(self) -> None:
        """Commit, write a checkpoint and release the directory. Waiting calls raise EngineClosed. Idempotent.

        Raises StorageFull, LogFailed.
        """
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if not self._native.is_ours:
            state = "of another process"
        elif self._native.closed:
            state = "closed"
        else:
            state = "open"
        return f"<LogEngine {self._path!r}, {state}>"

    def __reduce__(self) -> str:
        # A copy would share the log, and close it when it goes.
        raise TypeError("a LogEngine cannot be copied or pickled; open the log once and share it")

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is not None and native.is_ours and not native.closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            native.close()


class Follow:
    """Pages of one stream as they come; made by `LogEngine.follow`."""

    def __init__(
        self,
        reader: _native.Reader,
        offset: Offset | str,
        timeout: float | None,
        max_bytes: int,
    ) -> None:
        self._reader = reader
        # "now" is the end at this call: what is appended before the first page is asked for comes.
        self._offset = reader.page(offset, max_bytes).next_offset if offset == "now" else offset
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._ended = False

    @property
    def offset(self) -> Offset | str:
        """Where the next page begins: behind the last one given, or as given at first."""
        return self._offset

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Page:
        if self._ended:
            raise StopIteration
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            page = self._reader.page(self._offset, self._max_bytes)
            position = self._offset = page.next_offset
            if page or page.closed:
                self._ended = page.closed
                return page
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._reader.wait(position, left):
                raise StopIteration
