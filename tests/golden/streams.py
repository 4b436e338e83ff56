"""The state in a checkpoint's payload, both versions of it. Written from `docs/format.md` alone."""

from typing import Any

from .codec import Input
from .events import take_expiry, take_fork, take_retention

Stream = dict[str, Any]


def state(payload: bytes) -> dict[str, Any]:
    """The version, the next id and the streams by path."""
    source = Input(payload)
    version = source.byte()
    assert version in {1, 2}
    next_id = source.number()
    types = [source.text() for _ in range(source.number())] if version == 1 else []
    take = _stream_v1 if version == 1 else _stream_v2
    streams = [take(source, types) for _ in range(source.number())]
    source.end()
    paths = [stream["path"] for stream in streams]
    assert paths == sorted(set(paths), key=str.encode)
    return {
        "version": version,
        "next_id": next_id,
        "streams": dict(zip(paths, streams, strict=True)),
    }


def _stream_v1(source: Input, types: list[str]) -> Stream:
    flags = source.byte()
    assert flags < 16
    stream: Stream = {
        "closed": bool(flags & 1),
        "soft_deleted": bool(flags & 2),
        "id": source.number(),
        "root": source.number(),
        "path": source.text(),
        "content_type": types[source.number()],
        "created_at": source.number(),
        "floor": source.number(),
        "start": source.number(),
        "forks": source.number(),
    }
    stream["payloads"] = _payloads(source, stream["start"])
    if flags & 4:
        _lifetime(source, stream)
    if flags & 8:
        stream["fork"] = take_fork(source)
        _more(source, stream)
    return stream


def _stream_v2(source: Input, types: list[str]) -> Stream:
    number = source.number()
    if number == len(types):
        types.append(source.text())
        assert types.index(types[-1]) == number
    flags = source.byte()
    assert flags < 64
    stream: Stream = {
        "content_type": types[number],
        "closed": bool(flags & 1),
        "soft_deleted": bool(flags & 2),
        "id": source.number(),
        "path": source.text(),
        "created_at": source.number(),
        "forks": source.number(),
        "floor": 0,
        "kept": 0,
    }
    stream["root"] = stream["id"]
    if flags & 16:
        stream["floor"], stream["kept"] = source.number(), source.number()
        assert (stream["floor"], stream["kept"]) != (0, 0)
    if flags & 4:
        _lifetime(source, stream)
    if flags & 8:
        stream["fork"] = take_fork(source)
        if stream["fork"]:
            stream["root"] = source.number()
        _more(source, stream)
    if flags & 32:
        limits = stream["retention"] = take_retention(source)
        assert limits
        for limit in ("max_events", "max_age"):
            if limit in limits:
                stream[f"runs by {limit}"] = _runs(source)
    stream["start"] = source.number()
    stream["payloads"] = _payloads(source, stream["start"])
    return stream


def _payloads(source: Input, start: int) -> list[tuple[int, int, int]]:
    """LSN, begin and end of each."""
    end, lsn, payloads = start, 0, []
    for _ in range(source.number()):
        begin = end
        end, lsn = end + source.number(), lsn + source.number()
        payloads.append((lsn, begin, end))
    return payloads


def _lifetime(source: Input, stream: Stream) -> None:
    stream["expiry"], stream["last_access"] = take_expiry(source), source.number()
    assert stream["expiry"] is not None


def _more(source: Input, stream: Stream) -> None:
    stream["producers"] = {
        source.text(): (source.number(), source.number()) for _ in range(source.number())
    }
    assert list(stream["producers"]) == sorted(stream["producers"], key=str.encode)
    closing = source.byte()
    assert closing <= 1
    stream["closing"] = (source.text(), source.number(), source.number()) if closing else None
    has_seq = source.byte()
    assert has_seq <= 1
    stream["stream_seq"] = source.bytes() if has_seq else None


def _runs(source: Input) -> dict[str, Any]:
    """The mark of the newest run's first append; position and last mark of every run."""
    newest, position, mark, runs = source.number(), 0, 0, []
    for _ in range(source.number()):
        position, mark = position + source.number(), mark + source.number()
        runs.append((position, mark))
    return {"newest": newest, "runs": runs}
