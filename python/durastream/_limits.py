"""What `LogEngine` is given, checked: an error names the argument, what came, and what would be right."""

from __future__ import annotations

import operator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_SEGMENT: Final = 4096
"""Bytes of the smallest segment: below that a log is one file for every few events."""
_BEYOND: Final = 1 << 63
_SECONDS: Final = ("reap_interval",)
_LEAST: Final = {"hot_bytes": 0, "segment_bytes": LEAST_SEGMENT}
"""Of the limits that may not be just anything from 1 on."""


def checked(limits: Mapping[str, object]) -> dict[str, Any]:
    """The limits, each of a type and size that it can have. Raises TypeError, ValueError.

    Names are left to the engine, which knows them.
    """
    for name, value in limits.items():
        if name in _SECONDS:
            _check_seconds(name, value)
        else:
            _check_count(name, value)
    return dict(limits)


def _check_count(name: str, value: object) -> None:
    unit = "bytes" if "bytes" in name else name.removeprefix("max_").replace("_", " ")
    least = _LEAST.get(name, 1)
    wanted = f"give a whole number ({unit}), at least {least} and less than 2^63"
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; {wanted}")
    if not least <= operator.index(value) < _BEYOND:
        raise ValueError(f"{name} is {value!r}; {wanted}")


def _check_seconds(name: str, value: object) -> None:
    wanted = "give seconds, or a timedelta, above 0 and at most 1e9 s"
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; {wanted}")
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not 0 < seconds <= 10**9:
        raise ValueError(f"{name} is {value!r}; {wanted}")


def moment(expires_at: object) -> datetime | None:
    """`expires_at`, if it says when. Raises TypeError, and ValueError without a time zone."""
    if expires_at is None:
        return None
    wanted = "give a datetime with a time zone, such as datetime.now(UTC) + timedelta(days=1)"
    if not isinstance(expires_at, datetime):
        raise TypeError(f"expires_at is {expires_at!r}, a {type(expires_at).__name__}; {wanted}")
    if expires_at.utcoffset() is None:
        raise ValueError(f"expires_at is {expires_at!r}, without a time zone; {wanted}")
    return expires_at
