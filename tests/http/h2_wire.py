"""A small HTTP/2 client (prior knowledge) whose every frame the test decides."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events

from . import wire
from .wire import Fields, Headers, Reply, as_bytes


@dataclass
class Stream:
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    def reply(self) -> Reply:
        return Reply(int(self.headers[":status"]), self.headers, self.body)


class Client:
    """One connection; streams by number. `reading=False` never grants window for bodies."""

    def __init__(self, sock: socket.socket, *, reading: bool = True) -> None:
        self.sock = sock
        self.reading = reading
        config = h2.config.H2Configuration(
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.streams: dict[int, Stream] = {}
        self.gone = False
        self.flush()

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def request(
        self, method: str, path: bytes | str, headers: Fields = (), *, end: bool = True
    ) -> int:
        """Sends a head, as given but for the case of its names; the stream's number."""
        number = self.h2.get_next_available_stream_id()
        fields: Headers = [
            (b":method", method.encode()),
            (b":path", as_bytes(path)),
            (b":scheme", b"http"),
            (b":authority", b"test"),
        ]
        fields += [(as_bytes(name).lower(), as_bytes(value)) for name, value in headers]
        self.h2.send_headers(number, fields, end_stream=end)
        self.streams[number] = Stream()
        self.flush()
        return number

    def send(self, number: int, body: bytes, *, end: bool = True) -> None:
        """Sends as the peer's windows allow, taking in what it says meanwhile; stops at a reset."""
        sent, stream = 0, self.streams[number]
        while sent < len(body) and stream.reset is None:
            window = min(
                self.h2.local_flow_control_window(number),
                self.h2.max_outbound_frame_size,
                len(body) - sent,
            )
            if window <= 0:
                self.receive()
                continue
            self.h2.send_data(number, body[sent : sent + window])
            sent += window
            self.flush()
        if end and stream.reset is None:
            self.h2.end_stream(number)
            self.flush()

    def receive(self) -> None:
        """Takes in whatever comes next."""
        data = self.sock.recv(1 << 16)
        if not data:
            self.gone = True
            raise ConnectionError("the server closed the connection")
        for event in self.h2.receive_data(data):
            self._take(event)
        self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.streams[event.stream_id].headers = {str(k): str(v) for k, v in event.headers}
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].body += event.data
            if self.reading and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.streams[event.stream_id].ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.streams[event.stream_id].reset = event.error_code

    def answer(self, number: int) -> Reply:
        """Waits for the whole response."""
        stream = self.streams[number]
        while not stream.ended:
            assert stream.reset is None or stream.headers, stream
            self.receive()
        return stream.reply()

    def ask(
        self,
        method: str,
        path: bytes | str,
        headers: Fields = (),
        body: bytes | None = None,
    ) -> Reply:
        number = self.request(method, path, headers, end=not body)
        if body:
            self.send(number, body)
        return self.answer(number)


@contextmanager
def client(url: str, *, reading: bool = True, timeout: float = 10.0) -> Iterator[Client]:
    with wire.connection(url, timeout) as sock:
        yield Client(sock, reading=reading)
