"""Where requests go: the stream's URL with the caller's headers and parameters."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        own = parse_qsl(parts.query, keep_blank_values=True)
        self.params = {**dict(own), **self.params}
        if "@" in parts.netloc:
            # Not left in the URL, which httpx logs.
            self.headers = {**_basic(parts), **self.headers}
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path or "/", "", ""))

    @classmethod
    def of(
        cls, url: str, headers: Mapping[str, Any] | None, params: Mapping[str, Any] | None
    ) -> Target:
        """The target of `url`; its query counts as parameters."""
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
        """The target of another stream: an absolute URL, a path, or a name beside this one."""
        return Target(urljoin(self.url, to), dict(self.headers), dict(self.params))

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
        query = {**now.params, **params} if params else now.params
        url = self.url
        if query:
            # In order of their names, so that caches see equal requests as equal (section 10.1).
            url = f"{url}?{urlencode(sorted(query.items()))}"
        return Request(
            method, url, {**now.headers, **headers}, content, bool(now.params), read_timeout
        )


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
