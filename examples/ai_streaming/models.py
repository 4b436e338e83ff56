"""Where answers come from: iterators of chunks in the shape that OpenAI's chat completions stream."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

import anyio
import httpx

Chunks = AsyncIterator[Any]
Model = Callable[[str], Chunks]
"""What answers a prompt."""

FAKE_SECONDS_PER_TOKEN = 0.05
FAKE_ANSWER = (
    "You asked: “{prompt}”.\n\n"
    "I am a pretended model: I know nothing, but I say it token by token, as real ones do. Each token is "
    "appended to a durable stream before you see it.\n\n"
    "Reload this page now. The part that was there comes back at once, and the rest goes on arriving, "
    "because the answer is written by the server whether you look or not. Open the same address in a "
    "second window, or on another device, and both will say the same.\n\n"
    "Stop the server in the middle, start it again and look: what had been written is still here, and the "
    "answer says that it was interrupted instead of leaving you waiting.\n\n"
    "That is all there is to it: one stream for each answer, closed when the answer is complete."
)


async def texts(chunks: Chunks) -> AsyncGenerator[str, None]:
    """The pieces of text in chunks: objects, as the `openai` package gives them, or parsed JSON."""
    async for chunk in chunks:
        for choice in _field(chunk, "choices") or ():
            text = _field(_field(choice, "delta"), "content")
            if text:
                yield text


def _field(value: Any, name: str) -> Any:  # noqa: ANN401  (of whoever made the chunks)
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


async def fake_model(prompt: str) -> Chunks:
    """An answer without a model, a network or a key."""
    for number, word in enumerate(FAKE_ANSWER.format(prompt=prompt).split(" ")):
        await anyio.sleep(FAKE_SECONDS_PER_TOKEN)
        yield {"choices": [{"index": 0, "delta": {"content": " " * bool(number) + word}}]}


def openai_compatible(base_url: str, api_key: str, name: str) -> Model:
    """A model behind any server with OpenAI's API: OpenAI, vLLM, llama.cpp, Ollama."""

    async def model(prompt: str) -> Chunks:
        asked = {
            "model": name,
            "stream": True,
            "messages": [{"role": "user", "content": prompt}],
        }
        async with (
            httpx.AsyncClient(base_url=base_url, timeout=httpx.Timeout(10, read=120)) as client,
            client.stream(
                "POST",
                "chat/completions",
                json=asked,
                headers={"authorization": f"Bearer {api_key}"},
            ) as answer,
        ):
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("data:") and line != "data: [DONE]":
                    yield json.loads(line.removeprefix("data:"))

    return model


def from_environment() -> Model:
    """The model that `OPENAI_BASE_URL`, `OPENAI_API_KEY` and `OPENAI_MODEL` name, or the pretended one."""
    base_url = os.environ.get("OPENAI_BASE_URL")
    if not base_url:
        return fake_model
    key = os.environ.get("OPENAI_API_KEY", "none")
    return openai_compatible(base_url, key, os.environ.get("OPENAI_MODEL", "default"))
