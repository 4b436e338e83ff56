"""Reading through a connection that fails in every way: nothing is lost, nothing doubled, nothing asked in a hot loop."""

import json
import time

import anyio
import pytest

from durastream.client import (
    Again,
    BadRequest,
    ClientError,
    ConnectionFailed,
    Live,
    ProtocolError,
    RateLimited,
    Retry,
    ServerError,
    StreamGone,
    Unauthorized,
)
from durastream.client.core import jsontext

from .conftest import Room
from .faces import QUICK, Face
from .proxy import Fault, Proxy, Seen

pytestmark = pytest.mark.anyio
NEVER = Retry(max_retries=0)


class TestCatchingUp:
    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    async def test_what_may_pass_is_tried_again(
        self, face: Face, room: Room, through: str, proxy: Proxy, status: int
    ) -> None:
        room.create("application/json", b"1")
        proxy.inject(Fault(status=status), times=2)
        async with face.read(through) as response:
            assert await response.json() == [1]
        assert len(proxy.seen) == 3

    @pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 501])
    async def test_what_will_not_pass_is_not(
        self, face: Face, room: Room, through: str, proxy: Proxy, status: int
    ) -> None:
        room.create()
        proxy.inject(Fault(status=status))
        with pytest.raises(ClientError) as raised:
            async with face.read(through):
                pass
        assert raised.value.status == status
        assert len(proxy.seen) == 1

    async def test_retry_after_is_waited_for(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("application/json", b"1")
        proxy.inject(Fault(status=429, headers=(("Retry-After", "1"),)))
        began = time.monotonic()
        async with face.read(through) as response:
            assert await response.json() == [1]
        assert time.monotonic() - began >= 1

    async def test_there_is_an_end_to_it(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create()
        proxy.plan = lambda _: Fault(status=500)
        with pytest.raises(ServerError):
            async with face.read(through, retry=Retry(max_retries=2, initial_delay=0.01)):
                pass
        assert len(proxy.seen) == 3
        proxy.plan = lambda _: Fault(status=429, headers=(("Retry-After", "60"),))
        with pytest.raises(RateLimited) as raised:
            async with face.read(through, retry=Retry(deadline=5)):
                pass
        assert raised.value.retry_after == 60
        proxy.plan = lambda _: Fault(drop=True)
        with pytest.raises(ConnectionFailed):
            async with face.read(through, retry=NEVER):
                pass

    @pytest.mark.parametrize("way", ["iter_bytes", "iter_text", "iter_chunks", "read"])
    @pytest.mark.parametrize("cut", [0, 1, 70_000, 299_999])
    async def test_a_page_cut_short_is_completed(
        self, face: Face, room: Room, through: str, proxy: Proxy, way: str, cut: int
    ) -> None:
        body = b"".join(b"%06d" % n for n in range(50_000))
        room.create("text/plain", body)
        proxy.inject(Fault(cut_after=cut), times=3)
        async with face.read(through) as response:
            if way == "read":
                got = await response.read()
            else:
                pieces = [p async for p in getattr(response, way)()]
                got = b"".join(
                    p.encode() if isinstance(p, str) else getattr(p, "data", p) for p in pieces
                )
        assert got == body
        assert len(proxy.seen) == 4

    async def test_json_cut_at_any_byte_comes_once_and_resumes_from_offset(
        self,
        face: Face,
        room: Room,
        through: str,
        proxy: Proxy,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Messages are handed out before their page is whole, by every twin."""
        monkeypatch.setattr(jsontext, "PART", 64)
        monkeypatch.setattr(jsontext, "HEAD", 8)
        messages = [{"n": n, "of": [{"n": 1}, {"n": n}]} for n in range(12)]
        body = json.dumps(messages, separators=(",", ":")).encode()
        room.create("application/json", body)
        for cut in range(1, len(body), 13):
            proxy.inject(Fault(cut_after=cut))
            proxy.inject(Fault(cut_after=len(body) - cut))
            async with face.read(through) as response:
                got = []
                async for message in response.iter_json():
                    got.append(message)
                    assert (response.offset == "-1") == (len(got) < len(messages))
            assert got == messages
        assert len(proxy.seen) == 3 * len(range(1, len(body), 13))

    async def test_a_beginning_trimmed_while_it_is_read_is_told(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        """To go on at the new beginning would leave out what is between, and to pass over as much still more."""
        room.create("application/json", **{"Stream-Retention-Events": "2"})
        pages = [json.dumps([f"{n} {'x' * 100}"] * 2000).encode() for n in range(4)]
        for page in pages[:2]:
            room.append(page)

        def trim(seen: Seen) -> Fault:
            if len(proxy.seen) == 1:
                return Fault(cut_after=300_000)
            for page in pages[2:]:
                room.append(page)
            while room.plain.get(room.url).content.startswith(b'["0'):
                time.sleep(0.05)
            proxy.plan = None
            return Fault()

        proxy.plan = trim
        got: list[str] = []
        told = None
        async with face.read(through) as response:
            try:
                async for message in response.iter_json():
                    got.append(message)  # noqa: PERF401  (what came before the error counts)
            except StreamGone as gone:
                told = gone
        assert "trimmed" in str(told)
        assert set(got) == {f"0 {'x' * 100}", f"1 {'x' * 100}"}
        assert len(got) < 4000
        assert response.offset == "-1"

    async def test_a_page_that_is_not_json_is_an_error(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("application/json", b'{"a":1}')
        proxy.inject(Fault(corrupt=lambda piece: piece.replace(b'"a"', b'"a ')))
        async with face.read(through) as response:
            with pytest.raises(ProtocolError, match="not JSON"):
                await response.json()


class TestCredentials:
    async def test_a_callable_is_asked_again_after_401_also_in_the_middle(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("application/json", b"1")
        tokens = iter(range(100))
        valid = {"Bearer 1"}

        def check(seen: Seen) -> Fault | None:
            return None if seen.headers["authorization"] in valid else Fault(status=401)

        proxy.plan = check
        headers = {"Authorization": lambda: f"Bearer {next(tokens)}"}
        got = []
        async with face.read(through, live="long-poll", headers=headers) as response:
            async for message in response.iter_json():
                got.append(message)
                if message == 1:  # the token in use expires; the one after next is good
                    valid.clear()
                    valid.update({"Bearer 3", "Bearer 4"})
                    room.close(b"2")
        assert got == [1, 2]

    async def test_a_fixed_one_is_refused_at_once(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create()
        proxy.plan = lambda _: Fault(status=401)
        with pytest.raises(Unauthorized):
            async with face.read(through, headers={"Authorization": "old"}):
                pass
        assert len(proxy.seen) == 1

    async def test_on_error_may_bring_new_ones(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("application/json", b"1")
        proxy.plan = lambda seen: (
            None if seen.headers.get("authorization") == "new" else Fault(status=401)
        )
        heard: list[int | None] = []

        def on_error(error: ClientError) -> Again:
            heard.append(error.status)
            return Again(headers={"Authorization": "new"})

        async with face.read(through, on_error=on_error) as response:
            assert await response.json() == [1]
        assert heard == [401]


class TestFollowing:
    @pytest.mark.parametrize("live", ["long-poll", "sse", True])
    async def test_every_message_comes_once_though_each_connection_breaks(
        self, face: Face, room: Room, through: str, proxy: Proxy, live: Live
    ) -> None:
        room.create()
        answers = iter(range(10_000))
        proxy.plan = lambda _: Fault(cut_after=(40, 90, 150, 333)[next(answers) % 4])
        got = []
        with anyio.fail_after(20):
            async with face.read(through, live=live, retry=Retry(50, 0.01, 0.02)) as response:
                room.append(b"0")
                async for message in response.iter_json():
                    got.append(message)
                    if message < 8:
                        room.append(str(message + 1).encode())
                    elif message == 8:
                        proxy.plan = None
                        room.close(b"9")
        assert got == list(range(10))

    async def test_a_silent_event_stream_is_noticed(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create()
        proxy.inject(Fault(stall=True, cut_after=0), live="sse")
        with anyio.fail_after(10):
            async with face.read(through, live="sse", stall_timeout=0.4) as response:
                room.close(b"1")
                assert await response.json() == [1]

    async def test_short_connections_make_it_fall_back_to_long_polls(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create()
        proxy.inject(Fault(cut_after=0), times=3, live="sse")
        with anyio.fail_after(10):
            async with face.read(through, live=True) as response:
                room.append(b"1")
                messages = response.iter_json()
                assert await anext(messages) == 1
                room.close(b"2")
                assert [m async for m in messages] == [2]
        modes = [seen.params.get("live") for seen in proxy.seen]
        assert modes[:5] == [None, "sse", "sse", "sse", "long-poll"]

    async def test_a_server_without_events_is_polled(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create()
        proxy.inject(Fault(status=406), live="sse")
        async with face.read(through, live=True) as response:
            room.close(b"1")
            assert await response.json() == [1]

    async def test_answers_that_were_not_held_are_not_asked_for_in_a_hot_loop(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        tail = room.append(b"1") if room.create() else ""
        news = (("Stream-Next-Offset", tail), ("Stream-Up-To-Date", "true"))
        proxy.plan = lambda seen: Fault(status=204, headers=news) if "live" in seen.params else None
        with anyio.move_on_after(1):
            async with face.read(through, live="long-poll") as response:
                with anyio.move_on_after(1):
                    async for _ in response.iter_json():
                        pass
                await response.cancel()
        assert 2 < len(proxy.seen) < 12


class TestWhatCannotBeHandedOut:
    async def test_a_page_that_is_not_json_ends_the_iteration(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("application/json", b"1")
        proxy.inject(Fault(corrupt=lambda piece: piece.replace(b"1", b"?")))
        async with face.read(through, live="long-poll") as response:
            messages = response.iter_json()
            with pytest.raises(ProtocolError, match="not JSON"):
                await anext(messages)
            room.append(b"2")
            assert [message async for message in messages] == []
            assert response.offset == "-1"

    async def test_half_a_character_is_not_passed_by_the_offset(
        self, face: Face, room: Room
    ) -> None:
        room.create("text/plain", "ae\u0301".encode()[:-1])
        async with face.read(room.url) as response:
            assert [text async for text in response.iter_text()] == ["ae"]
        room.append("\u0301".encode()[-1:], "text/plain")
        async with face.read(room.url, offset=response.offset) as response:
            assert [text async for text in response.iter_text()] == ["ae\u0301"]


class TestEvents:
    CONTROL = b"event: control\ndata:"

    @pytest.mark.parametrize(
        ("inject", "match"),
        [
            (CONTROL + b"{broken\n\n", "not JSON"),
            (CONTROL + b"\n\n", "not JSON"),
            (CONTROL + b'{"upToDate":true}\n\n', "streamNextOffset"),
        ],
    )
    async def test_a_broken_control_event_is_an_error(
        self, face: Face, room: Room, through: str, proxy: Proxy, inject: bytes, match: str
    ) -> None:
        room.create("application/json", b"1")
        proxy.inject(Fault(inject=inject), live="sse")
        async with face.read(through, live="sse") as response:
            messages = response.iter_json()
            assert await anext(messages) == 1
            with pytest.raises(ProtocolError, match=match):
                await anext(messages)

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
    async def test_unknown_events_and_comments_are_passed_over(
        self, face: Face, room: Room, through: str, proxy: Proxy, end: bytes
    ) -> None:
        room.create()
        unknown = b": hello\n\nevent: later\nid: 7\ndata: x\n\nevent:data\n\n".replace(b"\n", end)
        proxy.inject(Fault(inject=unknown), live="sse")
        async with face.read(through, live="sse") as response:
            room.close(b"1")
            assert await response.json() == [1]

    async def test_data_that_is_not_base64_is_an_error(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("application/octet-stream")
        bad = b'event: data\ndata:a=b\n\nevent: control\ndata:{"streamNextOffset":"x"}\n\n'
        proxy.inject(Fault(inject=bad), live="sse")
        async with face.read(through, live="sse") as response:
            with pytest.raises(ProtocolError, match="base64"):
                await response.read()


class TestAppends:
    async def test_a_plain_append_is_not_doubled_when_its_answer_is_lost(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("application/json")
        proxy.inject(Fault(lose=True), method="POST")
        handle = face.handle(through, content_type="application/json")
        with pytest.raises(ConnectionFailed, match="not known") as raised:
            await handle.append(1)
        assert raised.value.maybe_written
        assert json.loads(room.content()) == [1]
        assert proxy.methods() == ["POST"]

    async def test_what_the_server_refused_to_do_is_tried_again(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("application/json")
        proxy.inject(Fault(status=503), times=2, method="POST")
        await face.handle(through, content_type="application/json").append(1)
        assert json.loads(room.content()) == [1]
        assert len(proxy.seen) == 3

    @pytest.mark.parametrize("status", [500, 502, 504])
    async def test_what_a_failing_server_may_have_written_is_not_sent_again(
        self, face: Face, room: Room, through: str, proxy: Proxy, status: int
    ) -> None:
        room.create("application/json")
        proxy.inject(Fault(status=status), method="POST")
        with pytest.raises(ServerError, match="not known") as raised:
            await face.handle(through, content_type="application/json").append(1)
        assert raised.value.maybe_written
        assert len(proxy.seen) == 1

    async def test_a_server_can_be_trusted_with_500(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("application/json")
        trusting = Retry(3, 0.01, append_after_500=True)
        handle = face.handle(through, content_type="application/json", retry=trusting)
        proxy.inject(Fault(status=500), times=2, method="POST")
        await handle.append(1)
        proxy.inject(Fault(status=502), method="POST")
        with pytest.raises(ServerError):
            await handle.append(2)
        assert json.loads(room.content()) == [1]

    async def test_what_can_be_repeated_is(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        handle = face.handle(through)
        for operation in (handle.create, handle.head, handle.close, handle.delete):
            proxy.inject(Fault(lose=True))
            await operation()
        with pytest.raises(ClientError):
            await handle.head()

    async def test_a_server_that_is_not_there(self, face: Face) -> None:
        handle = face.handle(
            "http://127.0.0.1:9/x", retry=Retry(2, 0.01), content_type="text/plain"
        )
        with pytest.raises(ConnectionFailed) as raised:
            await handle.append("x")
        assert not raised.value.maybe_written

    async def test_a_header_that_cannot_be_sent(self, face: Face, room: Room) -> None:
        with pytest.raises(BadRequest):
            await face.handle(room.url, headers={"X": "a\nb"}, retry=QUICK).head()
