"""`durable-streams serve`: opens the log, listens, and ends in order."""

from __future__ import annotations

import logging
import os
import resource
import signal
import ssl
import sys
from functools import partial
from typing import TYPE_CHECKING

import trio

from durastream import __version__, _logs, serve_native
from durastream._native import flush_logs, flush_traces
from durastream._tally import Observed, Tally
from durastream.asgi import create_app
from durastream.engine import LogEngine
from durastream.errors import DurableStreamError
from durastream.listener import Limits, Listener
from durastream.listener.server import open_socket, tls_context

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable

    from durastream.asgi import DurableStreams
    from durastream.settings import Settings

log = logging.getLogger("durastream")

FAILED = 1
CLOSE_SECONDS = 3.0
"""How long closing the log may take. With the grace for requests, less than the promised 10 s."""
TRACE_SECONDS = 0.75
"""How long the last spans may take to the collector, of the same 10 s."""


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; the exit status."""
    _logs.configure(
        settings.log_level, settings.log_format, settings.otlp_endpoint, settings.trace_ratio
    )
    if settings.warning is not None:
        log.warning("%s", settings.warning)
    if settings.otlp_endpoint is not None:
        log.info("tracing %g of the requests to %s", settings.trace_ratio, settings.otlp_endpoint)
    _raise_descriptor_limit(settings.max_connections)
    try:
        if settings.listener == "native":
            return _run_native(settings, _open(settings))
        tls = _tls(settings)
        with _listen(settings) as sock:
            return _run(settings, _open(settings), sock, tls)
    except ServeError as error:
        return _fail(str(error))
    finally:
        flush_traces(TRACE_SECONDS)
        flush_logs()


class ServeError(Exception):
    """The server cannot start."""


def _open(settings: Settings) -> LogEngine:
    try:
        return LogEngine(settings.data, durability=settings.durability, **settings.engine_limits())
    except (DurableStreamError, OSError, ValueError) as error:
        raise ServeError(f"--data {settings.data}: {error}") from None
    except KeyboardInterrupt:
        raise ServeError("interrupted while opening the log") from None


def _fail(message: str) -> int:
    print(f"durable-streams: {message}", file=sys.stderr)  # noqa: T201
    return FAILED


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    try:
        return tls_context(settings.tls_cert, settings.tls_key)
    except (ssl.SSLError, OSError) as error:
        raise _bad_certificate(settings, error) from None


def _bad_certificate(settings: Settings, error: Exception) -> ServeError:
    return ServeError(
        f"--tls-cert {settings.tls_cert}, --tls-key {settings.tls_key}: {error}; "
        "give a PEM certificate chain and the key that belongs to it"
    )


def _listen(settings: Settings) -> socket.socket:
    try:
        return open_socket(settings.host, settings.port)
    except OSError as error:
        raise _cannot_listen(settings, error) from None


def _cannot_listen(settings: Settings, error: OSError) -> ServeError:
    if error.filename is not None:
        return ServeError(f"cannot listen on {error.filename}: {error.strerror}")
    return ServeError(
        f"cannot listen on --host {settings.host} --port {settings.port}: "
        f"{error.strerror or error}; free the port, or give another (0 takes any)"
    )


def _raise_descriptor_limit(connections: int) -> None:
    """Allow as many open files as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError) as error:
            log.debug("the limit of open files stays at %d: %s", soft, error)
    if soft != resource.RLIM_INFINITY and soft < connections + 64:
        log.warning(
            "only %d files may be open, fewer than --max-connections %d needs", soft, connections
        )


def _app(settings: Settings, engine: LogEngine) -> DurableStreams:
    try:
        return create_app(
            engine,
            probes=True,
            metrics=True,
            listing=settings.listing == "on",
            max_upload_bytes=settings.max_upload,
            write_timeout=None,
            base_paths=settings.base_path,
            long_poll_timeout=settings.long_poll_timeout,
            sse_max=settings.sse_max,
            sse_heartbeat=settings.sse_heartbeat,
            page_bytes=settings.page_bytes,
            sending_bytes=settings.sending_bytes,
            cors_origins=settings.cors_origin,
            hold_time=settings.hold_time,
            hold_count=settings.hold_count,
            hold_bytes=settings.hold_bytes,
        )
    except ValueError as error:
        engine.close()
        raise ServeError(f"{error}") from None


