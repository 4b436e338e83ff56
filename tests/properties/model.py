"""What LogEngine promises, as plainly as it can be said: a dictionary of lists.

Nothing here knows of logs, frames or checkpoints. A stream is a list of appends with the wire bytes
of each; a fork is a copy of its source's list. Restarting does nothing, which is the promise.
"""

from dataclasses import dataclass, field

JSON = "application/json"


class Refused(Exception):
    """The model refuses; `kind` names why, in the words of the tests."""

    def __init__(self, kind: str, **facts: object) -> None:
        super().__init__(kind, facts)
        self.kind = kind
        self.facts = facts


@dataclass(frozen=True)
class Producer:
    id: str
    epoch: int
    seq: int


@dataclass(frozen=True)
class Append:
    """One stored append: `parts` are JSON messages, or the one body of a byte stream."""

    start: int
    parts: tuple[bytes, ...]

    @property
    def end(self) -> int:
        return self.start + sum(map(len, self.parts))

    @property
    def wire(self) -> bytes:
        return b"".join(self.parts)


@dataclass(frozen=True)
class Page:
    wire: bytes
    next: int
    up_to_date: bool
    closed: bool


@dataclass(frozen=True)
class Fork:
    source: "Stream"
    offset: int | None
    sub_offset: int


@dataclass(eq=False)
class Stream:
    """One life of one path."""

    path: str
    content_type: str
    root: "Stream | None" = None
    fork: Fork | None = None
    point: int = 0  # where it leaves its source, when it is a fork
    appends: list[Append] = field(default_factory=list)
    floor: int = 0
    tail: int = 0
    closed: bool = False
    closed_by: Producer | None = None
    producers: dict[str, tuple[int, int]] = field(default_factory=dict)
    stream_seq: bytes | None = None
    forks: int = 0
    soft_deleted: bool = False
    incarnation: int | None = None  # told by the engine, the same for the whole life

    @property
    def is_json(self) -> bool:
        return self.content_type == JSON

    @property
    def life(self) -> "Stream":
        """The stream whose offset space this one uses: itself, or the root of its fork tree."""
        return self.root or self

    def encode(self, messages: list[bytes]) -> tuple[bytes, ...]:
        if self.is_json:
            return tuple(message + b"," for message in messages)
        return (b"".join(messages),)

    def store(self, parts: tuple[bytes, ...]) -> Append:
        stored = Append(self.tail, parts)
        self.appends.append(stored)
        self.tail = stored.end
        return stored


