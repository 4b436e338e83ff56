"""Hostile and odd paths: refused clearly, or exactly one stream whatever the spelling."""

import pytest

from support.cells import ONLY_HTTP1

from .conftest import Room

REFUSED = {
    "no path": "",
    "slash only": "/",
    "empty segment": "/a//b",
    "leading empty segment": "//a",
    "trailing slash": "/a/",
    "dot": "/a/./b",
    "dot dot": "/a/../b",
    "only dot dot": "/..",
    "encoded dot": "/a/%2e/b",
    "encoded dot dot": "/%2e%2e/b",
    "half encoded dot dot": "/.%2E/b",
    "dot dot behind encoded slashes": "/a%2f..%2f..%2fetc%2fpasswd",
    "encoded empty segment": "/a%2f%2fb",
    "encoded trailing slash": "/a%2F",
    "encoded leading slash": "/%2Fa",
    "NUL": "/a%00b",
    "only NUL": "/%00",
    "newline": "/a%0Ab",
    "carriage return": "/a%0d%0aX:%20y",
    "escape": "/%1b[31m",
    "DEL": "/a%7f",
    "C1 control": "/%c2%80",
    "lone continuation byte": "/%80",
    "invalid UTF-8": "/%ff%fe",
    "cut UTF-8": "/%c3",
    "wrong continuation": "/%c3%28",
    "overlong slash": "/%c0%af",
    "overlong dot": "/%c0%ae%c0%ae/x",
    "surrogate": "/%ed%a0%80",
    "beyond Unicode": "/%f5%80%80%80",
    "bare percent": "/a%",
    "cut percent": "/a%2",
    "percent of no hex": "/a%zz",
    "1,025 bytes": "/" + "a" * 1025,
    "1,025 bytes when decoded": "/" + "%61" * 1025,
    "1,026 bytes of two-byte letters": "/" + "%C3%A9" * 513,
}


@pytest.mark.parametrize("path", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("method", ["PUT", "POST", "GET", "HEAD", "DELETE"])
def test_a_path_that_names_no_stream_is_refused(room: Room, method: str, path: str) -> None:
    body = b"x" if method in ("PUT", "POST") else None
    reply = room.send(method, "/v1/stream" + path, [("Content-Type", "text/plain")], body)
    assert reply.status in ((400, 404) if path in ("", "/") else (400,)), reply
    if method != "HEAD":
        assert "path" in reply.problem().lower()


ACCEPTED = {
    "1,024 bytes": "a" * 1024,
    "1,024 bytes when decoded": "%62" * 1024,
    "dots in names": ".updates/.index/...",
    "colons and registry": "__registry__/a:b:c",
    "space": "a%20b",
    "once decoded": "a%252Fb",
    "letters of the world": "%E6%97%A5%E6%9C%AC/%C3%A9",
    "a query mark": "a%3Fb=c",
    "a hash": "a%23b",
    "a backslash": "a%5C..%5Cb",
    "sub-delimiters": "a;b,c=d&e$f!g*h'i(j)k@l+m~n",
    "emoji": "%F0%9F%92%A7",
}


@pytest.mark.parametrize("path", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_an_odd_path_is_a_stream_like_any_other(room: Room, path: str) -> None:
    target = f"/v1/stream/{path}"
    put = room.send("PUT", target, [("Content-Type", "text/plain")], b"one ")
    assert put.status == 201
    assert room.send("POST", target, [("Content-Type", "text/plain")], b"two").status == 204
    assert room.send("GET", target).body == b"one two"
    at = put.headers["location"].removeprefix(room.url.replace("127.0.0.1", "test"))
    at = at[at.index("/v1/") :]
    assert room.send("GET", at).body == b"one two"
    assert room.send("DELETE", target).status == 204


SPELLINGS = [
    ("spelling/a%2Fb", "spelling/a/b"),
    ("spelling/%61", "spelling/a"),
    ("spelling/%c3%a9", "spelling/%C3%A9"),
    ("spelling/a%7Eb", "spelling/a~b"),
    ("%73pelling/x", "spelling/%78"),
]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_two_spellings_of_one_path_are_one_stream(room: Room, one: str, other: str) -> None:
    typed = [("Content-Type", "text/plain")]
    assert room.send("PUT", f"/v1/stream/{one}", typed, b"x").status == 201
    assert room.send("PUT", f"/v1/stream/{other}", typed).status == 200
    assert room.send("GET", f"/v1/streams/{other}").body == b"x"
    assert room.send("DELETE", f"/v1/stream/{other}").status == 204
    assert room.send("GET", f"/v1/stream/{one}").status == 404


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v2/stream/x", "/v1/streamers/x", "/favicon.ico", "/%00", "*"]
)
def test_what_is_no_stream_path_at_all_is_not_found(room: Room, path: str) -> None:
    reply = room.send("GET", path)
    assert reply.status in (400, 404)
    assert reply.problem()


@ONLY_HTTP1
def test_an_absolute_target_is_the_same_stream(room: Room) -> None:
    path, _ = room.stream("text/plain", b"x")
    assert room.send("GET", f"{room.url}/v1/stream/{path}").body == b"x"
