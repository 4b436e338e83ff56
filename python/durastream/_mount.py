"""Where an ASGI application is mounted, and what is left of the path below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

UNESCAPED = "/:@!$&'()*+,;=~"


def raw_path(scope: MutableMapping[str, Any]) -> bytes:
    """The percent-encoded path of a request, as it came when the server says so."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        return quote(scope["path"].encode("utf-8", "surrogateescape"), safe=UNESCAPED).encode()
    return raw.partition(b"?")[0]


def split(scope: MutableMapping[str, Any], routes: Callable[[bytes], bool]) -> tuple[str, bytes]:
    """The prefix under which the application is mounted, and the raw path below it.

    `root_path` is part of the path when a framework mounted the application, and is not when a proxy
    took it away before the server saw it; then the path as it stands is one that `routes` knows.
    """
    raw = raw_path(scope)
    prefix: str = scope.get("root_path", "").rstrip("/")
    if not prefix:
        return "", raw
    below = _without(raw, prefix)
    if below is None or (not routes(below) and routes(raw)):
        return prefix, raw
    return prefix, below


def _without(raw: bytes, prefix: str) -> bytes | None:
    """`raw` without the segments of `prefix`, or nothing when it does not begin with them."""
    wanted = prefix.encode("utf-8", "surrogateescape")
    if raw.startswith(wanted):
        end = len(wanted)
    else:
        # Spelled differently: compare as many segments, decoded.
        segments = raw.split(b"/")
        taken = b"/".join(segments[: wanted.count(b"/") + 1])
        if unquote_to_bytes(taken) != wanted:
            return None
        end = len(taken)
    rest = raw[end:]
    return rest if not rest or rest.startswith(b"/") else None
