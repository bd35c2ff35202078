"""Work for many hosts, a lane for each: a slow or silent host holds up its own work and nobody else's.

Within a lane the owners of the work take turns, so that one who has thousands of keys does not hold up one who has a
single one. An owner's keys keep the order in which they were due. A lane that was asked to slow down stands still for
that long.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from listener.flow.queue import KeyQueue

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Lane(Generic[K]):
    waiting: OrderedDict[str, deque[K]] = field(default_factory=OrderedDict)  # by owner, whose turn it is first
    running: int = 0
    paused_until: float = 0.0

    def put(self, owner: str, key: K) -> None:
        self.waiting.setdefault(owner, deque()).append(key)

    def take(self) -> K:
        """The next key of the owner whose turn it is."""
        owner, keys = self.waiting.popitem(last=False)
        key = keys.popleft()
        if keys:
            self.waiting[owner] = keys
        return key


class Lanes(Generic[K]):
    """Takes keys from a queue for ever; `work` must not raise. At most `width` of one host run at once."""

    def __init__(
        self,
        queue: KeyQueue[K],
        place: Callable[[K], tuple[str, str]],
        work: Callable[[K], Awaitable[None]],
        *,
        width: int,
    ) -> None:
        """`place` tells the host and the owner of a key."""
        self._queue = queue
        self._place = place
        self._work = work
        self._width = width
        self._lanes: dict[str, _Lane[K]] = {}

    def pause(self, host: str, seconds: float) -> None:
        """Begin nothing new at a host for a while."""
        if lane := self._lanes.get(host):
            lane.paused_until = max(lane.paused_until, asyncio.get_running_loop().time() + seconds)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as workers:
            while True:
                key = await self._queue.take()
                host, owner = self._place(key)
                lane = self._lanes.setdefault(host, _Lane())
                lane.put(owner, key)
                if lane.running < self._width:
                    lane.running += 1
                    workers.create_task(self._drain(host, lane), name=f"lane {host}")

    async def _drain(self, host: str, lane: _Lane[K]) -> None:
        clock = asyncio.get_running_loop().time
        while lane.waiting:
            if (pause := lane.paused_until - clock()) > 0:
                await asyncio.sleep(pause)
                continue
            key = lane.take()
            self._queue.begin(key)
            try:
                await self._work(key)
            finally:
                self._queue.done(key)
        lane.running -= 1
        if not lane.running and lane.paused_until <= clock():
            del self._lanes[host]
