"""How many requests to have under way at once: as many as still pay, found by trying.

A server that is busy serves eight at once as fast as eighty; one far away, or with a slow disk, needs every request it
can get. Only its answers tell which it is, so:

- *Measure.* A window counts completions over two round trips, after one in which the change of the limit settles. It
  says something only if the limit was really used.
- *Begin* with the ceiling, reached within a round trip from a cautious first crowd. Most fan-outs are over before
  anything is learnt, and to hold one of them back costs more than a crowd on a server that would refuse it. So each
  begins with what is held, and less is tried only once it has lasted. A trial that it does not last for is repeated
  later, as if it was lost.
- *Hold*, and try the rungs below and above now and then. A trial goes back and forth between the two limits, so that
  what changes by itself falls on both sides alike, until the mean of its looks stands out from their scatter. What
  earlier trials of the same two limits saw counts too. A trial that is lost is repeated ever later. Less must be sure
  to do as well: a look at a server that collects its garbage may be off by half.
- *Climb* again after a cut, by a rung at a time, as long as a rung pays.
- *Back down.* A refusal halves the limit, once for all that was sent before, and bars the way back for a while. At a
  limit that is used, less throughput is more latency: where that lasts it halves the limit too, and what was learnt
  is void.
- *Forget.* After a minute without requests the limit drifts back to the ceiling, and is measured anew.

Rungs are a factor of three apart because finer differences drown in the noise: on a busy API server two windows alike
differ by a tenth and more, and a doubling gains a twentieth. The last rungs of such a server gain little and make
everybody wait longer; `_PAYS` is where we stop.

This room must not know what a request is, nor what time it is: callers pass the seconds of one steady clock.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

_RUNG: Final = 3
_FIRST: Final = 33  # at once, where nothing is known
_PAYS: Final = 0.025  # what a doubling must gain, and a half may cost; like all gains here a natural logarithm
_FEWEST: Final = 32  # completions in a window
_SHORTEST_SECONDS: Final = 0.1  # of a window; in less it tells in which batches answers were read
_DROPS: Final = 0.25  # without an answer, for each completion of a window; with more it says nothing
_USED: Final = 0.7  # of the limit, on the mean; at a limit of 1 our own work between two requests shows

_LOOKS: Final = 6  # that one trial may take
_FEWEST_LOOKS: Final = 6  # before the limit is lowered
_REMEMBERED: Final = 24  # looks at one pair of limits
_SCATTER: Final = 0.06  # of the looks at a quiet server; what is seen outweighs it
_STEADY: Final = 0.25  # the most by which the base may change under a look
_UP, _DOWN, _LOST, _CLEAR = 0.5, 1.5, 1.0, 3.0  # standard errors: to move up or down, or not at all; to be sure of it

_PATIENCE: Final = 2  # windows between trials of one direction, at first
_FIRST_PATIENCE: Final = 4  # before the first trial of a fan-out; at a hundred in flight some 1,200 requests
_LONGEST_PATIENCE: Final = 64
_SLUMP: Final = 0.5  # 40 % less than usual
_SLUMP_SECONDS: Final = 2.0  # from one such window to another; a server's garbage collection is over sooner
_BAR_SECONDS: Final = 60.0  # how long a limit that was refused is not tried again, at first
_LONGEST_BAR_SECONDS: Final = 600.0
_PAUSE_SECONDS: Final = 0.1  # without a request: a fan-out is over, or waits for another pace than the server's
_IDLE_SECONDS: Final = 60.0
_HALF_LIFE_SECONDS: Final = 300.0  # of what was learnt, while idle


class Knee:
    """The limit of one server: `limit` is how many requests may be in flight, `in_flight` how many are.

    Each `sent` has one end: `ended`, `refused` or `dropped`.
    """

    def __init__(self, ceiling: int) -> None:
        self._rungs = _rungs(ceiling)
        self._first = min(_FIRST, ceiling)
        self._bar: tuple[int, float] | None = None  # a limit that was refused, and until when it is not tried again
        self._bar_seconds = _BAR_SECONDS
        self._cut_at = -math.inf
        self._last_end = math.inf
        self._evidence: dict[tuple[int, int], deque[float]] = {}  # what the higher of two limits gained, look by look
        self._base = ceiling  # the limit that is held
        self._target = ceiling  # it, or that of the trial
        self._trial: _Trial | None = None
        self._is_climbing = True
        self._rate: float | None = None  # of the last window at the base
        self._usual: float | None = None  # its running mean
        self._slump_began: float | None = None
        self._patience_up = self._patience_down = self._wait_up = self._wait_down = _PATIENCE
        self._wait_down = _FIRST_PATIENCE
        self.limit = self._first
        self.in_flight = 0
        self._window = _Window(self.limit, self.limit)

    def sent(self, now: float) -> None:
        """A request goes out."""
        if self.in_flight == 0 and (idle_seconds := now - self._last_end) > _PAUSE_SECONDS:
            self._begin_again(idle_seconds)
        self._window.advance(now, self.in_flight)
        self.in_flight += 1

    def ended(self, now: float) -> None:
        """A request was answered, in the time that such an answer takes."""
        self._leave(now)
        if self.limit < self._target:
            self.limit = min(self.limit + _RUNG - 1, self._target)  # so a rung takes one round trip
            self._settle()
            return
        self._window.count()
        if not self._window.is_complete:
            return
        rate = self._window.rate()
        if rate is None:
            self._interrupt()
        else:
            self._judge(now, rate)

    def refused(self, now: float, seconds: float) -> None:
        """A request was answered by "too many", after so long."""
        self._leave(now)
        if now - seconds < self._cut_at:
            return  # it was sent before we knew
        self._raise_bar(now)
        self._cut_at = now
        self._start_anew(self.limit // 2)

    def dropped(self, now: float) -> None:
        """A request was given up, or ended in a way that does not tell how fast the server is.

        A few of them fall on every window alike, and take their time in it. Many say that the server was not there.
        """
        self._leave(now)
        self._window.drop()
        if self._window.is_void:
            self._settle()

    def _raise_bar(self, now: float) -> None:
        """Not that many again, for a while: longer when the last try came to nothing, too."""
        expired = now - self._bar[1] if self._bar else math.inf
        if expired > self._bar_seconds:
            self._bar_seconds = _BAR_SECONDS
        elif expired >= 0:
            self._bar_seconds = min(2 * self._bar_seconds, _LONGEST_BAR_SECONDS)
        self._bar = (self.limit, now + self._bar_seconds)

    def _leave(self, now: float) -> None:
        self._window.advance(now, self.in_flight)
        self.in_flight -= 1
        self._last_end = now

    def _judge(self, now: float, rate: float) -> None:
        """Draw the consequences of one window."""
        trial = self._trial
        if trial is None or self._rate is None:
            self._hold(now, rate)
        elif self.limit == trial.limit:
            gain = rate - self._rate
            if self._is_climbing and gain >= 2 * trial.threshold:
                # A climb believes one clear look, for small fan-outs are over before the third. Trials put it right.
                trial.add(gain)
                self._move(now, trial, rate)
            else:
                trial.seen = rate
                self._go(self._base)
        elif abs(rate - self._rate) > _SLUMP:
            self._trial = None  # the base itself is not what it was
            self._hold(now, rate)
        else:
            gain = trial.seen - (self._rate + rate) / 2
            if abs(rate - self._rate) <= _STEADY or gain < -_SLUMP:
                trial.add(gain)
            else:
                trial.pass_over()  # a garbage collection began or ended: it would tell of that
            self._rate = rate
            self._conclude(now, trial)

    def _conclude(self, now: float, trial: _Trial) -> None:
        verdict = trial.verdict()
        if verdict is None:
            self._go(trial.limit)
        elif verdict:
            self._move(now, trial, trial.seen)
        else:
            self._fail(trial)

    def _hold(self, now: float, rate: float) -> None:
        """Take a window at the base for what it says about the server, then see what to try."""
        self._rate = rate
        if self._usual is not None and rate < self._usual - _SLUMP:
            if self._slump_began is None:
                self._slump_began = now
            if now - self._slump_began >= _SLUMP_SECONDS:
                self._start_anew(self._base // 2)
            else:
                self._settle()
            return
        self._slump_began = None
        self._usual = rate if self._usual is None else self._usual + 0.2 * (rate - self._usual)
        self._wait_up -= 1
        self._wait_down -= 1
        self._try_next(now)

    def _try_next(self, now: float) -> None:
        """Begin the trial that is due, if one is; else measure the base once more."""
        above, below = self._above(now), self._below()
        self._is_climbing = self._is_climbing and above is not None
        if above is not None and (self._is_climbing or self._wait_up <= 0):
            self._begin(above)
        elif below is not None and self._wait_down <= 0:
            self._begin(below)
        else:
            self._settle()

    def _begin(self, limit: int) -> None:
        low, high = sorted((self._base, limit))
        looks = self._evidence.setdefault((low, high), deque(maxlen=_REMEMBERED))
        self._trial = _Trial(self._base, limit, looks)
        self._go(limit)

    def _above(self, now: float) -> int | None:
        """The limit to try upwards. Below a bar that is half the way to it, or none when that is close."""
        above = min((rung for rung in self._rungs if rung >= 1.5 * self._base), default=self._rungs[0])
        if self._bar and now < self._bar[1]:
            above = min(above, (self._base + self._bar[0]) // 2)
        return above if above >= 1.2 * self._base else None

    def _below(self) -> int | None:
        return max((rung for rung in self._rungs if rung <= self._base / 1.5), default=None)

    def _move(self, now: float, trial: _Trial, rate: float) -> None:
        """A trial was won. The way back is tried soon, unless it was clear."""
        self._base, self._trial = trial.limit, None
        self._rate = self._usual = rate
        self._patience_up = self._patience_down = _PATIENCE
        if trial.is_clear and trial.is_up:
            self._patience_down *= 16
        elif trial.is_clear:
            self._patience_up *= 16
        self._wait_up, self._wait_down = self._patience_up, self._patience_down
        self._go(trial.limit)
        self._try_next(now)

    def _fail(self, trial: _Trial) -> None:
        """A trial was lost, or stayed undecided."""
        longer = (4 if trial.is_up else 16) if trial.is_clear else 2
        self._postpone(trial, longer * (self._patience_up if trial.is_up else self._patience_down))
        self._trial, self._is_climbing = None, False
        self._settle()

    def _postpone(self, trial: _Trial, windows: int) -> None:
        """Wait for so many windows until it is repeated."""
        windows = min(windows, _LONGEST_PATIENCE)
        if trial.is_up:
            self._wait_up = self._patience_up = windows
        else:
            self._wait_down = self._patience_down = windows

    def _begin_again(self, idle_seconds: float) -> None:
        """A fan-out has ended, and the next one begins."""
        if idle_seconds > _IDLE_SECONDS:
            self._forget(idle_seconds)
            return
        self._interrupt()
        self._wait_down = max(self._patience_down, _FIRST_PATIENCE)

    def _interrupt(self) -> None:
        """The limit was not used for a while: what was measured tells nothing. A trial of more goes on, or the way back
        up would be closed to those who never send many.
        """
        if self._trial is None or self._trial.is_up:
            self._settle()
            return
        self._postpone(self._trial, 2 * max(self._patience_down, _FIRST_PATIENCE))
        self._trial = None
        self._go(self._base)

    def _forget(self, idle_seconds: float) -> None:
        kept = 0.5 ** (idle_seconds / _HALF_LIFE_SECONDS)
        ceiling = self._rungs[0]
        self._start_anew(round(ceiling * (self._base / ceiling) ** kept))
        self.limit = min(self._base, self._first)
        self._wait_down = _FIRST_PATIENCE
        self._settle()

    def _start_anew(self, base: int) -> None:
        """Hold that limit, and know nothing about the server but what it refuses."""
        self._base = max(1, base)
        self._trial, self._is_climbing = None, True
        self._rate = self._usual = None
        self._slump_began = None
        self._patience_up = self._patience_down = self._wait_up = self._wait_down = _PATIENCE
        self._evidence.clear()
        self._go(self._base)

    def _go(self, limit: int) -> None:
        """Down at once; up step by step, for a crowd that comes all at once is refused all at once."""
        self._target = limit
        self.limit = min(self.limit, limit)
        self._settle()

    def _settle(self) -> None:
        """Begin a window once what is in flight now is out of the way."""
        self._window = _Window(self.limit, max(self.in_flight, self.limit))


def _rungs(ceiling: int) -> list[int]:
    """The limits that are tried, from the ceiling down to 1."""
    found = [ceiling]
    while found[-1] > 1:
        found.append(max(1, round(found[-1] / _RUNG)))
    return found


class _Window:
    """A stretch of completions at one limit, after some that it lets pass."""

    def __init__(self, limit: int, pass_by: int) -> None:
        self._limit = limit
        self._pass_by = pass_by
        self._left = max(2 * limit, _FEWEST)
        self._completions = self._left
        self._drops = 0
        self._began: float | None = None
        self._now = 0.0
        self._used = 0.0  # requests in flight, times seconds

    def advance(self, now: float, in_flight: int) -> None:
        """So many were in flight until now."""
        if self._began is not None:
            self._used += in_flight * (now - self._now)
        self._now = now

    def count(self) -> None:
        if self._began is not None:
            self._left -= 1
            return
        self._pass_by -= 1
        if self._pass_by == 0:
            self._began = self._now

    def drop(self) -> None:
        self._drops += 1

    @property
    def is_void(self) -> bool:
        return self._drops > _DROPS * self._completions

    @property
    def is_complete(self) -> bool:
        return self._left <= 0 and self._began is not None and self._now - self._began >= _SHORTEST_SECONDS

    def rate(self) -> float | None:
        """The logarithm of the completions in a second; None: the limit was not used."""
        elapsed = self._now - (self._now if self._began is None else self._began)
        if elapsed <= 0 or self._used < _USED * self._limit * elapsed:
            return None
        return math.log((self._completions - self._left) / elapsed)


class _Trial:
    """Another limit beside the base, in looks: what the higher of the two gains over the lower.

    `looks` holds those of earlier trials, whichever of the two was the base then; new ones join them.
    """

    def __init__(self, base: int, limit: int, looks: deque[float]) -> None:
        self.limit = limit
        self.is_up = limit > base
        self.threshold = _PAYS * math.log2(limit / base)  # downwards it is negative: the loss that we bear
        self.seen = 0.0  # the last rate there, until the base was measured after it
        self._looks = looks
        self._left = _LOOKS

    def add(self, gain: float) -> None:
        """Note what the limit gained over the base."""
        self._looks.append(gain if self.is_up else -gain)
        self._left -= 1

    def pass_over(self) -> None:
        """A look that tells nothing."""
        self._left -= 1

    def verdict(self) -> bool | None:
        """Whether the limit is to be the base; None: look again."""
        margin = self._margin()
        if margin > (_UP if self.is_up else _DOWN) and (self.is_up or len(self._looks) >= _FEWEST_LOOKS):
            return True
        if margin < -_LOST or self._left == 0:
            return False
        return None

    @property
    def is_clear(self) -> bool:
        return abs(self._margin()) > _CLEAR

    def _margin(self) -> float:
        """By how many standard errors the mean gain is above the threshold; 0 without a look."""
        count = len(self._looks)
        if count == 0:
            return 0.0
        mean = math.fsum(self._looks) / count
        squares = math.fsum((look - mean) ** 2 for look in self._looks)
        variance = (3 * _SCATTER**2 + squares) / (count + 2)  # as if three earlier looks had scattered so
        return ((mean if self.is_up else -mean) - self.threshold) / math.sqrt(variance / count)
