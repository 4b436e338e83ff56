"""Which hypercorn the subclasses in here were made for, and what they are made with."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import ConnectionState

if TYPE_CHECKING:
    from hypercorn.events import Event

    from durastream.listener.link import Link

log = logging.getLogger("durastream.listener")

CHECKED_HYPERCORN = "0.18.0"
"""The version whose faults and internals were examined."""

_RELIED_ON: tuple[tuple[type, tuple[str, ...]], ...] = (
    (H11Protocol, ("_handle_events",)),
    (H2Protocol, ("_create_stream", "_flush", "_handle_events", "_priority_updated", "initiate")),
)


class IncompatibleHypercornError(RuntimeError):
    """The installed hypercorn lacks a method that the listener replaces."""


def check_hypercorn() -> None:
    """Warn of an unexamined hypercorn. Raises `IncompatibleHypercornError` when it has visibly changed."""
    installed = version("hypercorn")
    missing = [
        f"{base.__name__}.{name}"
        for base, names in _RELIED_ON
        for name in names
        if not callable(getattr(base, name, None))
    ]
    if missing:
        raise IncompatibleHypercornError(
            f"hypercorn {installed} has no {', '.join(missing)}; install hypercorn=={CHECKED_HYPERCORN}"
        )
    if installed != CHECKED_HYPERCORN:
        log.warning(
            "hypercorn %s was not examined; the listener's guards were made for %s",
            installed,
            CHECKED_HYPERCORN,
        )


async def _no_events(_event: Event) -> None:
    """Hypercorn's way to the connection, unused: the subclasses talk to their link."""


def hypercorn_arguments(link: Link) -> tuple[Any, ...]:
    """What a protocol of hypercorn is made with, for one whose bytes and tasks go through `link`."""
    return (
        link.app,
        link.config,
        link.context,
        None,
        ConnectionState({}),
        link.tls,
        link.client,
        link.server,
        _no_events,
    )
