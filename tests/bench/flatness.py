"""Whether something that was measured again and again stays where it is, or grows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Course:
    """What was measured at even intervals, and how much more it may be at the end: `share` of it, and `slack`, in its
    own unit.

    The first third is left out, for what fills up once and is bounded. Then the middle third is compared with the
    last, each by its median, so that one odd sample decides nothing.
    """

    samples: Sequence[float]
    share: float
    slack: float

    @property
    def before(self) -> float:
        third = len(self.samples) // 3
        return statistics.median(self.samples[third : 2 * third])

    @property
    def after(self) -> float:
        return statistics.median(self.samples[2 * (len(self.samples) // 3) :])

    @property
    def is_flat(self) -> bool:
        return self.after <= self.before * (1 + self.share) + self.slack
