"""What the official suite does not test: restart, compression, paging, stale offsets, races."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import Room, ServerFactory

PAGE = 4 << 20
JSON = "application/json"


class TestRestart:
    def test_a_clean_restart_changes_nothing_a_client_can_see(
        self, server_factory: ServerFactory, version: str
    ) -> None:
        server = server_factory()
        typed = {"Content-Type": "text/plain; charset=UTF-8"}
        triple = {"Producer-Id": "p", "Producer-Epoch": "3"}
        with Room(server.url, version) as room:
            text, _ = room.stream("text/plain; charset=UTF-8", b"zero", **{"Stream-TTL": "3600"})
            room.append(text, b"one", **typed, **{"Stream-Seq": "b"})
            room.append(text, b"two", **typed, **triple, **{"Producer-Seq": "0"})
            done, _ = room.stream(JSON, b"[1,2]", **{"Stream-Closed": "true"})
            gone, _ = room.stream("text/plain", b"gone")
            room.client.delete(f"/{gone}")
            seen = [self._looks(room, path) for path in (text, done)]

        server.stop()
        server.start()
        with Room(server.url, version) as room:
            assert [self._looks(room, path) for path in (text, done)] == seen
            assert not room.exists(gone)
            stale = {**triple, "Producer-Epoch": "2", "Producer-Seq": "1"}
            for status, path, headers in (
                (204, text, {**typed, **triple, "Producer-Seq": "0"}),
                (403, text, {**typed, **stale}),
                (409, text, {**typed, **triple, "Producer-Seq": "2"}),
                (409, text, {**typed, "Stream-Seq": "b"}),
                (409, done, {"Content-Type": JSON}),
                (200, text, {**typed, **triple, "Producer-Seq": "1"}),
            ):
                assert room.append(path, b"3", **headers).status_code == status
            assert room.content(text) == b"zeroonetwo3"

    @staticmethod
    def _looks(room: Room, path: str) -> tuple[object, ...]:
        get, head = room.client.get(f"/{path}"), room.client.head(f"/{path}")
        names = (
            "stream-next-offset",
            "stream-closed",
            "content-type",
            "stream-ttl",
            "stream-expires-at",
            "etag",
        )
        return (
            get.content,
            *(answer.headers.get(name) for answer in (get, head) for name in names),
        )

    def test_offsets_handed_out_before_a_restart_hold_behind_it(
        self, server_factory: ServerFactory, version: str
    ) -> None:
        server = server_factory()
        with Room(server.url, version) as room:
            path, start = room.stream("text/plain")
            offsets = [start, *self._append(room, path, range(50))]
        server.stop()
        server.start()
        with Room(server.url, version) as room:
            offsets += self._append(room, path, range(50, 60))
            assert offsets == sorted(set(offsets))
            for n, offset in enumerate(offsets):
                rest = b"".join(b"%d;" % k for k in range(n, 60))
                assert room.client.get(f"/{path}", params={"offset": offset}).content == rest

    @staticmethod
    def _append(room: Room, path: str, numbers: range) -> list[str]:
        return [room.append(path, b"%d;" % n).headers["stream-next-offset"] for n in numbers]

    def test_a_second_server_on_the_same_directory_is_told_who_holds_it(
        self, server_factory: ServerFactory
    ) -> None:
        server = server_factory()
        with pytest.raises(RuntimeError, match=str(server.process.pid)):
            server_factory()
        assert server.running()


ENCODINGS = [
    "gzip",
    "br",
    "zstd",
    "deflate, gzip, br",
    "*",
    "identity;q=0",
    "gzip;q=1.0, identity; q=0.5, *;q=0",
    "",
]


@pytest.mark.parametrize("accepted", ENCODINGS)
def test_accept_encoding_changes_neither_bytes_nor_tags_nor_offsets(
    room: Room, accepted: str
) -> None:
    body = b"compressible " * 10_000
    path, tail = room.stream("text/plain", body)
    plain = room.client.get(f"/{path}", headers={"Accept-Encoding": "identity"})
    asked = room.client.get(f"/{path}", headers={"Accept-Encoding": accepted})
    assert (asked.status_code, asked.content) == (200, body)
    assert "content-encoding" not in asked.headers
    assert asked.headers["stream-next-offset"] == tail
    assert asked.headers["etag"] == plain.headers["etag"]
    fresh = room.client.get(
        f"/{path}", headers={"Accept-Encoding": accepted, "If-None-Match": plain.headers["etag"]}
    )
    assert (fresh.status_code, fresh.content) == (304, b"")


def test_an_encoded_body_is_stored_as_it_came(room: Room) -> None:
    path, _ = room.stream("text/plain")
    assert room.append(path, b"\x1f\x8b rest", **{"Content-Encoding": "gzip"}).status_code in (
        204,
        415,
    )
    assert room.content(path) in (b"\x1f\x8b rest", b"")


class TestPaging:
    def test_pages_are_whole_appends_within_the_limit_and_join_up(self, room: Room) -> None:
        path, offset = room.stream("application/octet-stream")
        sent = [bytes([n]) * ((1 << 20) + n) for n in range(11)]
        typed = {"Content-Type": "application/octet-stream"}
        ends = [room.append(path, body, **typed).headers["stream-next-offset"] for body in sent]
        whole, pages = b"", 0
        while True:
            page = room.client.get(f"/{path}", params={"offset": offset})
            assert 0 < len(page.content) <= PAGE
            offset = page.headers["stream-next-offset"]
            assert offset in ends
            whole, pages = whole + page.content, pages + 1
            last = offset == ends[-1]
            assert page.headers.get("stream-up-to-date") == ("true" if last else None)
            if last:
                break
        assert whole == b"".join(sent)
        assert pages == 4

    def test_an_append_larger_than_a_page_comes_whole(self, room: Room) -> None:
        path, _ = room.stream("text/plain", b"small")
        big = b"b" * (PAGE + 1)
        room.append(path, big)
        room.append(path, b"end")
        first = room.client.get(f"/{path}")
        assert first.content == b"small"
        second = room.client.get(f"/{path}", params={"offset": first.headers["stream-next-offset"]})
        assert second.content == big
        assert "stream-up-to-date" not in second.headers

    def test_closure_shows_on_the_last_page_only(self, room: Room) -> None:
        path, _ = room.stream("text/plain", b"x" * PAGE)
        room.append(path, b"end", **{"Stream-Closed": "true"})
        first = room.client.get(f"/{path}")
        assert "stream-closed" not in first.headers
        last = room.client.get(f"/{path}", params={"offset": first.headers["stream-next-offset"]})
        assert (last.content, last.headers["stream-closed"]) == (b"end", "true")

    def test_every_json_page_is_an_array(self, room: Room) -> None:
        path, offset = room.stream(JSON)
        for n in range(5):
            body = b'["' + bytes([48 + n]) * (1 << 20) + b'", %d]' % n
            assert room.append(path, body, **{"Content-Type": JSON}).status_code == 204
        found: list[object] = []
        while len(found) < 10:
            page = room.client.get(f"/{path}", params={"offset": offset})
            found += page.json()
            offset = page.headers["stream-next-offset"]
        assert found[1::2] == [0, 1, 2, 3, 4]


class TestStaleOffsets:
    def test_a_token_of_an_earlier_life_is_gone_in_every_mode(self, room: Room) -> None:
        path, start = room.stream("text/plain")
        tail = room.append(path, b"first life").headers["stream-next-offset"]
        room.client.delete(f"/{path}")
        assert room.client.get(f"/{path}", params={"offset": tail}).status_code == 404
        room.client.put(f"/{path}", content=b"second life", headers={"Content-Type": "text/plain"})
        for offset in (start, tail):
            for live in ({}, {"live": "long-poll"}, {"live": "sse"}):
                answer = room.client.get(f"/{path}", params={"offset": offset, **live})
                assert answer.status_code == 410
                assert answer.headers["content-type"] == "application/problem+json"
        assert room.content(path) == b"second life"

    def test_the_zero_token_is_the_start_of_whatever_stream(self, room: Room) -> None:
        path, _ = room.stream("text/plain", b"x")
        zero = f"{0:016}_{0:016}"
        assert room.client.get(f"/{path}", params={"offset": zero}).content == b"x"

    def test_a_live_reader_ends_when_its_stream_is_deleted(self, room: Room) -> None:
        path, tail = room.stream("text/plain", b"x")
        with ThreadPoolExecutor(1) as pool:
            poll = pool.submit(
                room.client.get, f"/{path}", params={"offset": tail, "live": "long-poll"}
            )
            time.sleep(0.3)
            began = time.monotonic()
            room.client.delete(f"/{path}")
            assert poll.result().status_code in (404, 410)
            assert time.monotonic() - began < 1


class TestRaces:
    def test_close_and_append_at_once_lose_nothing_acknowledged(self, room: Room) -> None:
        with room.crowd(5) as rooms, ThreadPoolExecutor(4) as pool:
            for turn in range(15):
                path, _ = room.stream("text/plain")
                barrier = threading.Barrier(5)
                writers = [
                    pool.submit(self._until_closed, each, path, barrier, name)
                    for name, each in enumerate(rooms[:4])
                ]
                rooms[4].exists(path)  # with a connection that is open
                barrier.wait()
                time.sleep(turn / 1000)
                closed = rooms[4].client.post(f"/{path}", headers={"Stream-Closed": "true"})
                assert closed.status_code == 204
                acknowledged = [body for writer in writers for body in writer.result()]
                whole = room.content(path)
                assert sorted(whole.replace(b">", b">\n").split()) == sorted(acknowledged)
                head = room.client.head(f"/{path}")
                for name in ("stream-next-offset", "stream-closed"):
                    assert head.headers[name] == closed.headers[name]

    @staticmethod
    def _until_closed(room: Room, path: str, barrier: threading.Barrier, name: int) -> list[bytes]:
        """Appends until the stream is closed; what was acknowledged."""
        acknowledged: list[bytes] = []
        room.exists(path)
        barrier.wait()
        for n in range(20):
            body = b"<%d.%d>" % (name, n)
            answer = room.append(path, body)
            if answer.status_code == 409:
                assert answer.headers["stream-closed"] == "true"
                break
            assert answer.status_code == 204
            acknowledged.append(body)
        return acknowledged

    def test_two_creations_at_once_make_one_stream(self, room: Room) -> None:
        def create(other: Room) -> int:
            return other.client.put(f"/{path}", headers={"Content-Type": "text/plain"}).status_code

        with room.crowd(4) as rooms, ThreadPoolExecutor(4) as pool:
            for _ in range(20):
                path = room.name()
                assert sorted(pool.map(create, rooms)) == [200, 200, 200, 201]

    def test_if_match_lets_exactly_one_of_many_writers_through(self, room: Room) -> None:
        path, tail = room.stream("text/plain")
        with room.crowd(8) as rooms, ThreadPoolExecutor(8) as pool:
            answers = list(
                pool.map(lambda it: it.append(path, b"mine", **{"If-Match": f'"{tail}"'}), rooms)
            )
        assert sorted(a.status_code for a in answers) == [204] + [412] * 7
        assert room.content(path) == b"mine"
