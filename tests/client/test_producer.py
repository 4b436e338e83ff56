# ruff: noqa: PT012  (a producer raises where its block ends)
"""`IdempotentProducer`: each message exactly once and in order (section 5.2.1)."""

import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from durastream.client import (
    ClientError,
    NotWritten,
    ProducerFenced,
    ProducerGap,
    Retry,
    StreamClosed,
    StreamNotFound,
)

from .conftest import Room
from .faces import Face
from .proxy import Fault, Proxy, Seen

pytestmark = pytest.mark.anyio
SMALL = {"max_batch_messages": 3, "linger": 0.0}


async def give(producer: Any, messages: Sequence[Any]) -> None:  # noqa: ANN401  (either twin's)
    for message in messages:
        await producer.append(message)


class TestExactlyOnce:
    @pytest.mark.parametrize("fault", [Fault(lose=True), Fault(drop=True), Fault(status=502)])
    async def test_whatever_every_other_request_meets(
        self, face: Face, room: Room, through: str, proxy: Proxy, fault: Fault
    ) -> None:
        room.create()
        times: dict[str, int] = {}

        def first_attempts_fail(seen: Seen) -> Fault | None:
            seq = seen.headers.get("producer-seq", "")
            times[seq] = times.get(seq, 0) + 1
            return fault if seq and int(seq) % 2 == 0 and times[seq] < 3 else None

        proxy.plan = first_attempts_fail
        async with face.producer(face.handle(through), "p", **SMALL) as producer:
            await give(producer, range(60))
        assert json.loads(room.content()) == list(range(60))
        assert producer.acknowledged.producer_seq == producer.next_seq - 1

    async def test_batches_that_overtake_are_sent_again_in_order(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("text/plain")
        held = {"1", "4"}

        def hold_once(seen: Seen) -> Fault | None:
            seq = seen.headers.get("producer-seq", "")
            if seq not in held:
                return None
            held.remove(seq)
            return Fault(delay=0.3)  # longer than the server holds early ones

        proxy.plan = hold_once
        async with face.producer(face.handle(through), "p", **SMALL) as producer:
            await give(producer, [f"<{n}>" for n in range(40)])
        assert room.content().decode() == "".join(f"<{n}>" for n in range(40))
        sent = [seen.headers["producer-seq"] for seen in proxy.seen if seen.method == "POST"]
        assert len(sent) > len(set(sent)), "nothing was sent again"

    async def test_values_of_json_stay_single_messages(self, face: Face, room: Room) -> None:
        values = [[1, 2], [], "text", None, {"k": [3]}, 1.5, True]
        room.create()
        async with face.producer(face.handle(room.url), "p") as producer:
            await give(producer, values)
            await producer.append(b'{"raw": 1}')
        assert json.loads(room.content()) == [*values, {"raw": 1}]

    async def test_what_is_given_waits_no_longer_than_linger(self, face: Face, room: Room) -> None:
        room.create()
        async with face.producer(face.handle(room.url), "p", linger=0.05) as producer:
            await producer.append(1)
            with anyio.fail_after(5):
                while producer.pending:  # noqa: ASYNC110  (it tells nobody)
                    await anyio.sleep(0.01)
            assert json.loads(room.content()) == [1]

    async def test_a_full_buffer_makes_append_wait(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("text/plain")
        options = {**SMALL, "max_buffered_bytes": 1000}
        async with face.producer(face.handle(through), "p", **options) as producer:
            for _ in range(50):
                await producer.append("x" * 200)
                assert producer.pending <= 6
        assert len(room.content()) == 10_000


class TestEpochs:
    async def test_a_newer_instance_fences_an_older_one(self, face: Face, room: Room) -> None:
        room.create()
        async with face.producer(face.handle(room.url), "p") as old:
            await old.append("old")
            await old.flush()
            async with face.producer(face.handle(room.url), "p", epoch=3) as new:
                await new.append("new")
            await old.append("lost")
            with pytest.raises(ProducerFenced) as raised:
                await old.flush()
            assert raised.value.current_epoch == 3
            assert list(raised.value.unwritten) == ["lost"]
            await old.restart()
            assert old.epoch == 4
            await old.append("back")
        assert json.loads(room.content()) == ["old", "new", "back"]

    async def test_auto_claim_takes_the_next_epoch(self, face: Face, room: Room) -> None:
        room.create()
        for number in range(3):
            async with face.producer(face.handle(room.url), "p", auto_claim=True) as producer:
                await producer.append(number)
            assert producer.epoch == number
        assert json.loads(room.content()) == [0, 1, 2]

    async def test_an_epoch_used_before_is_told_and_not_taken_for_a_repetition(
        self, face: Face, room: Room
    ) -> None:
        room.create()
        async with face.producer(face.handle(room.url), "p") as producer:
            await producer.append("first")
        with pytest.raises(ProducerFenced, match="used epoch 0 before") as raised:
            async with face.producer(face.handle(room.url), "p") as producer:
                await producer.append("second")
        assert list(raised.value.unwritten) == ["second"]
        assert json.loads(room.content()) == ["first"]

    async def test_a_replay_writes_what_is_missing(self, face: Face, room: Room) -> None:
        room.create()
        for count in (4, 10):
            async with face.producer(
                face.handle(room.url), "p", replay=True, max_batch_messages=1
            ) as producer:
                await give(producer, range(count))
        assert json.loads(room.content()) == list(range(10))

    async def test_restart_counts_the_epoch_up(self, face: Face, room: Room) -> None:
        room.create()
        async with face.producer(face.handle(room.url), "p") as producer:
            await producer.append(1)
            await producer.restart()
            assert (producer.epoch, producer.next_seq) == (1, 0)
            await producer.append(2)
        assert json.loads(room.content()) == [1, 2]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"epoch": -1}, {"epoch": 1 << 53}, {"max_batch_bytes": 0}, {"max_in_flight": 0}, {"linger": -1.0},
            {"max_batch_messages": 0}, {"max_buffered_bytes": 0},
        ],
    )  # fmt: skip
    async def test_arguments_are_checked_before_anything_is_sent(
        self, face: Face, room: Room, wrong: dict[str, Any]
    ) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            await face.producer(face.handle(room.url), "p", **wrong).__aenter__()


