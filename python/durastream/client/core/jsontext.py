"""JSON text in and out; with orjson when it is installed, which is several times faster.

What the two disagree about is done by the standard library's, so that a message means the same with orjson
installed and without.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NoReturn

from durastream.client.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PART: Final = 16 << 10
"""Bytes parsed at once, about: with what becomes of them they stay in a processor's cache."""
MISSES: Final = 8

loads: Callable[[bytes | str], Any]
encode: Callable[[Any], bytes]


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON (RFC 8259, section 6)")


def _loads(text: bytes | str) -> Any:  # noqa: ANN401  (any JSON value)
    """A value from JSON text. Raises ValueError."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("this JSON is nested too deeply") from None


def _encode(value: Any) -> bytes:  # noqa: ANN401  (any JSON value)
    """One message as JSON text. Raises ValueError, TypeError."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise ValueError("this value is nested too deeply for JSON") from None
    return text.encode()


try:
    import orjson
except (
    ImportError
):  # pragma: no cover  (the tests run with it; test_jsontext.py runs the other half)
    loads, encode = _loads, _encode
else:
    _PLAIN = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    _DIGITS = bytes(ord("0") if chr(code).isdigit() else code for code in range(128)) + bytes(128)
    # Beyond 64 bits orjson gives the nearest float.
    _LONG, _LONG_NEGATIVE = b"0" * 20, b"-" + b"0" * 19

    def loads(text: bytes | str) -> Any:  # noqa: ANN401  (any JSON value)
        """A value from JSON text. Raises ValueError."""
        raw = text.encode() if isinstance(text, str) else text
        # 18 digits in a row cover two of every ninth place; that is seen sooner.
        if b"00" in raw[::9].translate(_DIGITS):
            digits = raw.translate(_DIGITS)
            if _LONG in digits or _LONG_NEGATIVE in digits:
                return _loads(text)
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            return _loads(text)

    def encode(value: Any) -> bytes:  # noqa: ANN401  (any JSON value)
        """One message as JSON text. Raises ValueError, TypeError."""
        try:
            text = orjson.dumps(value, option=_PLAIN)
        except orjson.JSONEncodeError:
            return _encode(value)
        # It writes null for NaN and the infinities.
        return _encode(value) if b"null" in text else text


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


def parts(pieces: Iterable[bytes]) -> Iterator[list[Any]]:
    """The messages of a page that came in pieces, some at a time. Nobody else may hold what is given.

    A page parsed at once is many times its size in fresh memory, which costs more than the parsing. What is
    before a comma is an array by itself only when that comma stands between two messages; where several in a
    row do not (deeply nested messages), the rest is parsed at once.
    """
    text, rest = b"", iter(pieces)
    waiting: list[bytes] = []
    misses = size = 0
    for piece in rest:
        waiting.append(piece)
        size += len(piece)
        if size < len(text):  # a long message: copied as often as it doubles
            continue
        text = b"".join((text, *waiting))
        waiting, size = [], 0
        between = b"},{" if text[1:2] == b"{" else b","
        at, searched = 1, PART
        view = memoryview(text)
        while misses < MISSES and len(text) > searched and text.startswith(b"["):
            cut = text.find(between, searched)
            if cut < 0:
                break
            cut += len(between) // 2
            searched = cut + 1
            try:
                found = [loads(b"".join((b"[", view[at:cut], b"]")))]
            except ValueError:
                misses += 1
                continue
            # Not held here: its memory is free for the next ones when the reader has let go of it.
            yield found.pop()
            at, searched, misses = cut + 1, cut + PART, 0
        if at > 1:
            text = b"".join((b"[", view[at:]))
        if misses >= MISSES:
            break
    yield messages(b"".join((text, *waiting, *rest)))


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
