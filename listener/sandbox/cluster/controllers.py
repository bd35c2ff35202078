"""What happens behind the API: workloads become ready and show their Pods, owners take their dependents with them,
namespaces empty out.

One task for all of it. A change puts a key into a queue; a key that is there already stays where it is, and the newest
state is read when its turn comes. Workloads wait `settle_seconds` first, so that a client sees the time between a
change and its being observed. While clients are being served the task holds back: ten thousand Deployments that change
must not slow down who changes them.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from itertools import islice

from listener.sandbox.cluster import rollouts, strategies
from listener.sandbox.cluster.pod_control import PODS, PodControl
from listener.sandbox.cluster.resources import Catalog, Resource
from listener.sandbox.cluster.store import Change, Collection, Entry, Key, Object, Store
from listener.sandbox.cluster.verbs import FOREGROUND, NAMESPACES, DeleteOptions, Verbs, now

_log = logging.getLogger(__name__)

DEPLOYMENTS, REPLICA_SETS = ("apps", "deployments"), ("apps", "replicasets")
STATEFUL_SETS, DAEMON_SETS = ("apps", "statefulsets"), ("apps", "daemonsets")
REPLICATION_CONTROLLERS, REVISIONS = ("", "replicationcontrollers"), ("apps", "controllerrevisions")
SERVICE_ACCOUNTS = ("", "serviceaccounts")
JOBS = ("batch", "jobs")
_WORKLOADS = frozenset({DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, REPLICATION_CONTROLLERS, JOBS})
_BATCH = 20  # some ten milliseconds; requests are answered between batches
_YIELD = 3  # while requests come in, rest this many times as long as the last batch took
_FOREGROUND = FOREGROUND.encode()
_DELETED = re.compile(rb'"deletionTimestamp":"')

_Work = tuple[tuple[str, str], Key]


class Controllers:
    """`busy` counts the requests served so far: if it grew during a batch, the next one waits."""

    def __init__(self, verbs: Verbs, settle_seconds: float, busy: Callable[[], int]) -> None:
        self._verbs = verbs
        self._store: Store = verbs.store
        self._catalog: Catalog = verbs.catalog
        self._pods = PodControl(verbs)
        self._settle_seconds = settle_seconds
        self._busy = busy
        self._settling: dict[_Work, float] = {}
        self._sweeping: dict[_Work, None] = {}
        self._current: dict[str, Key] = {}
        self._terminating: set[str] = set()
        self._own = False
        self._wake = asyncio.Event()
        self._store.observe(self._observe)

    async def run(self) -> None:
        """Work until cancelled. A key that fails is logged and dropped: it comes back with its object's next change."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            started, served = loop.time(), self._busy()
            work = self._due(started)
            for each, reconcile in work:
                try:
                    reconcile(*each)
                except Exception:
                    _log.exception("sandbox controller failed: %s %s", *each)
            if work:
                spent = loop.time() - started
                await asyncio.sleep(0)
                if self._busy() != served:
                    await asyncio.sleep(spent * _YIELD)
                continue
            next_due = next(iter(self._settling.values()), None)
            try:
                async with asyncio.timeout_at(next_due):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _due(self, moment: float) -> list[tuple[_Work, Callable[[tuple[str, str], Key], None]]]:
        found: list[tuple[_Work, Callable[[tuple[str, str], Key], None]]] = []
        while self._sweeping and len(found) < _BATCH:
            work = next(iter(self._sweeping))
            del self._sweeping[work]
            found.append((work, self._sweep))
        for work, due in list(islice(self._settling.items(), _BATCH - len(found))):
            if due > moment:
                break
            del self._settling[work]
            found.append((work, self._settle))
        return found

    def _observe(self, collection: Collection, change: Change) -> None:
        storage, entry = collection.storage, change.entry
        if change.type == "DELETED":
            self._current.pop(entry.uid, None)
            for dependent in self._store.dependents(entry.uid):
                self._queue_sweep(*dependent)
            for owner in entry.owners:
                place = self._store.locate(owner)
                if place is not None:
                    self._queue_sweep(*place)
            if entry.namespace in self._terminating:
                self._queue_sweep(NAMESPACES, ("", entry.namespace))
        elif storage == NAMESPACES or (change.type == "ADDED" and entry.owners) or _FOREGROUND in entry.body:
            self._queue_sweep(storage, entry.key)
        if self._own:
            return
        if change.type != "DELETED" and (storage == PODS or storage in _WORKLOADS):
            self._queue_settle(storage, entry.key)
        if storage == PODS:
            for owner in entry.owners:
                place = self._store.locate(owner)
                if place is not None and place[0] in _WORKLOADS:
                    self._queue_settle(*place)

    def _queue_settle(self, storage: tuple[str, str], key: Key) -> None:
        due = asyncio.get_running_loop().time() + self._settle_seconds
        self._settling.setdefault((storage, key), due)
        self._wake.set()

    def _queue_sweep(self, storage: tuple[str, str], key: Key) -> None:
        self._sweeping[storage, key] = None
        self._wake.set()

    # Deletion: owners, finalizers, namespaces.

    def _sweep(self, storage: tuple[str, str], key: Key) -> None:
        entry = self._store.collection(storage).get(*key)
        resource = self._catalog.stored(storage)
        if entry is None or resource is None:
            return
        if storage == NAMESPACES:
            self._sweep_namespace(resource, entry)
        elif _FOREGROUND in entry.body:
            self._finish_foreground(resource, entry)
        elif entry.owners:
            self._collect(resource, entry)

    def _collect(self, resource: Resource, entry: Entry) -> None:
        """Delete an object whose last owner is gone; take the gone ones off the list of one that has others."""
        left = {uid for uid in entry.owners if self._store.locate(uid) is not None}
        if not left:
            self._verbs.delete(resource, entry.namespace, entry.name, DeleteOptions())
        elif len(left) < len(entry.owners):
            obj = self._verbs.load(resource, entry)
            owners = [owner for owner in obj["metadata"]["ownerReferences"] if owner["uid"] in left]
            obj["metadata"]["ownerReferences"] = owners
            self._verbs.write_back(resource, entry, obj)

    def _finish_foreground(self, resource: Resource, entry: Entry) -> None:
        obj = self._verbs.load(resource, entry)
        metadata = obj["metadata"]
        finalizers = [name for name in metadata.get("finalizers") or () if name != FOREGROUND]
        if not metadata.get("deletionTimestamp") or len(finalizers) == len(metadata.get("finalizers") or ()):
            return
        for storage, (namespace, name) in self._store.dependents(entry.uid):
            dependent = self._catalog.stored(storage)
            if dependent is not None:
                self._verbs.delete(dependent, namespace, name, DeleteOptions())
        if self._store.dependents(entry.uid):
            return
        if finalizers:
            metadata["finalizers"] = finalizers
            self._verbs.write_back(resource, entry, obj)
        else:
            metadata.pop("finalizers")
            self._verbs.remove(resource, entry, obj)

    def _sweep_namespace(self, resource: Resource, entry: Entry) -> None:
        """Give a new namespace its account; empty one that is terminating, a batch at a time, and at last remove it."""
        namespace = entry.name
        obj = self._verbs.load(resource, entry)
        if not obj["metadata"].get("deletionTimestamp"):
            self._add_service_account(namespace)
            return
        self._terminating.add(namespace)
        for held, name in list(islice(self._undeleted(namespace), _BATCH)):
            self._verbs.delete(held, namespace, name, DeleteOptions())
        if next(self._undeleted(namespace), None) is not None:
            self._queue_sweep(NAMESPACES, entry.key)
        elif not any(each.count(namespace) for each in self._store.collections()) and not obj["metadata"].get(
            "finalizers"
        ):
            self._terminating.discard(namespace)
            self._verbs.remove(resource, entry, {**obj, "spec": {}})

    def _undeleted(self, namespace: str) -> Iterator[tuple[Resource, str]]:
        """Yield what is in a namespace and not marked for deletion yet. The store must not change meanwhile."""
        for collection in self._store.collections():
            held = self._catalog.stored(collection.storage)
            if held is not None and held.namespaced:
                for entry in collection.entries(namespace):
                    if not _DELETED.search(entry.body):
                        yield held, entry.name

    def _add_service_account(self, namespace: str) -> None:
        if self._store.collection(SERVICE_ACCOUNTS).get(namespace, "default") is None:
            metadata = {"name": "default", "namespace": namespace}
            self._create(SERVICE_ACCOUNTS, {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": metadata})

    # Workloads.

    def _settle(self, storage: tuple[str, str], key: Key) -> None:
        entry = self._store.collection(storage).get(*key)
        if entry is None or _DELETED.search(entry.body) or entry.namespace in self._terminating:
            return
        self._own = True
        try:
            self._reconcile(self._catalog.builtin(*storage), entry)
        finally:
            self._own = False

    def _reconcile(self, resource: Resource, entry: Entry) -> None:
        obj = self._verbs.load(resource, entry)
        match resource.storage:
            case ("apps", "deployments"):
                obj = self._roll_out(obj)
            case ("apps", "statefulsets"):
                revision = self._revise(obj)
                outdated = self._pods.number(obj, revision)
                obj["status"] = rollouts.stateful_set_status(obj, revision, outdated)
            case ("apps", "daemonsets"):
                is_updated = self._pods.place(obj, self._revise(obj).rpartition("-")[2])
                obj["status"] = rollouts.daemon_set_status(obj, is_updated=is_updated)
            case ("batch", "jobs"):
                completions = rollouts.completions(obj)
                if completions is None:
                    return
                self._pods.complete(obj, completions)
                obj["status"] = rollouts.job_status(obj, completions, now())
            case ("", "pods"):
                obj = self._pods.run(obj)
            case _:
                self._pods.scale(obj, obj["spec"].get("replicas", 1))
                obj["status"] = rollouts.replica_set_status(obj)
        self._verbs.write_back(resource, entry, obj)

    def _roll_out(self, deployment: Object) -> Object:
        """Bring the Deployment's ReplicaSets up to its template, and return it with the status that follows."""
        metadata = deployment["metadata"]
        digest = rollouts.template_hash(deployment["spec"]["template"])
        key = (metadata["namespace"], f"{metadata['name']}-{digest}")
        resource = self._catalog.builtin(*REPLICA_SETS)
        found = self._store.collection(REPLICA_SETS).get(*key)
        annotations = dict(metadata.get("annotations") or {})
        is_current = found is not None and self._current.get(metadata["uid"]) == key
        if is_current or not deployment["spec"].get("paused"):
            annotations[rollouts.REVISION] = str(self._bring_forward(deployment, resource, key, digest, found))
            metadata["annotations"] = annotations
            self._roll_pods(deployment, resource, key)
        deployment["status"] = rollouts.deployment_status(deployment, key[1], now(), is_current=is_current)
        return deployment

    def _roll_pods(self, deployment: Object, resource: Resource, key: Key) -> None:
        """Make the Pods of the current ReplicaSet, and then let those of the others go."""
        others = []
        for storage, place in self._store.dependents(deployment["metadata"]["uid"]):
            entry = self._store.collection(storage).get(*place)
            if storage != REPLICA_SETS or entry is None:
                continue
            if place == key:
                self._pods.scale(self._verbs.load(resource, entry), deployment["spec"].get("replicas", 1))
            else:
                others.append(entry.uid)
        self._pods.clear(others)

    def _bring_forward(self, deployment: Object, resource: Resource, key: Key, digest: str, found: Entry | None) -> int:
        """Make the ReplicaSet of the current template the newest one and the only one with replicas; return its
        revision.
        """
        uid, replicas = deployment["metadata"]["uid"], deployment["spec"].get("replicas", 1)
        if found is not None and self._current.get(uid) == key:
            current = self._verbs.load(resource, found)
            revision = rollouts.revision_of(current)
        else:
            revision = self._retire_others(deployment, resource, key) + 1
            current = rollouts.replica_set(deployment, key[1], digest, revision)
            if found is None:
                entry = self._create(REPLICA_SETS, rollouts.scaled(current, replicas))
                self._current[uid] = entry.key
                return revision
            stored = self._verbs.load(resource, found)
            # The template of an earlier revision is back, or this is the newest one already: then it keeps its number.
            revision = max(revision, rollouts.revision_of(stored))
            current = stored
        self._current[uid] = key
        copied = rollouts.copied_annotations(deployment)
        annotations = {**(current["metadata"].get("annotations") or {}), **copied}
        current["metadata"]["annotations"] = rollouts.renumbered(annotations, revision)
        existing = self._store.collection(REPLICA_SETS).get(*key)
        if existing is not None:
            self._verbs.write_back(resource, existing, rollouts.scaled(current, replicas))
        return revision

    def _retire_others(self, deployment: Object, resource: Resource, key: Key) -> int:
        """Scale the other ReplicaSets down, forget those beyond the history limit, and return the highest of their
        revisions.
        """
        others = []
        for storage, (namespace, name) in self._store.dependents(deployment["metadata"]["uid"]):
            entry = self._store.collection(storage).get(namespace, name)
            if storage == REPLICA_SETS and entry is not None and entry.key != key:
                others.append((entry, self._verbs.load(resource, entry)))
        others.sort(key=lambda pair: rollouts.revision_of(pair[1]))
        surplus = max(0, len(others) - deployment["spec"].get("revisionHistoryLimit", 10))
        for entry, obj in others[:surplus]:
            self._verbs.remove(resource, entry, obj)
        for entry, obj in others[surplus:]:
            if obj["spec"].get("replicas"):
                self._verbs.write_back(resource, entry, rollouts.scaled(obj, 0))
        return rollouts.revision_of(others[-1][1]) if others else 0

    def _revise(self, owner: Object) -> str:
        """Keep a ControllerRevision for each template a StatefulSet or DaemonSet had; return the name of the current
        one.
        """
        metadata = owner["metadata"]
        digest = rollouts.template_hash(owner["spec"]["template"])
        name = f"{metadata['name']}-{digest}"
        resource = self._catalog.builtin(*REVISIONS)
        collection = self._store.collection(REVISIONS)
        found = collection.get(metadata["namespace"], name)
        held = []
        for storage, key in self._store.dependents(metadata["uid"]):
            entry = collection.get(*key) if storage == REVISIONS else None
            if entry is not None:
                held.append((entry, self._verbs.load(resource, entry)))
        held.sort(key=lambda pair: int(pair[1]["revision"]))
        newest = held[-1][1]["revision"] if held else 0
        if found is None:
            self._create(REVISIONS, rollouts.controller_revision(owner, name, digest, newest + 1))
        elif held and held[-1][0].name != name:
            again = self._verbs.load(resource, found)
            self._verbs.write_back(resource, found, {**again, "revision": newest + 1})
        for entry, obj in held[: max(0, len(held) - owner["spec"].get("revisionHistoryLimit", 10))]:
            if entry.name != name:
                self._verbs.remove(resource, entry, obj)
        return name

    def _create(self, storage: tuple[str, str], obj: Object) -> Entry:
        resource = self._catalog.builtin(*storage)
        status = obj.get("status")
        strategies.prepare_create(resource, obj, now())
        if status is not None:
            obj["status"] = status
        return self._store.put(storage, obj)
