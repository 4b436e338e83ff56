"""JSON text in and out; with orjson when it is installed, which is several times faster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from durastream.client.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

loads: Callable[[bytes | str], Any]
encode: Callable[[Any], bytes]

try:
    import orjson
except (
    ImportError
):  # pragma: no cover  (the tests run with it; test_jsontext.py runs the other half)
    loads = json.loads

    def encode(value: Any) -> bytes:  # noqa: ANN401  (any JSON value)
        """One message as JSON text."""
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()

else:
    loads = orjson.loads
    encode = orjson.dumps


def is_json(content_type: str) -> bool:
    """Whether a stream of this content type holds JSON messages (section 9.1)."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def messages(text: bytes) -> list[Any]:
    """The messages of a JSON stream's page."""
    if not text:
        return []
    try:
        found = loads(text)
    except ValueError as error:
        raise ProtocolError(f"the server sent a page that is not JSON: {error}") from error
    if not isinstance(found, list):
        raise ProtocolError(
            f"the server sent a page that is not a JSON array but {type(found).__name__}"
        )
    return found


def one_array(pages: Iterable[bytes]) -> bytes:
    """Pages, each a JSON array or empty, as one JSON array."""
    inner = []
    for page in pages:
        text = page.strip()
        if not text:
            continue
        if not (text.startswith(b"[") and text.endswith(b"]")):
            raise ProtocolError("the server sent a page that is not a JSON array")
        between = text[1:-1].strip()
        if between:
            inner.append(between)
    return b"[" + b",".join(inner) + b"]"
