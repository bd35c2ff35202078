"""An event loop whose clock jumps to the next timer as soon as nothing else is left to do.

Backoffs of minutes pass at once, and two runs pass alike. Sockets work; while the loop waits for one, time stands
still unless a timer is set, so tests over the network belong on an ordinary loop. A loop that has nothing left to wait
for would hang for ever: it raises `Deadlock` instead.
"""

from __future__ import annotations

import asyncio
import selectors


class Deadlock(Exception):
    """Every task waits for another, and no timer is set."""


class _Selector(selectors.DefaultSelector):
    """Never blocks: where an ordinary one would sleep, this one moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise Deadlock("nothing is left to wait for")
        if not ready and timeout:
            self.now += timeout
        return ready


class SteppedLoop(asyncio.SelectorEventLoop):
    """Starts at time 0."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now
