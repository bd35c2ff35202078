"""Which workloads wait for tags that are not there, and since when.

To come before one's tag is how people work, so nobody is told of that for some minutes. What is still missing then may
well be a slip of the pen.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from listener.core import overview, streams
from listener.core.workloads import Workload, WorkloadKey
from listener.flow.state import State

_GRACE_SECONDS = 300.0


@dataclass(slots=True)
class _Wait:
    """`told` is what is missing, as its people were told; "" as long as they were not."""

    uid: str
    since: float
    told: str = ""


class Waiting:
    """A memory of those that wait. The queue of the state is asked for another look when there is something to tell."""

    def __init__(
        self, state: State, streams_known: Callable[[], Awaitable[None]], namespaces: Collection[str] = ()
    ) -> None:
        """`streams_known` is waited for first: then no stream seems missing that was only not seen yet.

        What is followed outside of `namespaces` (none means all) will never come, which is for others to tell.
        """
        self._state = state
        self._streams_known = streams_known
        self._namespaces = namespaces
        self._known_since: float | None = None
        self._waits: dict[WorkloadKey, _Wait] = {}

    async def run(self) -> None:
        await self._streams_known()
        self._known_since = _now()

    def counts(self) -> Mapping[str, int]:
        """How many workloads of each kind have waited for longer than is usual."""
        return Counter(key.kind for key, wait in self._waits.items() if wait.told)

    def look(self, workload: Workload) -> str:
        """Take a look in; return what is missing, if it is to be told now."""
        resolve = self._state.resolve
        missing = [
            (trigger.stream, trigger.tag)
            for trigger in workload.triggers.valid
            if not trigger.paused
            and resolve(trigger.stream, trigger.tag) is None
            and not streams.hindrance(trigger.stream, self._namespaces)
        ]
        if not missing:
            self._waits.pop(workload.key, None)
            return ""
        wait = self._waits.get(workload.key)
        if wait is None or wait.uid != workload.uid:
            wait = self._waits[workload.key] = _Wait(workload.uid, _now())
        if seconds := self._early(wait):
            self._state.queue.add_after(workload.key, seconds, workload.key.namespace)
            return ""
        get = self._state.streams.get
        told = "; ".join(overview.missing(key, tag, get(key)) for key, tag in dict.fromkeys(missing))
        if told == wait.told:
            return ""
        wait.told = told
        return told

    def _early(self, wait: _Wait) -> float:
        """How long it is too early to tell; 0 if it is not."""
        if self._known_since is None:
            return _GRACE_SECONDS
        return max(0.0, max(wait.since, self._known_since) + _GRACE_SECONDS - _now())

    def forget(self, key: WorkloadKey) -> None:
        self._waits.pop(key, None)

    def clear(self) -> frozenset[WorkloadKey]:
        """Forget all; return which there were."""
        found = frozenset(self._waits)
        self._waits.clear()
        return found


def _now() -> float:
    return asyncio.get_running_loop().time()
