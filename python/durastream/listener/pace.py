"""How fast request bodies must come: the rule of `rust/server/src/limits.rs`, for the trio listener."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from durastream.listener.limits import Limits

TURNS = 20
"""For so many times the patience with a silent body its neighbours on a connection may take the link."""
PART = 4
"""What a body has to come with meanwhile is the least rate divided by this."""


@dataclass(slots=True)
class Pace:
    """How a body has come so far, or all bodies of one connection, and until when more must."""

    until: float | None
    """At this time it is below the least rate; `None`: at any rate."""
    heard: float
    """When the last of it came."""
    sheltered: float
    """At this time no neighbour makes up for it any longer."""

    @classmethod
    def begin(cls, limits: Limits, now: float) -> Self:
        """Of a body that is waited for since `now`."""
        until = now + limits.stall if limits.min_body_rate else None
        return cls(until, now, now + TURNS * limits.stall)

    def go_on(self, limits: Limits, now: float, size: int) -> None:
        """`size` bytes came, the last at `now`. A burst earns time, but no more than twice the patience."""
        self.heard = now
        sheltered = now + TURNS * limits.stall
        if self.until is None:
            self.sheltered = sheltered
        else:
            earned = size / limits.min_body_rate
            self.until = min(self.until + earned, now + 2 * limits.stall)
            self.sheltered = min(self.sheltered + PART * earned, sheltered)

    def is_late(self, limits: Limits, now: float, together: Pace) -> bool:
        """Whether it was waited for too long; `together`: it and the bodies that it shares its link with.

        As long as these come fast enough as a whole it is not late, if it has a part of the link itself.
        """
        if now > min(self.sheltered, max(self.heard, together.heard) + limits.stall):
            return True
        return self.until is not None and now > max(self.until, together.until or self.until)
