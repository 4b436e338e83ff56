"""What of a page was handed out before its connection broke: it is passed over when the page is read again.

Bytes at an offset never change. Where they do all the same (the stream was made anew, or "-1" was trimmed and
is another place now), going on would leave something out or repeat it: that is an error.
"""

from __future__ import annotations

from typing import Final

from durastream.client.errors import StreamGone

COMPARED: Final = 64


class HandedOut:
    """How far into the body of the page at the reader's offset the caller is."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._known = 0
        """Bytes of the body that were handed out, by this attempt or those before it."""
        self._tail = b""
        """The last of them."""
        self._origin = ""
        self._passed = 0
        """Bytes of the body that came in this attempt."""
        self._end = b""
        """The last of those that were passed over."""

    def begin(self, origin: str) -> None:
        """The page is read (again). `origin` is the stream and where the page begins, if the server tells.

        Raises StreamGone when it begins elsewhere now.
        """
        if self._known and origin and self._origin and origin != self._origin:
            raise self._gone()
        self._origin = origin
        self._passed = 0
        self._end = b""

    def beyond(self, piece: bytes) -> bytes:
        """What of a piece of the body was not handed out before. Raises StreamGone."""
        left = self._known - self._passed
        self._passed += len(piece)
        if left <= 0:
            return piece
        self._end = (self._end + piece[:left])[-COMPARED:]
        if left <= len(piece) and not self._same():
            raise self._gone()
        return piece[left:]

    def passed(self, count: int) -> None:
        """So many bytes of the body came of which nothing was handed out before."""
        self._passed += count

    def _same(self) -> bool:
        # The first byte of the body may have come to stand for the end of a page before it.
        compared = min(len(self._tail), self._known - 1)
        return compared <= 0 or self._end[-compared:] == self._tail[-compared:]

    def handed(self, count: int, tail: bytes) -> None:
        """So many bytes more were handed out, the last of which are `tail`."""
        self._known += count
        self._tail = tail[-COMPARED:]

    @property
    def inside(self) -> bool:
        """Whether anything of the page was handed out."""
        return self._known > 0

    def whole(self, *, up_to_date: bool, json: bool) -> None:
        """The page has come to its end. Raises StreamGone when there is less than was handed out.

        It may be shorter than when it was read before: the next one has the rest then. Two JSON pages have a
        bracket each where one that reaches further has a comma.
        """
        self._origin = ""
        if self._passed:
            self._known = max(0, self._known - self._passed + json)
        if self._known and up_to_date:
            raise self._gone()

    def _gone(self) -> StreamGone:
        return StreamGone(
            f"cannot read {self._shown}: a page that was handed out in part is another one now, because the"
            ' stream was trimmed or made anew meanwhile; read again from "-1" (the start) and treat what you'
            " have as outdated",
            url=self._shown,
        )
