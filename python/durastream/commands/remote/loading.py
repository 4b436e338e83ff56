"""What the commands load before their first request, and what they leave out."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

UNUSED: Final = ("trio", "anyio", "httpx._main")
"""What httpx and httpcore load if it is there, for event loops and for a command of their own."""
_NOT_THERE: Final[Any] = None
"""In place of a module: whoever imports it is told that there is none."""


def load_httpx() -> None:
    """Load httpx as if it were alone: that takes half of the time.

    For programs that use it on threads only, since its clients for event loops do not work behind this.
    """
    left_out = [name for name in UNUSED if name not in sys.modules]
    for name in left_out:
        sys.modules[name] = _NOT_THERE
    try:
        importlib.import_module("httpx")
        importlib.import_module("httpcore")
    finally:
        for name in left_out:
            del sys.modules[name]
