"""Which stream on which server: `--url`, `--auth`, `--header` and the like."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from durastream.commands.remote.ends import BadUsageError
from durastream.commands.report import warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    import httpx

    from durastream.client import Retry

URL_VARIABLE: Final = "DURABLE_STREAMS_URL"
AUTH_VARIABLE: Final = "DURABLE_STREAMS_AUTH"
BASE_PATH: Final = "/v1/stream"
DEFAULT_URL: Final = f"http://127.0.0.1:4437{BASE_PATH}"
"""Where `durable-streams serve` listens unless it is told otherwise."""
IN_A_PATH: Final = "/:@!$&'()*+,;=~"
"""What percent-encoding leaves as it is."""
_TIMES: Final = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which server, and how to talk to it."""
    group = parser.add_argument_group("server")
    group.add_argument(
        "--url",
        metavar="URL",
        help=f"where streams that are not URLs live; without a path: {BASE_PATH} "
        f"[{URL_VARIABLE}; default {DEFAULT_URL}]",
    )
    group.add_argument(
        "--auth",
        metavar="TOKEN",
        help=f"Authorization: a bearer token, or scheme and credentials [{AUTH_VARIABLE}]",
    )
    group.add_argument(
        "--header",
        metavar="'NAME: VALUE'",
        action="append",
        default=[],
        help="a header of every request; repeatable",
    )
    group.add_argument(
        "--timeout",
        metavar="TIME",
        type=seconds,
        default=30.0,
        help="how long to wait for an answer (default 30s)",
    )
    group.add_argument("--ca-cert", metavar="FILE", help="trust this certificate authority (PEM)")
    group.add_argument("--insecure", action="store_true", help="trust any certificate")


def seconds(text: str) -> float:
    """A time as the command line has it: seconds, or a number with ms, s, m or h."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)", text.strip().lower())
    if not found or found[2] not in _TIMES:
        raise ValueError(text)
    return float(found[1]) * _TIMES[found[2]]


# argparse names the type in its message.
seconds.__name__ = "time"


@dataclass(frozen=True)
class Server:
    """A server and what it is told with every request."""

    base: str
    """The URL below which streams live, without a slash at its end."""
    headers: Mapping[str, str]
    timeout: float
    ca_cert: str | None = None
    insecure: bool = False
    token_from_environment: str | None = None
    """The part of `headers` that belongs to the server of the environment alone."""
    chosen: bool = False
    """Whether `base` was given, not defaulted."""

    @classmethod
    def of(cls, given: argparse.Namespace) -> Server:
        """The server that the arguments and the environment name. Raises BadUsageError."""
        headers = dict(_header(text) for text in given.header)
        if given.timeout <= 0:
            raise BadUsageError("--timeout must be above 0, such as 10 or 500ms")
        base = given.url or os.environ.get(URL_VARIABLE)
        from_environment = None
        if given.auth is not None:
            headers["Authorization"] = _authorization(given.auth)
        elif token := os.environ.get(AUTH_VARIABLE):
            from_environment = _authorization(token)
        return cls(
            base=_base(base or DEFAULT_URL),
            headers=headers,
            timeout=given.timeout,
            ca_cert=given.ca_cert,
            insecure=given.insecure,
            token_from_environment=from_environment,
            chosen=base is not None,
        )

    @property
    def shown(self) -> str:
        """`base` as messages show it: without a password."""
        parts = urlsplit(self.base)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def stream_url(self, stream: str) -> str:
        """The URL of a stream that is named by a URL or by its path. Raises BadUsageError."""
        if "://" in stream:
            parts = _checked(stream)
            if parts.fragment:
                raise BadUsageError(f"{stream!r}: a stream's URL has no fragment (#)")
            path = parts.path
        else:
            path = stream.strip("/")
        if not path.strip("/"):
            raise BadUsageError(
                f"{stream!r} names no stream; give a path such as orders/2026, or its URL"
            )
        # HTTP clients resolve these, and would ask for another stream.
        if any(segment in (".", "..") for segment in path.split("/")):
            raise BadUsageError(f"{stream!r}: no segment of a stream's path is . or ..")
        return stream if "://" in stream else f"{self.base}/{quote(path, safe=IN_A_PATH)}"

    def headers_for(self, url: str) -> dict[str, str]:
        """The headers of requests to a URL."""
        headers = dict(self.headers)
        if self.token_from_environment is not None:
            if self.chosen and _origin(url) != _origin(self.base):
                warn(
                    f"{AUTH_VARIABLE} is for {_origin(self.base)} and not sent to {_origin(url)}; "
                    "give --auth to send it"
                )
            else:
                headers.setdefault("Authorization", self.token_from_environment)
        return headers

    def http_client(self) -> httpx.Client | None:
        """A client of its own where certificates are not checked as usual; else `durastream.client`'s."""
        if not self.insecure and self.ca_cert is None:
            return None
        from durastream.client.apart import ThreadClient  # noqa: PLC0415  (slow to load, and seldom needed)

        return ThreadClient(http2=True, verify=self.certificates(), timeout=self.timeout)

    def certificates(self) -> Any:  # noqa: ANN401  (whatever httpx takes)
        """What httpx takes as `verify`. Raises BadUsageError."""
        import ssl  # noqa: PLC0415

        if self.insecure:
            return False
        try:
            return ssl.create_default_context(cafile=self.ca_cert)
        except (OSError, ssl.SSLError) as error:
            raise BadUsageError(f"--ca-cert {self.ca_cert}: {error}; give a PEM file") from None

    def options(self, url: str, *, patience: float) -> dict[str, Any]:
        """Keyword arguments of `durastream.client` for the stream at `url`.

        `patience` is how many seconds a failing server is tried again for.
        """
        return {
            "headers": self.headers_for(url),
            "client": self.http_client(),
            "retry": _retry(patience),
            "timeout": self.timeout,
        }


def _retry(patience: float) -> Retry:
    from durastream.client import Retry  # noqa: PLC0415

    if patience <= 0:
        return Retry(max_retries=0)
    return Retry(max_retries=1_000_000, max_delay=min(5.0, max(0.1, patience)), deadline=patience)


def _base(text: str) -> str:
    parts = _checked(text)
    if parts.query or parts.fragment:
        raise BadUsageError(f"--url {text!r} has a query or a fragment; leave it out")
    path = parts.path or BASE_PATH
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", ""))


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise BadUsageError(f"{url!r} is not a URL such as {DEFAULT_URL}")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        # What was given may be a secret.
        raise BadUsageError("--header takes 'NAME: VALUE', such as 'X-Tenant: blue'")
    return name, _clean(value.strip(), "--header")


def _authorization(text: str) -> str:
    """`TOKEN` as a bearer token; `SCHEME CREDENTIALS` as it is."""
    text = _clean(text.strip(), f"--auth or {AUTH_VARIABLE}")
    if not text:
        raise BadUsageError(f"--auth or {AUTH_VARIABLE} is empty; give a token, or leave it out")
    return text if " " in text else f"Bearer {text}"


def _clean(value: str, where: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise BadUsageError(f"{where}: the value is not printable ASCII")
    return value
