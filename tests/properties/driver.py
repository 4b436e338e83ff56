"""The same calls on LogEngine and on the model, and whether both said the same."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from durastream import LogEngine, errors

from .model import Model, Refused, Stream

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

LIMITS = {"segment_bytes": 1 << 20, "checkpoint_bytes": 1 << 21}
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
    return LogEngine(directory, **LIMITS)


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


def agree(asked: Callable[[], T], told: Callable[[], object]) -> tuple[T, object] | None:
    """Asks model and engine; `None` when both refused, for the same reason and with the same facts."""
    expected, refused = _try(asked, Refused)
    told_value, error = _try(told, errors.DurableStreamError)
    if refused is None:
        if error is not None:
            raise error
        return expected, told_value
    assert error is not None, f"the model refuses ({refused}), the engine answers {told_value}"
    assert type(error) is REFUSALS[refused.kind], (refused, error)
    for ours, theirs in FACTS.items():
        if ours in refused.facts:
            assert getattr(error, theirs) == refused.facts[ours]
    return None


def _try(call: Callable[[], T], kind: type[E]) -> tuple[T, None] | tuple[None, E]:
    try:
        return call(), None
    except kind as error:
        return None, error


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
            assert (
                agree(lambda path=path: model.find(path), lambda path=path: engine.head(path))
                is None
            )
