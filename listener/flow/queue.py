"""A queue of keys to look at. Never objects: whoever takes a key reads the newest state then, so ten changes cost one
look.

Added while it waits, a key stays where it is; added while it is being worked on, it comes again once that work is done.
So one key never runs twice at once, and no change is missed. Those who ask (owners) take turns, so that one with
thousands of keys does not hold up one with a single key; the keys of one come in their order.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class KeyQueue(Generic[K]):
    """Owners take turns; delayed keys join when their time has come. For one event loop."""

    def __init__(self) -> None:
        self._ready: OrderedDict[Hashable, OrderedDict[K, None]] = OrderedDict()  # by owner, whose turn it is first
        self._waiting: dict[K, tuple[Hashable, ...]] = {}  # what _ready holds, and in whose line
        self._running: dict[K, tuple[Hashable, ...]] = {}  # and in whose lines they were
        self._again: dict[K, Hashable] = {}  # added while running, and by whom
        self._due: dict[K, float] = {}  # delayed keys, and when they are due (loop time)
        self._timers: list[tuple[float, int, K, Hashable]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._order = itertools.count()
        self._takers: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._idle_since = -math.inf
        self._settled = asyncio.Event()
        self._settled.set()

    def __len__(self) -> int:
        """How many keys wait or are being worked on; those that are delayed do not count."""
        return len(self._waiting) + len(self._running)

    @property
    def delayed(self) -> int:
        """How many keys are to be looked at after a while."""
        return len(self._due)

    def __contains__(self, key: K) -> bool:
        """Whether a key waits or is being worked on; one that is delayed does not."""
        return key in self._waiting or key in self._running

    def add(self, key: K, owner: Hashable = None) -> None:
        """Ask for a look at `key`, now. A delay it had is void: something new happened.

        A key that waits in another owner's line waits in both, and is looked at once.
        """
        self._due.pop(key, None)
        if key in self._running:
            self._again[key] = owner
            return
        owners = self._waiting.get(key, ())
        if owner in owners:
            return
        self._waiting[key] = (*owners, owner)
        self._ready.setdefault(owner, OrderedDict())[key] = None
        if not owners:
            self._idle.clear()
            self._wake_one()

    def add_after(self, key: K, seconds: float, owner: Hashable = None) -> None:
        """Ask for a look at `key` after a while, unless an earlier one is already asked for."""
        due = asyncio.get_running_loop().time() + seconds
        if key in self._waiting or key in self._again or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._timers, (due, next(self._order), key, owner))
        self._sweep()
        self._arm()

    def forget(self, key: K) -> None:
        """Do without a look that was asked for, if it has not begun."""
        self._due.pop(key, None)
        for owner in self._waiting.pop(key, ()):
            self._leave(owner, key)
        self._rest()

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
        owner, line = self._ready.popitem(last=False)
        key, _ = line.popitem(last=False)
        if line:
            self._ready[owner] = line
        others = [other for other in self._waiting.pop(key) if other != owner]
        for other in others:
            self._leave(other, key)
        self._running[key] = (owner, *others)
        self._settled.clear()
        return key

    def _leave(self, owner: Hashable, key: K) -> None:
        del self._ready[owner][key]
        if not self._ready[owner]:
            del self._ready[owner]

    def give_back(self, key: K) -> None:
        """Undo `take`: nothing was done, and the next one who takes a key gets this one."""
        owners = self._running.pop(key)
        if key in self._again and (asked := self._again.pop(key)) not in owners:
            owners = (*owners, asked)
        self._waiting[key] = owners
        for owner in reversed(owners):
            line = self._ready.setdefault(owner, OrderedDict())
            line[key] = None
            line.move_to_end(key, last=False)
            self._ready.move_to_end(owner, last=False)
        self._settle()
        self._wake_one()

    def begin(self, key: K) -> None:
        """Say that the work on a key that was taken begins only now: it serves what was asked for until here."""
        self._again.pop(key, None)

    def done(self, key: K) -> None:
        """Say that the work on `key` has ended, however it went."""
        self._running.pop(key, None)
        self._settle()
        if key in self._again:
            self.add(key, self._again.pop(key))
        self._rest()

    async def idle(self) -> None:
        """Wait until no key waits and none is being worked on. Delayed keys are not waited for."""
        await self._idle.wait()

    async def quiet(self, seconds: float) -> None:
        """Wait until it has been idle for so long: what comes next may come at once."""
        while True:
            await self.idle()
            left = self._idle_since + seconds - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def settled(self) -> None:
        """Wait until no key is being worked on."""
        await self._settled.wait()

    def _rest(self) -> None:
        if not self._waiting and not self._running and not self._idle.is_set():
            self._idle.set()
            self._idle_since = asyncio.get_running_loop().time()

    def _settle(self) -> None:
        if not self._running:
            self._settled.set()

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
            due, _, key, owner = heapq.heappop(self._timers)
            if self._due.get(key) == due:  # else the delay was voided, or replaced by a shorter one
                self.add(key, owner)
        self._timer = None
        self._arm()
