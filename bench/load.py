"""A light HTTP/1.1 load generator for machines without wrk.

`python -m bench.load HOST PORT CONNECTIONS SECONDS METHOD PATH [BODY_BYTES]` prints JSON: answers,
seconds, latencies in ms, how many were not 2xx. One request in flight per connection.
"""

import json
import selectors
import socket
import sys
import time


class Peer:
    """One connection and the request it repeats."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.sock = socket.create_connection(address, timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = request
        self.buffer = b""
        self.began = 0.0

    def ask(self) -> None:
        self.began = time.perf_counter()
        self.sock.sendall(self.request)

    def take(self) -> int | None:
        """The status of a complete answer, `None` while it is not."""
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the server closed a connection")
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return None
        status = int(self.buffer[9:12])
        self.buffer = b""
        return status


def run(
    address: tuple[str, int], request: bytes, connections: int, seconds: float
) -> dict[str, object]:
    peers = [Peer(address, request) for _ in range(connections)]
    latencies, refused = [], 0
    with selectors.DefaultSelector() as selector:
        for peer in peers:
            selector.register(peer.sock, selectors.EVENT_READ, peer)
            peer.ask()
        began = now = time.perf_counter()
        while now - began < seconds:
            for key, _ in selector.select(1):
                peer = key.data
                status = peer.take()
                if status is not None:
                    now = time.perf_counter()
                    latencies.append((now - peer.began) * 1000)
                    refused += not 200 <= status < 300
                    peer.ask()
            now = time.perf_counter()
    for peer in peers:
        peer.sock.close()
    latencies.sort()
    points = {
        f"p{p}": latencies[min(len(latencies) * p // 100, len(latencies) - 1)] for p in (50, 99)
    }
    return {"answers": len(latencies), "seconds": now - began, "refused": refused, **points}


def main() -> None:
    host, port, connections, seconds, method, path, *size = sys.argv[1:]
    body = b"x" * int(size[0]) if size else b""
    fields = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
    if body:
        fields += f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n"
    request = fields.encode() + b"\r\n" + body
    print(json.dumps(run((host, int(port)), request, int(connections), float(seconds))))


if __name__ == "__main__":
    main()
