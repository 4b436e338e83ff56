"""From what a caller appends to the bytes of a request."""

from __future__ import annotations

from typing import Any

from durastream.client.core import jsontext

_BYTES = (bytes, bytearray, memoryview)


def encoded(message: Any, *, as_json: bool) -> bytes:  # noqa: ANN401  (any JSON value)
    """One message as bytes. For a JSON stream `bytes` are JSON text already, anything else is a value."""
    if as_json and not isinstance(message, _BYTES):
        try:
            return jsontext.encode(message)
        except (TypeError, ValueError) as error:
            raise type(error)(f"not a JSON value: {error}") from error
    if isinstance(message, _BYTES):
        return bytes(message)
    if isinstance(message, str):
        return message.encode()
    raise TypeError(
        f"a message of this stream is bytes or str, not {type(message).__name__}: it does not hold JSON"
    )


def body(payloads: list[bytes], *, as_json: bool) -> bytes:
    """Messages as one request body. JSON is always wrapped, so that a message may be an array itself."""
    if as_json:
        return b"[" + b",".join(payloads) + b"]"
    return payloads[0] if len(payloads) == 1 else b"".join(payloads)
