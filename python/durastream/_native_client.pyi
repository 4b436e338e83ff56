"""The parts of `durastream._native` that the client uses."""

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Never, Self, final

@final
class Relay:
    """An asynchronous iterator over what lists hold; a coroutine brings the next list when one is used up."""

    def __new__(cls, refill: Callable[[Relay], Coroutine[Any, Any, Any]], /) -> Relay:
        """`refill` is called with this relay when it is empty.

        Its coroutine fills the relay and gives the first item, or raises StopAsyncIteration.
        """
    def fill(self, items: list[Any], /) -> None:
        """Hand out what is in `items` next."""
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, Any]: ...

@final
class Ready:
    """Awaited, gives the next item at once. Made by a relay; can be made a task, as a coroutine can.

    Raises RuntimeError when others have taken what was left.
    """

    def __new__(cls, items: list[Any], /) -> Self: ...
    def __await__(self) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Never: ...
    def send(self, value: object, /) -> Never: ...
    def throw(
        self, kind: object, value: object = None, trace: TracebackType | None = None, /
    ) -> Never: ...
    def close(self) -> None: ...

def has_long_integer(text: bytes, /) -> bool:
    """Whether JSON `text` may hold an integer beyond 64 bits: 20 digits in a row, or 19 behind a minus."""
