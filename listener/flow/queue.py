"""A queue of keys to look at. Never objects: whoever takes a key reads the newest state then, so ten changes cost one
look.

A key is at one place at a time. Added while it waits, it stays where it is; added while it is being worked on, it comes
again once that work is done. So one key never runs twice at once, and no change is missed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class KeyQueue(Generic[K]):
    """First come, first served; delayed keys join when their time has come. For one event loop."""

    def __init__(self) -> None:
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()  # what _ready holds
        self._running: set[K] = set()
        self._again: set[K] = set()  # added while running
        self._due: dict[K, float] = {}  # delayed keys, and when they are due (loop time)
        self._timers: list[tuple[float, int, K]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._order = itertools.count()
        self._takers: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """How many keys wait or are being worked on; those that are delayed do not count."""
        return len(self._waiting) + len(self._running)

    def add(self, key: K) -> None:
        """Ask for a look at `key`, now. A delay it had is void: something new happened."""
        self._due.pop(key, None)
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._idle.clear()
            self._wake_one()

    def add_after(self, key: K, seconds: float) -> None:
        """Ask for a look at `key` after a while, unless an earlier one is already asked for."""
        due = asyncio.get_running_loop().time() + seconds
        if key in self._waiting or key in self._again or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._timers, (due, next(self._order), key))
        self._sweep()
        self._arm()

    async def take(self) -> K:
        """Wait for a key. Whoever takes it must say `done`."""
        while not self._ready:
            taker = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                # A wake-up that was meant for us must not be lost with us.
                if taker.done() and not taker.cancelled():
                    self._wake_one()
                raise
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._running.add(key)
        return key

    def begin(self, key: K) -> None:
        """Say that the work on a key that was taken begins only now: it serves what was asked for until here."""
        self._again.discard(key)

    def done(self, key: K) -> None:
        """Say that the work on `key` has ended, however it went."""
        self._running.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        if not self._waiting and not self._running:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no key waits and none is being worked on. Delayed keys are not waited for."""
        await self._idle.wait()

    def _wake_one(self) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return

    def _sweep(self) -> None:
        """Drop the timers whose delay was voided, once they are most of them: a long one would stay for as long."""
        if len(self._timers) > 2 * len(self._due) + 64:
            self._timers = [timer for timer in self._timers if self._due.get(timer[2]) == timer[0]]
            heapq.heapify(self._timers)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._timers:
            self._timer = asyncio.get_running_loop().call_at(self._timers[0][0], self._release)

    def _release(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._timers and self._timers[0][0] <= now:
            due, _, key = heapq.heappop(self._timers)
            if self._due.get(key) == due:  # else the delay was voided, or replaced by a shorter one
                self.add(key)
        self._timer = None
        self._arm()
