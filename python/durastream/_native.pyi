"""The native half: the engine and the protocol, one call per operation.

Not a public interface: `LogEngine` and `AsyncLogEngine` are, and the values that they return.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from os import PathLike
from typing import Any, ClassVar, Final, Generic, Literal, TypeAlias, final

from typing_extensions import Buffer as BytesLike
from typing_extensions import TypeVar

from durastream._native_client import Ready as Ready
from durastream._native_client import Relay as Relay
from durastream._native_client import has_long_integer as has_long_integer
from durastream._native_listener import NativeListener as NativeListener
from durastream._native_stats import Distribution as Distribution
from durastream._native_stats import ListenerStats as ListenerStats
from durastream._native_stats import Stats as Stats
from durastream._native_values import Offset as Offset
from durastream._native_values import Retention as Retention
from durastream._shapes import Backup, Examined, Extent, Fault, Frame, Repaired
from durastream.errors import DurableStreamError

__all__ = [
    "AppendResult",
    "Buffer",
    "CommitFailure",
    "CompletionQueue",
    "CreateResult",
    "Distribution",
    "Engine",
    "Exchange",
    "ListPage",
    "ListenerStats",
    "NativeListener",
    "Offset",
    "Page",
    "Pending",
    "Reader",
    "Ready",
    "RecoveryReport",
    "Relay",
    "Retention",
    "Service",
    "Stats",
    "StreamInfo",
    "Watch",
    "dump",
    "examine",
    "flush_logs",
    "flush_traces",
    "has_long_integer",
    "is_traced",
    "log_to_stderr",
    "repair",
    "STEP_NEED_BODY",
    "sweep",
    "trace_request",
    "STEP_RESPOND",
    "STEP_START",
    "STEP_CHUNK",
    "STEP_END",
    "STEP_WAIT",
    "STEP_BLOCK",
    "__version__",
]

_T_co = TypeVar("_T_co", covariant=True)
_Producer: TypeAlias = tuple[str, int, int]
_Headers: TypeAlias = list[tuple[bytes, bytes]]
_Step: TypeAlias = (
    tuple[Literal[0], int]
    | tuple[Literal[1], int, _Headers, list[bytes | Buffer]]
    | tuple[Literal[2], int, _Headers]
    | tuple[Literal[3], bytes | Buffer]
    | tuple[Literal[4]]
    | tuple[Literal[5], float | None]
    | tuple[Literal[6]]
)

__version__: Final[str]

def examine(path: str | PathLike[str], everything: bool) -> Examined: ...
def repair(path: str | PathLike[str], dry_run: bool) -> Repaired: ...
def dump(
    path: str | PathLike[str], start: int, see: Callable[[Extent | Frame | Fault], object]
) -> None: ...
def sweep(path: str | PathLike[str]) -> list[str]: ...

STEP_NEED_BODY: Final = 0
STEP_RESPOND: Final = 1
STEP_START: Final = 2
STEP_CHUNK: Final = 3
STEP_END: Final = 4
STEP_WAIT: Final = 5
STEP_BLOCK: Final = 6

@final
class Buffer:
    """Read-only bytes shared with the engine; supports the buffer protocol."""

    def __len__(self) -> int: ...
    def __bytes__(self) -> bytes: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Page:
    """Whole events of a stream, from one position on. True when it holds any.

    Supports the buffer protocol and `bytes()`: the body, for JSON an array.
    """

    @property
    def data(self) -> memoryview:
        """The body. Without a copy when it is one event of a stream that is not JSON; else made once."""
    @property
    def chunks(self) -> list[memoryview]:
        """Stored bytes in pieces of one append or more, not copied (JSON: a comma behind each message)."""
    @property
    def start(self) -> Offset:
        """Where the first event given begins."""
    @property
    def next_offset(self) -> Offset:
        """Where to read on."""
    @property
    def up_to_date(self) -> bool:
        """Whether nothing durable lies behind `next_offset`."""
    @property
    def closed(self) -> bool:
        """Whether the stream is closed and nothing lies behind `next_offset`."""
    @property
    def content_type(self) -> str:
        """The stream's content type, verbatim."""
    def messages(self) -> list[bytes]:
        """The raw bytes of each JSON message. Raises TypeError when the stream is not JSON."""
    def json(self) -> list[Any]:
        """The JSON messages, parsed. Raises TypeError when the stream is not JSON."""
    def __bool__(self) -> bool: ...
    def __bytes__(self) -> bytes: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class AppendResult:
    """What became of an append."""

    @property
    def offset(self) -> Offset:
        """Where it begins; the tail for a duplicate or a mere close."""
    @property
    def next_offset(self) -> Offset:
        """The end of this very append; the tail for a duplicate."""
    @property
    def duplicate(self) -> bool:
        """Seen before: nothing was stored."""
    @property
    def closed(self) -> bool:
        """Whether the stream is closed behind it."""
    @property
    def producer(self) -> tuple[int, int] | None:
        """Epoch and highest accepted sequence number of the producer, when one was named."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

@final
class StreamInfo:
    """A stream's description, as readers see it."""

    @property
    def path(self) -> str:
        """Where it is."""
    @property
    def id(self) -> int:
        """Never-reused number of the stream."""
    @property
    def content_type(self) -> str:
        """What it holds, as it was created."""
    @property
    def tail(self) -> Offset:
        """The end."""
    @property
    def floor(self) -> Offset:
        """The earliest readable offset (beyond the start after a trim)."""
    @property
    def closed(self) -> bool:
        """Nothing is appended any more."""
    @property
    def ttl(self) -> timedelta | None:
        """Ends this long after its last use."""
    @property
    def expires_at(self) -> datetime | None:
        """Ends then (UTC)."""
    @property
    def created_at(self) -> datetime:
        """Creation time (UTC)."""
    @property
    def retention(self) -> Retention | None:
        """How much of it is kept; `None`: everything."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

@final
class CreateResult:
    """What a creation made, or found (`created` is false)."""

    @property
    def created(self) -> bool:
        """False when it was there already, with this configuration."""
    @property
    def info(self) -> StreamInfo:
        """The stream."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

