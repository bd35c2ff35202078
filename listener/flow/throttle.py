"""How many looks and how many patches at once, and how fast: by what the API server bears and what its owner allows.

The rules are `core.concurrency`'s; here are those who wait. A turn bounds the workers, so that keys wait in their
queue, where a newer change costs nothing, and not with a worker. An admission bounds the patches themselves: a worker
that holds a turn may be waiting for a key, so turns in use say nothing about the server.

After a 429 the door opens for all at once, but it lets in no more than the limit, which was halved: what waited behind
it follows as the first ones end.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from listener.core.concurrency import Knee

_ADVICE_SECONDS = 1.0  # for a 429 that gives none
_LONGEST_ADVICE_SECONDS = 60.0
_MADE_GOOD_SECONDS = 0.1  # of lateness: timers are late, and without any slack a high pace would never be reached


class Throttle:
    """Give turns and admissions, first come, first served. For one event loop.

    `per_second` spaces the patches evenly: not more than a tenth of a second's worth comes at once, for the bound
    protects a server, and a second's worth in one moment is what it should be protected from.
    """

    def __init__(self, *, ceiling: int, per_second: float | None = None) -> None:
        self._knee = Knee(ceiling)
        self._spacing = 1 / per_second if per_second else 0.0
        self._closed_until = -math.inf  # the server's word
        self._next = -math.inf  # the pace's
        self._in_use = 0
        self._sending: set[asyncio.Task[object] | None] = set()  # the tasks whose patch was admitted and has not ended
        self._turns = _Line(self._has_turn, self._take_turn, self._end_turn)
        self._admissions = _Line(self._has_admission, self._take_admission, self._drop_admission)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """How many patches may be under way at once, now."""
        return self._knee.limit

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Hold one of `limit` turns. When the limit shrinks those in use end by themselves.

        An admission without `observe` ends with its turn.
        """
        return _Turn(self._begin_turn, self._end)

    async def _begin_turn(self) -> None:
        if not self._turns.enter():
            await self._turns.wait()

    def _end(self) -> None:
        self._end_turn()
        self._end_admission()
        self._advance()

    async def admit(self) -> bool:
        """Wait until one more patch may be sent, by the holder of a turn; True if it did not come at once."""
        self._end_admission()
        has_waited = not self._admissions.enter()
        if has_waited:
            waiting = self._admissions.wait()
            self._arm()
            await waiting
        self._sending.add(asyncio.current_task())
        return has_waited

    def observe(
        self,
        seconds: float,
        *,
        throttled: bool = False,
        failed: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        """Tell how the patch of this task ended. `failed` means without an answer, which says nothing about speed."""
        now = _now()
        if throttled:
            advice = _ADVICE_SECONDS if retry_after_seconds is None else retry_after_seconds
            self._closed_until = max(self._closed_until, now + min(advice, _LONGEST_ADVICE_SECONDS))
        task = asyncio.current_task()
        if task not in self._sending:
            return
        self._sending.discard(task)
        if throttled:
            self._knee.refused(now, seconds)
        elif failed:
            self._knee.dropped(now)
        else:
            self._knee.ended(now)
        self._advance()

    def _has_turn(self) -> bool:
        return self._in_use < self._knee.limit

    def _take_turn(self) -> None:
        self._in_use += 1

    def _end_turn(self) -> None:
        self._in_use -= 1

    def _has_admission(self) -> bool:
        return self._knee.in_flight < self._knee.limit and self._opens() <= _now()

    def _take_admission(self) -> None:
        now = _now()
        self._next = max(self._next, now - _MADE_GOOD_SECONDS) + self._spacing
        self._knee.sent(now)

    def _end_admission(self) -> None:
        """Of this task, where it has one."""
        if (task := asyncio.current_task()) in self._sending:
            self._sending.discard(task)
            self._drop_admission()

    def _drop_admission(self) -> None:
        self._knee.dropped(_now())

    def _opens(self) -> float:
        return max(self._closed_until, self._next)

    def _advance(self) -> None:
        self._turns.advance()
        self._admissions.advance()
        self._arm()

    def _arm(self) -> None:
        """Look again when time alone opens the door. (It may have come meanwhile: then that is at once.)"""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._admissions and self._knee.in_flight < self._knee.limit:
            self._timer = asyncio.get_running_loop().call_at(self._opens(), self._advance)


class _Turn:
    """A plain class, for a context manager made of a generator costs several times as much."""

    __slots__ = ("_begin", "_end")

    def __init__(self, begin: Callable[[], Awaitable[None]], end: Callable[[], None]) -> None:
        self._begin = begin
        self._end = end

    async def __aenter__(self) -> None:
        await self._begin()

    async def __aexit__(self, *_: object) -> None:
        self._end()


class _Line:
    """Those who wait for a place, in the order they came. `take` is called for each that gets one, before it runs."""

    def __init__(self, has_place: Callable[[], bool], take: Callable[[], None], give_back: Callable[[], None]) -> None:
        self._has_place = has_place
        self._take = take
        self._give_back = give_back
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self) -> bool:
        """Take a place that is free, unless others wait for one."""
        if self._waiting or not self._has_place():
            return False
        self._take()
        return True

    def wait(self) -> Awaitable[None]:
        """Join the line, now; the place has been taken when this has been awaited."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        return self._stand(place)

    async def _stand(self, place: asyncio.Future[None]) -> None:
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give_back()
                self.advance()  # it was meant for us and must not be lost with us
            elif place in self._waiting:
                self._waiting.remove(place)
            raise

    def advance(self) -> None:
        """Let in as many as there are places for."""
        while self._waiting and self._has_place():
            place = self._waiting.popleft()
            if not place.done():  # else who waited there was cancelled, and is about to learn it
                self._take()
                place.set_result(None)


def _now() -> float:
    return asyncio.get_running_loop().time()