def _run_native(settings: Settings, engine: LogEngine) -> int:
    app = _app(settings, engine)
    scheme = "http" if settings.tls_cert is None else "https"
    try:
        return serve_native.run(
            settings,
            app,
            _limits(settings, app),
            lambda port: _banner(settings, scheme, port),
            lambda: _close(engine),
        )
    except ValueError as error:
        engine.close()
        raise _bad_certificate(settings, error) from None
    except OSError as error:
        engine.close()
        raise _cannot_listen(settings, error) from None


def _run(
    settings: Settings, engine: LogEngine, sock: socket.socket, tls: ssl.SSLContext | None
) -> int:
    app = _app(settings, engine)
    tally = Tally()
    observed = Observed(
        app,
        tally,
        app.service.base_path,
        settings.access_every,
        traced=settings.otlp_endpoint is not None,
    )
    listener = Listener(observed, [sock], limits=_limits(settings, app), tls=tls)
    app.metrics.listeners["hypercorn"] = lambda: tally.snapshot(
        listener.connections, listener.accepted, listener.refused, app.upload_bytes
    )
    banner = _banner(settings, "http" if tls is None else "https", sock.getsockname()[1])
    reload = (
        None if tls is None else partial(tls.load_cert_chain, settings.tls_cert, settings.tls_key)
    )
    return trio.run(_serve, engine, app, listener, banner, reload)


def _limits(settings: Settings, app: DurableStreams) -> Limits:
    return Limits(
        max_connections=settings.max_connections,
        max_header_bytes=settings.max_header,
        max_streams_per_connection=settings.max_requests_per_connection,
        keep_alive=settings.keep_alive,
        stall=settings.stall_timeout,
        min_body_rate=settings.min_body_rate,
        grace=settings.shutdown_grace,
        problem=app.service.problem,
    )


def _banner(settings: Settings, scheme: str, port: int) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return (
        f"durable-streams {__version__} serving {scheme}://{host}:{port}{settings.base_path[0]} "
        f"data={settings.data} durability={settings.durability}"
    )


async def _serve(
    engine: LogEngine,
    app: DurableStreams,
    listener: Listener,
    banner: str,
    reload: Callable[[], None] | None,
) -> int:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_obey, signals, app, listener, reload)
            print(banner, flush=True)  # noqa: T201
            await listener.run()
            nursery.cancel_scope.cancel()
        return await _close(engine)


async def _obey(
    signals: AsyncIterator[int],
    app: DurableStreams,
    listener: Listener,
    reload: Callable[[], None] | None,
) -> None:
    """The first signal ends in order, another one ends what is left; SIGHUP reads the certificate again."""
    async for number in signals:
        if number == signal.SIGHUP:
            _reload(reload)
            continue
        if app.shutting_down:
            listener.abort()
            continue
        log.info("%s: finishing %d connections", signal.Signals(number).name, listener.connections)
        listener.stop()
        app.shut_down()


def _reload(reload: Callable[[], None] | None) -> None:
    try:
        if reload is not None:
            reload()
    except (ssl.SSLError, OSError) as error:
        log.error("SIGHUP: the certificate stays as it was: %s", error)
    else:
        log.info("SIGHUP: the certificate was read again")


async def _close(engine: LogEngine) -> int:
    """Commit and close the log; the exit status."""
    try:
        with trio.fail_after(CLOSE_SECONDS):
            await trio.to_thread.run_sync(engine.close, abandon_on_cancel=True)
    except trio.TooSlowError:
        log.error("the log did not close within %g s", CLOSE_SECONDS)
        # Its thread is stuck in the system: leaving in order would wait for it.
        logging.shutdown()
        os._exit(FAILED)
    except DurableStreamError as error:
        log.error("the log did not close: %s", error)
        return FAILED
    return 0
