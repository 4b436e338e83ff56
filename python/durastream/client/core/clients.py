"""httpx as both twins use it: clients of our own, requests, and what its exceptions mean."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import ssl
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlencode

import h11
import httpcore
import httpx

from durastream import __version__
from durastream.client.core import beneath
from durastream.client.core.steps import Broken
from durastream.client.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from durastream.client.core.steps import Request

DEFAULT_TIMEOUT = 30.0
KEPT: Final = 100
"""Idle connections, at most."""
KEPT_FOR: Final = 30.0
"""Seconds that one stays open; servers close idle connections some time, too."""
_LIMITS = httpx.Limits(
    max_connections=None, max_keepalive_connections=KEPT, keepalive_expiry=KEPT_FOR
)
_KEY = os.urandom(16)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_CONFUSED = (RuntimeError, ValueError, KeyError)
"""What httpcore raises over an HTTP/2 connection on which another request was cancelled at a bad moment."""
_HTTP2_MODULES = ("httpcore._sync.http2", "httpcore._async.http2")
FAILURES = (httpx.RequestError, httpcore.NetworkError, httpcore.TimeoutException)
"""What reading a body may raise; `broken` says what it means."""
_NO_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
    }
)
"""What OpenSSL's versions say of bytes that are no TLS."""
_CONTROL_CHARACTER = "illegal request line"
"""What h11 says of an answer that begins with one, as an alert of TLS does."""
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that say where httpx has its certificates from."""
_SENDABLE = re.compile(r"[!-~](?:[\t -~]*[!-~])?")
_OWN_PARAMS = frozenset({"offset", "live", "cursor"})


class QuietURL(httpx.URL):
    """A URL whose text shows a short digest in place of each value that the caller added."""

    def __str__(self) -> str:
        shown = [
            (name, value if name in _OWN_PARAMS else _digest(value))
            for name, value in self.params.multi_items()
        ]
        return f"{httpx.URL(self).copy_with(query=None)}?{urlencode(shown)}"

    def __repr__(self) -> str:
        return f"URL({str(self)!r})"


def _digest(value: str) -> str:
    """Different for different values, and says nothing about them."""
    return hashlib.blake2s(value.encode(), key=_KEY, digest_size=4).hexdigest()


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Raises BadRequest."""
    try:
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        named = [name for name in _CERTIFICATES if os.environ.get(name)]
        where = " or ".join(f"{name}={os.environ[name]}" for name in named) or "the usual place"
        raise BadRequest(f"no certificates can be loaded from {where}: {error}") from error


class Trusting(ssl.SSLContext):
    """What httpx trusts, loaded by the first connection over TLS: that takes long, and many need none."""

    _protocols: Sequence[str] = ("http/1.1",)

    def __new__(cls) -> Self:  # noqa: D102  (as that of the base, which wants to be told)
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Ask for one of these: httpcore does before each connection."""
        self._protocols = tuple(alpn_protocols)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401  (ssl's own)
        """A connection of a thread."""
        return self._loaded().wrap_socket(*arguments, **options)

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:  # noqa: ANN401  (ssl's own)
        """A connection of an event loop."""
        return self._loaded().wrap_bio(*arguments, **options)

    def _loaded(self) -> ssl.SSLContext:
        found = _certificates()
        found.set_alpn_protocols(self._protocols)
        return found


@functools.cache
def trusting() -> Trusting:
    """What clients of our own take as `verify`."""
    return Trusting()


def client_options() -> dict[str, Any]:
    """Arguments of a client of our own."""
    return {
        "http2": True,
        "limits": _LIMITS,
        "verify": trusting(),
        "headers": {"User-Agent": f"durastream/{__version__}"},
    }


def timeouts(
    client: httpx.Client | httpx.AsyncClient, own: bool, timeout: float | None
) -> httpx.Timeout:
    """What the caller said, else what the passed-in client says, else 30 s."""
    if timeout is None and not own:
        return client.timeout
    return httpx.Timeout(DEFAULT_TIMEOUT if timeout is None else timeout)


def build(
    client: httpx.Client | httpx.AsyncClient, request: Request, timeout: httpx.Timeout
) -> httpx.Request:
    """The request as httpx wants it. Raises BadRequest."""
    _check(request.headers)
    if request.read_timeout is not None:
        timeout = httpx.Timeout(
            connect=timeout.connect,
            read=request.read_timeout,
            write=timeout.write,
            pool=timeout.pool,
        )
    built = client.build_request(
        request.method,
        request.url,
        headers=request.headers,
        content=request.content,
        timeout=timeout,
    )
    if built.url.scheme == "https" and beneath.context_of(client) is trusting():
        _certificates()  # before there is a connection that nobody would close
    if request.secret:
        built.url = QuietURL(built.url)
    return built


def _check(headers: Mapping[str, str]) -> None:
    """Refuse values that cannot be sent: h11's own message shows them, and they may be secrets."""
    for name, value in headers.items():
        if value and not _SENDABLE.fullmatch(value):
            raise BadRequest(
                f"the value of header {name!r} cannot be sent: it must be printable ASCII text "
                "without line breaks and without white space at either end"
            )


def _of_h2(error: BaseException) -> bool:
    """Whether it is h2's word about a connection that others have ended or filled."""
    if isinstance(error, httpx.LocalProtocolError) and error.__cause__ is not None:
        error = next((each for each in error.__cause__.args if isinstance(each, Exception)), error)
    return type(error).__module__ == "h2.exceptions"


def _within_http2(error: BaseException) -> bool:
    """Whether it was raised in httpcore's HTTP/2: the pool may have dropped the connection already."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") in _HTTP2_MODULES:
            return True
        trace = trace.tb_next
    return False


def lost(
    client: httpx.Client | httpx.AsyncClient, url: httpx.URL, error: BaseException
) -> Exception | None:
    """What a request without a whole answer means to an operation; `None` when it means nothing to it."""
    shared = beneath.retire(client, url)
    if _of_h2(error) or (isinstance(error, _CONFUSED) and (shared or _within_http2(error))):
        return Broken(f"{type(error).__name__}: {error}", sent=True)
    if not isinstance(error, (*FAILURES, httpx.StreamError, Broken)):
        return None
    return _of_tls(error, url) or broken(error)


def _of_tls(error: BaseException, url: httpx.URL) -> Broken | None:
    """TLS where there should be none, none where there should be, or a certificate that is not trusted."""
    within: BaseException | None = error
    while within is not None:
        if isinstance(within, ssl.SSLCertVerificationError):
            reason = (
                f"its certificate is not trusted ({within.verify_message}); SSL_CERT_FILE, or a client of"
                " your own, says what is"
            )
            return Broken(reason, sent=False, for_good=True)
        if isinstance(within, ssl.SSLError) and within.reason in _NO_TLS:
            reason = "it does not speak TLS: its URL begins with http://"
            return Broken(reason, sent=False, for_good=True)
        if type(within) is h11.RemoteProtocolError and str(within) == _CONTROL_CHARACTER:
            if url.scheme != "http":
                return None
            reason = "its answer is no HTTP: if it speaks TLS, its URL begins with https://"
            return Broken(reason, sent=False, for_good=True)
        within = within.__cause__ or within.__context__
    return None


def broken(error: Exception) -> Exception:
    """What a failed request means to an operation."""
    if isinstance(error, Broken):
        return error
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return BadRequest(f"this request cannot be sent: {reason}")
    return Broken(
        reason,
        sent=not isinstance(error, _NOT_SENT),
        silent=isinstance(error, httpx.ReadTimeout | httpcore.ReadTimeout),
    )
