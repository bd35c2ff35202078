"""How many patches at once, and how fast: by what the API server bears and what its owner allows.

The rules are `core.concurrency`'s; here is the door. Workers wait before it without a key, so that keys wait in their
queue, where a newer change costs nothing and owners take turns. Only who has a patch to send goes through.

After a 429 the door opens for all at once, but it lets in no more than the limit, which was halved: what waited behind
it follows as the first ones end.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

from listener.core.concurrency import Knee

_ADVICE_SECONDS = 1.0  # for a 429 that gives none
_LONGEST_ADVICE_SECONDS = 60.0
_MADE_GOOD_SECONDS = 0.1  # of lateness: timers are late, and without any slack a high pace would never be reached


class Throttle:
    """Let patches through, as many at once and as many in a second as may be. For one event loop.

    `per_second` spaces the patches evenly: not more than a tenth of a second's worth comes at once, for the bound
    protects a server, and a second's worth in one moment is what it should be protected from.
    """

    def __init__(self, *, ceiling: int, per_second: float | None = None) -> None:
        self._knee = Knee(ceiling)
        self._clock = asyncio.get_running_loop().time
        self._spacing = 1 / per_second if per_second else 0.0
        self._closed_until = -math.inf  # the server's word
        self._next = -math.inf  # the pace's
        self._line: deque[asyncio.Future[None]] = deque()
        self._called = 0  # those of the line who may come, and did not run yet
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """How many patches may be under way at once, now."""
        return self._knee.limit

    @property
    def in_flight(self) -> int:
        """How many patches are under way."""
        return self._knee.in_flight

    async def opens(self) -> None:
        """Wait until one more patch may be sent. No place is kept: who waits for anything else may find it shut."""
        if not self._line and self._has_place():
            return
        called = asyncio.get_running_loop().create_future()
        self._line.append(called)
        self._advance()
        try:
            await called
        finally:
            if called in self._line:
                self._line.remove(called)  # cancelled before it was called
            else:
                self._called -= 1
            if self._line:
                asyncio.get_running_loop().call_soon(self._advance)  # for it may turn out to have nothing to send

    def enter(self) -> Admission | None:
        """Begin one patch, now; None where the door is shut."""
        now = self._clock()
        if self._knee.in_flight >= self._knee.limit or max(self._closed_until, self._next) > now:
            return None
        self._next = max(self._next, now - _MADE_GOOD_SECONDS) + self._spacing
        self._knee.sent(now)
        return Admission(self)

    def _end(self, seconds: float, *, throttled: bool, failed: bool, retry_after_seconds: float | None) -> None:
        now = self._clock()
        if throttled:
            advice = _ADVICE_SECONDS if retry_after_seconds is None else retry_after_seconds
            self._closed_until = max(self._closed_until, now + min(advice, _LONGEST_ADVICE_SECONDS))
            self._knee.refused(now, seconds)
        elif failed:
            self._knee.dropped(now)
        else:
            self._knee.ended(now)
        self._advance()

    def _has_place(self) -> bool:
        if self._knee.in_flight + self._called >= self._knee.limit:
            return False
        now = self._clock()
        return self._opening(now) <= now

    def _opening(self, now: float) -> float:
        """When the door is open for one more than were called."""
        pace = max(self._next, now - _MADE_GOOD_SECONDS) + self._called * self._spacing
        return max(self._closed_until, pace)

    def _advance(self) -> None:
        """Call as many as there are places for, and look again when time alone makes one."""
        while self._line and self._has_place():
            self._called += 1
            self._line.popleft().set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._line and self._knee.in_flight + self._called < self._knee.limit:
            self._timer = asyncio.get_running_loop().call_at(self._opening(self._clock()), self._advance)


class Admission:
    """One patch under way, until it has `ended`; one that is left without a word says nothing about the server."""

    __slots__ = ("_is_over", "_throttle")

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._is_over = False

    def __enter__(self) -> Admission:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_over:
            self.ended(0, failed=True)

    def ended(
        self,
        seconds: float,
        *,
        throttled: bool = False,
        failed: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        """Tell how it ended, once. `failed` means without an answer, which says nothing about speed."""
        self._is_over = True
        self._throttle._end(seconds, throttled=throttled, failed=failed, retry_after_seconds=retry_after_seconds)
