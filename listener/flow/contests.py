"""The fights over images that are going on, by workload and container.

Kept in memory only: after a restart the other side has to win once more.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from listener.core.contests import Contest, set_back
from listener.core.workloads import WorkloadKey


class Contests:
    def __init__(self) -> None:
        self._found: dict[WorkloadKey, dict[str, Contest]] = {}
        self._lost: set[WorkloadKey] = set()

    def set_back(self, key: WorkloadKey, images: Mapping[str, str]) -> None:
        """Take note that containers were set back from those images."""
        now = asyncio.get_running_loop().time()
        found = self._found.setdefault(key, {})
        for container, image in images.items():
            found[container] = set_back(found.get(container), image, now)

    def forget(self, key: WorkloadKey) -> None:
        """The workload is another one now, its owner has changed its triggers, or it is gone."""
        self._found.pop(key, None)
        self._lost.discard(key)

    def lost(self, key: WorkloadKey) -> Mapping[str, Contest]:
        """The containers that are left to the other side, as long as their tags do not move."""
        return {name: contest for name, contest in self._found.get(key, {}).items() if contest.is_lost}

    def note(self, key: WorkloadKey, *, is_left: bool) -> bool:
        """Take note whether something is left to the other side now; return whether that is new."""
        if not is_left:
            self._lost.discard(key)
            return False
        is_new = key not in self._lost
        self._lost.add(key)
        return is_new

    def counts(self) -> Mapping[str, int]:
        """How many workloads of each kind are left to somebody else."""
        return Counter(key.kind for key in self._lost)
