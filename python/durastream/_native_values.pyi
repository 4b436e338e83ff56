"""The parts of `durastream._native` that programs make themselves."""

from datetime import timedelta
from typing import ClassVar, final

@final
class Offset:
    """A position in a stream: immutable, hashable, ordered like its text (section 8).

    Made from text and printed as text: `Offset(str(offset)) == offset`. Raises InvalidOffset.
    """

    START: ClassVar[Offset]
    """The start of whatever stream it is used on."""

    def __new__(cls, text: str | Offset, /) -> Offset: ...
    @property
    def incarnation(self) -> int:
        """The never-reused number of the stream, or of the root of its fork tree."""
    @property
    def position(self) -> int:
        """Wire bytes before this position."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __lt__(self, other: Offset, /) -> bool: ...
    def __le__(self, other: Offset, /) -> bool: ...
    def __gt__(self, other: Offset, /) -> bool: ...
    def __ge__(self, other: Offset, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> tuple[str]: ...

@final
class Retention:
    """How much of a stream is kept: what lies beyond any of the limits is trimmed, append by append.

    Everything within the limits is kept; what is beyond one goes when that is more than 1/64 of the
    limit, and at most `reap_interval` later. `Retention()` keeps everything. Raises ValueError, TypeError.
    """

    def __new__(
        cls,
        *,
        max_bytes: int | None = None,
        max_age: timedelta | float | None = None,
        max_events: int | None = None,
    ) -> Retention: ...
    @property
    def max_bytes(self) -> int | None:
        """The newest appends that have at most so many wire bytes together, but at least the last one."""
    @property
    def max_age(self) -> timedelta | None:
        """Appends younger than this, in whole milliseconds (given as seconds or timedelta)."""
    @property
    def max_events(self) -> int | None:
        """The newest so many appends."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
