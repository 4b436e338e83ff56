"""The part of `durastream._native` that listens."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

from durastream._native import ListenerStats, Service

@final
class NativeListener:
    """An HTTP/1.1 and HTTP/2 listener on threads of its own; it serves until `stop`.

    Times are in seconds, sizes in bytes; limits that are `None` take the listener's defaults.
    """

    def __new__(
        cls,
        service: Service,
        host: str,
        port: int,
        *,
        unix: Path | None = None,
        tls: tuple[Path, Path] | None = None,
        upstream: str | None = None,
        own_paths: Sequence[str] = ...,
        loops: int | None = None,
        max_connections: int | None = None,
        max_header_bytes: int | None = None,
        max_upload_bytes: int | None = None,
        max_streams_per_connection: int | None = None,
        keep_alive: float | None = None,
        stall: float | None = None,
        min_body_rate: int | None = None,
        access_log: int = 0,
        trace_ratio: float = 0.0,
    ) -> NativeListener:
        """Listen and serve; port 0 takes a free one.

        `unix` is a socket to listen on as well, `tls` a certificate chain and its key as PEM files.
        `upstream` is the Unix socket of an HTTP/1.1 server that answers what is no operation of a
        stream; `own_paths` go to it even when `/` is a base path. One in `access_log` requests is
        logged; 0: none.

        Raises OSError when it cannot listen, ValueError when the certificate cannot be used.
        """
    @property
    def port(self) -> int:
        """The port it listens on."""
    @property
    def connections(self) -> int:
        """Connections open now."""
    def reload_certificate(self) -> None:
        """Read the certificate again, for connections to come.

        Raises ValueError when it cannot be used; the one before is served then.
        """
    def stats(self) -> ListenerStats:
        """Counters now."""
    def stop(self, grace: float) -> None:
        """End live reads, finish what is in flight within `grace`, close everything, return.

        Releases the GIL. A second call, from another thread, can only shorten the time.
        """
