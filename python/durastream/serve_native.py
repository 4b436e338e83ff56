"""`serve --listener native`: the native listener before, the trio listener behind it, one shutdown."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

import trio

from durastream._native import NativeListener
from durastream.listener import Listener
from durastream.listener.behind import Behind, control_socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from durastream.asgi import DurableStreams
    from durastream.listener import Limits
    from durastream.settings import Settings

log = logging.getLogger("durastream")

OWN_PATHS = ("/health", "/ready", "/metrics", "/__durastream", "/__durastream/")
"""What the trio listener serves even when `/` is a base path; with a slash at its end, all below it."""


def start(settings: Settings, app: DurableStreams, upstream: str) -> NativeListener:
    """Listen as the settings say. Raises OSError, or ValueError for a certificate that cannot be used."""
    tls = None if settings.tls_cert is None else (settings.tls_cert, settings.tls_key)
    return NativeListener(
        app.service,
        settings.host,
        settings.port,
        unix=settings.unix,
        tls=tls,
        upstream=upstream,
        own_paths=OWN_PATHS,
        loops=settings.loops,
        max_connections=settings.max_connections,
        max_header_bytes=settings.max_header,
        max_upload_bytes=settings.max_upload,
        max_streams_per_connection=settings.max_requests_per_connection,
        keep_alive=settings.keep_alive,
        stall=settings.stall_timeout,
        min_body_rate=settings.min_body_rate,
        access_log=settings.access_every,
        trace_ratio=settings.trace_ratio if settings.otlp_endpoint is not None else 0.0,
    )


def run(
    settings: Settings,
    app: DurableStreams,
    limits: Limits,
    banner: Callable[[int], str],
    close: Callable[[], Awaitable[int]],
) -> int:
    """Serve until a signal; the exit status, which `close` gives. Raises what `start` does."""
    with control_socket(str(settings.data)) as (sock, path):
        behind = Listener(Behind(app), [sock], limits=limits)
        native = start(settings, app, path)
        app.metrics.listeners["native"] = native.stats
        return trio.run(_serve, app, native, behind, limits.grace, banner(native.port), close)


async def _serve(
    app: DurableStreams,
    native: NativeListener,
    behind: Listener,
    grace: float,
    banner: str,
    close: Callable[[], Awaitable[int]],
) -> int:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(behind.run)
            print(banner, flush=True)  # noqa: T201
            number = await _told_to_stop(signals, native)
            log.info("%s: finishing %d connections", number.name, native.connections)
            app.shut_down()
            nursery.start_soon(_stop_at_once, signals, native)
            # It waits for the answers of the listener behind it, which therefore stops later.
            await trio.to_thread.run_sync(native.stop, grace)
            behind.abort()
            nursery.cancel_scope.cancel()
        return await close()


async def _told_to_stop(signals: AsyncIterator[int], native: NativeListener) -> signal.Signals:
    async for number in signals:
        if number != signal.SIGHUP:
            return signal.Signals(number)
        try:
            native.reload_certificate()
        except ValueError as error:
            log.error("SIGHUP: the certificate stays as it was: %s", error)
        else:
            log.info("SIGHUP: the certificate was read again")
    raise AssertionError("signals do not end")


async def _stop_at_once(signals: AsyncIterator[int], native: NativeListener) -> None:
    """Another signal ends what is left."""
    async for number in signals:
        if number != signal.SIGHUP:
            await trio.to_thread.run_sync(native.stop, 0.0)
