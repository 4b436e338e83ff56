"""What both twins of `StreamResponse` tell about a reader, and the guard of its one consumption."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any

from durastream.client.core import jsontext
from durastream.client.errors import AlreadyConsumed, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durastream.client.core.reader import Reader
    from durastream.client.results import Chunk


class View:
    """Where the caller is in a stream: behind what was handed out, not behind what was received."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._at: Chunk = reader.at
        self._consumed_by = ""

    @property
    def url(self) -> str:
        """The stream's URL, without password and query."""
        return self._reader.target.shown

    @property
    def content_type(self) -> str:
        """The stream's content type."""
        return self._reader.content_type

    @property
    def offset(self) -> str:
        """Where to resume: behind the last page that was handed out to its end."""
        return self._at.offset

    @property
    def cursor(self) -> str | None:
        """The server's last cursor (section 10.1)."""
        return self._at.cursor

    @property
    def up_to_date(self) -> bool:
        """Whether everything that was in the stream at the last answer has been handed out."""
        return self._at.up_to_date

    @property
    def closed(self) -> bool:
        """Whether the stream is closed and has been handed out to its end."""
        return self._at.closed

    @property
    def status(self) -> int:
        """The status code of the last page, 204 for a long-poll without news."""
        return self._reader.status

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url} at {self.offset}>"

    def _take(self, way: str, *, piecewise: bool = False) -> None:
        if self._consumed_by:
            raise AlreadyConsumed(
                f"this response was consumed by {self._consumed_by}() already: open another one from"
                f" offset {self.offset!r}",
                url=self.url,
            )
        self._consumed_by = way
        self._reader.piecewise = piecewise

    def _take_json(self, way: str) -> None:
        if not self._reader.is_json:
            kind = self.content_type or "of no type"
            raise ProtocolError(f"{self.url} is {kind}, not application/json", url=self.url)
        self._take(way)
        self._reader.by_messages = True

    # Each of these hands out a list of chunks in one way, and moves the position as it does.

    def _hand_chunks(self, chunks: list[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            self._at = chunk
            yield chunk

    def _hand_bytes(self, chunks: list[Chunk]) -> Iterator[bytes]:
        for chunk in chunks:
            self._at = chunk
            if chunk.data:
                yield chunk.data

    def _hand_text(self, chunks: list[Chunk], decoder: codecs.IncrementalDecoder) -> Iterator[str]:
        for chunk in chunks:
            text = decoder.decode(chunk.data, chunk.closed)
            # Half a character has not been handed out: the offset does not pass it.
            self._at = chunk._replace(offset=self.offset) if decoder.getstate()[0] else chunk
            if text:
                yield text

    def _hand_lists(self, chunks: list[Chunk]) -> Iterator[list[Any]]:
        """Messages in lists: a generator that hands on each one would cost as much as parsing it."""
        for chunk in chunks:
            messages = self._reader.messages_of(chunk)
            last = []
            if chunk != self._at:  # the position moves with the last message
                last = messages[-1:]
                del messages[-1:]
            yield messages
            del messages  # before the next are made
            self._at = chunk
            yield last

    def _whole(self, pages: list[bytes]) -> bytes:
        """Pages as one body: for JSON one array."""
        return jsontext.one_array(pages) if self._reader.is_json else b"".join(pages)


def text_decoder() -> codecs.IncrementalDecoder:
    """UTF-8, across the ends of pieces."""
    return codecs.getincrementaldecoder("utf-8")()
