"""Pushes that their registry has not been able to speak about for long, and that hold up what comes behind them.

Some senders keep their events in a queue and repeat the first one until it is taken, for ever (distribution). While a
registry is away that is what we want: nothing is lost. But one manifest that it cannot read would keep every later push
from us until somebody mends it (distribution answers 500 about one that was damaged on its disk, and goes on). So there
is an end to it, and this remembers since when each push has been in trouble.
"""

from __future__ import annotations

import asyncio

from listener.core.streams import Source, StreamKey

Trouble = tuple[StreamKey, Source, str]
"""The stream that a push is for, where it was pushed to, and the digest that it names, "" for none."""


class Overdue:
    """A bounded memory: of the `most` pushes that were in trouble last, each until so long after it came last."""

    def __init__(self, *, seconds: float = 300, kept_seconds: float = 3600, most: int = 1000) -> None:
        self._seconds = seconds
        self._kept_seconds = kept_seconds
        self._most = most
        self._seen: dict[Trouble, tuple[float, float]] = {}  # first and last, in the order of the last

    def note(self, trouble: Trouble) -> bool:
        """Remember that a push came in vain; tell whether it did so long ago, and since then, already."""
        now = asyncio.get_running_loop().time()
        first, last = self._seen.pop(trouble, (now, now))
        if now - last > self._kept_seconds:
            first = now
        if len(self._seen) >= self._most:
            del self._seen[next(iter(self._seen))]
        self._seen[trouble] = first, now
        return now - first >= self._seconds

    def forget(self, trouble: Trouble) -> None:
        """Its registry has spoken."""
        self._seen.pop(trouble, None)
