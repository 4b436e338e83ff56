"""What the protocols of a connection and the connection itself know of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config
    from hypercorn.trio.worker_context import WorkerContext

    from durastream.listener.limits import Limits
    from durastream.listener.request import Application


class Link(Protocol):
    """A connection, as its protocol sees it."""

    app: Application
    config: Config
    context: WorkerContext
    limits: Limits
    tls: bool
    client: tuple[str, int] | None
    server: tuple[str, int] | None
    winding_down: bool
    """No further request is to be accepted on this connection."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes in turn; does nothing once the peer is gone."""

    def spawn(self, task: Callable[..., Awaitable[Any]], *args: object) -> None:
        """Run a task that ends with the connection."""

    def idle(self) -> None:
        """Nothing is in flight: the keep-alive deadline runs."""

    def busy(self) -> None:
        """A request is in flight: the keep-alive deadline stops."""

    def linger(self) -> None:
        """Send nothing more; discard what the peer still sends, then close."""

    def close(self) -> None:
        """Read nothing more; close when the applications have returned."""

    def abort(self) -> None:
        """Cancel everything and close at once."""

    def date(self) -> bytes:
        """The `date` header's value."""


class Dialect(Protocol):
    """HTTP/1.1 or HTTP/2 on one connection."""

    async def initiate(self) -> None:
        """Say what the protocol says first."""

    async def received(self, data: bytes) -> None:
        """Handle bytes of the peer; returning late holds the peer back."""

    def eof(self) -> None:
        """The peer sends nothing more."""

    async def wind_down(self) -> None:
        """Accept no further request; close when nothing is in flight."""

    def check(self, now: float) -> None:
        """End the requests whose peer has stalled."""
