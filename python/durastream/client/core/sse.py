"""Server-sent events in, chunks out (section 5.8)."""

from __future__ import annotations

import binascii
from typing import Any

from durastream.client.core import jsontext
from durastream.client.errors import ProtocolError
from durastream.client.results import Chunk

MAX_EVENT = 256 << 20
_MARK = b"\xef\xbb\xbf"
_FAST_DATA = b"event: data\ndata:"
_FAST_CONTROL = b"event: control\ndata:"


class EventStream:
    """One event stream.

    Data is handed out only with the control event behind it, so that its end is known.
    """

    def __init__(self, *, base64: bool, json: bool) -> None:
        self._base64 = base64
        self._json = json
        self._rest: list[bytes] = []
        self._held = 0
        self._after_cr = False
        self._begun = False
        self._mark = b""
        self._data: list[bytes] = []
        self.heartbeats = 0
        """Comments seen: signs of life without news."""

    def feed(self, piece: bytes) -> list[Chunk]:
        """The chunks that `piece` completes."""
        if not self._begun:
            piece = self._mark + piece
            if len(piece) < len(_MARK) and _MARK.startswith(piece):
                self._mark = piece
                return []
            self._begun = True
            piece = piece.removeprefix(_MARK)
        if self._after_cr or b"\r" in piece:
            piece = self._line_feeds(piece)
        end = self._last_end(piece)
        if not end:
            self._hold(piece)
            return []
        self._rest.append(piece[:end])
        text = b"".join(self._rest)
        self._rest, self._held = [], 0
        self._hold(piece[end:])
        chunks: list[Chunk] = []
        for event in text[:-2].split(b"\n\n"):
            if event.startswith(_FAST_CONTROL) and event.count(b"\n") == 1:
                chunks.append(self._control(event[len(_FAST_CONTROL) :]))
            elif event.startswith(_FAST_DATA) and event.count(b"\n") == 1:
                self._take(event[len(_FAST_DATA) :].removeprefix(b" "))
            else:
                self._any(event, chunks)
        return chunks

    def _last_end(self, piece: bytes) -> int:
        """Behind the last empty line that ends within `piece`; 0 when there is none.

        Only `piece` is searched: an event of many pieces must not cost the square of them.
        """
        found = piece.rfind(b"\n\n")
        if found >= 0:
            return found + 2
        return int(piece.startswith(b"\n") and bool(self._rest) and self._rest[-1].endswith(b"\n"))

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._held += len(piece)
            if self._held > MAX_EVENT:
                raise ProtocolError(f"the server sent an event of more than {MAX_EVENT} bytes")

    def _line_feeds(self, piece: bytes) -> bytes:
        """CRLF and CR become LF, also when a CRLF is split between two pieces."""
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._after_cr = piece.endswith(b"\r")
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _any(self, event: bytes, chunks: list[Chunk]) -> None:
        """An event that is not written the usual way: by the letter of the standard."""
        kind = b""
        lines = []
        for line in event.split(b"\n"):
            name, _, value = line.partition(b":")
            if not name:
                self.heartbeats += 1 if line else 0
            elif name == b"event":
                kind = value.removeprefix(b" ")
            elif name == b"data":
                lines.append(value.removeprefix(b" "))
        if kind == b"control":
            chunks.append(self._control(b"\n".join(lines)))
        elif kind == b"data" and lines:
            self._take(b"\n".join(lines))

    def _take(self, payload: bytes) -> None:
        if self._base64:
            try:
                payload = binascii.a2b_base64(payload.replace(b"\n", b""), strict_mode=True)
            except binascii.Error as error:
                raise ProtocolError(f"the server sent data that is not base64: {error}") from error
        self._data.append(payload)

    def _control(self, text: bytes) -> Chunk:
        try:
            found: Any = jsontext.loads(text)
        except ValueError as error:
            raise ProtocolError(
                f"the server sent a control event that is not JSON: {error}"
            ) from error
        offset = found.get("streamNextOffset") if isinstance(found, dict) else None
        if not isinstance(offset, str) or not offset:
            raise ProtocolError("the server sent a control event without streamNextOffset")
        cursor = found.get("streamCursor")
        closed = found.get("streamClosed") is True
        waiting = self._data
        if len(waiting) == 1:
            data = waiting[0]
        else:
            data = jsontext.one_array(waiting) if self._json and waiting else b"".join(waiting)
        if waiting:
            self._data = []
        return Chunk(
            data,
            offset,
            cursor if isinstance(cursor, str) else None,
            closed or found.get("upToDate") is True,
            closed,
        )
