"""Reading a stream: pages up to the tail, then long-polls or events, through every dropped connection.

`Reader.run` yields `Step`s, and between them lists of `Chunk`s for the caller. The first list is empty:
it says that the head of the first answer is known.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeAlias

from durastream.client import errors
from durastream.client.core import jsontext, refusal, retrying, steps
from durastream.client.core.handedout import COMPARED, HandedOut
from durastream.client.core.retrying import Backoff
from durastream.client.core.sse import EventStream
from durastream.client.core.steps import Answer, Broken, Operation, Step
from durastream.client.options import Again
from durastream.client.results import Chunk

if TYPE_CHECKING:
    from durastream.client.core.target import Target
    from durastream.client.options import Live, Retry

Reading: TypeAlias = Generator[Step | list[Chunk], Any, None]

SHORT_CONNECTION = 1.0
"""Seconds. An event stream that ends sooner, several times in a row, is not getting through to us."""
SHORT_CONNECTIONS = 3
HURRIED = 0.05
"""Seconds.

A long-poll without news that is answered sooner was not held: asking again at once would be a hot loop.
"""
HURRIED_PAUSE = 0.05
LONGEST_PAUSE = 5.0


class Reader:
    """Where a reader is, and what it asks for next."""

    def __init__(
        self,
        target: Target,
        offset: str,
        live: Live,
        retry: Retry,
        *,
        stall_timeout: float,
        on_error: Callable[[errors.ClientError], Any] | None,
    ) -> None:
        if live not in (False, True, "long-poll", "sse"):
            raise ValueError(f'live is {live!r}: use False, True, "long-poll" or "sse"')
        if not stall_timeout > 0:
            raise ValueError(f"stall_timeout is {stall_timeout} s: it must be above 0")
        self.target = target
        self.at = Chunk(b"", offset, None, up_to_date=False, closed=False)
        """Where the next request reads on."""
        self.content_type = ""
        self.status = 0
        self.piecewise = False
        """Hand out bodies as they come, not page by page."""
        self.by_messages = False
        """Hand out messages as they come: pages have no data then, and `messages_of` gives their messages."""
        self._messages: list[Any] | None = None
        self._live = live
        self._stall_timeout = stall_timeout
        self._on_error = on_error
        self._backoff = Backoff(retry)
        self._refreshed = False
        self._handed_out = HandedOut(target.shown)
        self._short_connections = 0
        self._pause = 0.0

    @property
    def is_json(self) -> bool:
        """Whether the stream holds JSON messages."""
        return jsontext.is_json(self.content_type)

    def messages_of(self, chunk: Chunk) -> list[Any]:
        """The messages of the chunk handed out last, for one use. Nobody else holds the list."""
        found, self._messages = self._messages, None
        return jsontext.messages(chunk.data) if found is None else found

    def run(self) -> Reading:
        """Read to the tail, or for ever, or until the stream is closed."""
        while not self.at.closed:
            if not self.at.up_to_date:
                yield from self._page(None)
            elif self._live is False:
                return
            elif self._by_events():
                yield from self._events()
            else:
                yield from self._page("long-poll")

    def _by_events(self) -> bool:
        if self._live is True:
            # Text as events loses its CRs (section 5.8), so only who asks for events by name gets it so.
            return self.is_json and self._short_connections < SHORT_CONNECTIONS
        return self._live == "sse"

    def _page(self, live: str | None) -> Reading:
        began = time.monotonic()
        try:
            answer = yield from self._ask(live)
            page = (yield from self._taken(answer)) if answer.status in (200, 204) else None
        except Broken as broken:
            yield from self._broken(broken, live)
            return
        except (errors.ProtocolError, errors.StreamGone) as error:
            error.url = self.target.shown
            yield from steps.shut()
            yield from self._failed(error)
            return
        if page is None:
            yield from self._refused(answer)
            return
        news = page.offset != self.at.offset
        known = self.at
        self.at = page
        self._succeeded()
        if news or self.at[3:] != known[3:] or live is None:
            yield [self.at]
        if not self.at.closed:
            yield from self._paced(time.monotonic() - began, news=news, live=live)

    def _taken(self, answer: Answer) -> Generator[Step | list[Chunk], Any, Chunk]:
        """The page of an answer."""
        position = self._position(answer)
        self.status = answer.status
        if not self.content_type:
            self.content_type = answer.headers.get("content-type", "") or "application/octet-stream"
            yield []
        if position.offset == self.at.offset:
            body = yield from self._body_without_news(answer)
        elif self.piecewise or self.by_messages:
            self._handed_out.begin(_origin(answer, position.offset))
            body, last = b"", None
            if self.piecewise:
                body = yield from self._body_in_pieces()
            else:
                last = yield from self._body_by_messages()
            self._handed_out.whole(up_to_date=position.up_to_date, json=self.by_messages)
            self._messages = last
        else:
            body = yield from steps.rest()
        return position._replace(data=body)

    def _paced(self, took: float, *, news: bool, live: str | None) -> Operation[None]:
        """Never ask in a hot loop, whatever a server or a cache answers."""
        if news or (live and took > HURRIED):
            self._pause = 0.0
        elif live is None:  # an empty page below the tail: nothing more is to come of it
            self.at = self.at._replace(up_to_date=True)
        else:
            yield from self._wait_longer()

    def _wait_longer(self) -> Operation[None]:
        self._pause = min(LONGEST_PAUSE, max(HURRIED_PAUSE, self._pause * 2))
        yield from steps.sleep(self._pause)

    def _body_without_news(self, answer: Answer) -> Operation[bytes]:
        """The body of a page that ends where it begins. Data there would be handed out for ever."""
        body = yield from steps.rest()
        if body and not (self.is_json and body.translate(None, b" \t\r\n") == b"[]"):
            message = (
                f"cannot read {self.target.shown}: {len(body)} bytes came at {self.at.offset!r},"
                " and Stream-Next-Offset does not go on behind them"
            )
            raise errors.ProtocolError(message, url=self.target.shown, status=answer.status)
        return body

    def _body_in_pieces(self) -> Generator[Step | list[Chunk], Any, bytes]:
        """Hand out the body as it comes, but for its last piece, which goes with the page's end."""
        last = b""
        while piece := (yield from steps.piece()):
            if not (piece := self._handed_out.beyond(piece)):
                continue
            if last:
                self._handed_out.handed(len(last), last)
                yield [self.at._replace(data=last, up_to_date=False)]
            last = piece
        return last

    def _body_by_messages(self) -> Generator[Step | list[Chunk], Any, list[Any]]:
        """Hand out messages as they come, but for the last ones, which go with the page's end."""
        parts = jsontext.Parts()
        resumed = self._handed_out.inside
        inside = self.at._replace(data=b"", up_to_date=False)
        while piece := (yield from steps.lent()):
            if resumed:
                if not (new := self._handed_out.beyond(bytes(piece))):
                    continue
                parts, resumed = jsontext.Parts(owing=new.startswith(b",")), False
                piece = b"[" + new.removeprefix(b",")
            else:
                self._handed_out.passed(len(piece))
            for found, text in parts.feed(piece):
                # Its bracket at the beginning may stand for a comma, the one at its end is ours.
                end = text[max(1, len(text) - 1 - COMPARED) : -1]
                self._handed_out.handed(len(text) - 1, end)
                self._messages = found
                del found
                yield [inside]
        return parts.end()

    def _events(self) -> Reading:
        began = time.monotonic()
        news = served = held_back = False
        other: Answer | None = None
        try:
            answer = yield from self._ask("sse")
            if answer.status != 200 or not _is_event_stream(answer):
                other = answer
            self.status = answer.status
            stream = EventStream(
                base64=answer.headers.get("stream-sse-data-encoding", "").lower() == "base64",
                json=self.is_json,
            )
            while other is None and (piece := (yield from steps.piece())):
                served = True
                chunks = stream.feed(piece)
                if not chunks:
                    continue
                self._succeeded()
                news = news or chunks[-1].offset != self.at.offset
                last = chunks[-1]
                self.at = last._replace(data=b"", cursor=last.cursor or self.at.cursor)
                yield chunks
                if self.at.closed:
                    yield from steps.shut()
                    return
        except Broken as broken:
            if broken.interrupted:
                return
            # Without a byte, something on the way may keep events back; else there was nothing to say.
            held_back = broken.silent and not served
            if held_back or not broken.silent:
                yield from self._broken(broken, "sse")
        except errors.ProtocolError as error:
            error.url = self.target.shown
            yield from steps.shut()
            yield from self._failed(error)
            return
        if other is not None:
            yield from self._no_events(other)
            return
        short = held_back or time.monotonic() - began < SHORT_CONNECTION
        self._short_connections = self._short_connections + 1 if short else 0
        if short and not news:
            yield from self._wait_longer()
        else:
            self._pause = 0.0

    def _no_events(self, answer: Answer) -> Reading:
        """What came instead of an event stream."""
        no_sse = answer.status in (400, 405, 406, 415, 501) or answer.status < 300
        if self._live is True and no_sse:
            yield from steps.shut()
            self._short_connections = SHORT_CONNECTIONS
            return
        if answer.status == 200:
            yield from steps.shut()
            kind = answer.headers.get("content-type", "nothing")
            message = f"cannot read {self.target.shown}: {kind} came instead of text/event-stream"
            yield from self._failed(errors.ProtocolError(message, url=self.target.shown))
            return
        yield from self._refused(answer)

    def _ask(self, live: str | None) -> Operation[Answer]:
        params = {"offset": self.at.offset}
        if live:
            params["live"] = live
            if self.at.cursor is not None:
                params["cursor"] = self.at.cursor
        headers = {"Accept": "text/event-stream"} if live == "sse" else {}
        request = yield from self.target.request(
            "GET", headers, params, read_timeout=self._stall_timeout if live else None
        )
        return (yield from steps.begin(request))

    def _position(self, answer: Answer) -> Chunk:
        headers = answer.headers
        offset = headers.get("stream-next-offset", "")
        if not offset:
            message = f"cannot read {self.target.shown}: an answer without Stream-Next-Offset"
            raise errors.ProtocolError(message, url=self.target.shown, status=answer.status)
        closed = refusal.is_true(headers, "stream-closed")
        up_to_date = closed or answer.status == 204 or refusal.is_true(headers, "stream-up-to-date")
        cursor = headers.get("stream-cursor") or self.at.cursor
        return Chunk(b"", offset, cursor, up_to_date, closed)

    def _succeeded(self) -> None:
        self._backoff.progress()
        self._refreshed = False

    def _refused(self, answer: Answer) -> Reading:
        """A status that is no page: refresh credentials, wait, or fail."""
        with contextlib.suppress(Broken):  # the status alone says enough
            answer = Answer(answer.status, answer.headers, (yield from steps.rest()))
        if answer.status == 401 and self.target.dynamic and not self._refreshed:
            self._refreshed = True
            return
        error = refusal.of(answer, self.target.shown, "read", {})
        wait = None
        if retrying.may_pass(answer.status, repeatable=True):
            wait = self._backoff.delay(refusal.retry_after(answer.headers))
        if wait is None:
            yield from self._failed(error)
        else:
            yield from steps.sleep(wait)

    def _broken(self, broken: Broken, live: str | None) -> Reading:
        """No answer, or half of one: wait and go on where we were.

        A long-poll is silent while there is nothing to say: that is no failure, however often.
        """
        if broken.interrupted or (live == "long-poll" and broken.silent):
            return
        wait = self._backoff.after(broken)
        if wait is None:
            error = retrying.connection_failed(broken, self.target.shown, "read")
            yield from self._failed(error)
        elif not (live and broken.silent):
            yield from steps.sleep(wait)

    def _failed(self, error: errors.ClientError) -> Operation[None]:
        """Ask the caller about the error, and raise it unless told to go on."""
        if self._on_error is None:
            raise error
        answer = yield from steps.ask(self._on_error, error)
        if not isinstance(answer, Again):
            raise error
        self.target.headers.update(answer.headers or {})
        self.target.params.update(answer.params or {})
        self._refreshed = False
        self._backoff.progress()
        yield from steps.sleep(self._backoff.delay() or 0.0)


def _origin(answer: Answer, end: str) -> str:
    """Stream and beginning of a page, as the entity tag has them: `"id:start:end"` (section 5.6)."""
    tag = answer.headers.get("etag", "").removeprefix("W/").strip('"').removesuffix(":c")
    origin = tag.removesuffix(f":{end}")
    return origin if origin != tag and ":" in origin else ""


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_event_stream(answer: Answer) -> bool:
    return _media_type(answer.headers.get("content-type", "")) == "text/event-stream"
