"""The web application: starts answers over a small API, serves their streams, and the page."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from fastapi import FastAPI, HTTPException, Request, status
from fastapi.responses import HTMLResponse, PlainTextResponse
from pydantic import BaseModel, StringConstraints

from durastream import AsyncLogEngine
from durastream.asgi import DurableStreams, create_app
from examples.ai_streaming.answers import Answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durastream.asgi import Receive, Scope, Send
    from examples.ai_streaming.models import Model

PAGE = Path(__file__).with_name("page.html")


class Question(BaseModel):
    """The body of a request for an answer."""

    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]


class ReadOnly:
    """Lets browsers read streams and nothing else: only the server writes answers."""

    def __init__(self, streams: DurableStreams) -> None:
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            refusal = PlainTextResponse("streams are only read here; POST /api/answers\n", 405)
            await refusal(scope, receive, send)
        else:
            await self._streams(scope, receive, send)


def make_app(directory: Path, model: Model) -> tuple[FastAPI, DurableStreams]:
    """The application, and its streams: call their `shut_down` before the server waits for readers."""
    log = AsyncLogEngine(directory)
    streams = create_app(log, base_paths=["/"])

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with log, anyio.create_task_group() as tasks:
            answers = app.state.answers = Answers(log, tasks, model)
            await answers.mend()
            yield
            tasks.cancel_scope.cancel()

    app = FastAPI(lifespan=lifespan, title="Resumable answers")
    app.mount("/streams", ReadOnly(streams))

    @app.get("/", response_class=HTMLResponse)
    async def page() -> str:
        return PAGE.read_text()

    @app.get("/api/answers")
    async def recent(request: Request) -> list[dict[str, Any]]:
        answers: Answers = request.app.state.answers
        return await answers.recent()

    @app.post("/api/answers", status_code=status.HTTP_201_CREATED)
    async def ask(question: Question, request: Request) -> dict[str, str]:
        answers: Answers = request.app.state.answers
        answer = await answers.start(question.prompt)
        return {"id": answer, "stream": f"/streams/answers/{answer}"}

    @app.delete("/api/answers/{answer}", status_code=status.HTTP_204_NO_CONTENT)
    async def stop(answer: str, request: Request) -> None:
        answers: Answers = request.app.state.answers
        if not answers.stop(answer):
            raise HTTPException(404, "no such answer is being written")

    return app, streams
