"""What must not be seen is not seen: headers, parameters and passwords."""

import logging
import traceback
from base64 import b64encode

import pytest

from durastream.client import BadRequest, ClientError, DurableStream, IdempotentProducer, stream

from .conftest import Room
from .proxy import Fault, Proxy

SECRET = "s3cr3t-value"


def test_neither_reprs_nor_errors_nor_logs_show_them(
    room: Room, through: str, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    room.create("application/json", b"1")
    caplog.set_level(logging.INFO)
    url = through + f"?key={SECRET}"
    with_password = DurableStream(url.replace("://", f"://user:{SECRET}@"))
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


@pytest.mark.parametrize("value", [SECRET + "\n", SECRET + "ü", " " + SECRET, SECRET + "\0"])
def test_a_header_that_cannot_be_sent_is_named_and_its_value_is_not_shown(
    room: Room, value: str
) -> None:
    handle = DurableStream(room.create("application/json"), headers={"Authorization": value})
    with pytest.raises(BadRequest, match="Authorization") as raised:
        handle.head()
    shown = "".join(traceback.format_exception(raised.value))
    assert SECRET not in shown.replace(f'"{value}"', "")


def test_a_password_of_the_url_is_sent_and_never_logged(
    room: Room, through: str, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    room.create("application/json", b"1")
    caplog.set_level(logging.DEBUG)
    handle = DurableStream(through.replace("://", f"://us%40er:{SECRET}@"))
    assert handle.head().content_type == "application/json"
    basic = b64encode(f"us@er:{SECRET}".encode()).decode()
    assert proxy.seen[0].headers["authorization"] == f"Basic {basic}"
    assert caplog.records, "httpx logs its requests"
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("httpx")]
    assert not [text for text in logged if SECRET in text]
