"""Serves a small ASGI application as a process of its own: `serve_app.py trio|native|plain JSON`.

`native` has it behind the native listener, which forwards every request; `plain` is hypercorn as it
comes, the control group of the tests of what our listeners survive. The JSON object holds `Limits` for
ours and attributes of `Config` for plain.
"""

import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from durastream import LogEngine
from durastream._native import NativeListener, Service
from durastream.listener import Limits, Listener
from durastream.listener.behind import Behind, control_socket
from durastream.listener.server import open_socket

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer as the path says."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        answer = ANSWERS.get(scope["path"], missing)
        await answer(receive, send)
    else:
        # A WebSocket: refused, as by most applications.
        await receive()
        await send({"type": "websocket.close"})


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def whole(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def ok(_: Receive, send: Send) -> None:
    await whole(send, 200, b"ok")


async def missing(_: Receive, send: Send) -> None:
    await whole(send, 404, b"missing")


async def early(_: Receive, send: Send) -> None:
    """Refuse without a look at the body."""
    await whole(send, 413, b"too large")


async def deaf(_: Receive, send: Send) -> None:
    """Leave the body unread for long."""
    await trio.sleep(20)
    await whole(send, 200, b"slept")


async def count(receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    await whole(send, 200, b"%d" % size)


async def sse(_: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(200):
        data = b"data:%d\n\n" % number
        await send({"type": "http.response.body", "body": data, "more_body": True})
        await trio.sleep(0.05)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def big(_: Receive, send: Send) -> None:
    """Send 256 MiB."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _piece in range(1024):
        await send({"type": "http.response.body", "body": bytes(262_144), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def crash(_: Receive, _send: Send) -> None:
    raise ValueError("as ordered")


async def half(_: Receive, send: Send) -> None:
    """Fail in the middle of an answer."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    raise ValueError("as ordered")


ANSWERS = {
    "/ok": ok,
    "/early": early,
    "/deaf": deaf,
    "/count": count,
    "/sse": sse,
    "/big": big,
    "/crash": crash,
    "/half": half,
}


async def until_told(
    run: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def obey() -> None:
                await anext(signals)
                await stop()

            nursery.start_soon(obey)
            await run()
            nursery.cancel_scope.cancel()


async def behind_nobody(limits: dict[str, Any]) -> None:
    sock = open_socket("127.0.0.1", 0)
    listener = Listener(app, [sock], limits=Limits(**limits))

    async def stop() -> None:
        listener.stop()

    print(sock.getsockname()[1], flush=True)  # noqa: T201
    await until_told(listener.run, stop)


async def behind_native(given: dict[str, Any]) -> None:
    limits = Limits(**given)
    with control_socket(":memory:") as (sock, path), LogEngine(":memory:") as engine:
        listener = Listener(Behind(app), [sock], limits=limits)
        native = NativeListener(
            Service(engine._native),
            "127.0.0.1",
            0,
            upstream=path,
            max_connections=limits.max_connections,
            max_header_bytes=limits.max_header_bytes,
            max_streams_per_connection=limits.max_streams_per_connection,
            keep_alive=limits.keep_alive,
            stall=limits.stall,
        )

        async def stop() -> None:
            await trio.to_thread.run_sync(native.stop, limits.grace)
            listener.abort()

        print(native.port, flush=True)  # noqa: T201
        await until_told(listener.run, stop)


async def plain(attributes: dict[str, Any]) -> None:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    for name, value in attributes.items():
        setattr(config, name, value)
    terminated = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await anext(signals)
                terminated.set()

            nursery.start_soon(stop)
            config.errorlog = None
            binds = await nursery.start(
                lambda task_status: serve(
                    cast("Any", app),
                    config,
                    shutdown_trigger=terminated.wait,
                    task_status=task_status,
                )
            )
            print(binds[0].rpartition(":")[2], flush=True)  # noqa: T201


if __name__ == "__main__":
    logging.basicConfig()
    kind, options = sys.argv[1:]
    kinds = {"trio": behind_nobody, "native": behind_native, "plain": plain}
    trio.run(partial(kinds[kind], json.loads(options)))
