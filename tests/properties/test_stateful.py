"""LogEngine and the model do the same things in any order, across restarts, crashes and damage."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from durastream import AppendResult, Offset, errors

from . import damage
from .driver import agree, body, compare, framed, start, token
from .model import JSON, Append, Model, Producer, Refused, Stream

PATHS = st.sampled_from(["a", "a.b", "b/c", "b/\u00e7"])
TYPES = st.sampled_from([JSON, "text/plain"])
VALUES = [
    b"0",
    b'"x"',
    b"[]",
    b'{"a":{"a":1.0}}',
    b"[[1],2]",
    b'"\\u00e9,]"',
    b"-1e400",
    b'{"k":1,"k":2}',
]
MESSAGES = st.lists(st.sampled_from(VALUES), min_size=1, max_size=4)
LARGE = st.sampled_from([b"", b"", b"", b"L" * 70_000, b"M" * 300_000])
IDS = st.sampled_from(["p", "q\u00e9"])
SEQS = [b"1", b"10", b"2", b"\xff"]


@dataclass(frozen=True)
class Sent:
    """A producer's append; numbers are relative to the last accepted, a `seq` of None is 0 itself."""

    messages: list[bytes]
    close: bool
    epoch: int
    seq: int | None


CLOSES = st.sampled_from([False] * 9 + [True])
SENT = st.builds(
    Sent,
    messages=MESSAGES,
    close=CLOSES,
    epoch=st.sampled_from([0] * 6 + [1, -1]),
    seq=st.sampled_from([1, 1, 1, 1, 0, 0, -1, 2, None]),
) | st.builds(
    Sent, messages=st.just([]), close=st.just(True), epoch=st.just(0), seq=st.sampled_from([0, 1])
)


class EngineAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.home = damage.scratch()
        self.copies = 0
        self.model = Model()
        self.incarnations: set[int] = set()
        self.old_tokens: list[tuple[Stream, str]] = []

    @initialize()
    def open(self) -> None:
        self.directory = self.home / "data"
        self.engine = start(self.directory)
        for path, content_type in (("a", JSON), ("b/c", "text/plain")):
            self.create(path, content_type, [b"0"], closed=False)

    def teardown(self) -> None:
        with contextlib.suppress(AttributeError):
            self.engine.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def stream(self, path: str) -> Stream | None:
        return self.model.streams.get(path)

    def make(self, path: str, messages: list[bytes]) -> bytes:
        stream = self.stream(path)
        return b"".join(messages) if stream is None else body(stream, messages)

    # Creating and deleting

    @rule(path=PATHS, content_type=TYPES, messages=st.just([]) | MESSAGES, closed=st.booleans())
    def create(self, path: str, content_type: str, messages: list[bytes], closed: bool) -> None:
        found = self.stream(path)
        assume(found is None or found.fork is None)  # what a plain creation says of a fork is open
        sent = body(Stream(path, content_type), messages)
        said = agree(
            lambda: self.model.create(path, content_type, messages, closed=closed),
            lambda: self.engine.create(path, content_type=content_type, body=sent, closed=closed),
        )
        if said is not None:
            (created, stream), result = said
            assert result.created is created
            self.lives(stream, result.info.tail, fresh=created)

    @rule(path=st.sampled_from(["a.b", "fork"]), source=PATHS, data=st.data())
    def fork(self, path: str, source: str, data: st.DataObject) -> None:
        of, found = self.stream(source), self.stream(path)
        at, sub_offset = None, 0
        if of is not None and data.draw(st.booleans(), label="with an offset"):
            points = [0, of.tail, of.tail + 1, *(a.start for a in of.appends)]
            at = data.draw(st.sampled_from(points), label="offset")
            sub_offset = data.draw(st.integers(0, 4), label="sub-offset")
            assume(at >= of.floor or sub_offset == 0)
        assume(found is None or found.fork is None or at is not None)
        offset = None if at is None or of is None else token(of, at)
        said = agree(
            lambda: self.model.fork(path, source, at, sub_offset),
            lambda: self.engine.fork(source, path, offset, sub_offset),
        )
        if said is not None:
            (created, stream), result = said
            assert result.created is created
            assert str(result.info.tail) == token(stream, stream.tail)

    def lives(self, stream: Stream, tail: Offset, *, fresh: bool) -> None:
        """A new stream has a number that no stream ever had."""
        if fresh:
            assert tail.incarnation not in self.incarnations
            self.incarnations.add(tail.incarnation)
            stream.incarnation = tail.incarnation
        assert str(tail) == token(stream, stream.tail)

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        stream = self.stream(path)
        if stream is not None and stream.root is None:
            self.old_tokens.append((stream, token(stream, stream.tail)))
        agree(lambda: self.model.delete(path), lambda: self.engine.delete(path))

    @rule(data=st.data(), first=st.booleans())
    def delete_a_fork_and_its_source(self, data: st.DataObject, first: bool) -> None:
        forks = [s for s in self.model.streams.values() if s.fork is not None]
        assume(forks)
        stream = data.draw(st.sampled_from(forks))
        assert stream.fork is not None
        family = [stream.path, stream.fork.source.path]
        for path in family if first else reversed(family):
            self.delete(path)

    # Appending

    def check(
        self, stored: Append | None, stream: Stream, result: AppendResult, *, duplicate: bool
    ) -> None:
        assert result.duplicate is duplicate
        assert result.closed is stream.closed
        begin, end = (stored.start, stored.end) if stored else (stream.tail, stream.tail)
        assert (str(result.offset), str(result.next_offset)) == (
            token(stream, begin),
            token(stream, end),
        )

    @rule(
        path=PATHS,
        messages=MESSAGES,
        large=LARGE,
        stream_seq=st.none() | st.sampled_from(SEQS),
        close=CLOSES,
    )
    def append(
        self, path: str, messages: list[bytes], large: bytes, stream_seq: bytes | None, close: bool
    ) -> None:
        if large:
            messages = [*messages, b'"' + large + b'"']
        said = agree(
            lambda: self.model.append(path, messages, stream_seq=stream_seq, close=close),
            lambda: self.engine.append(
                path, self.make(path, messages), stream_seq=stream_seq, close=close
            ),
        )
        if said is not None:
            (duplicate, stored, stream), result = said
            self.check(stored, stream, result, duplicate=duplicate)

    @rule(path=PATHS, name=IDS, burst=st.lists(SENT, min_size=1, max_size=5))
    def produce(self, path: str, name: str, burst: list[Sent]) -> None:
        for sent in burst:
            self.send(path, name, sent)

    def send(self, path: str, name: str, sent: Sent) -> None:
        stream = self.stream(path)
        known = (0, -1) if stream is None else stream.producers.get(name, (0, -1))
        seq = 0 if sent.seq is None else max(known[1] + sent.seq, 0)
        producer = Producer(name, max(known[0] + sent.epoch, 0), seq)
        triple = (producer.id, producer.epoch, producer.seq)
        raw = self.make(path, sent.messages) if sent.messages else b""
        said = agree(
            lambda: self.model.append(path, sent.messages, producer=producer, close=sent.close),
            lambda: self.engine.append(path, raw, producer=triple, close=sent.close),
        )
        if said is not None:
            (duplicate, stored, stream), result = said
            self.check(stored, stream, result, duplicate=duplicate)
            assert result.producer == stream.producers[name]

    @rule(path=PATHS, name=IDS)
    def take_over(self, path: str, name: str) -> None:
        """A new instance: a new epoch begins with 0 and no other number, the old one is fenced."""
        for epoch, seq in ((1, None), (1, 1), (1, None), (-1, 1), (0, 0), (0, 1)):
            self.send(path, name, Sent([b"4"], close=False, epoch=epoch, seq=seq))

    @rule(data=st.data(), path=PATHS)
    def trim_and_fork(self, data: st.DataObject, path: str) -> None:
        self.trim(path, data)
        self.fork("fork", path, data)

    @rule(path=PATHS, seqs=st.lists(st.sampled_from(SEQS), min_size=2, max_size=4))
    def append_in_sequence(self, path: str, seqs: list[bytes]) -> None:
        for stream_seq in seqs:
            self.append(path, [b"3"], b"", stream_seq, close=False)

    @rule(batch=st.lists(st.tuples(PATHS, MESSAGES, st.none() | IDS), min_size=1, max_size=8))
    def append_many(self, batch: list[tuple[str, list[bytes], str | None]]) -> None:
        items, expected, refusal = [], [], None
        for path, messages, name in batch:
            stream, producer = self.stream(path), None
            if name is not None:
                known = (0, -1) if stream is None else stream.producers.get(name, (0, -1))
                producer = Producer(name, known[0], known[1] + 1)
            triple = (producer.id, producer.epoch, producer.seq) if producer else None
            items.append((path, self.make(path, messages), triple))
            try:
                if refusal is None:
                    expected.append(self.model.append(path, messages, producer=producer))
            except Refused as refused:
                refusal = refused
        results, error = self.many(items)
        assert (error is None) is (refusal is None)
        assert error is None or error.index == len(expected)
        assert len(results) == len(expected)
        for (duplicate, stored, stream), result in zip(expected, results, strict=True):
            assert result.duplicate is duplicate
            assert stored is not None
            assert str(result.next_offset) == token(stream, stored.end)

    def many(
        self, items: list[tuple[str, bytes, tuple[str, int, int] | None]]
    ) -> tuple[list[AppendResult], errors.DurableStreamError | None]:
        try:
            return self.engine.append_many(items), None
        except errors.DurableStreamError as error:
            return error.completed, error

    @rule(path=PATHS)
    def close_stream(self, path: str) -> None:
        said = agree(
            lambda: self.model.append(path, [], close=True), lambda: self.engine.close_stream(path)
        )
        if said is not None:
            assert self.engine.head(path).closed

    @rule(path=PATHS, back=st.integers(0, 3))
    def append_if_tail(self, path: str, back: int) -> None:
        stream = self.stream(path)
        assume(
            stream is not None
            and not stream.soft_deleted
            and not stream.closed
            and stream.tail >= back
        )
        assert stream is not None
        expected = token(stream, stream.tail - back)

        def asked() -> tuple[bool, Append | None, Stream]:
            if back:
                raise Refused("tail moved")
            return self.model.append(path, [b"7"])

        agree(asked, lambda: self.engine.append(path, body(stream, [b"7"]), if_tail=expected))

    @rule(path=PATHS, data=st.data())
    def trim(self, path: str, data: st.DataObject) -> None:
        stream = self.stream(path)
        edges = {a.start for a in stream.appends} | {stream.tail} if stream else {0}
        before = data.draw(st.sampled_from(sorted(e + by for e in edges for by in (0, 1))))
        offset = token(stream, before) if stream else str(Offset.START)
        said = agree(lambda: self.model.trim(path, before), lambda: self.engine.trim(path, offset))
        if said is not None:
            floor, trimmed = said
            assert trimmed.position == floor

    # Reading

    @rule(path=PATHS, data=st.data(), max_bytes=st.sampled_from([1, 10, 50, 100_000, 4 << 20]))
    def read(self, path: str, data: st.DataObject, max_bytes: int) -> None:
        stream = self.stream(path)
        edges = {0, *(a.start for a in stream.appends), stream.tail} if stream else {0}
        near = sorted({max(edge + by, 0) for edge in edges for by in (-1, 0, 1, 2)})
        position = data.draw(st.none() | st.sampled_from(near), label="position")
        offset = (
            "-1"
            if position is None
            else str(Offset.START)
            if stream is None
            else token(stream, position)
        )
        said = agree(
            lambda: self.model.read(path, position, max_bytes),
            lambda: self.engine.read(path, offset, max_bytes=max_bytes),
        )
        if said is not None and stream is not None:
            page, result = said
            assert bytes(result) == framed(stream, page.wire)
            assert str(result.next_offset) == token(stream, page.next)
            assert (result.up_to_date, result.closed) == (page.up_to_date, page.closed)

    @rule(path=PATHS)
    def read_now(self, path: str) -> None:
        said = agree(lambda: self.model.find(path), lambda: self.engine.read(path, "now"))
        if said is not None:
            stream, page = said
            assert bytes(page) == framed(stream, b"")
            assert str(page.next_offset) == token(stream, stream.tail)
            assert page.up_to_date

    @precondition(lambda self: self.old_tokens)
    @rule(data=st.data())
    def read_a_token_of_an_earlier_life(self, data: st.DataObject) -> None:
        life, old = data.draw(st.sampled_from(self.old_tokens))
        stream = self.stream(life.path)
        assume(stream is not None and not stream.soft_deleted and stream.life is not life)
        with pytest.raises(errors.OffsetGone):
            self.engine.read(life.path, old)

    @rule(prefix=st.sampled_from(["", "a", "b/", "zz"]), limit=st.integers(1, 3))
    def list_in_pages(self, prefix: str, limit: int) -> None:
        seen, cursor = [], None
        while True:
            page = self.engine.list_page(prefix, cursor=cursor, limit=limit)
            assert len(page.streams) <= limit
            seen += [info.path for info in page.streams]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == [path for path in self.model.live() if path.startswith(prefix)]

    # Ending and beginning again

    @rule()
    def checkpoint(self) -> None:
        self.engine.checkpoint()

    @rule()
    def compact(self) -> None:
        """What is counted as alive is what somebody can read, whoever else could once."""
        self.engine.compact()
        assert self.engine.stats().sealed_live_bytes == self.model.readable_bytes()

    @rule(times=st.integers(1, 3))
    def churn(self, times: int) -> None:
        """Fills segments with what nobody needs, so that the log reuses them."""
        for _ in range(times):
            tail = self.engine.create("churn", body=b"C" * (1 << 20)).info.tail
            assert tail.incarnation not in self.incarnations
            self.incarnations.add(tail.incarnation)
            self.engine.delete("churn")
        self.engine.checkpoint()

    @rule()
    def reopen(self) -> None:
        self.engine.close()
        self.engine = start(self.directory)

    def copy(self) -> Path:
        self.copies += 1
        return damage.copy(self.directory, self.home / f"copy-{self.copies}")

    @rule()
    def crash(self) -> None:
        """Goes on in what `kill -9` would have left; recovering it twice is recovering it once."""
        left = self.copy()
        again = damage.copy(left, left.with_suffix(".again"))
        with start(again) as engine:
            compare(engine, self.model)
            twice = damage.copy(again, left.with_suffix(".twice"))
        with start(twice) as engine:
            compare(engine, self.model)
        self.engine.close()
        self.directory = left
        self.engine = start(left)

    @rule(fault=damage.CUTS | damage.FLIPS, clean=st.booleans())
    def damaged_copy(self, fault: damage.Damage, clean: bool) -> None:
        """Every acknowledged event is there, or opening or reading says that it is damaged."""
        if clean:
            self.engine.close()
        hurt = self.copy()
        if clean:
            self.engine = start(self.directory)
        fault.strike(hurt)
        with (
            contextlib.suppress(errors.DataDamaged, errors.FormatVersion, errors.OpenFailed),
            start(hurt) as engine,
        ):
            compare(engine, self.model)
        shutil.rmtree(hurt)

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        compare(self.engine, self.model)


# One example is a handful of streams' whole life: it takes many of them to meet every rule in turn.
EngineAgainstModel.TestCase.settings = settings(max_examples=6 * settings().max_examples)
TestEngineAgainstModel = pytest.mark.property(EngineAgainstModel.TestCase)
