"""The same calls on LogEngine and on the model, and whether both said the same."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from durastream import LogEngine, errors

from .model import Model, Refused, Stream

T = TypeVar("T")
U = TypeVar("U")

WHOLE = 64 << 20

REFUSALS: dict[str, type[errors.DurableStreamError]] = {
    "not found": errors.StreamNotFound,
    "soft-deleted": errors.StreamDeleted,
    "path held by forks": errors.StreamDeleted,
    "exists": errors.StreamExists,
    "source not found": errors.StreamNotFound,
    "source deleted": errors.StreamDeleted,
    "fork point": errors.InvalidForkPoint,
    "fenced": errors.ProducerFenced,
    "closed": errors.StreamClosed,
    "stream seq": errors.SeqConflict,
    "epoch start": errors.ProducerEpochStart,
    "gap": errors.ProducerGap,
    "gone": errors.OffsetGone,
    "trim point": errors.InvalidOffset,
    "tail moved": errors.TailMoved,
}
FACTS = {
    "current_epoch": "current_epoch",
    "expected_seq": "expected",
    "received_seq": "received",
}


def start(directory: Path) -> LogEngine:
    """An engine that seals, forgets and writes checkpoints all the time, and keeps little in memory."""
    return LogEngine(
        directory,
        segment_bytes=16 << 10,
        hot_bytes=8 << 10,
        checkpoint_bytes=1 << 17,
        reap_interval=0.02,
    )


def token(stream: Stream, position: int) -> str:
    """The only text that a position of this stream may have."""
    assert stream.life.incarnation is not None
    return f"{stream.life.incarnation:016}_{position:016}"


def body(stream: Stream, messages: list[bytes]) -> bytes:
    """Messages as a client sends them."""
    return b" [" + b" , ".join(messages) + b"] " if stream.is_json else b"".join(messages)


def framed(stream: Stream, wire: bytes) -> bytes:
    """Stored bytes as a reader gets them."""
    return b"[" + wire[:-1] + b"]" if stream.is_json else wire


def agree(asked: Callable[[], T], told: Callable[[], U]) -> tuple[T, U] | None:
    """Asks model and engine; `None` when both refused, for the same reason and with the same facts."""
    try:
        expected, refusal = asked(), None
    except Refused as refused:
        refusal = refused
    try:
        answer, error = told(), None
    except errors.DurableStreamError as raised:
        error = raised
    if refusal is None:
        if error is not None:
            raise error
        return expected, answer
    assert error is not None, f"the model refuses ({refusal}), the engine answers {answer}"
    assert type(error) is REFUSALS[refusal.kind], (refusal, error)
    for ours, theirs in FACTS.items():
        if ours in refusal.facts:
            assert getattr(error, theirs) == refusal.facts[ours]
    return None


def compare(engine: LogEngine, model: Model) -> None:
    """Everything that can be seen of the engine is what the model says."""
    listed = list(engine.list())
    assert [info.path for info in listed] == model.live()
    for info in listed:
        stream = model.streams[info.path]
        assert info == engine.head(info.path)
        assert str(info.tail) == token(stream, stream.tail)
        assert info.floor.position == stream.floor
        assert (info.closed, info.content_type) == (stream.closed, stream.content_type)
        page = engine.read(info.path, "-1", max_bytes=WHOLE)
        assert bytes(page) == framed(stream, model.text(stream))
        assert (str(page.next_offset), page.up_to_date, page.closed) == (
            str(info.tail),
            True,
            stream.closed,
        )
    for path, stream in model.streams.items():
        if stream.soft_deleted:
            with pytest.raises(errors.StreamDeleted):
                engine.head(path)
