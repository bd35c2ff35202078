"""How often a registry's tag is asked for: ever less while its hooks prove alive, as before once one was missed.

| a poll found                               | since the last poll a hook | the next interval       |
|--------------------------------------------|----------------------------|-------------------------|
| nothing that no hook announced             | came                       | doubles, to the longest |
| nothing that no hook announced             | did not come               | stays                   |
| what no hook has announced (nor does soon) | either                     | is the tag's own again  |

This room must not know what a poll is made of, nor what time it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds: the interval of a tag that says nothing itself, the shortest one may ask for, the longest between polls
    of a tag whose hooks are alive.
    """

    interval: float
    shortest: float
    longest: float

    def base(self, asked: float | None) -> float:
        """Return the interval to start from, for a tag that asks for one (None: does not)."""
        return max(self.shortest, asked or self.interval)


@dataclass(frozen=True, slots=True)
class Pace:
    """How far the polls of one tag are stretched, and whether a hook came since the last."""

    stretch: int = 1
    was_announced: bool = False

    def announced(self) -> Pace:
        """A hook spoke of the tag."""
        return replace(self, was_announced=True)

    def quiet(self, base: float, bounds: Bounds) -> Pace:
        """A poll found nothing that no hook had announced."""
        if not self.was_announced:
            return self
        stretch = self.stretch * 2 if self.stretch * base < bounds.longest else self.stretch
        return Pace(stretch)

    def missed(self) -> Pace:
        """A poll found what no hook announced."""
        return Pace()

    def interval(self, base: float, bounds: Bounds) -> float:
        """Seconds until the next poll. A tag that asks for longer intervals than the longest has its way."""
        return max(base, min(self.stretch * base, bounds.longest))
