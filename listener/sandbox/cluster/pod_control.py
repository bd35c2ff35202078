"""Keeps as many Pods of a workload as it wants, and runs those that were created by hand: what workload controllers,
the scheduler and a kubelet do, in one write a Pod.

A Pod of a workload is stored as it runs, without the moment in which it waits: a rollout of ten thousand Deployments
costs a Pod made and a Pod deleted for each, no more. No webhook is asked about it. Nothing is adopted: the Pods of a
workload are those that name it as their owner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import count
from typing import Final

import msgspec

from listener.sandbox.cluster import defaults, pods, rollouts, strategies
from listener.sandbox.cluster.store import Entry, Object, Store
from listener.sandbox.cluster.verbs import DeleteOptions, Verbs, now

PODS: Final = ("", "pods")
MOST_PODS: Final = 100
"""Of a larger workload these many are shown; its status tells of all."""


class _Metadata(msgspec.Struct, rename="camel"):
    deletion_timestamp: str | None = None


class _Status(msgspec.Struct):
    phase: str = ""


class _Pod(msgspec.Struct):
    metadata: _Metadata
    status: _Status = msgspec.field(default_factory=_Status)


_decode = msgspec.json.Decoder(_Pod).decode


class PodControl:
    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs
        self._store: Store = verbs.store
        self._resource = verbs.catalog.builtin(*PODS)
        self._numbers = count(1)

    def scale(self, owner: Object, replicas: int) -> None:
        """Keep that many Pods of a ReplicaSet or ReplicationController. Those that are there stay as they are."""
        active = self._active(owner)
        wanted = min(replicas, MOST_PODS)
        for _ in range(len(active), wanted):
            self._create(pods.of(owner))
        for entry in active[wanted:]:
            self._delete(entry)

    def number(self, stateful_set: Object, revision: str) -> Counter[str]:
        """Keep the numbered Pods of a StatefulSet, and none of another revision, unless somebody else is to delete it.
        Return how many are of which other revision.
        """
        spec = stateful_set["spec"]
        first = (spec.get("ordinals") or {}).get("start", 0)
        numbers = range(first, first + min(spec.get("replicas", 1), MOST_PODS))
        wanted = {f"{stateful_set['metadata']['name']}-{number}": number for number in numbers}
        kept = {}
        for entry in self._active(stateful_set):
            found = _revision(entry)
            if entry.name in wanted and (found == revision or rollouts.is_on_delete(stateful_set)):
                kept[entry.name] = found
            else:
                self._delete(entry)
        for name, number in wanted.items():
            if name not in kept:
                self._create(pods.of_stateful_set(stateful_set, number, revision))
        return Counter(found for found in kept.values() if found != revision)

    def place(self, daemon_set: Object, revision: str) -> bool:
        """Keep one Pod of a DaemonSet, of this revision, unless somebody else is to delete the one before. Tell whether
        it is of this revision.
        """
        any_revision = rollouts.is_on_delete(daemon_set)
        current = [entry for entry in self._active(daemon_set) if any_revision or _revision(entry) == revision][:1]
        for entry in self._active(daemon_set):
            if entry not in current:
                self._delete(entry)
        if not current:
            self._create(pods.of_daemon_set(daemon_set, revision))
        return all(_revision(entry) == revision for entry in current)

    def complete(self, job: Object, completions: int) -> None:
        """Leave the Pods of a Job that has run to its end."""
        for index in range(min(completions, MOST_PODS)):
            self._create(pods.of_job(job, index), ends=True)

    def clear(self, owners: Iterable[str]) -> None:
        """Delete the Pods of these owners, which are told by their uids."""
        for uid in owners:
            for storage, key in self._store.dependents(uid):
                entry = self._store.collection(storage).get(*key) if storage == PODS else None
                if entry is not None:
                    self._delete(entry)

    def run(self, pod: Object) -> Object:
        """Return a Pod as it runs: one that waited for a node, or got another image. Others stay as they are."""
        match (pod.get("status") or {}).get("phase"):
            case "Pending" if not pod["spec"].get("schedulingGates"):
                return pods.running(pod, pods.address(next(self._numbers)), now())
            case "Running":
                return pods.restarted(pod, now())
        return pod

    def _active(self, owner: Object) -> list[Entry]:
        """Return an owner's Pods that neither have ended nor are about to go, the oldest first."""
        found = []
        for storage, key in self._store.dependents(owner["metadata"]["uid"]):
            entry = self._store.collection(storage).get(*key) if storage == PODS else None
            if entry is not None and _is_active(entry):
                found.append(entry)
        return sorted(found, key=lambda entry: entry.revision)

    def _create(self, pod: Object, *, ends: bool = False) -> None:
        metadata, moment = pod["metadata"], now()
        collection = self._store.collection(PODS)
        if "name" not in metadata:
            metadata["name"] = strategies.generated_name(metadata["generateName"])
        if collection.get(metadata["namespace"], metadata["name"]) is not None:
            return  # it is not gone yet; when it is, its owner is looked at again
        pod = defaults.complete(pod, None)
        strategies.prepare_create(self._resource, pod, moment)
        strategies.complete_create(self._resource, pod)
        pod = pods.running(pod, pods.address(next(self._numbers)), moment)
        self._store.put(PODS, pods.succeeded(pod, moment) if ends else pod)

    def _delete(self, entry: Entry) -> None:
        self._verbs.delete(self._resource, entry.namespace, entry.name, DeleteOptions())


def _is_active(entry: Entry) -> bool:
    pod = _decode(b"{" + entry.body)
    return not pod.metadata.deletion_timestamp and pod.status.phase not in {"Succeeded", "Failed"}


def _revision(entry: Entry) -> str:
    return (entry.labels or {}).get(rollouts.REVISION_HASH_LABEL, "")
