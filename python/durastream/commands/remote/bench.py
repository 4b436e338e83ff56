"""`durable-streams bench`: a short load on any server."""

from __future__ import annotations

import argparse
import json
import os
import signal
from typing import TYPE_CHECKING, Any, Final

from durastream.commands.remote.ends import (
    CREDENTIALS,
    DONE,
    FAILED,
    UNAUTHORIZED,
    UNREACHABLE,
    Interrupted,
    advice,
)
from durastream.commands.remote.place import Server, seconds
from durastream.commands.report import out, warn

if TYPE_CHECKING:
    from durastream.commands.remote.load import Bench, Figures

NAME = "bench"
HELP = "measure a server: appends, reads, fan-out"
DESCRIPTION = (
    "Put a short load on a server and say what it bore: appends of single messages from concurrent writers, "
    "reads of a 16 MiB stream, and live readers (SSE) of one stream. Ends by itself after about three times "
    "--seconds; makes streams of its own below URL and deletes them. Server and load share the machine if "
    "they are on one: then the figures are of both. Only for servers that are yours to load."
)
EXAMPLES = """  durable-streams bench
  durable-streams bench http://127.0.0.1:4437/v1/stream --seconds 10 --writers 64 --output json
"""
MOST_SECONDS: Final = 60.0
SPARE: Final = 60.0
"""Seconds beyond the loads' own that it may take in all, before it gives up."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much, how long."""
    parser.add_argument(
        "base", metavar="URL", nargs="?", help="where streams live; as --url, which it replaces"
    )
    parser.add_argument(
        "--seconds",
        metavar="TIME",
        type=_duration,
        default=3.0,
        help=f"how long each load takes, at most {MOST_SECONDS:.0f}s (default 3s)",
    )
    parser.add_argument(
        "--writers", metavar="N", type=_up_to(1000), default=16, help="default 16, at most 1000"
    )
    parser.add_argument(
        "--readers", metavar="N", type=_up_to(5000), default=50, help="default 50, at most 5000"
    )
    parser.add_argument(
        "--message-bytes",
        metavar="N",
        type=_up_to(1 << 20),
        default=100,
        help="default 100, at least 24, at most 1048576",
    )
    parser.add_argument(
        "--output", choices=("text", "json"), default="text", help="a table (default) or JSON"
    )


def _duration(text: str) -> float:
    value = seconds(text)
    if not 0 < value <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {MOST_SECONDS:.0f}s")
    return value


def _up_to(most: int) -> Any:  # noqa: ANN401  (an argparse type)
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a number of 1 to {most}")
        return int(text)

    return number


def run(given: argparse.Namespace) -> int:
    """Measure; the exit status."""
    given.url = given.base or given.url
    server = Server.of(given)
    base = f"{server.base}/bench-{os.urandom(6).hex()}"
    import anyio  # noqa: PLC0415  (slow to load)

    from durastream.commands.remote.load import Bench  # noqa: PLC0415
    from durastream.commands.remote.wire import WireError  # noqa: PLC0415

    bench = Bench(
        base=base,
        headers=server.headers_for(base),
        verify=server.certificates() if server.insecure or server.ca_cert else True,
        seconds=given.seconds,
        writers=given.writers,
        readers=given.readers,
        message_bytes=max(24, given.message_bytes),
    )
    try:
        figures = anyio.run(_run, bench, backend="trio")
    except (WireError, OSError, BaseExceptionGroup) as raised:
        match found := _first(raised):
            case WireError(status=401 | 403):
                warn(f"{server.shown}: {found}; {CREDENTIALS}")
                return UNAUTHORIZED
            case WireError():
                warn(f"{server.shown}: {found}{advice(found, server.base)}")
                return FAILED
            case TimeoutError():
                warn(f"{server.shown}: not done in time; the server does not answer")
                return FAILED
            case OSError():
                warn(f"{server.shown} cannot be reached: {found}{advice(found, server.base)}")
                return UNREACHABLE
        raise found from None
    if given.output == "json":
        out(json.dumps({"url": server.shown, "loads": [each.facts() for each in figures]}))
    else:
        _table(server.shown, bench, figures)
    return DONE


async def _run(bench: Bench) -> list[Figures]:
    """The loads, one after the other; whatever ends them, the streams are deleted."""
    import anyio  # noqa: PLC0415

    figures: list[Figures] = []
    ended_by: int | None = None

    async def watch(scope: anyio.CancelScope) -> None:
        nonlocal ended_by
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                ended_by = number
                scope.cancel()

    try:
        with anyio.fail_after(4 * bench.seconds + SPARE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch, tasks.cancel_scope)
                loads = (bench.appends, bench.reads, bench.fan_out)
                figures = [await load() for load in loads]
                tasks.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(5, shield=True):
            await bench.clean_up()
    if ended_by is not None:
        raise Interrupted(ended_by)
    return figures


def _first(raised: BaseException) -> BaseException:
    """Of a group of failures, one to tell."""
    while isinstance(raised, BaseExceptionGroup):
        raised = raised.exceptions[0]
    return raised


def _table(base: str, bench: Bench, figures: list[Figures]) -> None:
    appends, reads, fan_out = (each.facts() for each in figures)
    out(f"{base}: messages of {bench.message_bytes} bytes, {bench.seconds:g} s for each load")
    out(f"{'':<12}{'per second':>12}{'MB/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    for facts in (appends, reads, fan_out):
        out(
            f"{facts['name']:<12}{facts['per_second']:>12,.0f}{facts['mb_per_second']:>10,.1f}"
            f"{facts['p50_ms']:>10,.2f}{facts['p99_ms']:>10,.2f}{facts['max_ms']:>10,.2f}"
        )
    out(f"appends: {bench.writers} writers, each waiting for its acknowledgement, a stream each")
    out("reads: pages of one stream of 16 MiB")
    out(
        f"fan-out: {bench.readers} live readers of one stream; deliveries, and the time from before the "
        f"append until a reader has it; {fan_out['lost']:,} were not delivered in time"
    )
