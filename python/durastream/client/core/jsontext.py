"""JSON text in and out; with orjson when it is installed, which is several times faster."""

from __future__ import annotations

from typing import Any


def messages(text: bytes) -> list[Any]:
    """The messages of a JSON stream's page."""
    raise NotImplementedError


def encode(value: Any) -> bytes:  # noqa: ANN401  (any JSON value)
    """One message as JSON text."""
    raise NotImplementedError
