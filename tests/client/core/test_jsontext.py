"""JSON with orjson and without it: the same messages, the same bytes, the same errors."""

import importlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from types import ModuleType

import pytest

from durastream.client.core import jsontext
from durastream.client.errors import ProtocolError

VALUES = [0, -1.5, "", 'ü\n"', None, True, [], [[1], {}], {"a": {"b": [1, "x"]}}, 1 << 53]
VALUES += [1 << 70, -(1 << 70), 10**25, -(10**18), 1 << 63, (1 << 64) - 1, 1 << 64, -(1 << 63) - 1]


@pytest.fixture(params=["orjson", "json"])
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module as it is with the package, and as it is where that is not installed."""
    if request.param == "json":
        monkeypatch.setitem(sys.modules, "orjson", None)
    yield importlib.reload(jsontext)
    monkeypatch.undo()
    importlib.reload(jsontext)


def test_the_other_half_is_really_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert jsontext.loads.__name__ == "loads"
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "orjson", None)
        assert importlib.reload(jsontext).loads.__name__ == "_loads"
    importlib.reload(jsontext)


@pytest.mark.parametrize("value", VALUES)
def test_what_goes_in_comes_out(module: ModuleType, value: object) -> None:
    encoded = module.encode(value)
    assert b" " not in encoded, "no blanks between"
    assert module.messages(b"[" + encoded + b"]") == [value]


def test_text_is_utf8_not_escapes(module: ModuleType) -> None:
    assert module.encode("ü") == '"ü"'.encode()


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": [None, -float("inf")]}])
def test_what_json_has_no_number_for_is_refused(module: ModuleType, value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        module.encode(value)


def test_a_number_too_large_for_a_float_does_not_spoil_its_page(module: ModuleType) -> None:
    assert module.messages(b"[1e999, 2]") == [float("inf"), 2]
    with pytest.raises(ProtocolError):
        module.messages(b"[NaN]")


def test_keys_that_are_numbers_become_text(module: ModuleType) -> None:
    assert module.encode({1: 2}) == b'{"1":2}'


def test_what_is_nested_too_deeply_is_refused(module: ModuleType) -> None:
    value: list[object] = []
    for _ in range(200_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deeply"):
        module.encode(value)
    with pytest.raises(ProtocolError, match="nested too deeply"):
        module.messages(b"[" * 200_000 + b"]" * 200_000)
    while value:  # to free it recursively would exhaust the stack
        value = value.pop()  # type: ignore[assignment]


@pytest.mark.parametrize("value", [{1, 2}, object(), b"x", datetime.now(UTC)])
def test_what_is_no_json_value_is_refused(module: ModuleType, value: object) -> None:
    with pytest.raises(TypeError):
        module.encode(value)


@pytest.mark.parametrize("page", [b"[1,", b"{}", b"1", b"[1]x", b"\xff"])
def test_a_page_that_is_no_array_is_the_servers_fault(module: ModuleType, page: bytes) -> None:
    with pytest.raises(ProtocolError):
        module.messages(page)


def test_an_empty_page_has_no_messages(module: ModuleType) -> None:
    assert module.messages(b"") == []


def test_pages_become_one_array(module: ModuleType) -> None:
    assert module.one_array([b"[1,2]", b"", b" [ ] ", b"[3]"]) == b"[1,2,3]"
    with pytest.raises(ProtocolError):
        module.one_array([b"{}"])


@pytest.mark.parametrize(
    ("content_type", "json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/jsonl", False),
        ("text/plain", False),
        ("", False),
    ],
)
def test_which_streams_hold_json(content_type: str, json: bool) -> None:
    assert jsontext.is_json(content_type) is json
