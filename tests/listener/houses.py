"""Applications that have ours in them, for servers run by `test_mounting`."""

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from durastream import LogEngine
from durastream.asgi import Message, Receive, Scope, Send, create_app

engine = LogEngine(":memory:", max_append_bytes=4_000_000)
streams = create_app(engine, long_poll_timeout=0.3)


def watches() -> Response:
    return PlainTextResponse(f"watches={engine.stats().watches}")


def shut_down() -> Response:
    streams.shut_down()
    return PlainTextResponse("done")


fastapi = FastAPI()
fastapi.mount("/api/ds", streams)


@fastapi.get("/watches")
async def fastapi_watches() -> Response:
    return watches()


@fastapi.get("/shut-down")
async def fastapi_shut_down() -> Response:
    return shut_down()


async def starlette_watches(_: Request) -> Response:
    return watches()


async def starlette_shut_down(_: Request) -> Response:
    return shut_down()


starlette = Starlette(
    routes=[
        Mount("/outer", routes=[Mount("/in ner", app=streams)]),
        Route("/watches", starlette_watches),
        Route("/shut-down", starlette_shut_down),
    ]
)


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Ours without a framework, beside the two answers of the others."""
    answers = {"/watches": watches, "/shut-down": shut_down}
    if scope["type"] == "http" and scope["path"] in answers:

        async def forward(message: Message) -> None:
            await send(message)

        await answers[scope["path"]]()(scope, receive, forward)
    else:
        await streams(scope, receive, send)
