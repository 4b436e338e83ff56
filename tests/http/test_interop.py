"""What the official packages need of a server beyond the letter of the protocol (interop 1 to 8)."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from durastream.settings import LISTENERS
from support.cells import SPOKEN

from .conftest import Room, ServerFactory, Servers
from .sse import events

TYPED = {"Content-Type": "text/plain"}


def plus(offset: str, by: int) -> str:
    left, right = offset.split("_")
    return f"{left}_{int(right) + by:016}"


def read(room: Room, path: str, offset: str, **params: str) -> httpx.Response:
    return room.client.get(f"/{path}", params={"offset": offset, **params})


class TestOffsetsThatWereNeverHandedOut:
    """1: a read answers every append whose end lies beyond the position."""

    def test_inside_an_append_gives_that_whole_append(self, room: Room) -> None:
        path, start = room.stream("text/plain")
        room.append(path, b"first")
        room.append(path, b"second")
        for by, whole in (
            (0, b"firstsecond"),
            (1, b"firstsecond"),
            (4, b"firstsecond"),
            (5, b"second"),
            (10, b"second"),
        ):
            assert read(room, path, plus(start, by)).content == whole

    def test_inside_a_json_message_gives_whole_messages(self, room: Room) -> None:
        path, start = room.stream("application/json")
        for body in (b'[{"a":1},{"b":2}]', b'{"c":3}'):
            room.append(path, body, **{"Content-Type": "application/json"})
        for by in range(26):
            assert read(room, path, plus(start, by)).json() in (
                [{"a": 1}, {"b": 2}, {"c": 3}],
                [{"c": 3}],
                [],
            )

    def test_one_past_the_tail_is_empty_now_and_later_gives_the_next_append_whole(
        self, room: Room
    ) -> None:
        path, _ = room.stream("text/plain")
        tail = room.append(path, b"first").headers["stream-next-offset"]
        beyond = plus(tail, 1)
        empty = read(room, path, beyond)
        assert (empty.status_code, empty.content, empty.headers["stream-next-offset"]) == (
            200,
            b"",
            tail,
        )
        polled = read(room, path, beyond, live="long-poll")
        assert (polled.status_code, polled.headers["stream-next-offset"]) == (204, tail)
        room.append(path, b"second")
        assert read(room, path, beyond).content == b"second"
        assert read(room, path, beyond, live="long-poll").content == b"second"

    def test_further_beyond_the_tail_is_gone(self, room: Room) -> None:
        path, _ = room.stream("text/plain")
        tail = room.append(path, b"first").headers["stream-next-offset"]
        for by in (2, 3, 1000, 10**15):
            assert read(room, path, plus(tail, by)).status_code == 410


class TestPaths:
    """2: where the official packages look for streams."""

    @pytest.mark.parametrize(
        "path",
        [
            "doc/.updates",
            "doc/.index",
            ".snapshots/K",
            "a/.awareness/.index",
            "__registry__",
            "a:b:c",
        ],
    )
    def test_dots_colons_and_underscores_are_plain_names(self, room: Room, path: str) -> None:
        path = f"{room.name()}/{path}"
        assert room.client.put(f"/{path}", headers=TYPED, content=b"x").status_code == 201
        assert room.content(path) == b"x"

    def test_both_base_paths_are_the_same_streams(self, room: Room) -> None:
        path, _ = room.stream("text/plain", b"x")
        assert room.client.get(f"{room.url}/v1/streams/{path}").content == b"x"

    def test_base_paths_can_be_chosen_and_repeated(
        self, server_factory: ServerFactory, version: str
    ) -> None:
        url = server_factory("--base-path", "/db", "--base-path", "/").url
        with Room(url, version) as room:
            for target in ("/db/x", "/y", "/deep/er"):
                put = room.client.put(url + target, headers=TYPED, content=b"x")
                assert put.status_code == 201
                assert room.client.get(url + target).content == b"x"
            assert room.client.get(f"{url}/x").content == b"x"
            assert room.client.get(f"{url}/health").status_code == 200


EXPOSED = {
    "stream-next-offset", "stream-cursor", "stream-up-to-date", "stream-closed", "etag", "location", "stream-ttl",
    "stream-expires-at", "retry-after", "stream-sse-data-encoding", "producer-epoch", "producer-seq",
    "producer-expected-seq", "producer-received-seq",
}  # fmt: skip
ALLOWED = {
    "content-type", "stream-ttl", "stream-expires-at", "stream-closed", "stream-seq", "stream-forked-from",
    "stream-fork-offset", "stream-fork-sub-offset", "producer-id", "producer-epoch", "producer-seq",
    "if-none-match", "if-match", "authorization",
}  # fmt: skip


def listed(value: str) -> set[str]:
    return {item.strip().lower() for item in value.split(",")}


class TestCors:
    """3: on every response, or no web page can use the server."""

    @pytest.mark.parametrize(
        ("method", "target", "status"),
        [
            ("GET", "/v1/stream/{path}", 200), ("HEAD", "/v1/stream/{path}", 200), ("POST", "/v1/stream/{path}?x", 409),
            ("GET", "/v1/stream/no/such", 404), ("PUT", "/v1/stream/a//b", 400), ("PATCH", "/v1/stream/{path}", 400),
            ("GET", "/v1/stream/{path}?offset=x", 400), ("GET", "/nowhere", 404), ("GET", "/health", 200),
            ("OPTIONS", "/nowhere", 204), ("OPTIONS", "/health", 204), ("POST", "/health", 405), ("DELETE", "/v1/stream/no/such", 404),
            ("GET", "/v1/stream/{path}?offset=-1&live=sse", 200),
        ],
    )  # fmt: skip
    def test_every_answer_may_be_read_by_a_page(
        self, room: Room, method: str, target: str, status: int
    ) -> None:
        path, _ = room.stream("text/plain", b"x", **{"Stream-Closed": "true"})
        fields = [("Origin", "https://app.example"), ("Content-Type", "text/plain")]
        body = b"y" if method == "POST" else None
        reply = room.send(method, target.format(path=path), fields, body)
        assert reply.status == status, reply
        assert reply.headers["access-control-allow-origin"] in ("*", "https://app.example")
        assert listed(reply.headers["access-control-expose-headers"]) >= EXPOSED
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "cross-origin-resource-policy" in reply.headers

    @pytest.mark.parametrize("target", ["/v1/stream/any/thing", "/v1/streams/x", "/v1/stream/a//b"])
    def test_a_preflight_allows_everything_the_protocol_uses(self, room: Room, target: str) -> None:
        asks = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "PUT"),
                ("Access-Control-Request-Headers", "content-type, producer-id, if-match")]  # fmt: skip
        reply = room.send("OPTIONS", target, asks)
        assert reply.status in (200, 204)
        assert listed(reply.headers["access-control-allow-methods"]) >= {
            "get",
            "head",
            "put",
            "post",
            "delete",
        }
        assert listed(reply.headers["access-control-allow-headers"]) >= ALLOWED


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream"])
def test_4_append_and_close_is_one_data_event_and_one_control_event(
    room: Room, content_type: str
) -> None:
    path, tail = room.stream(content_type)
    heard: list[tuple[str, str]] = []

    def listen() -> None:
        with room.client.stream(
            "GET", f"/{path}", params={"offset": tail, "live": "sse"}
        ) as answer:
            heard.extend(events(answer.iter_lines()))

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(0.3)
    room.append(path, b"last", **{"Content-Type": content_type, "Stream-Closed": "true"})
    listener.join(10)
    closing = [
        i for i, (kind, data) in enumerate(heard) if kind == "control" and "streamClosed" in data
    ]
    data = [i for i, (kind, _) in enumerate(heard) if kind == "data"]
    assert len(closing) == len(data) == 1
    assert closing[0] == data[0] + 1 == len(heard) - 1


class TestBodies:
    """5."""

    def test_14_mib_is_a_normal_append(self, server_factory: ServerFactory, version: str) -> None:
        body = bytes(range(256)) * (14 << 12)
        typed = {"Content-Type": "application/octet-stream"}
        with Room(server_factory().url, version) as room:
            path, _ = room.stream("application/octet-stream")
            assert room.append(path, body, **typed).status_code == 204
            assert room.content(path) == body

    def test_an_empty_post_of_a_producer_does_not_use_up_its_number(self, room: Room) -> None:
        path, _ = room.stream("text/plain")
        first = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
        assert room.append(path, b"", **first).status_code == 400
        assert room.append(path, b"x", **first).status_code == 200
        assert room.append(path, b"x", **first).status_code == 204
        assert room.content(path) == b"x"


class TestPipelinedProducers:
    """6 and 7: batches in flight on separate connections arrive out of order."""

    def test_an_early_number_waits_a_little_for_its_predecessor(self, room: Room) -> None:
        path, _ = room.stream("text/plain")
        wins = 0
        for pair in range(20):
            wins += self._late_pair(room, path, pair * 2)
        assert room.content(path) == b"".join(b"%d;" % n for n in range(40))
        assert wins >= 10  # a busy machine may be late now and then

    def _late_pair(self, room: Room, path: str, seq: int) -> bool:
        def post(n: int) -> httpx.Response:
            triple = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": str(n)}
            return room.append(path, b"%d;" % n, **triple)

        with ThreadPoolExecutor(2) as pool:
            early = pool.submit(post, seq + 1)
            time.sleep(0.002)
            assert post(seq).status_code == 200
            answer = early.result()
        if answer.status_code == 409:
            assert answer.headers["producer-expected-seq"] == str(seq)
            assert post(seq + 1).status_code == 200
            return False
        assert answer.status_code == 200
        return True

    def test_an_early_number_without_its_predecessor_gets_the_gap_soon(self, room: Room) -> None:
        path, _ = room.stream("text/plain")
        began = time.monotonic()
        gap = room.append(
            path, b"x", **{"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "3"}
        )
        assert time.monotonic() - began < 1
        assert gap.status_code == 409
        assert (gap.headers["producer-expected-seq"], gap.headers["producer-received-seq"]) == (
            "0",
            "3",
        )

    def test_a_number_whose_predecessors_cannot_all_be_on_their_way_gets_the_gap_at_once(
        self, room: Room
    ) -> None:
        """So does whoever asks by an impossible number where the server is."""
        path, _ = room.stream("text/plain")
        asking = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": str((1 << 53) - 1)}
        took = []
        for _ in range(20):
            began = time.monotonic()
            gap = room.append(path, b"x", **asking)
            took.append(time.monotonic() - began)
            assert gap.status_code == 409
            assert gap.headers["producer-expected-seq"] == "0"
        assert min(took) < 0.02  # what an early number is held for

    def test_an_answers_offset_is_the_end_of_that_very_append(self, room: Room) -> None:
        path, _ = room.stream("text/plain")

        def post(n: int) -> tuple[str, bytes]:
            body = b"<%d>" % n
            return room.append(path, body).headers["stream-next-offset"], body

        with ThreadPoolExecutor(8) as pool:
            ends = sorted(pool.map(post, range(100)))
        whole = room.content(path)
        rest = whole
        for offset, body in ends:
            assert rest.startswith(body)
            rest = rest[len(body) :]
            assert read(room, path, offset).content == rest


class TestOperations:
    """8."""

    def test_health_and_readiness_are_told(self, room: Room) -> None:
        for target in ("/health", "/ready"):
            assert room.send("GET", target).status == 200


def test_8_idle_connections_are_kept_for_more_than_five_seconds(servers: Servers) -> None:
    """Of all four cells at once."""
    with contextlib.ExitStack() as stack:
        idle = []
        for listener in LISTENERS:
            for version in SPOKEN:
                room = stack.enter_context(Room(servers(listener).url, version))
                path, _ = room.stream("text/plain", b"x")
                idle.append((stack.enter_context(room.wire()), f"/v1/stream/{path}"))
        for pause in (5.5, 0):
            for connection, target in idle:
                assert connection.ask("GET", target).body == b"x"
            time.sleep(pause)
