"""HTTP/1.1 message bodies: raw bytes in, content out (RFC 9112, sections 6 and 7). No I/O."""

from __future__ import annotations

import re
from typing import Final

from durastream.client.core.steps import Broken

MOST: Final = 1 << 30
MAX_LINE: Final = 16 << 10
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_CUT_SHORT: Final = "the connection was closed in the middle of an answer"


class Sized:
    """A body with a Content-Length."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.rest = b""
        """Nothing: no byte beyond the end is ever asked for."""

    @property
    def ended(self) -> bool:
        """Whether all of it has come."""
        return self._left == 0

    @property
    def wanted(self) -> int:
        """How many bytes to read next, at most."""
        return self._left

    def feed(self, data: bytes) -> bytes:
        """The content in `data`. Raises Broken when `data` is empty: the end came too early."""
        self.pass_over(len(data))
        return data

    def pass_over(self, count: int) -> None:
        """So many bytes have come. Raises Broken when there are none."""
        if not count:
            raise Broken(_CUT_SHORT, sent=True)
        self._left -= count


class Chunked:
    """A body in chunks. Their bounds mean nothing: all that has come is handed out together."""

    wanted: Final = MOST

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""
        """What is not read yet: the beginning of a line, or, in the end, what came behind the body."""
        self._left = 0
        self._trailer = False

    def feed(self, data: bytes) -> bytes:
        """The content in `data`. Raises Broken when `data` is empty, or is not chunked."""
        if not data:
            raise Broken(_CUT_SHORT, sent=True)
        text = self.rest + data if self.rest else data
        end = len(text)
        pieces: list[bytes] = []
        at = 0
        if self._left:
            at = self._go_on(text, pieces)
        while at < end and not self._trailer and not self._left:
            line = _SIZE.match(text, at)
            if line is None:
                _check_unfinished(text[at:])
                break
            at = line.end()
            size = int(line[1], 16)
            behind = at + size
            if not size:
                self._trailer = True
            elif behind + 2 <= end:
                if not text.startswith(b"\r\n", behind):
                    raise Broken("a chunk without its end", sent=True)
                pieces.append(text[at:behind])
                at = behind + 2
            else:
                self._left = size + 2
                at = self._go_on(text[at:], pieces) + at
        if self._trailer and not self.ended:
            at = self._trailers(text, at)
        self.rest = text[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _go_on(self, text: bytes, pieces: list[bytes]) -> int:
        """Go on with a chunk that is not whole; how far that went in `text`."""
        content = text[: max(0, self._left - 2)]
        if content:
            pieces.append(content)
        self._left -= len(content)
        if self._left > 2 or len(text) < len(content) + self._left:
            return len(content)
        # What was in `rest` of the line end is in `text` again: it is seen whole or not at all.
        if not text.startswith(b"\r\n", len(content)):
            raise Broken("a chunk without its end", sent=True)
        self._left = 0
        return len(content) + 2

    def _trailers(self, text: bytes, at: int) -> int:
        """Pass over the fields behind the last chunk; how far that went."""
        while (line_end := text.find(b"\r\n", at)) >= 0:
            empty = line_end == at
            at = line_end + 2
            if empty:
                self.ended = True
                return at
        _check_unfinished(text[at:])
        return at


def _check_unfinished(line: bytes) -> None:
    """That this may become a line when more comes."""
    if b"\n" in line or len(line) > MAX_LINE:
        raise Broken("an answer that is not HTTP", sent=True)
