"""JSON text in and out; with orjson when it is installed, which is several times faster.

What the two disagree about is done by the standard library's, so that a message means the same with orjson
installed and without.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from durastream._native import has_long_integer
from durastream.client.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PART: Final = 64 << 10
"""Bytes parsed at once, about: with what becomes of them they stay in a processor's cache."""
HEAD: Final = 128
"""Bytes that tell how messages begin."""
_FIRST: Final = re.compile(rb'\[(\{(?:"[^"\\]{1,40}":)?|\[|")')
_CLOSING: Final = {b"{": b"}", b"[": b"]", b'"': b'"'}

loads: Callable[[bytes | str], Any]
attempt: Callable[[bytes], Any]
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
    loads = attempt = _loads
    encode = _encode
else:
    _PLAIN = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME

    def loads(text: bytes | str) -> Any:  # noqa: ANN401  (any JSON value)
        """A value from JSON text. Raises ValueError."""
        raw = text.encode() if isinstance(text, str) else text
        try:
            return attempt(raw)
        except ValueError:
            return _loads(text)

    def attempt(text: bytes) -> Any:  # noqa: ANN401  (any JSON value)
        """As `loads`, without a second opinion about what orjson refuses. Raises ValueError."""
        if has_long_integer(text):
            return _loads(text)  # orjson gives the nearest float
        return orjson.loads(text)

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


class Parts:
    """The messages of a page that comes in pieces, as soon as they are whole.

    A page parsed at once is many times its size in fresh memory, which costs more than the parsing. What is
    before a comma is an array by itself only when that comma stands between two messages. Which one does is
    guessed, and proved by parsing; after a wrong guess (messages that look like several) twice as much
    has to come before the next.
    """

    def __init__(self, *, owing: bool = False) -> None:
        self._waiting: list[bytes] = []
        self._held = 0
        self._enough = HEAD
        """Bytes that have to be there before the next guess."""
        self._between = b""
        """What stands between two messages, probably."""
        self._owing = owing
        """A comma was passed: at least one more message has to come."""

    def feed(self, piece: bytes | memoryview) -> Iterator[tuple[list[Any], bytes]]:
        """The messages that are whole with this piece, and their text. Nobody else holds the list.

        The piece is used up to the end of the iteration; a view begins where its object does.
        """
        start = 0
        view = memoryview(piece)
        for end in range(PART, len(piece) + PART, PART):
            if self._held + min(end, len(piece)) - start < self._enough:
                continue
            comma = self._guess(view, max(start, end - PART), min(end, len(piece)))
            if comma < 0:
                continue
            text = b"".join((*self._waiting, view[start:comma], b"]"))
            try:
                found = [attempt(text)]
            except ValueError:
                self._enough = 2 * len(text)
                continue
            self._waiting, self._held, self._enough = [b"["], 1, 0
            self._owing = True
            start = comma + 1
            # Not held here: its memory is free for the next ones when the reader has let go of it.
            yield found.pop(), text
        if rest := bytes(view[start:]):
            self._waiting.append(rest)
            self._held += len(rest)

    def _guess(self, view: memoryview, start: int, end: int) -> int:
        """Where the last comma between two messages is; -1 when there is none to be seen."""
        if not self._between:
            self._between = _between(b"".join((*self._waiting, view[:HEAD])))
        text = cast("bytes | bytearray", view.obj)  # views have no rfind
        found = text.rfind(self._between, start, end)
        if found < 0 and len(self._between) > 3:
            self._between = self._between[:3]
            found = text.rfind(self._between, start, end)
        return found + (len(self._between) > 1) if found >= 0 else -1

    def end(self) -> list[Any]:
        """The rest of the messages. Raises ProtocolError."""
        found = messages(b"".join(self._waiting))
        if self._owing and not found:
            raise ProtocolError("the server sent a page that is not JSON: it ends with a comma")
        return found


def _between(head: bytes) -> bytes:
    """What stands between two messages of a page that begins so: most begin like the first one."""
    first = _FIRST.match(head)
    return b"," if first is None else b"%s,%s" % (_CLOSING[first[1][:1]], first[1])


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
