"""What a log holds, seen through `LogEngine`, as JSON can hold it."""

import hashlib
from collections.abc import Callable
from typing import Any

from durastream import DurableStreamError, LogEngine, Offset

LONG = 300


def text(data: bytes) -> str:
    """Bytes so that people can read them: as text, as hex, or as a hash."""
    if len(data) > LONG:
        return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"
    readable = data.decode(errors="replace")
    if readable.encode() == data and (readable.isprintable() or not readable):
        return f"text {readable}"
    return f"hex {data.hex()}"


def describe(log: LogEngine, questions: list[dict[str, Any]]) -> dict[str, Any]:
    """Every stream, and the answers to questions that change nothing on the right state."""
    return {
        "streams": {info.path: _stream(log, info.path) for info in log.list()},
        "answers": [{"question": question, "answer": ask(log, question)} for question in questions],
    }


def _stream(log: LogEngine, path: str) -> dict[str, Any]:
    info = log.head(path)
    page = log.read(path, info.floor)
    assert page.up_to_date
    described = {
        "id": info.id,
        "content_type": info.content_type,
        "created_at": info.created_at.isoformat(),
        "ttl": None if info.ttl is None else info.ttl.total_seconds(),
        "expires_at": None if info.expires_at is None else info.expires_at.isoformat(),
        "closed": info.closed,
        "floor": str(info.floor),
        "tail": str(info.tail),
        "read_from": str(page.start),
        "next_offset": str(page.next_offset),
        **_appends(log, path, page.start, info.tail),
        "body": text(bytes(page)),
    }
    limits = info.retention
    if limits is not None:
        age = None if limits.max_age is None else limits.max_age.total_seconds()
        described["retention"] = [limits.max_bytes, age, limits.max_events]
    return described


def _appends(log: LogEngine, path: str, at: Offset, tail: Offset) -> dict[str, list[Any]]:
    """Each append, or what a fork has of it: a page never has less than one."""
    appends, ends = [], []
    while at != tail:
        page = log.read(path, at, max_bytes=1)
        appends.append(text(b"".join(page.chunks)))
        at = page.next_offset
        ends.append(at.position)
    return {"ends": ends, "appends": appends}


def ask(log: LogEngine, question: dict[str, Any]) -> dict[str, Any]:
    """What the engine says to one call, `{"call": name, ...arguments}`."""
    arguments = dict(question)
    try:
        return {"result": CALLS[arguments.pop("call")](log, **arguments)}
    except DurableStreamError as error:
        return {"error": type(error).__name__, "facts": [str(fact) for fact in error.args[1:]]}


def _append(
    log: LogEngine,
    path: str,
    data: str,
    producer: list[Any] | None = None,
    stream_seq: str | None = None,
    close: bool = False,
) -> str:
    triple = None if producer is None else (producer[0], producer[1], producer[2])
    if data:
        result = log.append(
            path, data.encode(), producer=triple, stream_seq=stream_seq, close=close
        )
    else:
        result = log.close_stream(path, producer=triple)
    kind = "duplicate" if result.duplicate else "APPENDED"
    return f"{kind}, next {result.next_offset}, producer {result.producer}, closed {result.closed}"


def _read(log: LogEngine, path: str, offset: str) -> str:
    return text(bytes(log.read(path, offset)))


def _create(log: LogEngine, path: str, ttl: float | None = None, closed: bool = False) -> str:
    return "CREATED" if log.create(path, ttl=ttl, closed=closed).created else "exists just so"


def _fork(
    log: LogEngine,
    source: str,
    path: str,
    offset: str | None = None,
    sub_offset: int = 0,
    closed: bool = False,
) -> str:
    fork = log.fork(source, path, offset, sub_offset, closed=closed)
    return "CREATED" if fork.created else "exists just so"


CALLS: dict[str, Callable[..., str]] = {
    "append": _append,
    "read": _read,
    "create": _create,
    "fork": _fork,
}