class TestTheEnd:
    async def test_close_writes_the_last_message_and_closes(self, face: Face, room: Room) -> None:
        room.create()
        async with face.producer(face.handle(room.url), "p") as producer:
            await give(producer, [1, 2])
            closed = await producer.close(3)
            assert closed.closed
            assert await producer.close(4) == closed
        assert json.loads(room.content()) == [1, 2, 3]

    async def test_a_close_that_was_given_up_and_asked_for_again_is_one(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create()
        async with face.producer(face.handle(through), "p") as producer:
            await producer.append(1)
            await producer.flush()
            proxy.inject(Fault(delay=0.5), method="POST")
            with anyio.move_on_after(0.1):
                await producer.close(2)
            assert (await producer.close(3)).closed
        assert json.loads(room.content()) == [1, 2]

    async def test_a_close_does_not_overtake_a_batch_whose_answer_was_lost(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        """A closed stream would refuse to say that it has the batch (section 5.3)."""
        room.create()
        async with face.producer(face.handle(through), "p", **SMALL) as producer:
            await producer.append(0)
            await producer.flush()
            proxy.inject(Fault(lose=True), method="POST")
            await producer.append(1)
            assert (await producer.close(2)).closed
        assert json.loads(room.content()) == [0, 1, 2]

    async def test_close_without_a_message(self, face: Face, room: Room) -> None:
        room.create()
        async with face.producer(face.handle(room.url), "p") as producer:
            await producer.append(1)
            assert (await producer.close()).closed
        assert json.loads(room.content()) == [1]

    async def test_a_failure_names_every_message_not_written_in_order(
        self, face: Face, room: Room
    ) -> None:
        room.create()
        told: list[tuple[ClientError, list[Any]]] = []
        with pytest.raises(StreamClosed):
            async with face.producer(
                face.handle(room.url),
                "p",
                linger=5.0,
                on_error=lambda error, lost: told.append((error, list(lost))),
            ) as producer:
                await producer.append(0)
                await producer.flush()
                room.close()
                await producer.append(1)
                await producer.append(2)
                await producer.flush()
        assert [(type(error), lost) for error, lost in told] == [(StreamClosed, [1, 2])]
        assert list(told[0][0].unwritten) == [1, 2]

    async def test_a_gap_at_the_server_is_an_error(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create()
        async with face.producer(face.handle(through), "p") as producer:
            await producer.append(1)
            await producer.flush()
            gap = (("Producer-Expected-Seq", "0"), ("Producer-Received-Seq", "1"))
            proxy.inject(Fault(status=409, headers=gap), method="POST")
            await producer.append(2)
            with pytest.raises(ProducerGap) as raised:
                await producer.flush()
            assert (raised.value.expected, raised.value.received) == (0, 1)
            await producer.restart()

    async def test_cancel_gives_what_is_not_confirmed(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create()
        proxy.plan = lambda seen: Fault(delay=30) if seen.method == "POST" else None
        async with face.producer(face.handle(through), "p") as producer:
            await give(producer, [1, 2, 3])
            await anyio.sleep(0.1)
            lost = producer.cancel()
            assert list(lost if isinstance(lost, list) else await lost) == [1, 2, 3]
            with pytest.raises(NotWritten, match="has ended"):
                await producer.append(4)

    async def test_an_exception_in_the_block_loses_nothing(self, face: Face, room: Room) -> None:
        room.create()
        with pytest.raises(ZeroDivisionError):
            async with face.producer(face.handle(room.url), "p") as producer:
                await producer.append(1)
                raise ZeroDivisionError
        assert json.loads(room.content()) == [1]

    async def test_flush_may_be_limited_in_time(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create()
        proxy.inject(Fault(delay=0.5), method="POST")
        async with face.producer(face.handle(through), "p") as producer:
            await producer.append(1)
            with pytest.raises(TimeoutError):
                await producer.flush(timeout=0.1)
        assert json.loads(room.content()) == [1]

    async def test_no_stream_and_no_server(self, face: Face, room: Room) -> None:
        with pytest.raises(StreamNotFound):
            async with face.producer(face.handle(room.url), "p") as producer:
                await producer.append(1)
        handle = face.handle(
            "http://127.0.0.1:9/x", content_type="text/plain", retry=Retry(1, 0.01)
        )
        with pytest.raises(ClientError) as raised:
            async with face.producer(handle, "p") as producer:
                await producer.append("x")
                await producer.flush()
        assert list(raised.value.unwritten) == ["x"]


class TestAnotherRunWithTheSameEpoch:
    async def test_a_close_taken_for_another_batch_is_no_success(
        self, face: Face, room: Room
    ) -> None:
        """The message was not written and the stream is open."""
        room.create()
        async with face.producer(face.handle(room.url), "p") as producer:
            await producer.append(1)
        with pytest.raises(ProducerFenced):
            async with face.producer(face.handle(room.url), "p") as producer:
                await producer.close(2)
        assert json.loads(room.content()) == [1]

    async def test_a_dropped_first_batch_is_not_taken_for_those_of_the_run_before(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create()
        async with face.producer(face.handle(through), "p", **SMALL) as producer:
            await give(producer, range(9))
        proxy.inject(Fault(drop=True), method="POST")
        async with face.producer(face.handle(through), "p", auto_claim=True) as producer:
            await producer.append("again")
        assert json.loads(room.content()) == [*range(9), "again"]

    @pytest.mark.parametrize(
        "fault", [Fault(drop=True), Fault(lose=True), Fault(status=502), Fault(status=500)]
    )
    @pytest.mark.parametrize("times", [1, 2])
    async def test_nothing_is_lost_whatever_the_first_requests_of_the_second_run_meet(
        self, face: Face, room: Room, through: str, proxy: Proxy, fault: Fault, times: int
    ) -> None:
        """The one batch of the first run has the number of the second's."""
        room.create()
        async with face.producer(face.handle(room.url), "p") as producer:
            await producer.append("first run")
        proxy.inject(fault, times, method="POST")
        async with face.producer(face.handle(through), "p", auto_claim=True) as producer:
            await producer.append("second run")
        assert json.loads(room.content()) == ["first run", "second run"]
        proxy.inject(fault, times, method="POST")
        with pytest.raises(ProducerFenced, match="used epoch 1 before"):
            async with face.producer(face.handle(through), "p", epoch=1) as producer:
                await producer.append("third run")
        assert json.loads(room.content()) == ["first run", "second run"]

    @pytest.mark.parametrize("kind", ["application/json", "text/plain"])
    async def test_what_the_server_expects_next_can_be_asked(
        self, face: Face, room: Room, kind: str
    ) -> None:
        room.create(kind)
        handle = face.handle(room.url)
        assert await handle.next_producer_seq("p") == 0
        async with face.producer(handle, "p", epoch=2, max_batch_messages=1) as producer:
            await give(producer, ["1", "2", "3"])
        assert await handle.next_producer_seq("p", epoch=2) == 3
        assert await handle.next_producer_seq("p", epoch=3) == 0
        with pytest.raises(ProducerFenced) as raised:
            await handle.next_producer_seq("p", epoch=1)
        assert raised.value.current_epoch == 2
