"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Delays that grow with each failure in a row, jittered so that many who failed together do not return together.

    The spread is "decorrelated": each delay lies between `base` and three times the one before (the first: three times
    `base`), and never above `cap` seconds.
    """

    def __init__(self, base: float, cap: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._base = base
        self._cap = cap
        self._uniform = uniform
        self._last = base

    def next(self) -> float:
        """Seconds to wait now."""
        self._last = min(self._cap, self._uniform(self._base, self._last * 3))
        return self._last

    def reset(self) -> None:
        """It went well: start small again."""
        self._last = self._base
