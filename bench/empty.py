"""Hypercorn on trio with a handler that does nothing: the limit for the hypercorn listener.

`python -m bench.empty PORT`
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

Message = dict[str, Any]


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Reads the body of a POST, answers an empty 204; a GET gets an empty 200."""
    if scope["type"] == "lifespan":
        for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            await receive()
            await send({"type": answer})
        return
    while (await receive()).get("more_body"):
        pass
    post = scope["method"] == "POST"
    headers = [] if post else [(b"content-length", b"0")]
    status = 204 if post else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.accesslog = None
    trio.run(serve, cast("Any", app), config)


if __name__ == "__main__":
    main()