@final
class ListPage:
    """One page of a listing; `cursor` is for the next one, `None` at the end."""

    @property
    def streams(self) -> list[StreamInfo]:
        """In the order of their paths."""
    @property
    def cursor(self) -> str | None:
        """Where the next page begins; `None`: there is none."""

@final
class RecoveryReport:
    """What recovery found when the log was opened."""

    @property
    def replay_from(self) -> int:
        """Log address where replay began: the checkpoint's."""
    @property
    def end(self) -> int:
        """Log address where the log ended."""
    @property
    def frames(self) -> int:
        """Frames replayed."""
    @property
    def torn_bytes(self) -> int:
        """Bytes of a torn, never acknowledged tail that were copied aside and cut."""
    @property
    def clean(self) -> bool:
        """Whether the last session closed the log."""
    @property
    def checkpoint_damage(self) -> str | None:
        """What was wrong with the newest checkpoint, if the one before it had to serve; nothing is lost."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

@final
class CommitFailure:
    """Why something waited for will never be durable; its text is the message."""

    @property
    def kind(self) -> Literal["full", "poisoned", "closed"]: ...
    def exception(self) -> DurableStreamError:
        """The exception to raise for it."""

@final
class CompletionQueue:
    """Finished tokens of one event loop: a list that the engine fills and a descriptor to wait on."""

    def __new__(cls) -> CompletionQueue: ...
    def fileno(self) -> int:
        """The descriptor that is readable while tokens wait. Raises ValueError when closed."""
    def drain(self) -> list[tuple[int, CommitFailure | None]]:
        """Take every finished token and make the descriptor unreadable."""
    def close(self) -> None:
        """Close the descriptor; wakes that still arrive are dropped. Idempotent."""

@final
class Pending(Generic[_T_co]):
    """An outcome that may be told once the log is durable up to it."""

    @property
    def ready(self) -> bool: ...
    def register(self, queue: CompletionQueue, token: int) -> None:
        """Tell `queue` when it may be told, or never will be."""
    def result(self) -> _T_co:
        """The outcome, which must be ready; raises when it is a refusal."""
    def wait(self) -> _T_co:
        """The outcome, once it is durable. Releases the GIL and minds signals."""

@final
class Watch:
    """A wake for news on a stream; withdrawn by `close` or when dropped."""

    def register(self, queue: CompletionQueue, token: int) -> None:
        """Tell `queue` once when there is news, at once when there already is."""
    def close(self) -> None:
        """Withdraw the wake. Idempotent."""

@final
class Reader:
    """A stream found once, then read and watched without its path."""

    def info(self) -> StreamInfo: ...
    def is_hot(self, start: Offset | str, max_bytes: int) -> bool:
        """Whether `page` from here would not touch the disk."""
    def page(self, start: Offset | str, max_bytes: int) -> Page:
        """Every durable event that ends beyond `start`, up to `max_bytes` but at least one."""
    def wait(self, position: Offset, timeout: float | timedelta | None) -> bool:
        """Wait until `page` would have news; `False` at the timeout. Releases the GIL, minds signals."""
    def watch(self, position: Offset) -> Watch:
        """A watch for news behind `position`."""

@final
class Engine:
    """An open log."""

    def __new__(
        cls, path: str | PathLike[str], durability: str, limits: dict[str, Any] | None = None
    ) -> Engine: ...
    @property
    def closed(self) -> bool: ...
    @property
    def is_ours(self) -> bool:
        """Whether this process opened it."""
    def recovery(self) -> RecoveryReport: ...
    def create(
        self,
        path: str,
        content_type: str | None,
        ttl: timedelta | float | None,
        expires_at: datetime | None,
        closed: bool,
        body: BytesLike | None,
        retention: Retention | None = None,
    ) -> Pending[CreateResult]: ...
    def fork(
        self,
        source: str,
        target: str,
        at: Offset | str | None,
        sub_offset: int,
        content_type: str | None,
        ttl: timedelta | float | None,
        expires_at: datetime | None,
        closed: bool,
        body: BytesLike | None,
        retention: Retention | None = None,
    ) -> Pending[CreateResult]: ...
    def append(
        self,
        path: str,
        data: BytesLike | None,
        producer: _Producer | None,
        stream_seq: str | BytesLike | None,
        close: bool,
        if_tail: Offset | str | None,
        content_type: str | None,
    ) -> Pending[AppendResult]: ...
    def append_many(
        self, appends: Iterable[tuple[str, BytesLike] | tuple[str, BytesLike, _Producer | None]]
    ) -> Pending[list[AppendResult]]: ...
    def delete(self, path: str) -> Pending[None]: ...
    def trim(self, path: str, before: Offset | str) -> Pending[Offset]: ...
    def configure(self, path: str, retention: Retention | None) -> Pending[None]: ...
    def head(self, path: str) -> Pending[StreamInfo]: ...
    def reader(self, path: str) -> Pending[Reader]: ...
    def list(self, prefix: str, cursor: str | None, limit: int) -> ListPage: ...
    def stats(self) -> Stats: ...
    def poisoned(self) -> str | None:
        """The first cause, when the log failed."""
    def full(self) -> str | None:
        """Why appends with data are refused for want of space, while they are."""
    def compact(self) -> None: ...
    def checkpoint(self) -> int: ...
    def backup(self, dest: str | PathLike[str]) -> Backup: ...
    def close(self) -> None: ...

@final
class Service:
    """The Durable Streams protocol over an engine. Times are in seconds, sizes in bytes."""

    def __new__(
        cls,
        engine: Engine,
        *,
        base_paths: Sequence[str] | None = None,
        long_poll_timeout: float | None = None,
        sse_max: float | None = None,
        sse_heartbeat: float | None = None,
        page_bytes: int | None = None,
        sending_bytes: int | None = None,
        cors_origins: Sequence[str] | None = None,
        hold_time: float | None = None,
        hold_count: int | None = None,
        hold_bytes: int | None = None,
    ) -> Service:
        """Settings that are `None` take the protocol layer's defaults. Raises ValueError for a base path."""
    def routes(self, path: bytes) -> bool:
        """Whether a raw path is a stream's or a control API's."""
    def base_path(self, path: bytes) -> str | None:
        """The base path that a raw path is below, without a slash at its end."""
    def begin(
        self,
        method: str,
        path: bytes,
        query: bytes,
        headers: Iterable[Sequence[bytes]],
        scheme: str,
        authority: str,
        prefix: str,
    ) -> Exchange:
        """Begin to answer a request. Never blocks."""
    def problem(self, status: int, title: str, detail: str) -> tuple[int, _Headers, bytes]:
        """A problem+json response for a fault that the listener itself found."""
    def shut_down(self) -> None:
        """End long-polls and SSE responses at their next step."""

