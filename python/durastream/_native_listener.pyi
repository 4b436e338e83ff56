"""The part of `durastream._native` that listens."""

from typing import final

from durastream._native import Service

@final
class NativeListener:
    """An HTTP/1.1 listener without TLS, on threads of its own; it serves until `stop`.

    Times are in seconds, sizes in bytes; limits that are `None` take the listener's defaults.
    """

    def __new__(
        cls,
        service: Service,
        host: str,
        port: int,
        *,
        max_connections: int | None = None,
        max_header_bytes: int | None = None,
        max_upload_bytes: int | None = None,
        keep_alive: float | None = None,
        stall: float | None = None,
    ) -> NativeListener:
        """Listen and serve; port 0 takes a free one. Raises OSError when that is not possible."""
    @property
    def port(self) -> int:
        """The port it listens on."""
    @property
    def connections(self) -> int:
        """Connections open now."""
    def stop(self, grace: float) -> None:
        """End live reads, finish what is in flight within `grace`, close everything, return.

        Releases the GIL. A second call, from another thread, can only shorten the time.
        """
