"""What failures of httpcore mean to an operation."""

from __future__ import annotations

import httpcore
import httpx
import pytest
from httpcore._synchronization import Semaphore

from durastream.client.core.clients import lost
from durastream.client.core.steps import Broken

URL = httpx.URL("https://host/v1/stream/a")


def test_what_http2_stumbles_over_can_be_tried_again_though_its_connection_left_the_pool() -> None:
    connection = httpcore.HTTP2Connection(
        httpcore.Origin(b"https", b"host", 443), httpcore.MockStream([])
    )
    connection._max_streams_semaphore = Semaphore(1)
    with httpx.Client() as client:
        with pytest.raises(KeyError) as raised:
            # The stream was forgotten by another request that ended the connection.
            connection._response_closed(stream_id=257)
        meaning = lost(client, URL, raised.value)
        assert isinstance(meaning, Broken)
        assert meaning.sent


def test_a_mistake_of_ours_is_no_lost_connection() -> None:
    with httpx.Client() as client:
        assert lost(client, URL, KeyError("ours")) is None
