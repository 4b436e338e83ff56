"""Create, append, close, delete, head and fork as operations."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from durastream.client.core import jsontext, messages, refusal, retrying, standing
from durastream.client.errors import ProtocolError
from durastream.client.results import Appended, Created, StreamHead

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from durastream.client.core.steps import Answer, Operation
    from durastream.client.core.target import Target
    from durastream.client.options import Retry

DEFAULT_TYPE = "application/octet-stream"


class Commands:
    """What can be asked about one stream. Both twins of `DurableStream` hold one."""

    def __init__(self, target: Target, content_type: str | None, retry: Retry) -> None:
        self.target = target
        self.content_type = content_type
        self.retry = retry

    def create(
        self,
        content_type: str | None,
        *,
        ttl: int | timedelta | None,
        expires_at: str | datetime | None,
        body: Any,  # noqa: ANN401  (any JSON value)
        closed: bool,
    ) -> Operation[Created]:
        """PUT (section 5.1)."""
        kind = content_type or self.content_type or DEFAULT_TYPE
        headers = {"Content-Type": kind, **_expiry(ttl, expires_at)}
        if closed:
            headers["Stream-Closed"] = "true"
        content = None
        if body is not None:
            as_json = jsontext.is_json(kind)
            content = messages.encoded(body, as_json=as_json)
            if as_json and not isinstance(body, bytes):
                content = messages.body([content], as_json=True)
        created = yield from self._put(self.target, "create", headers, content)
        self.content_type = created.content_type or kind
        return created

    def fork(
        self,
        to: str,
        *,
        offset: str | None,
        sub_offset: int | None,
        ttl: int | timedelta | None,
        expires_at: str | datetime | None,
    ) -> Operation[Target]:
        """PUT of another stream that begins as this one (section 4.2)."""
        if sub_offset is not None and sub_offset < 0:
            raise ValueError(f"sub_offset is {sub_offset}: it must be 0 or more")
        headers = {"Stream-Forked-From": self.target.path, **_expiry(ttl, expires_at)}
        if self.content_type:
            headers["Content-Type"] = self.content_type
        if offset is not None:
            headers["Stream-Fork-Offset"] = offset
        if sub_offset:
            headers["Stream-Fork-Sub-Offset"] = str(sub_offset)
        child = self.target.sibling(to)
        yield from self._put(child, "fork", headers, None)
        return child

    def _put(
        self, target: Target, doing: str, headers: Mapping[str, str], content: bytes | None
    ) -> Operation[Created]:
        answer, _ = yield from retrying.call(
            target, doing, "PUT", headers, self.retry, content=content
        )
        confirmed(answer, target.shown, doing, (200, 201))
        return Created(
            url=target.shown,
            offset=answer.headers["stream-next-offset"],
            content_type=answer.headers.get("content-type", ""),
            created=answer.status == 201,
            closed=refusal.is_true(answer.headers, "stream-closed"),
            status=answer.status,
        )

    def head(self) -> Operation[StreamHead]:
        """HEAD (section 5.5)."""
        answer, _ = yield from retrying.call(self.target, "find", "HEAD", {}, self.retry)
        confirmed(answer, self.target.shown, "find", (200,))
        ttl = refusal.number(answer.headers, "stream-ttl")
        found = StreamHead(
            offset=answer.headers["stream-next-offset"],
            content_type=answer.headers.get("content-type", DEFAULT_TYPE),
            closed=refusal.is_true(answer.headers, "stream-closed"),
            ttl=None if ttl < 0 else ttl,
            expires_at=answer.headers.get("stream-expires-at"),
            headers=dict(answer.headers.items()),
        )
        self.content_type = found.content_type
        return found

    def known_type(self) -> Operation[str]:
        """The stream's content type; asks the server if need be."""
        if self.content_type is None:
            yield from self.head()
        return self.content_type or DEFAULT_TYPE

    def append(
        self, given: Iterable[Any], *, seq: str | None = None, if_match: str | None = None
    ) -> Operation[Appended]:
        """POST (section 5.2)."""
        kind = yield from self.known_type()
        as_json = jsontext.is_json(kind)
        payloads = [messages.encoded(message, as_json=as_json) for message in given]
        if not payloads:
            raise ValueError("nothing to append: give one message at least")
        return (yield from self.append_encoded(payloads, kind, seq=seq, if_match=if_match))

    def append_encoded(
        self,
        payloads: list[bytes],
        kind: str,
        *,
        seq: str | None = None,
        if_match: str | None = None,
        closing: bool = False,
    ) -> Operation[Appended]:
        """As `append`, of messages that are encoded already."""
        headers = {"Content-Type": kind}
        if seq is not None:
            headers["Stream-Seq"] = seq
        if if_match is not None:
            headers["If-Match"] = if_match
        if closing:
            headers["Stream-Closed"] = "true"
        body = messages.body(payloads, as_json=jsontext.is_json(kind)) if payloads else b""
        doing = "close" if closing else "append"
        answer, _ = yield from retrying.call(
            self.target,
            doing,
            "POST",
            headers,
            self.retry,
            content=body,
            repeatable=closing and not payloads,
        )
        found = appended(answer, self.target.shown, doing)
        if closing and not found.closed:
            raise _unknown(answer, self.target.shown, doing, "an answer without Stream-Closed")
        return found

    def next_producer_seq(self, producer: str, epoch: int) -> Operation[int]:
        """What the server expects next of a producer (section 5.2.1)."""
        kind = yield from self.known_type()
        return (yield from standing.next_seq(self.target, kind, producer, epoch, self.retry))

    def close(self, final: Any) -> Operation[Appended]:  # noqa: ANN401  (any JSON value)
        """POST with `Stream-Closed` (section 5.3)."""
        if final is None:
            return (
                yield from self.append_encoded([], self.content_type or DEFAULT_TYPE, closing=True)
            )
        kind = yield from self.known_type()
        payload = messages.encoded(final, as_json=jsontext.is_json(kind))
        return (yield from self.append_encoded([payload], kind, closing=True))

    def delete(self) -> Operation[None]:
        """DELETE (section 5.4)."""
        answer, _ = yield from retrying.call(self.target, "delete", "DELETE", {}, self.retry)
        if answer.status not in (204, 404):  # 404: an attempt before this one has deleted it
            reason = f"an answer of {answer.status} instead of 204"
            raise _unknown(answer, self.target.shown, "delete", reason)


