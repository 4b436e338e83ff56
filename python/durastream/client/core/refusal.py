"""From a refused request to the error that says so."""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING, Any

from durastream.client import errors
from durastream.client.core import jsontext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durastream.client.core.steps import Answer

SHOWN_TEXT = 300
_OWN = ("stream-", "producer-", "retry-after", "content-type", "etag", "allow", "location")


def is_true(headers: Mapping[str, str], name: str) -> bool:
    """Whether a header says `true` (section 4.1: nothing else counts)."""
    return headers.get(name, "").lower() == "true"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds from now; it is a number or a date."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - time.time())


def number(headers: Mapping[str, str], name: str) -> int:
    """A header that is a number; -1 when it is not."""
    text = headers.get(name, "")
    return int(text) if text.isdecimal() and text.isascii() else -1


def cannot(doing: str, url: str) -> str:
    """The beginning of an error's text."""
    return f"cannot {doing}{' to' if doing == 'append' else ''} {url}"


def of(answer: Answer, url: str, doing: str, sent: Mapping[str, str]) -> errors.ClientError:
    """The error for an answer of 3xx, 4xx or 5xx. `doing` is what was tried: create, append, read, ..."""
    problem = _problem(answer)
    detail = str(problem.get("detail") or problem.get("title") or _beginning(answer.body))
    refused = answer.status == 409
    error = _conflict(answer, doing, sent) if refused else _by_status(answer, problem)
    said = f": {detail}" if detail else ""
    message = f"{cannot(doing, url)}: {_reason(answer, error, doing)} ({answer.status}){said}"
    error.args = (message,)
    error.message = message
    error.status, error.url, error.detail, error.problem = answer.status, url, detail, problem
    error.headers = {name: value for name, value in answer.headers.items() if name.startswith(_OWN)}
    return error


def _by_status(answer: Answer, problem: Mapping[str, Any]) -> errors.ClientError:
    status, headers = answer.status, answer.headers
    if status == 403 and "producer-epoch" in headers:
        fenced = errors.ProducerFenced("")
        fenced.current_epoch = number(headers, "producer-epoch")
        return fenced
    if status == 410:
        gone = errors.StreamGone("")
        earliest = problem.get("earliest")
        gone.earliest = earliest if isinstance(earliest, str) else None
        return gone
    if status == 412:
        moved = errors.TailMoved("")
        moved.tail = headers.get("stream-next-offset", "")
        return moved
    if status == 429:
        limited = errors.RateLimited("")
        limited.retry_after = retry_after(headers)
        return limited
    if status in (401, 403):
        return errors.Unauthorized("")
    if status == 404:
        return errors.StreamNotFound("")
    if status >= 500:
        return errors.ServerError("")
    return errors.BadRequest("") if status >= 400 else errors.ProtocolError("")


def _conflict(answer: Answer, doing: str, sent: Mapping[str, str]) -> errors.ClientError:
    headers = answer.headers
    if doing in ("create", "fork"):
        return errors.StreamExists("")
    if is_true(headers, "stream-closed"):
        closed = errors.StreamClosed("")
        closed.offset = headers.get("stream-next-offset", "")
        return closed
    if "producer-expected-seq" in headers:
        gap = errors.ProducerGap("")
        gap.expected = number(headers, "producer-expected-seq")
        gap.received = number(headers, "producer-received-seq")
        return gap
    kind = str(_problem(answer).get("type", ""))
    if "Stream-Seq" in sent and "content-type" not in kind:
        return errors.SeqConflict("")
    return errors.Conflict("")


_REASONS: dict[type[errors.ClientError], str] = {
    errors.BadRequest: "the server cannot take this request",
    errors.Unauthorized: "the credentials are missing or not enough",
    errors.StreamNotFound: "stream not found; it was never created, or is deleted or expired",
    errors.StreamExists: "the URL is taken by a stream with another configuration",
    errors.SeqConflict: "seq is not greater than the last one accepted",
    errors.StreamClosed: "the stream is closed and takes no more appends",
    errors.Conflict: "it contradicts the stream's state, its content type perhaps",
    errors.TailMoved: "somebody appended meanwhile; read on and decide again",
    errors.RateLimited: "too many requests",
    errors.ServerError: "the server failed",
    errors.ProtocolError: "an answer that the protocol does not know",
}


def _reason(answer: Answer, error: errors.ClientError, doing: str) -> str:
    if isinstance(error, errors.ProducerFenced):
        return (
            f"fenced: another instance of the producer holds epoch {error.current_epoch};"
            " stop, or start with a greater epoch"
        )
    if isinstance(error, errors.ProducerGap):
        return f"sequence gap: batch {error.expected} is missing, {error.received} came"
    if isinstance(error, errors.StreamGone):
        if doing != "read":
            return "deleted, and kept for its forks only; use another URL"
        where = f'"{error.earliest}"' if error.earliest else '"-1" (the start)'
        return (
            "gone: the stream was deleted, or data at this offset is no longer there;"
            f" read again from {where} and treat what you have as outdated"
        )
    if isinstance(error, errors.ProtocolError) and "location" in answer.headers:
        return "redirected; use the new URL, or a client with follow_redirects=True"
    return _REASONS[type(error)]


def _problem(answer: Answer) -> dict[str, Any]:
    if "json" not in answer.headers.get("content-type", ""):
        return {}
    try:
        found = jsontext.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _beginning(body: bytes) -> str:
    text = " ".join(body[: SHOWN_TEXT * 4].decode(errors="replace").split())
    return text if len(text) <= SHOWN_TEXT else text[:SHOWN_TEXT] + "..."
