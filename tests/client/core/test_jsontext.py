"""JSON with orjson and without it: the same messages, the same bytes, the same errors."""

import importlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durastream._native import has_long_integer
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


@pytest.mark.parametrize("before", range(8))
@pytest.mark.parametrize("value", [10**19 + 1 << 1, 1 << 64, -(1 << 63) - 1])
def test_a_long_number_is_exact_wherever_it_stands(
    module: ModuleType, value: int, before: int
) -> None:
    page = b"[" + b" " * before + str(value).encode() + b"]"
    assert module.messages(page) == [value]
    assert type(module.messages(page)[0]) is int


@pytest.mark.property
@given(
    st.lists(
        st.sampled_from(["0", "7" * 9, "1" * 18, "1" * 19, "1" * 20, "-", "x", '"', "-" + "2" * 19])
    )
)
def test_long_numbers_are_found_wherever_they_stand(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert has_long_integer(text.encode()) is bool(re.search(r"\d{20}|-\d{19}", text))


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
    ("content_type", "yes"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/jsonl", False),
        ("text/plain", False),
        ("", False),
    ],
)
def test_which_streams_hold_json(content_type: str, yes: bool) -> None:
    assert jsontext.is_json(content_type) is yes


def cut(page: bytes, size: int = 1 << 16) -> list[bytes]:
    return [page[at : at + size] for at in range(0, len(page), size)]


NESTED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(st.sampled_from('a,{}[]"\\ é'), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


def parts(pieces: Iterable[bytes]) -> list[list[Any]]:
    """What a page that comes in pieces is handed out as."""
    whole = jsontext.Parts()
    found = []
    for piece in pieces:
        for messages, text in whole.feed(piece):
            assert json.loads(text) == messages != []
            found.append(list(messages))
    found.append(whole.end())
    return found


@pytest.mark.property
@given(
    st.lists(NESTED, max_size=30),
    st.integers(1, 40),
    st.integers(1, 99),
    st.integers(1, 20),
    st.booleans(),
)
def test_parts_of_a_page_are_the_page(
    values: list[Any], size: int, piece: int, head: int, compact: bool
) -> None:
    separators = (",", ":") if compact else (", ", ": ")
    page = json.dumps(values, separators=separators, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jsontext, "PART", size)
        patched.setattr(jsontext, "HEAD", head)
        assert [value for part in parts(cut(page, piece)) for value in part] == values


@pytest.mark.parametrize(
    "message", [b'{"n":[{},{}],"text":"},{"}', b'["a","],["]', b'"a, b"', b"17", b'{"{":{}}', b"{}"]
)
def test_a_large_page_comes_in_parts(message: bytes) -> None:
    page = b"[" + b",".join([message] * 50_000) + b"]"
    found = parts(cut(page))
    assert len(found) > len(page) / jsontext.PART / 4
    assert max(map(len, found)) * len(message) < 3 * jsontext.PART
    assert sum(map(len, found)) == 50_000


@pytest.mark.parametrize("message", [b'{"a":[{"a":1},{"a":2},{"a":3}]}', b"[[1],[2],[3]]"])
def test_messages_that_look_like_several_still_come_in_parts(message: bytes) -> None:
    """Every guess may be wrong; none makes the page come later than twice its parts."""
    page = b"[" + b",".join([message] * 20_000) + b"]"
    assert [m for part in parts(cut(page)) for m in part] == [json.loads(message)] * 20_000


@pytest.mark.parametrize("end", [b"", b"]]", b",,1]", b",]", b'"]', b"}]", b"]x", b',{"n":1}]]'])
def test_a_large_page_that_is_broken_is_told(end: bytes) -> None:
    page = b"[" + b",".join([b'{"n":1}'] * 50_000) + end
    with pytest.raises(ProtocolError):
        parts(cut(page))


@pytest.mark.parametrize("page", [b"", b"[]", b" [1]", b"[ ]"])
def test_small_pages_are_parsed_at_once(page: bytes) -> None:
    assert parts([page]) == [jsontext.messages(page)]


def test_a_message_of_very_many_pieces_takes_no_longer_than_it_must() -> None:
    """Copied with each of its 64,000 pieces it would take minutes."""
    text = json.dumps(["x" * (64 << 20), 1]).encode()
    assert [len(str(v)) for part in parts(cut(text, 1 << 10)) for v in part] == [
        64 << 20,
        1,
    ]


def test_pieces_may_be_lent() -> None:
    """Of memory that is written over nothing is left."""
    messages = [{"n": n, "text": "x" * (n % 50)} for n in range(5_000)]
    whole = json.dumps(messages, separators=(",", ":")).encode()
    memory = bytearray(10_007)
    parts = jsontext.Parts()
    found = []
    for start in range(0, len(whole), len(memory)):
        piece = whole[start : start + len(memory)]
        memory[: len(piece)] = piece
        for several, _ in parts.feed(memoryview(memory)[: len(piece)]):
            found += several
        memory[:] = b"," * len(memory)
    assert found + parts.end() == messages
