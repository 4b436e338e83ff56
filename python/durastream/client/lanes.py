"""The threads that send a producer's batches."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from durastream.client.core.ledger import Batch, Ledger
from durastream.client.errors import ClientError, NotWritten
from durastream.client.wire import Cancelled, Wire, perform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from durastream.client.core.delivery import Delivery

logger = logging.getLogger("durastream.client")

EXIT_SECONDS = 5.0
"""How long the end of the interpreter waits for messages that nobody flushed."""


class Lanes:
    """Threads that take batches from a ledger. They do not keep the producer alive."""

    def __init__(
        self, ledger: Ledger, on_error: Callable[[ClientError, Sequence[Any]], None] | None
    ) -> None:
        self.ledger = ledger
        self.lock = threading.Lock()
        """Guards the ledger."""
        self.changed = threading.Condition(self.lock)
        """Notified of everything that a sender or a waiter may wait for."""
        self.ended = False
        self.started = False
        self._on_error = on_error
        self._wires: list[LaneWire] = []

    def start(self, delivery: Delivery, client: httpx.Client | None, timeout: float | None) -> None:
        """Start the threads, once; the caller holds `changed`."""
        if self.started or self.ended:
            return
        self.started = True
        for number in range(self.ledger.limits.max_in_flight):
            wire = LaneWire(client, timeout, self)
            self._wires.append(wire)
            name = f"durastream-producer-{self.ledger.id}-{number}"
            threading.Thread(
                target=self._run, args=(wire, delivery), name=name, daemon=True
            ).start()
        _unfinished.add(self)

    def over(self) -> bool:
        """Whether nothing more will be confirmed."""
        return self.ended or (self.ledger.failure is not None and self.ledger.settled)

    def stop(self) -> Sequence[Any]:
        """End the threads; gives the messages not confirmed."""
        with self.changed:
            self.ended = True
            lost = self.ledger.unconfirmed()
            self.changed.notify_all()
        for wire in self._wires:
            wire.cancel()
        _unfinished.discard(self)
        return lost

    def abandon(self) -> int:
        """`stop` for a finalizer: it waits for no lock; gives how many messages are not confirmed.

        A finalizer runs in any thread, one that holds the lock among them, and at the interpreter's end while
        daemon threads that hold it never go on.
        """
        if self.ended or not self.started or sys.is_finalizing():
            return 0
        pending = self.ledger.pending
        self.ended = True
        if self.changed.acquire(blocking=False):
            self.changed.notify_all()
            self.changed.release()
        for wire in self._wires:
            wire.cancel()
        _unfinished.discard(self)
        return pending

    def orphan(self) -> None:
        """In a forked child: the threads are the parent's, and so are the messages."""
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.ended = True
        self.ledger.unconfirmed()
        self.ledger.failure = NotWritten(
            f"producer {self.ledger.id!r} was made before fork(): make another one, of another id or epoch"
        )

    def _run(self, wire: LaneWire, delivery: Delivery) -> None:
        while (batch := self._take()) is not None:
            try:
                answer = perform(delivery.of(batch), wire)
            except Cancelled:
                return
            except ClientError as error:
                self._fail(batch, error)
            except BaseException as error:  # noqa: BLE001  (a callable header that raises, say)
                failed = NotWritten(f"cannot append: {type(error).__name__}: {error}")
                failed.__cause__ = error
                self._fail(batch, failed)
            else:
                with self.changed:
                    if not self.ended:
                        self.ledger.confirmed(batch, answer)
                    self.changed.notify_all()
                    failure = self._settled_failure()
                self._tell(failure)

    def _take(self) -> Batch | None:
        with self.changed:
            while not self.ended:
                found = self.ledger.take()
                if isinstance(found, Batch):
                    return found
                self.changed.wait(found)
            self.changed.notify_all()  # `abandon` may have reached this thread alone
        return None

    def _fail(self, batch: Batch, error: ClientError) -> None:
        with self.changed:
            if self.ended:
                return
            self.ledger.failed(batch, error)
            failure = self._settled_failure()
            self.changed.notify_all()
        self._tell(failure)

    def _settled_failure(self) -> ClientError | None:
        """The failure, once nothing is on its way any more and it is known what was not written."""
        failure = self.ledger.failure
        if failure is None or not self.ledger.settled or self.ended:
            return None
        failure.unwritten = self.ledger.unconfirmed()
        return failure

    def _tell(self, failure: ClientError | None) -> None:
        if failure is None or self._on_error is None:
            return
        try:
            self._on_error(failure, failure.unwritten)
        except Exception:
            logger.exception("the on_error of producer %r failed", self.ledger.id)


class LaneWire(Wire):
    """A wire whose batches may have to wait for those before them."""

    def __init__(self, client: httpx.Client | None, timeout: float | None, lanes: Lanes) -> None:
        super().__init__(client, timeout)
        self._lanes = lanes

    def predecessors(self, batch: Batch) -> None:
        """Wait until no batch before this one is on its way."""
        lanes = self._lanes
        with lanes.changed:
            lanes.changed.wait_for(
                lambda: lanes.ended or lanes.ledger.first(batch) or lanes.ledger.hopeless(batch)
            )
        if lanes.ended:
            raise Cancelled


_unfinished: weakref.WeakSet[Lanes] = weakref.WeakSet()


def _forked() -> None:
    for lanes in list(_unfinished):
        lanes.orphan()
    _unfinished.clear()


os.register_at_fork(after_in_child=_forked)


@atexit.register
def _finish() -> None:
    """Producers that nobody ended: wait for what they hold, and say what is lost."""
    for lanes in list(_unfinished):
        with lanes.changed:
            lanes.ledger.flushing += 1
            lanes.changed.notify_all()
            lanes.changed.wait_for(lambda held=lanes: held.ledger.idle or held.over(), EXIT_SECONDS)  # type: ignore[misc]
        if lost := lanes.stop():
            logger.warning(
                "producer %r: %d messages are not confirmed at exit", lanes.ledger.id, len(lost)
            )
