"""`python -m durastream.conformance [sync|trio|asyncio]`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from durastream.conformance.adapter import Adapter
from durastream.conformance.twins import AsyncTwin, SyncTwin

if TYPE_CHECKING:
    from collections.abc import Sequence


async def serve(twin: str) -> None:
    """Answer commands until the suite says `shutdown`, or is gone."""
    async with Adapter(SyncTwin() if twin == "sync" else AsyncTwin()) as adapter:
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            command = json.loads(line)
            result = await adapter.answer(command)
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()
            if command["type"] == "shutdown":
                return


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the adapter."""
    parser = argparse.ArgumentParser(prog="python -m durastream.conformance", description=__doc__)
    parser.add_argument(
        "twin",
        nargs="?",
        choices=["sync", "trio", "asyncio"],
        default="sync",
        help="which client to test: threads, or one of the event loops; default sync",
    )
    twin = parser.parse_args(arguments).twin
    anyio.run(serve, twin, backend="asyncio" if twin == "asyncio" else "trio")
    return 0


if __name__ == "__main__":
    sys.exit(main())
