"""Answers as streams: one each, written to its end whether anybody reads or not."""

from __future__ import annotations

import contextlib
import json
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio

from examples.ai_streaming.models import texts

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from durastream import AsyncLogEngine
    from examples.ai_streaming.models import Model

PREFIX = "answers/"
KEPT = timedelta(days=1)
"""Answers that nobody reads for so long are deleted."""


class Answers:
    """Starts answers, stops them, and writes what the model says.

    A stream holds JSON messages: `{"type": "prompt", "text": ...}` first, then `text` for each piece,
    and a last one that closes it: `end`, `stopped`, or `error` with a text.
    """

    def __init__(self, log: AsyncLogEngine, tasks: TaskGroup, model: Model) -> None:
        self._log = log
        self._tasks = tasks
        self._model = model
        self._running: dict[str, anyio.CancelScope] = {}

    async def start(self, prompt: str) -> str:
        """Create the stream of an answer, begin to write it, and return its id."""
        answer = uuid.uuid4().hex
        await self._log.create(
            PREFIX + answer,
            content_type="application/json",
            ttl=KEPT,
            body=_message("prompt", prompt),
        )
        self._tasks.start_soon(self._write, answer, prompt)
        return answer

    def stop(self, answer: str) -> bool:
        """End an answer early; whether it was being written."""
        scope = self._running.get(answer)
        if scope is not None:
            scope.cancel()
        return scope is not None

    async def mend(self) -> None:
        """End the answers that a crash left open: their readers would wait for ever."""
        async for info in self._log.list(PREFIX):
            if not info.closed:
                last = _message("error", "the server was stopped before the answer was complete")
                await self._log.append(info.path, last, close=True)

    async def recent(self, count: int = 20) -> list[dict[str, Any]]:
        """The latest answers: id, prompt, whether complete."""
        found = [info async for info in self._log.list(PREFIX)]
        found.sort(key=lambda info: info.created_at, reverse=True)
        shown = []
        for info in found[:count]:
            first = (await self._log.read(info.path, max_bytes=1)).json()[0]
            name = info.path.removeprefix(PREFIX)
            shown.append({"id": name, "prompt": first["text"], "complete": info.closed})
        return shown

    async def _write(self, answer: str, prompt: str) -> None:
        last = _message("stopped")
        try:
            with anyio.CancelScope() as self._running[answer]:
                async with contextlib.aclosing(texts(self._model(prompt))) as pieces:
                    async for text in pieces:
                        # Shown to readers once it is durable. Answers written at once share a sync.
                        await self._log.append(PREFIX + answer, _message("text", text))
                last = _message("end")
        except Exception as error:  # noqa: BLE001  (whatever a model raises is told to who waits for it)
            last = _message("error", f"{type(error).__name__}: {error}")
        finally:
            del self._running[answer]
            # Also when the server is being stopped.
            with anyio.CancelScope(shield=True):
                await self._log.append(PREFIX + answer, last, close=True)


def _message(kind: str, text: str | None = None) -> bytes:
    message = {"type": kind} if text is None else {"type": kind, "text": text}
    return json.dumps(message, ensure_ascii=False).encode()