@final
class Exchange:
    """One request being answered."""

    NEED_BODY: ClassVar[Literal[0]] = 0
    RESPOND: ClassVar[Literal[1]] = 1
    START: ClassVar[Literal[2]] = 2
    CHUNK: ClassVar[Literal[3]] = 3
    END: ClassVar[Literal[4]] = 4
    WAIT: ClassVar[Literal[5]] = 5
    BLOCK: ClassVar[Literal[6]] = 6

    def step(self) -> _Step:
        """What to do next. Never blocks."""
    def body(self, data: BytesLike) -> None:
        """Hand over the request body after `NEED_BODY`."""
    def body_too_large(self, size: int | None) -> None:
        """Say that the body is larger than the limit; `size` when a length was declared."""
    def register(self, queue: CompletionQueue, token: int) -> None:
        """Arrange the wake that the last `WAIT` is about."""
    def fail(self, failure: CommitFailure) -> None:
        """Tell that the wake was a failure."""
    def block(self) -> None:
        """Do the blocking part. Releases the GIL."""
    def close(self) -> None:
        """End the exchange and withdraw its watches. Idempotent."""

def log_to_stderr(
    level: str, json: bool, *, collector: str | None = None, trace_ratio: float = 1.0
) -> None:
    """Have the native half write its log lines to standard error, from `level` on, and spans to `collector`.

    Only the first call of a process counts. Raises ValueError for an unknown level or what is no URL.
    """

def is_traced(traceparent: bytes | None) -> bool:
    """Whether a request with this `traceparent` is to be a span."""

def trace_request(
    seconds: float, texts: list[tuple[str, str]], numbers: list[tuple[str, int]], whole: bool
) -> None:
    """Make a span of a request that took `seconds` until now, of the fields of the native listener's."""

def flush_traces(seconds: float) -> None:
    """Send what spans are left, and no more after them; wait no longer than `seconds`."""

def flush_logs() -> None:
    """Return when what the native half has logged is written, or after a second."""
