"""What a server answered, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from durastream.client.core import jsontext

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Created:
    """The answer to a creation (section 5.1)."""

    url: str
    offset: str
    """The tail after the first content."""
    content_type: str
    created: bool
    """False when the stream existed already, with this very configuration."""
    closed: bool
    status: int


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to an append (section 5.2)."""

    offset: str
    """The end of what was appended; for a duplicate, the tail."""
    closed: bool = False
    duplicate: bool = False
    """The server had it already: an earlier attempt had arrived (producers only)."""
    status: int = 204
    producer_seq: int | None = None
    """The highest sequence number of the producer that the server has accepted."""


@dataclass(frozen=True, slots=True)
class StreamHead:
    """What HEAD tells (section 5.5)."""

    offset: str
    """The tail."""
    content_type: str
    closed: bool
    ttl: int | None
    """Seconds that the stream lives without being read or written."""
    expires_at: str | None
    """RFC 3339."""
    headers: Mapping[str, str]
    """All headers of the answer, names in lower case."""


class Chunk(NamedTuple):
    """One answer's worth of a stream, and where the stream stood then."""

    data: bytes
    """Empty when there is news of the position only. JSON streams: a JSON array, or empty."""
    offset: str
    """Where to read on after this chunk."""
    cursor: str | None
    up_to_date: bool
    """Nothing more was in the stream when the server answered."""
    closed: bool
    """Nothing more will ever be."""

    def json(self) -> list[Any]:
        """The messages of this chunk; `ProtocolError` when the server sent no JSON array."""
        return jsontext.messages(self.data)

    def text(self) -> str:
        """The data as UTF-8; `UnicodeDecodeError` when it is not, or ends within a character."""
        return self.data.decode()
