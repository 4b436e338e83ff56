"""Where requests go: the stream's URL with the caller's headers and parameters."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import (
    SplitResult,
    parse_qsl,
    unquote_to_bytes,
    urlencode,
    urljoin,
    urlsplit,
    urlunsplit,
)

from durastream.client.core import steps
from durastream.client.core.steps import Operation, Request
from durastream.client.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

_ABSOLUTE = re.compile(r"https?://", re.IGNORECASE)


@dataclass
class Target:
    """A stream's URL and what every request to it carries.

    Its repr shows no value of a header or parameter.
    """

    url: str = field(repr=False)
    headers: dict[str, Any] = field(repr=False)
    params: dict[str, Any] = field(repr=False)
    shown: str = field(init=False)
    """The URL without password and query."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(
                f"not a stream's URL: {without_secrets(self.url)!r}; use http:// or https://"
            )
        self.shown = without_secrets(self.url)
        own: dict[str, list[str]] = {}
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            own.setdefault(name, []).append(value)
        self.params = {**own, **self.params}
        if "@" in parts.netloc:
            # Not left in the URL, which httpx logs.
            self.headers = {**_basic(parts), **self.headers}
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path or "/", "", ""))

    @classmethod
    def of(
        cls, url: str, headers: Mapping[str, Any] | None, params: Mapping[str, Any] | None
    ) -> Target:
        """The target of `url`; its query counts as parameters. Raises TypeError, ValueError."""
        if not isinstance(url, str):
            given = type(url).__name__  # type: ignore[unreachable]
            raise TypeError(f"a stream's URL is a str, not {given}")
        return cls(url, dict(headers or {}), dict(params or {}))

    @property
    def path(self) -> str:
        """The path of the URL, as it was given."""
        return urlsplit(self.url).path

    @property
    def dynamic(self) -> bool:
        """Whether a callable may give other credentials for another attempt."""
        return any(map(callable, self.headers.values())) or any(map(callable, self.params.values()))

    def sibling(self, to: str) -> Target:
        """The target of another stream: an absolute URL, a path from the root, or a name beside this one.

        Raises ValueError.
        """
        if not _ABSOLUTE.match(to) and not to.startswith("/"):
            if "/" in to or to in ("", ".", ".."):
                # Below what is not for a URL to tell: whoever writes "chat/2" beside "chat/1" means its base.
                raise ValueError(
                    f"{to!r} is no name beside {self.shown}: give a name without /, the whole path from the"
                    f" server's root (this stream's is {self.path}), or a URL"
                )
            to = f"./{to}"  # a name may have a colon
        url = urljoin(self.url, to)
        if _origin(url) != _origin(self.url):
            raise ValueError(
                f"{without_secrets(url)} is not at {without_secrets(urljoin(self.url, '/'))}, where this"
                " stream is: a fork lives at its source's server"
            )
        return Target(url, dict(self.headers), dict(self.params))

    def request(
        self,
        method: str,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        read_timeout: float | None = None,
    ) -> Operation[Request]:
        """The request, with the caller's values as they are now.

        The protocol's own values go before them.
        """
        now = yield from steps.current(self.headers, self.params)
        _check(now.headers)
        query = {**now.params, **params} if params else now.params
        url = self.url
        if query:
            # In order of their names, so that caches see equal requests as equal (section 10.1).
            url = f"{url}?{urlencode(sorted(query.items()), doseq=True)}"
        ours = {name.lower() for name in headers}
        sent = {name: value for name, value in now.headers.items() if name.lower() not in ours}
        return Request(method, url, {**sent, **headers}, content, bool(now.params), read_timeout)


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _check(headers: Mapping[str, Any]) -> None:
    """Refuse a header that is no text, by its name: its value may be a secret."""
    for name, value in headers.items():
        if not isinstance(value, str):
            raise BadRequest(f"the value of header {name!r} is {type(value).__name__}, not str")


def _basic(parts: SplitResult) -> dict[str, str]:
    """The header for a URL's user and password (RFC 7617)."""
    user, password = (unquote_to_bytes(part or "") for part in (parts.username, parts.password))
    return {"Authorization": f"Basic {b64encode(user + b':' + password).decode()}"}


def without_secrets(url: str) -> str:
    """The URL without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(not a URL)"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
