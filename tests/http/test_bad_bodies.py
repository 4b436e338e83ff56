"""Broken JSON and bodies over the limit."""

import time

import pytest

from .conftest import Room

JSON = [("Content-Type", "application/json")]

BROKEN = {
    "nothing": b"",
    "blanks": b" \n\t ",
    "open array": b"[1, 2",
    "open object": b'{"a": 1',
    "open string": b'"abc',
    "cut escape": b'"abc\\',
    "closed twice": b"[1]]",
    "mixed brackets": b"[1}",
    "cut word": b"nul",
    "long word": b"nullx",
    "python": b"None",
    "capital": b"True",
    "NaN": b"NaN",
    "NaN inside": b'[{"a": NaN}]',
    "Infinity": b"[Infinity]",
    "minus Infinity": b"-Infinity",
    "minus only": b"-",
    "plus": b"+1",
    "leading zero": b"01",
    "hexadecimal": b"0x10",
    "no digit after the point": b"1.",
    "no digit before the point": b".5",
    "no exponent": b"1e",
    "comma at the end": b"[1,]",
    "comma at the start": b"[,1]",
    "two commas": b"[1,,2]",
    "comma in an object": b'{"a":1,}',
    "no colon": b'{"a" 1}',
    "no key": b"{:1}",
    "bare key": b"{a:1}",
    "number as key": b"{1:1}",
    "apostrophes": b"{'a':1}",
    "comment": b"[1] // one",
    "two values": b"1 2",
    "two lines": b'{"a":1}\n{"a":2}',
    "garbage behind": b'{"a":1} x',
    "NUL behind": b'{"a":1}\0',
    "BOM": b"\xef\xbb\xbf[1]",
    "UTF-16": '[{"a":1}]'.encode("utf-16-le"),
    "control character": b'"a\x01b"',
    "raw newline": b'"a\nb"',
    "bad escape": b'"\\x41"',
    "cut unicode escape": b'"\\u12"',
    "lone high surrogate": b'"\\ud800"',
    "lone low surrogate": b'"\\udc00 x"',
    "surrogates the wrong way": b'"\\udc00\\ud800"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "invalid UTF-8": b'"\xff"',
    "invalid UTF-8 in a key": b'{"\xc3\x28": 1}',
    "overlong UTF-8": b'"\xc0\xaf"',
    "cut UTF-8": b'"\xe6\x97"',
    "empty array": b"[]",
    "empty array, spaced": b" [ ] ",
    "nested a little too deep": b"[" * 130 + b"]" * 130,
    "nested deeper than any stack": b"[" * 1_000_000,
    "objects deeper than any stack": b'{"a":' * 500_000,
}


NO_MESSAGE = {"nothing", "empty array", "empty array, spaced"}  # right in a creation
CASES = [(m, n) for n in BROKEN for m in ("POST", "PUT") if m == "POST" or n not in NO_MESSAGE]


@pytest.mark.parametrize(("method", "name"), CASES)
def test_broken_json_is_refused_and_nothing_of_it_is_stored(
    room: Room, method: str, name: str
) -> None:
    body = BROKEN[name]
    path, tail = room.stream("application/json", b'[{"n":1}]')
    target = path if method == "POST" else f"{path}-new"
    began = time.monotonic()
    reply = room.send(method, f"/v1/stream/{target}", JSON, body)
    assert time.monotonic() - began < 2
    assert reply.status == 400
    words = reply.problem().lower()
    assert "json" in words or "body" in words
    assert not room.exists(f"{path}-new")
    read = room.client.get(f"/{path}")
    assert (read.content, read.headers["stream-next-offset"]) == (b'[{"n":1}]', tail)


KEPT = {
    "number beyond doubles": b'{"n":1e999,"m":-0.0,"k":123456789012345678901234567890.10}',
    "repeated keys": b'{"a":1,"a":2}',
    "blanks inside": b'{ "a" : [ 1 ,\t2 ] }',
    "escapes": b'"\\u0041\\ud83d\\ude00\\/\\n"',
    "as deep as allowed": b"[" * 127 + b"]" * 127,
    "NUL escape": b'"\\u0000"',
    "noncharacter": '"\ufffe\uffff"'.encode(),
}


@pytest.mark.parametrize("message", KEPT.values(), ids=KEPT.keys())
def test_valid_json_comes_back_byte_for_byte(room: Room, message: bytes) -> None:
    path, _ = room.stream("application/json")
    assert room.send("POST", f"/v1/stream/{path}", JSON, b" [" + message + b"] ").status == 204
    assert room.content(path) == b"[" + message + b"]"


@pytest.mark.parametrize("shape", [b"%s", b"-%s", b"0.%s", b"1e%s", b'{"n":%s}'])
def test_a_number_of_10_mb_is_kept_whole_or_refused_but_never_mangled(
    room: Room, shape: bytes
) -> None:
    path, _ = room.stream("application/json")
    body = shape % (b"7" * 10_000_000)
    began = time.monotonic()
    reply = room.send("POST", f"/v1/stream/{path}", JSON, body, timeout=20)
    assert time.monotonic() - began < 5
    if reply.status == 204:
        assert room.content(path) == b"[" + body + b"]"
    else:
        assert reply.status == 400, reply
        assert reply.problem()
        assert room.content(path) == b"[]"


TYPES_OF_JSON = [
    "application/json",
    "Application/JSON",
    "application/json; charset=utf-8",
    "application/json;x=y",
]


@pytest.mark.parametrize("content_type", TYPES_OF_JSON)
def test_json_mode_does_not_depend_on_the_spelling_of_the_type(
    room: Room, content_type: str
) -> None:
    path, _ = room.stream(content_type, b"[1, 2]")
    assert room.append(path, b"{", **{"Content-Type": content_type}).status_code == 400
    read = room.client.get(f"/{path}")
    assert (read.content, read.headers["content-type"]) == (b"[1,2]", content_type)


NOT_JSON = [
    "text/json",
    "application/jsonl",
    "application/ndjson",
    "application/vnd.api+json",
    "text/plain",
]


@pytest.mark.parametrize("content_type", NOT_JSON)
def test_other_types_are_bytes_and_never_parsed(room: Room, content_type: str) -> None:
    path, _ = room.stream(content_type, b"[1, ")
    assert room.append(path, b"\xff{", **{"Content-Type": content_type}).status_code == 204
    assert room.content(path) == b"[1, \xff{"
