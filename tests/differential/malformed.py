"""HTTP/1.1 as it must not be sent (RFC 9112), each with its connection closed by the answer."""

_GET = b"GET /v1/stream/a HTTP/1.1\r\nHost: t\r\n"
_POST = b"POST /v1/stream/a HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"

MALFORMED: dict[str, bytes] = {
    "no HTTP": b"hello\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "version 2.0": b"GET / HTTP/2.0\r\nHost: t\r\n\r\n",
    "version 1.2 in words": b"GET / HTTP/one\r\nHost: t\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: t\r\n\r\n",
    "a target with a space": b"GET /v1/stream/a b HTTP/1.1\r\nHost: t\r\n\r\n",
    "a target beyond ASCII": b"GET /v1/stream/\xff HTTP/1.1\r\nHost: t\r\n\r\n",
    "a method with a separator": b"GE(T / HTTP/1.1\r\nHost: t\r\n\r\n",
    "a field without a colon": _GET + b"nonsense\r\n\r\n",
    "a space before the colon": _GET + b"X : y\r\n\r\n",
    "an empty name": _GET + b": y\r\n\r\n",
    "a name with a separator": _GET + b"x(y: z\r\n\r\n",
    "a value with NUL": _GET + b"X: a\x00b\r\n\r\n",
    "a value with a bare CR": _GET + b"X: a\rb\r\n\r\n",
    "a folded field": _GET + b"X: a\r\n b\r\n\r\n",
    "a bare LF": b"GET / HTTP/1.1\nHost: t\n\n",
    "no host": b"GET /v1/stream/a HTTP/1.1\r\n\r\n",
    "two hosts": _GET + b"Host: u\r\n\r\n",
    "a host with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "lengths that differ": _POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a list of lengths": _POST + b"Content-Length: 1, 1\r\n\r\na",
    "a negative length": _POST + b"Content-Length: -1\r\n\r\n",
    "a signed length": _POST + b"Content-Length: +1\r\n\r\na",
    "a length in hex": _POST + b"Content-Length: 0x1\r\n\r\na",
    "no length": _POST + b"Content-Length: \r\n\r\n",
    "length and chunks": _POST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip": _POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "gzip, then chunks": _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": _POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks over 1.0": b"POST /v1/stream/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk size in words": _CHUNKED + b"nonsense\r\n\r\n",
    "a negative chunk": _CHUNKED + b"-1\r\n\r\n",
    "a chunk with 0x": _CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "a chunk that is too long": _CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "a huge chunk size": _CHUNKED + b"f" * 40 + b"\r\n",
    "a chunk line with a bare LF": _CHUNKED + b"1\na\r\n0\r\n\r\n",
    "a head over the limit": _GET + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
    "a foreign scheme": b"GET ftp://t/v1/stream/a HTTP/1.1\r\nHost: t\r\n\r\n",
    "an asterisk": b"GET * HTTP/1.1\r\nHost: t\r\n\r\n",
}
"""By what is wrong."""

DIFFERENT: dict[str, tuple[list[int], list[int]]] = {
    "version 2.0": ([505], [404]),
    "version 1.2 in words": ([505], [400]),
    "a target with a space": ([505], [400]),
    "a folded field": ([400], [404]),
    "a bare LF": ([400], [404]),
    "a host with a space": ([400], [404]),
    "a list of lengths": ([400], [404]),
    "a foreign scheme": ([400], [404]),
    "an asterisk": ([400], [404]),
}
"""Statuses of the native and of the trio listener, where they differ: h11 takes more than the native parser does."""
