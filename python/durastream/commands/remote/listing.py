"""`durable-streams list`: which streams a durastream server has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from durastream.commands.remote.create import whole
from durastream.commands.remote.ends import (
    CREDENTIALS,
    DONE,
    FAILED,
    REFUSED,
    UNAUTHORIZED,
    UNREACHABLE,
    advice,
)
from durastream.commands.remote.place import BASE_PATH, Server
from durastream.commands.report import out, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import httpx

NAME = "list"
HELP = "list the streams of a durastream server"
DESCRIPTION = (
    "List streams in byte-wise order of their paths. The protocol has no listing: this works with durastream "
    "servers that are started with --listing on (docs/protocol-extensions.md), and says so of others."
)
EXAMPLES = """  durable-streams list
  durable-streams list orders/ --long
  durable-streams list --output json | jq -r 'select(.closed) | .path'
"""
EXTENSION: Final = "/__durastream/streams"
PAGE: Final = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which streams, and what of them."""
    parser.add_argument(
        "prefix", metavar="PREFIX", nargs="?", default="", help="only paths that begin with this"
    )
    parser.add_argument("--limit", metavar="N", type=whole, help="at most so many")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "-l", "--long", action="store_true", help="with tail, state, creation and content type"
    )
    shape.add_argument(
        "--output",
        choices=("text", "json"),
        default="text",
        help="print paths (default) or a JSON object a line",
    )


def run(given: argparse.Namespace) -> int:
    """List; the exit status."""
    server = Server.of(given)
    url = listing_url(server.base)
    import httpx  # noqa: PLC0415  (slow to load)

    from durastream.client.core.clients import trusting  # noqa: PLC0415

    verify = server.certificates() if server.insecure or server.ca_cert else trusting()
    headers = server.headers_for(url)
    try:
        with httpx.Client(headers=headers, verify=verify, timeout=server.timeout) as client:
            for info in _streams(client, url, given.prefix, given.limit):
                out(_line(info, given))
    except _Refusal as refusal:
        warn(refusal.message)
        return refusal.status
    except httpx.HTTPError as error:
        said = str(error) or type(error).__name__
        warn(f"{server.shown} cannot be reached: {said}{advice(error, server.base)}")
        return UNREACHABLE
    return DONE


def listing_url(base: str) -> str:
    """Where the server that has streams below `base` tells which: beside the base path, mounted or not."""
    parts = urlsplit(base)
    path = parts.path
    for usual in (BASE_PATH, BASE_PATH + "s"):
        if path.endswith(usual):
            return urlunsplit(
                (parts.scheme, parts.netloc, path.removesuffix(usual) + EXTENSION, "", "")
            )
    return urlunsplit((parts.scheme, parts.netloc, EXTENSION, "", ""))


class _Refusal(Exception):
    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def _streams(
    client: httpx.Client, url: str, prefix: str, limit: int | None
) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        asked: dict[str, str | int] = {"prefix": prefix, "limit": min(left or PAGE, PAGE)}
        if cursor is not None:
            asked["cursor"] = cursor
        page = _page(client.get(url, params=asked), url)
        yield from page["streams"]
        cursor = page["cursor"]
        if cursor is None:
            return
        if left is not None:
            left -= len(page["streams"])


def _page(answer: httpx.Response, url: str) -> dict[str, Any]:
    if answer.status_code in (401, 403):
        raise _Refusal(f"{url}: {answer.status_code}; {CREDENTIALS}", UNAUTHORIZED)
    if answer.status_code == 400:
        raise _Refusal(f"{url}: {_detail(answer)}", REFUSED)
    try:
        page = answer.json() if answer.status_code == 200 else None
    except ValueError:
        page = None
    if isinstance(page, dict) and isinstance(page.get("streams"), list) and "cursor" in page:
        return page
    raise _Refusal(
        f"this server does not list its streams ({answer.status_code} at {url}): the protocol has no "
        "listing, and a durastream server has one when it is started with --listing on",
        FAILED,
    )


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"


def _line(info: dict[str, Any], given: argparse.Namespace) -> str:
    if given.output == "json":
        return json.dumps(info, ensure_ascii=False)
    path = str(info.get("path"))
    if not given.long:
        return path
    state = "closed" if info.get("closed") else "open"
    created = str(info.get("created_at"))[:19]
    return f"{info.get('next_offset')}  {state:<6}  {created}  {info.get('content_type')}  {path}"
