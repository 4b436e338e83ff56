"""`python -m examples.chat`, then open the address that it prints in two windows."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from durastream import AsyncLogEngine
from durastream.asgi import DurableStreams, create_app

if TYPE_CHECKING:
    from durastream.asgi import Receive, Scope, Send

PAGE = Path(__file__).with_name("page.html")


class Chat:
    """An ASGI application: the page at `/`, streams below `/v1/stream`."""

    def __init__(self, streams: DurableStreams) -> None:
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http" or scope["path"] != "/":
            await self._streams(scope, receive, send)
            return
        body = PAGE.read_bytes()
        headers = [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def run(port: int, directory: Path) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 2
    config.loglevel = "WARNING"
    async with AsyncLogEngine(directory) as log:
        streams = create_app(log)
        chat: Any = Chat(streams)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

            async def told_to_end() -> None:
                await anext(signals)
                streams.shut_down()

            print(f"open http://127.0.0.1:{port}/", flush=True)
            await serve(chat, config, shutdown_trigger=told_to_end)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m examples.chat", description=__doc__)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--data", type=Path, default=Path("./chat-data"))
    given = parser.parse_args()
    trio.run(run, given.port, given.data)


if __name__ == "__main__":
    main()