class Model:
    """Every stream by path, the soft-deleted included."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}

    def find(self, path: str) -> Stream:
        stream = self.streams.get(path)
        if stream is None:
            raise Refused("not found")
        if stream.soft_deleted:
            raise Refused("soft-deleted")
        return stream

    def live(self) -> list[str]:
        return sorted(
            (p for p, s in self.streams.items() if not s.soft_deleted), key=lambda p: p.encode()
        )

    def create(
        self, path: str, content_type: str, messages: list[bytes], *, closed: bool
    ) -> tuple[bool, Stream]:
        found = self.streams.get(path)
        if found is not None:
            if found.soft_deleted:
                raise Refused("path held by forks")
            same = (found.content_type, found.closed, found.fork) == (content_type, closed, None)
            if not same:
                raise Refused("exists")
            return False, found
        stream = self.streams[path] = Stream(path, content_type, closed=closed)
        if messages:
            stream.store(stream.encode(messages))
        return True, stream

    def fork(
        self, path: str, source_path: str, offset: int | None, sub_offset: int
    ) -> tuple[bool, Stream]:
        source = self.streams.get(source_path)
        found = self.streams.get(path)
        if found is not None and found.soft_deleted:
            raise Refused("path held by forks")
        if found is not None:
            if source is None or found.fork != Fork(source, offset, sub_offset) or found.closed:
                raise Refused("exists")
            return False, found
        if source is None:
            raise Refused("source not found")
        if source.soft_deleted:
            raise Refused("source deleted")
        inherited, at = self._cut(source, source.tail if offset is None else offset, sub_offset)
        self.streams[path] = stream = Stream(
            path,
            source.content_type,
            root=source.life,
            fork=Fork(source, offset, sub_offset),
            point=at,
            appends=inherited,
            floor=source.floor,
            tail=at,
        )
        source.forks += 1
        return True, stream

    @staticmethod
    def _cut(source: Stream, at: int, sub_offset: int) -> tuple[list[Append], int]:
        """The source's appends up to `at`, and `sub_offset` messages or bytes of the next one."""
        if not source.floor <= at <= source.tail:
            raise Refused("fork point")
        kept = [a for a in source.appends if a.end <= at]
        if sub_offset:
            beyond = next((a for a in source.appends if a.start >= at), None)
            if beyond is None:
                raise Refused("fork point")
            if source.is_json:
                parts = beyond.parts[:sub_offset]
                short = len(parts) < sub_offset
            else:
                parts = (beyond.wire[:sub_offset],)
                short = len(parts[0]) < sub_offset
            if short:
                raise Refused("fork point")
            kept.append(Append(at, parts))
            at = kept[-1].end
        return kept, at

    def append(
        self,
        path: str,
        messages: list[bytes],
        *,
        close: bool = False,
        producer: Producer | None = None,
        stream_seq: bytes | None = None,
    ) -> tuple[bool, Append | None, Stream]:
        """Gives (duplicate, what was stored, the stream), or refuses in the protocol's order."""
        stream = self.find(path)
        if producer is not None and producer.epoch < stream.producers.get(producer.id, (0, 0))[0]:
            raise Refused("fenced", current_epoch=stream.producers[producer.id][0])
        if stream.closed:
            repeated = producer is not None and producer == stream.closed_by
            if repeated or (producer is None and close and not messages):
                return producer is not None, None, stream
            raise Refused("closed")
        if producer is not None and self._seen(stream, producer):
            return True, None, stream
        if (
            stream_seq is not None
            and stream.stream_seq is not None
            and stream_seq <= stream.stream_seq
        ):
            raise Refused("stream seq")
        stored = stream.store(stream.encode(messages)) if messages else None
        if close:
            stream.closed, stream.closed_by = True, producer
        if producer is not None:
            stream.producers[producer.id] = (producer.epoch, producer.seq)
        if stream_seq is not None:
            stream.stream_seq = stream_seq
        return False, stored, stream

    @staticmethod
    def _seen(stream: Stream, producer: Producer) -> bool:
        known = stream.producers.get(producer.id)
        if known is not None and producer.epoch > known[0]:
            if producer.seq != 0:
                raise Refused("epoch start")
            return False
        expected = 0 if known is None else known[1] + 1
        if producer.seq > expected:
            raise Refused("gap", expected_seq=expected, received_seq=producer.seq)
        return producer.seq < expected

    def delete(self, path: str) -> None:
        stream = self.find(path)
        if stream.forks:
            stream.soft_deleted = True
        else:
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        del self.streams[stream.path]
        if stream.fork is not None:
            source = stream.fork.source
            source.forks -= 1
            if source.soft_deleted and not source.forks:
                self._remove(source)

    def trim(self, path: str, before: int) -> int:
        stream = self.find(path)
        if before > stream.tail:
            raise Refused("trim point")
        holder = next((a.start for a in stream.appends if a.end > before), stream.tail)
        stream.floor = max(stream.floor, holder)
        return stream.floor

    def read(self, path: str, position: int | None, max_bytes: int) -> Page:
        """Whole appends whose end lies beyond `position` (`None`: from the floor)."""
        stream = self.find(path)
        if position is None:
            position = stream.floor
        if not stream.floor <= position <= stream.tail + 1:
            raise Refused("gone")
        wire, reached = b"", stream.tail
        for stored in (a for a in stream.appends if a.end > max(position, stream.floor)):
            if wire and len(wire) + len(stored.wire) > max_bytes:
                break
            wire, reached = wire + stored.wire, stored.end
        at_end = reached == stream.tail
        return Page(wire, reached, at_end, at_end and stream.closed)

    def readable_bytes(self) -> int:
        """All bytes that anybody can read, each once: a fork shares what it has of its source."""
        ends: dict[tuple[Stream, int], int] = {}
        for reader in map(self.find, self.live()):
            for stored in (a for a in reader.appends if a.end > reader.floor):
                owner = reader
                while owner.fork is not None and stored.start < owner.point:
                    owner = owner.fork.source
                place = (owner, stored.start)
                ends[place] = max(ends.get(place, 0), stored.end)
        return sum(end - start for (_, start), end in ends.items())

    def text(self, stream: Stream) -> bytes:
        """All readable bytes of a stream, as stored."""
        return b"".join(a.wire for a in stream.appends if a.end > stream.floor)
