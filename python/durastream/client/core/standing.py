"""Where a server is with an idempotent producer, found out without writing anything (section 5.2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durastream.client import errors
from durastream.client.core import jsontext, retrying
from durastream.client.core.ledger import MAX_NUMBER

if TYPE_CHECKING:
    from durastream.client.core.steps import Operation
    from durastream.client.core.target import Target
    from durastream.client.options import Retry


def next_seq(target: Target, kind: str, producer: str, epoch: int, retry: Retry) -> Operation[int]:
    """The sequence number that the server expects next; 0 when it has seen nothing of this epoch.

    Asked by a batch of the greatest number there is, which every server must refuse: a gap, and the refusal
    tells. Raises `ProducerFenced` when the server knows a later epoch.
    """
    headers = {
        "Content-Type": kind,
        "Producer-Id": producer,
        "Producer-Epoch": str(epoch),
        "Producer-Seq": str(MAX_NUMBER),
    }
    content = b"[null]" if jsontext.is_json(kind) else b" "
    try:
        answer, _ = yield from retrying.call(
            target, "append to", "POST", headers, retry, content=content
        )
    except errors.ProducerGap as gap:
        return max(0, gap.expected)
    except errors.BadRequest as refused:
        if refused.status != 400:
            raise
        return 0  # it knows an older epoch: a new one must begin at 0
    error = errors.ProtocolError(
        f"cannot append to {target.shown}: the server took batch {MAX_NUMBER} without those before it;"
        " is this a Durable Streams server?",
        url=target.shown,
        status=answer.status,
    )
    error.maybe_written = True
    raise error
