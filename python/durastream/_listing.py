"""The extension `GET /__durastream/streams`: which streams there are (docs/protocol-extensions.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from durastream.engine import LIST_LIMIT

if TYPE_CHECKING:
    from durastream import _native

PATH: Final = b"/__durastream/streams"
DEFAULT_LIMIT: Final = 100


class BadQueryError(ValueError):
    """A query parameter that cannot be used: what was wrong, what would be right."""


def page(engine: _native.Engine, query: bytes) -> dict[str, Any]:
    """One page of streams, in byte-wise order of paths, as JSON has it. Raises BadQueryError."""
    asked = _parameters(query)
    limit = _limit(asked.get("limit"))
    found = engine.list(asked.get("prefix", ""), asked.get("cursor"), limit)
    return {"streams": [_described(info) for info in found.streams], "cursor": found.cursor}


def _parameters(query: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise BadQueryError("The query is not percent-encoded UTF-8; encode it so.") from None
    asked: dict[str, str] = {}
    for name, value in pairs:
        if name in ("prefix", "cursor", "limit") and name in asked:
            raise BadQueryError(f"{name} is given more than once; give it once.")
        asked[name] = value
    return asked


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    # Digits of other scripts, signs and spaces are numbers to `int`, but not here.
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= LIST_LIMIT):
        raise BadQueryError(f"limit is {text!r}; give a number of 1 to {LIST_LIMIT}.")
    return int(text)


def _described(info: _native.StreamInfo) -> dict[str, Any]:
    ttl = info.ttl
    return {
        "path": info.path,
        "content_type": info.content_type,
        "next_offset": str(info.tail),
        "closed": info.closed,
        "ttl_seconds": None if ttl is None else int(ttl.total_seconds()),
        "expires_at": None if info.expires_at is None else info.expires_at.isoformat(),
        "created_at": info.created_at.isoformat(),
    }
