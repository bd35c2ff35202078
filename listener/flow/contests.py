"""The fights over images that are going on, by workload and container.

Kept in memory only: after a restart the other side has to win once more.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping

from listener.core import contests
from listener.core.contests import Contest
from listener.core.workloads import Workload, WorkloadKey


class Contests:
    """What we set ourselves is told by `sent`, for the watch may show it before its answer does."""

    def __init__(self) -> None:
        self._found: dict[WorkloadKey, dict[str, Contest]] = {}
        self._sent: dict[WorkloadKey, frozenset[str]] = {}
        self._left: dict[WorkloadKey, Mapping[str, Contest]] = {}

    def sent(self, key: WorkloadKey, images: Mapping[str, str]) -> Collection[str]:
        """These images are being set, by us. Where another one was fought for, that is over.

        Return the containers that are put back to what they had.
        """
        self._sent[key] = frozenset(images.values())
        found = self._found.get(key)
        if not found:
            return ()
        now = asyncio.get_running_loop().time()
        for container, image in images.items():
            contest = found.pop(container, None)
            if contest and (kept := contests.sent(contest, image, now)):
                found[container] = kept
        if not found:
            del self._found[key]
        return [
            container for container, image in images.items() if container in found and found[container].image == image
        ]

    def settled(self, key: WorkloadKey) -> None:
        """Everything is as it should be, or left to somebody: nothing of ours is under way any more."""
        self._sent.pop(key, None)

    def set_back(self, after: Workload, images: Mapping[str, str]) -> None:
        """Take note that containers of a workload were set back from those images, unless we did that."""
        now = asyncio.get_running_loop().time()
        has, ours = contests.images(after), self._sent.get(after.key, frozenset())
        for container, image in images.items():
            if has[container] not in ours:
                found = self._found.setdefault(after.key, {})
                found[container] = contests.set_back(found.get(container), image, now)

    def forget(self, key: WorkloadKey) -> None:
        """The workload is another one now, its owner has changed its triggers, or it is gone."""
        self._found.pop(key, None)
        self._sent.pop(key, None)
        self._left.pop(key, None)

    def clear(self) -> Collection[WorkloadKey]:
        """Forget all, and return whose: another replica goes on, and has to lose as often as after a restart."""
        keys = tuple(self._found)
        for found in (self._found, self._sent, self._left):
            found.clear()
        return keys

    def lost(self, key: WorkloadKey) -> Mapping[str, Contest]:
        """The containers that are left to the other side, as long as their tags do not move."""
        if key not in self._found:
            return {}
        now = asyncio.get_running_loop().time()
        return {name: contest for name, contest in self._found[key].items() if contest.is_lost(now)}

    def leave(self, key: WorkloadKey, left: Mapping[str, Contest]) -> Mapping[str, Contest]:
        """Take note of what is left to the other side now; return what of it is new."""
        before = self._left.pop(key, {})
        if left:
            self._left[key] = left
        return {name: contest for name, contest in left.items() if before.get(name) != contest}

    def counts(self) -> Mapping[str, int]:
        """How many workloads of each kind are left to somebody else."""
        return Counter(key.kind for key in self._left)
