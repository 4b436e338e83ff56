"""What can go wrong between a client and a server, as types that carry the facts.

Every exception derives from `ClientError`, which derives from `durastream.DurableStreamError`. Its text
says what was wrong and what to do; none carries a header, a query parameter or a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durastream.errors import DurableStreamError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ClientError",
    "BadRequest",
    "Unauthorized",
    "StreamNotFound",
    "Conflict",
    "StreamExists",
    "SeqConflict",
    "ProducerGap",
    "StreamClosed",
    "ProducerFenced",
    "StreamGone",
    "TailMoved",
    "RateLimited",
    "ServerError",
    "ProtocolError",
    "ConnectionFailed",
    "AlreadyConsumed",
    "NotWritten",
]


class ClientError(DurableStreamError):
    """The base of everything that `durastream.client` raises on its own account."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        url: str = "",
        detail: str = "",
        problem: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        """The status code answered, if there was an answer."""
        self.url = url
        """The stream's URL, without password and query."""
        self.detail = detail
        """What the server said: `detail` of its problem document, or the beginning of its text."""
        self.problem: Mapping[str, Any] = problem or {}
        """The problem document (RFC 9457) with its facts, if the server sent one."""
        self.headers: Mapping[str, str] = headers or {}
        """The protocol's own headers of the answer, names in lower case."""
        self.maybe_written = False
        """Whether an append or a close may have been carried out all the same."""
        self.unwritten: Sequence[Any] = ()
        """Messages of an `IdempotentProducer` that ended here, in order: the server did not confirm them."""


class BadRequest(ClientError):
    """The server cannot take this request as it is: 400, 405, 413, 415 and the like."""


class Unauthorized(ClientError):
    """Credentials are missing, wrong or not enough (401, 403)."""


class StreamNotFound(ClientError):
    """No stream there: never created, deleted or expired (404)."""


class Conflict(ClientError):
    """The request contradicts the stream's state: another content type, say (409)."""


class StreamExists(Conflict):
    """The URL is taken by a stream with another configuration (409 to a creation, section 5.1)."""


class SeqConflict(Conflict):
    """`seq` is not greater than the last one accepted (section 5.2)."""


class ProducerGap(Conflict):
    """A batch before this one is missing at the server (section 5.2.1): `expected` was, `received` came."""

    expected: int = -1
    received: int = -1


class StreamClosed(Conflict):
    """The stream is closed and takes no more appends (section 4.1). `offset` is its end."""

    offset: str = ""


class ProducerFenced(ClientError):
    """Another instance of this producer took over with a newer epoch, `current_epoch` (section 5.2.1)."""

    current_epoch: int = -1


class StreamGone(ClientError):
    """Deleted and kept for its forks only, or the offset is of data that is no longer there (410).

    `earliest` is an offset to read on from, when the server tells; else read from "-1".
    """

    earliest: str | None = None


class TailMoved(ClientError):
    """`if_match` did not name the tail: somebody appended meanwhile (412). `tail` is where it is now."""

    tail: str = ""


class RateLimited(ClientError):
    """Too many requests (429). `retry_after` is in seconds, when the server told."""

    retry_after: float | None = None


class ServerError(ClientError):
    """The server failed (5xx), also after the retries allowed."""


class ProtocolError(ClientError):
    """An answer that the protocol does not know: a missing header, broken JSON, a broken event stream."""


class ConnectionFailed(ClientError):
    """No answer, also after the retries allowed: refused, dropped, timed out.

    `maybe_written` says whether an append may have arrived all the same. (Appends of an
    `IdempotentProducer` never leave that open.)
    """


class AlreadyConsumed(ClientError, RuntimeError):
    """A `StreamResponse` is read once, in one way. Open another one from `offset`."""


class NotWritten(ClientError):
    """An `IdempotentProducer` ended with messages that the server did not confirm: see `unwritten`.

    Each of them may or may not have been written.
    """
