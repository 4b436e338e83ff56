"""Raw HTTP clients that can misbehave."""

import socket
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import h2.config
import h2.connection
import h2.events
from hyperframe.frame import Frame

TIMEOUT = 3.0


def connect(port: int, *, timeout: float = TIMEOUT) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=timeout)


def read_all(sock: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    pieces = []
    while piece := sock.recv(65_536):
        pieces.append(piece)
    return b"".join(pieces)


def read_until(sock: socket.socket, end: bytes) -> bytes:
    """Everything up to and with `end`, which must be the last that comes for now."""
    pieces = b""
    while not pieces.endswith(end):
        piece = sock.recv(65_536)
        if not piece:
            raise ConnectionError(f"ended before {end!r}: {pieces!r}")
        pieces += piece
    return pieces


def get(port: int, path: str) -> bytes:
    """The raw answer to a GET on a connection of its own."""
    with connect(port) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        return read_all(sock)


class H2Client:
    """One HTTP/2 connection by prior knowledge. Sends whatever it is told to."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()
        self.statuses: dict[int, int] = {}
        self.headers: dict[int, list[tuple[bytes, bytes]]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goaway: int | None = None
        self.closed = False

    @classmethod
    def to(cls, port: int) -> Self:
        return cls(connect(port))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.sock.close()

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def request(
        self,
        method: bytes,
        path: bytes | None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        *,
        end: bool = True,
        flush: bool = True,
    ) -> int:
        """Send HEADERS, at once or together with what comes next; the stream's number."""
        stream = self.h2.get_next_available_stream_id()
        fields = [(b":method", method), (b":authority", b"x")]
        if path is not None:
            fields += [(b":scheme", b"http"), (b":path", path)]
        self.h2.send_headers(stream, [*fields, *headers], end_stream=end)
        if flush:
            self.flush()
        return stream

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def frame(self, frame: Frame) -> None:
        self.sock.sendall(frame.serialize())

    def pump(self, *, credit: bool = True) -> None:
        """Receive once; raises TimeoutError when nothing comes."""
        data = self.sock.recv(65_536)
        if not data:
            self.closed = True
            return
        for event in self.h2.receive_data(data):
            match event:
                case h2.events.ResponseReceived(stream_id=stream, headers=headers):
                    self.statuses[stream] = int(dict(headers or [])[b":status"])
                    self.headers[stream] = list(headers or [])
                case h2.events.DataReceived(stream_id=stream, data=body):
                    self.bodies[stream] = self.bodies.get(stream, b"") + bytes(body or b"")
                    if credit and event.flow_controlled_length:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                case h2.events.StreamEnded(stream_id=stream):
                    self.ended.add(stream or 0)
                case h2.events.StreamReset(stream_id=stream, error_code=code):
                    self.resets[stream] = int(code or 0)
                case h2.events.ConnectionTerminated(error_code=code):
                    self.goaway = int(code or 0)
                case _:
                    pass
        self.flush()

    def wait_status(self, stream: int) -> int:
        """The stream's status, when it comes."""
        while stream not in self.statuses:
            if self.closed or stream in self.resets:
                raise ConnectionError(f"stream {stream} was not answered")
            self.pump()
        return self.statuses[stream]

    def wait_end(self, stream: int) -> bytes:
        """The stream's body, when it has ended."""
        while stream not in self.ended:
            if self.closed or stream in self.resets:
                raise ConnectionError(f"stream {stream} did not end")
            self.pump()
        return self.bodies.get(stream, b"")
