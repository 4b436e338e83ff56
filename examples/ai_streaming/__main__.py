"""`python -m examples.ai_streaming`, then open the address that it prints."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from examples.ai_streaming.app import make_app
from examples.ai_streaming.models import from_environment

if TYPE_CHECKING:
    import socket

    from durastream.asgi import DurableStreams


class Server(uvicorn.Server):
    """Ends the live reads before it waits for connections: Ctrl-C works while pages watch."""

    def __init__(self, config: uvicorn.Config, streams: DurableStreams) -> None:
        super().__init__(config)
        self._streams = streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving."""
        self._streams.shut_down()
        await super().shutdown(sockets)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.ai_streaming", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--data", type=Path, default=Path("./ai-streaming-data"))
    given = parser.parse_args()
    app, streams = make_app(given.data, from_environment())
    config = uvicorn.Config(app, port=given.port, log_level="warning")
    print(f"open http://127.0.0.1:{given.port}/", flush=True)
    # uvicorn hands the signal on when it has ended in order.
    with contextlib.suppress(KeyboardInterrupt):
        Server(config, streams).run()


if __name__ == "__main__":
    main()
