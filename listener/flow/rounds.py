"""Rounds: everybody who follows a tag that moved is asked for, and again only when the round is over.

While a round is under way another move costs nothing: who was not looked at yet takes the newest image anyway. Who was
would be rolled out twice within seconds, so the next round waits until the tag has been quiet for a part of the time
that the round took; a single workload hardly waits, a fleet is not rolled once for each push of a burst. A tag that is
never quiet gets a round after `_LONGEST_HOLD_SECONDS` all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

_QUIET = 0.5  # of the time that the round took
_LONGEST_QUIET_SECONDS = 5.0
_LONGEST_HOLD_SECONDS = 60.0

T = TypeVar("T", bound=Hashable)
K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Round(Generic[K]):
    """For `waiting` no look has begun yet. Once nobody waits, the round is over, or `held` until it may repeat."""

    started: float
    waiting: set[K]
    first_move: float | None = None  # of those that came after it had begun
    last_move: float | None = None
    took: float = 0.0
    held: asyncio.TimerHandle | None = None


class Rounds(Generic[T, K]):
    """For one event loop. `begin` asks for a look at each that a tag concerns, and returns them."""

    def __init__(self, begin: Callable[[T], Collection[K]]) -> None:
        self._begin = begin
        self._rounds: dict[T, _Round[K]] = {}
        self._waiting_for: dict[K, set[T]] = {}
        self._holds = True

    def moved(self, tag: T) -> None:
        """Begin a round now, unless one is under way."""
        found = self._rounds.get(tag)
        if found is None:
            self._start(tag)
            return
        found.last_move = _now()
        if found.first_move is None:
            found.first_move = found.last_move
        if found.held is not None:
            self._hold(tag, found)

    def begun(self, key: K) -> None:
        """A look has begun, with the newest state: whoever is slow to answer it holds up no round."""
        for tag in self._waiting_for.pop(key, ()):
            found = self._rounds[tag]
            found.waiting.discard(key)
            if not found.waiting:
                self._end(tag, found)

    def comes_again(self, tag: T, key: K) -> bool:
        """Tell whether the present round is done with a key, and the next one will ask for it again."""
        found = self._rounds.get(tag)
        return found is not None and found.last_move is not None and key not in found.waiting

    def flush(self) -> None:
        """From now on hold nothing: there may be no later."""
        self._holds = False
        for tag, found in tuple(self._rounds.items()):
            if found.held is not None:
                found.held.cancel()
                self._start(tag)

    def _start(self, tag: T) -> None:
        keys = self._begin(tag)
        if not keys:
            self._rounds.pop(tag, None)
            return
        self._rounds[tag] = _Round(_now(), set(keys))
        for key in keys:
            self._waiting_for.setdefault(key, set()).add(tag)

    def _end(self, tag: T, found: _Round[K]) -> None:
        if found.last_move is None:
            del self._rounds[tag]
            return
        if not self._holds:
            self._start(tag)
            return
        found.took = _now() - found.started
        self._hold(tag, found)

    def _hold(self, tag: T, found: _Round[K]) -> None:
        assert found.first_move is not None  # noqa: S101 - for the type checker: it has moved
        assert found.last_move is not None  # noqa: S101
        if found.held is not None:
            found.held.cancel()
        quiet = min(_QUIET * found.took, _LONGEST_QUIET_SECONDS)
        due = min(found.last_move + quiet, found.first_move + _LONGEST_HOLD_SECONDS)
        found.held = asyncio.get_running_loop().call_at(due, self._start, tag)


def _now() -> float:
    return asyncio.get_running_loop().time()
