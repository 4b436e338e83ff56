"""Sending one batch of an idempotent producer until the server has it or never will."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durastream.client import errors
from durastream.client.core import commands, jsontext, refusal, retrying, standing, steps
from durastream.client.core.retrying import Backoff
from durastream.client.core.steps import Broken, Step

if TYPE_CHECKING:
    from durastream.client.core.ledger import Batch, Ledger
    from durastream.client.core.steps import Answer, Operation, Request
    from durastream.client.core.target import Target
    from durastream.client.options import Retry
    from durastream.client.results import Appended


class Delivery:
    """How batches of one producer are sent."""

    def __init__(self, ledger: Ledger, target: Target, kind: str, retry: Retry) -> None:
        ledger.separator = b"," if jsontext.is_json(kind) else b""
        self._ledger = ledger
        self._target = target
        self._kind = kind
        self._retry = retry
        self._known_epoch = -1
        """The epoch of which is known that nobody before us wrote in it."""

    def of(self, batch: Batch) -> Operation[Appended]:
        """Send it, again and again if need be: a sequence number is written once."""
        backoff = Backoff(self._retry)
        refreshed = False
        body = self._body(batch)
        if batch.seq == 0 and not self._ledger.replay and self._known_epoch != batch.epoch:
            yield from self._learn(batch)
        if batch.closing:
            # A closed stream answers 409 to what it has already, but for what closed it (section 5.3):
            # no batch whose answer was lost may be sent again behind this one.
            yield Step("predecessors", (batch,))
        while True:
            if self._ledger.hopeless(batch):
                raise errors.NotWritten("a batch before this one failed", url=self._target.shown)
            first = self._ledger.first(batch)
            request = yield from self._request(batch, body)
            try:
                answer = yield from steps.send(request)
            except Broken as broken:
                batch.doubtful = batch.doubtful or broken.sent
                yield from self._broken(batch, broken, backoff)
                continue
            if answer.status < 300:
                if answer.status != 204 or self._own(batch, answer):
                    return commands.appended(answer, self._target.shown)
                self._taken_for_another(batch)
                continue
            if answer.status == 401 and self._target.dynamic and not refreshed:
                refreshed = True
                continue
            refreshed = False
            yield from self._refused(batch, answer, backoff, request, first=first)

    def _learn(self, batch: Batch) -> Operation[None]:
        """Find out whether the epoch is free, or claim the next one.

        Without this, "duplicate" to the second attempt at a first batch could be said of ours, or of one that
        an earlier run had sent.
        """
        ledger = self._ledger
        try:
            expected = yield from standing.next_seq(
                self._target, self._kind, ledger.id, batch.epoch, self._retry
            )
        except errors.ProducerFenced as fenced:
            if not ledger.may_claim(batch):
                raise
            ledger.claim(batch, fenced.current_epoch)
        except errors.StreamClosed:
            if batch.messages:
                raise  # to close it again is harmless
        else:
            if expected:
                self._taken_for_another(batch)
        self._known_epoch = batch.epoch

    def _broken(self, batch: Batch, broken: Broken, backoff: Backoff) -> Operation[None]:
        wait = backoff.after(broken)
        if wait is None:
            known = Broken(broken.reason, sent=batch.doubtful)
            raise retrying.connection_failed(known, self._target.shown, "append") from broken
        yield from steps.sleep(wait)

    def _refused(
        self, batch: Batch, answer: Answer, backoff: Backoff, request: Request, *, first: bool
    ) -> Operation[None]:
        error = refusal.of(answer, self._target.shown, "append", request.headers)
        if isinstance(error, errors.ProducerGap) and not first:
            # It overtook its predecessors on another connection. They go first, then it is its turn.
            yield Step("predecessors", (batch,))
        elif isinstance(error, errors.ProducerFenced) and self._ledger.may_claim(batch):
            self._ledger.claim(batch, error.current_epoch)
        else:
            wait = None
            if retrying.may_pass(answer.status, repeatable=True):
                # A gateway's 502, say, may hide that the server has it.
                batch.doubtful = batch.doubtful or retrying.leaves_open(answer.status)
                wait = backoff.delay(refusal.retry_after(answer.headers))
            if wait is None:
                raise retrying.in_doubt(error) if batch.doubtful else error
            yield from steps.sleep(wait)

    def _own(self, batch: Batch, answer: Answer) -> bool:
        """Whether a duplicate is one of a batch of ours, not of somebody else's with its epoch and number."""
        if batch.closing:
            return answer.headers.get("stream-closed", "").lower() == "true"
        if self._ledger.replay:
            return True
        beyond = refusal.number(answer.headers, "producer-seq") > batch.seq
        if beyond and not self._ledger.established:
            # The first batch of an epoch travels alone: whoever is beyond it is another.
            batch.doubtful = False
        # Nobody had used the epoch before us: what may have arrived of this batch is ours.
        return batch.doubtful

    def _taken_for_another(self, batch: Batch) -> None:
        """Somebody else wrote under this id and epoch."""
        if self._ledger.may_claim(batch):
            self._ledger.claim(batch, batch.epoch)
            return
        error = errors.ProducerFenced(
            f"cannot append to {self._target.shown}: producer {self._ledger.id!r} has used epoch"
            f" {batch.epoch} before, so that the server would take this batch for a repetition and not"
            " write it; start with a greater epoch, or with auto_claim",
            url=self._target.shown,
        )
        error.current_epoch = batch.epoch
        raise error

    def _request(self, batch: Batch, body: bytes) -> Operation[Request]:
        headers = {
            "Content-Type": self._kind,
            "Producer-Id": self._ledger.id,
            "Producer-Epoch": str(batch.epoch),
            "Producer-Seq": str(batch.seq),
        }
        if batch.closing:
            headers["Stream-Closed"] = "true"
        return (yield from self._target.request("POST", headers, content=body))

    def _body(self, batch: Batch) -> bytes:
        if batch.messages and self._ledger.separator:
            return b"".join((b"[", memoryview(batch.content)[:-1], b"]"))
        return bytes(batch.content)