def appended(answer: Answer, url: str = "", doing: str = "append") -> Appended:
    """The answer to an append or a close (section 5.2). Raises ProtocolError if it confirms nothing."""
    if answer.status != 204 or "producer-seq" not in answer.headers:
        confirmed(answer, url, doing, (200, 204))
    seq = refusal.number(answer.headers, "producer-seq")
    return Appended(
        offset=answer.headers.get("stream-next-offset", ""),
        closed=refusal.is_true(answer.headers, "stream-closed"),
        duplicate=answer.status == 204 and "producer-seq" in answer.headers,
        status=answer.status,
        producer_seq=None if seq < 0 else seq,
    )


def confirmed(answer: Answer, url: str, doing: str, statuses: tuple[int, ...]) -> None:
    """Raise ProtocolError unless this is the protocol's own success, not a login page or another's 200."""
    if answer.status not in statuses:
        raise _unknown(answer, url, doing, f"a success that is none ({answer.status})")
    if not answer.headers.get("stream-next-offset"):
        raise _unknown(answer, url, doing, "an answer without Stream-Next-Offset")


def _unknown(answer: Answer, url: str, doing: str, reason: str) -> ProtocolError:
    kind = answer.headers.get("content-type")
    suffix = f" ({answer.status}, {kind}); is this a Durable Streams server?" if kind else ""
    error = ProtocolError(
        f"{refusal.cannot(doing, url)}: {reason}{suffix}", url=url, status=answer.status
    )
    error.maybe_written = doing in ("append", "close")
    return error


def _expiry(ttl: int | timedelta | None, expires_at: str | datetime | None) -> dict[str, str]:
    if ttl is not None and expires_at is not None:
        raise ValueError("give ttl or expires_at, not both (section 5.1)")
    if ttl is not None:
        seconds = math.ceil(ttl.total_seconds()) if isinstance(ttl, timedelta) else ttl
        if seconds < 0:
            raise ValueError(f"ttl is {seconds} s: it must be 0 or more")
        return {"Stream-TTL": str(seconds)}
    if isinstance(expires_at, datetime):
        if expires_at.tzinfo is None:
            raise ValueError("expires_at has no time zone: use datetime.now(UTC) + ..., say")
        expires_at = expires_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return {} if expires_at is None else {"Stream-Expires-At": expires_at}
