"""Streams with limits by bytes and number keep what they promise, no more and no less, across restarts."""

import contextlib
import shutil
import time
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from durastream import LogEngine, Retention

from . import damage

PATHS = st.sampled_from(["a", "b", "c"])
# Up to 64, limits are kept exactly. An age of an hour makes streams remember times, and trims nothing.
RETENTIONS = st.builds(
    Retention,
    max_bytes=st.none() | st.integers(1, 60),
    max_events=st.none() | st.integers(1, 12),
    max_age=st.sampled_from([None, 3600]),
)
DATA = st.integers(1, 20).map(lambda size: b"x" * size)


@dataclass
class Kept:
    """A stream: where its appends begin, and which of them count by number (what was there when a limit
    by number was set counts as one)."""

    retention: Retention
    floor: int = 0
    tail: int = 0
    appends: list[int] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)

    def append(self, size: int) -> None:
        self.appends.append(self.tail)
        self.counted.append(self.tail)
        self.tail += size

    def configure(self, retention: Retention) -> None:
        if self.retention.max_events is None:
            self.counted = self.appends[:1]
        self.retention = retention

    def enforce(self) -> None:
        most = self.retention.max_bytes
        if most is not None and self.appends:
            fits = [start for start in self.appends if self.tail - start <= most]
            self.trim(min(fits, default=self.appends[-1]))
        most = self.retention.max_events
        if most is not None and len(self.counted) > most:
            self.trim(self.counted[-most])

    def trim(self, floor: int) -> None:
        self.floor = max(self.floor, floor)
        self.appends = [start for start in self.appends if start >= self.floor]
        # What counts as one goes when all of it does.
        while len(self.counted) > 1 and self.counted[1] <= self.floor:
            del self.counted[0]
        if not self.appends:
            self.counted = []


class RetentionAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.home = damage.scratch()
        self.directory = self.home / "0"
        self.copies = 0
        self.streams: dict[str, Kept] = {}

    @initialize()
    def open(self) -> None:
        # What is sealed is forgotten, so that floors are found in sealed files.
        self.engine = LogEngine(
            self.directory, segment_bytes=16 << 10, hot_bytes=0, reap_interval=0.001
        )

    def teardown(self) -> None:
        with contextlib.suppress(AttributeError):
            self.engine.close()
        shutil.rmtree(self.home, ignore_errors=True)

    @rule(path=PATHS, retention=RETENTIONS, body=st.just(b"") | DATA)
    def create(self, path: str, retention: Retention, body: bytes) -> None:
        assume(path not in self.streams)
        self.engine.create(path, retention=retention, body=body)
        stream = self.streams[path] = Kept(retention)
        if body:
            stream.append(len(body))

    @rule(path=PATHS, new=PATHS, retention=st.none() | RETENTIONS)
    def fork(self, path: str, new: str, retention: Retention | None) -> None:
        assume(path in self.streams and new not in self.streams)
        self.engine.fork(path, new, retention=retention)
        source = self.streams[path]
        fork = replace(source, appends=list(source.appends), counted=source.appends[:1])
        fork.retention = retention or source.retention
        self.streams[new] = fork

    @rule(path=PATHS, bodies=st.lists(DATA, min_size=1, max_size=20))
    def append(self, path: str, bodies: list[bytes]) -> None:
        assume(path in self.streams)
        self.engine.append_many([(path, body) for body in bodies])
        for body in bodies:
            self.streams[path].append(len(body))

    @rule(path=PATHS, retention=RETENTIONS)
    def configure(self, path: str, retention: Retention) -> None:
        assume(path in self.streams)
        self.engine.configure(path, retention=retention)
        self.streams[path].configure(retention)

    @rule(path=PATHS, data=st.data())
    def trim(self, path: str, data: st.DataObject) -> None:
        assume(path in self.streams)
        stream = self.streams[path]
        to = data.draw(st.sampled_from([*stream.appends, stream.tail]))
        incarnation = self.engine.head(path).tail.incarnation
        self.engine.trim(path, f"{incarnation:016}_{to:016}")
        stream.trim(to)

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        assume(path in self.streams and len(self.streams) == 1)
        self.engine.delete(path)
        self.streams.clear()

    @rule()
    def checkpoint(self) -> None:
        self.engine.checkpoint()

    @rule()
    def reopen(self) -> None:
        self.engine.close()
        self.open()

    @rule()
    def crash(self) -> None:
        """Goes on in what `kill -9` would have left."""
        self.copies += 1
        left = damage.copy(self.directory, self.home / str(self.copies))
        self.engine.close()
        self.directory = left
        self.open()

    @invariant()
    def every_stream_keeps_what_its_limits_say(self) -> None:
        for path, stream in self.streams.items():
            stream.enforce()
            end = time.monotonic() + 10
            while (floor := self.engine.head(path).floor.position) < stream.floor:
                assert time.monotonic() < end, (path, floor, stream)
                time.sleep(0.001)
            assert floor == stream.floor
            assert len(bytes(self.engine.read(path))) == stream.tail - stream.floor
            shown = self.engine.head(path).retention
            assert (shown or Retention()) == stream.retention


TestRetentionAgainstModel = pytest.mark.property(RetentionAgainstModel.TestCase)
RetentionAgainstModel.TestCase.settings = settings(max_examples=2 * settings().max_examples)
