"""What must not be seen is not seen: headers, parameters and passwords."""

import logging

import pytest

from durastream.client import ClientError, DurableStream, IdempotentProducer, stream

from .conftest import Room
from .proxy import Fault, Proxy

SECRET = "s3cr3t-value"


def test_neither_reprs_nor_errors_nor_logs_show_them(
    room: Room, through: str, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    room.create("application/json", b"1")
    caplog.set_level(logging.INFO)
    url = through + f"?key={SECRET}"
    with_password = DurableStream(url.replace("http://", f"http://user:{SECRET}@"))
    options = {"headers": {"Authorization": SECRET}, "params": {"token": SECRET}}
    handle = DurableStream(url, **options)  # type: ignore[arg-type]
    response = stream(url, **options)  # type: ignore[arg-type]
    shown = [
        repr(with_password),
        with_password.url,
        repr(handle),
        repr(response),
        repr(IdempotentProducer(handle, "p")),
        handle.url,
    ]
    assert response.json() == [1]
    proxy.inject(Fault(status=404))
    with pytest.raises(ClientError) as raised:
        handle.append(2)
    shown += [str(raised.value), repr(raised.value), str(vars(raised.value))]
    assert caplog.records, "httpx logs its requests"
    shown += [record.getMessage() for record in caplog.records]
    assert not [text for text in shown if SECRET in text]
    sent = proxy.seen[0]
    assert (sent.params["token"], sent.params["key"]) == (SECRET, SECRET)
    assert sent.headers["authorization"] == SECRET
