"""The worlds that flow's Protocols ask for, in memory: small, strict, and slow by as much as a test wants.

`FakeCluster` keeps the promises flow relies on: a write needs the newest resource version, a JSON Patch whose `test`
fails changes nothing, what is not there is gone.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from listener.core import triggers
from listener.core.history import TagHistory, TagItem
from listener.core.notices import Notice
from listener.core.outcomes import End, Outcome
from listener.core.receipts import Arrival
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.core.workloads import KINDS, Container, Kind, Workload, WorkloadKey

DEPLOYMENT, STATEFUL_SET, DAEMON_SET, CRON_JOB = KINDS
REPOSITORY = "r.example/shop/web"
WEB = StreamKey("shop", "web")


def digest(letter: str) -> str:
    """A digest that is told from others at a glance; letters from a to f."""
    return "sha256:" + letter * 64


def pull_spec(letter: str) -> str:
    return f"{REPOSITORY}@{digest(letter)}"


def item(letter: str) -> TagItem:
    return TagItem("2026-01-01T00:00:00Z", pull_spec(letter), digest(letter), 0)


def now() -> datetime:
    """The wall clock, in step with the loop's."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=asyncio.get_running_loop().time())


def arrival(delivery_id: str = "delivery-1") -> Arrival:
    return Arrival(delivery_id, asyncio.get_running_loop().time(), now())


def following(tag: str, source: str, *, kind: str = "DockerImage") -> SpecTag:
    return SpecTag(tag, kind, "", source, reference=False, generation=None, reference_policy="Source")


def stream(
    key: StreamKey = WEB,
    *,
    version: int = 1,
    uid: str = "stream-uid",
    repository: str = REPOSITORY,
    spec_tags: Sequence[SpecTag] = (),
    **heads: str,
) -> Stream:
    """A stream whose tags point at those letters' digests: `stream(latest="a")`."""
    tags = tuple(TagHistory(tag, (item(letter),)) for tag, letter in sorted(heads.items()))
    return Stream(key, uid, str(version), 1, repository, "", tuple(spec_tags), tags)


def workload(
    name: str,
    *,
    tag: str = "web:latest",
    image: str = "",
    kind: Kind = DEPLOYMENT,
    namespace: str = "shop",
    annotation: str | None = None,
    version: int = 1,
    uid: str | None = None,
) -> Workload:
    """A workload with one container `app` that follows `tag`, or whatever the annotation says."""
    path = ".".join(kind.pod_spec_path)
    entry = {
        "from": {"kind": "ImageStreamTag", "name": tag},
        "fieldPath": f'{path}.containers[?(@.name=="app")].image',
    }
    text = json.dumps([entry]) if annotation is None else annotation
    return Workload(
        WorkloadKey(kind.name, namespace, name),
        uid or f"uid of {name}",
        str(version),
        triggers.parse(text, namespace=namespace, pod_spec_path=kind.pod_spec_path),
        (Container("app", image),),
        (),
    )


def image_of(found: Workload) -> str:
    return found.containers[0].image


@dataclass
class FakeCluster:
    """Streams and workloads by key. Every request takes `latency` seconds and is decided when that time is over.

    `fault` may answer a write in the cluster's stead; `meanwhile` runs before a write is decided, as somebody else
    would. `writes` lists the writes that were stored, `tried` and `sent` when and what was patched, stored or not;
    `most_at_once` is how many requests ran together, `overlapped` the workloads that were patched twice at once.
    """

    latency: float = 0.01
    namespaces: set[str] = field(default_factory=lambda: {"shop"})
    streams: dict[StreamKey, Stream] = field(default_factory=dict)
    workloads: dict[WorkloadKey, Workload] = field(default_factory=dict)
    fault: Callable[[str, StreamKey | WorkloadKey], Outcome[Any] | None] = lambda _verb, _key: None
    meanwhile: Callable[[str], None] = lambda _verb: None
    read_error: Exception | None = None
    writes: list[tuple[str, StreamKey | WorkloadKey]] = field(default_factory=list)
    tried: list[tuple[float, WorkloadKey]] = field(default_factory=list)
    sent: list[Sequence[Mapping[str, object]]] = field(default_factory=list)
    most_at_once: int = 0
    overlapped: set[WorkloadKey] = field(default_factory=set)
    _version: int = 100
    _running: Counter[StreamKey | WorkloadKey] = field(default_factory=Counter)

    def put_stream(self, given: Stream) -> Stream:
        """Store it with a new resource version, as anybody may."""
        self.streams[given.key] = stored = replace(given, resource_version=self._next_version())
        return stored

    def put_workload(self, given: Workload) -> Workload:
        """Store it with a new resource version, as anybody may."""
        self.workloads[given.key] = stored = replace(given, resource_version=self._next_version())
        return stored

    def count(self, verb: str) -> int:
        return sum(1 for done, _ in self.writes if done == verb)

    # StreamStore

    async def get_stream(self, key: StreamKey) -> Stream | None:
        async with self._request(key):
            self._maybe_unreadable()
            return self.streams.get(key)

    async def create_stream(self, key: StreamKey) -> Outcome[Stream]:
        async with self._request(key):
            if refusal := self._refusal("create", key):
                return refusal
            if key.namespace not in self.namespaces:
                return Outcome(End.GONE, message=f'namespaces "{key.namespace}" not found')
            if key in self.streams:
                return Outcome(End.STALE, message="already exists")
            self.writes.append(("create", key))
            return Outcome(End.APPLIED, self.put_stream(Stream(key, f"uid of {key}", "", 1, "", "", (), ())))

    async def store_tags(self, stream: Stream, histories: Iterable[TagHistory]) -> Outcome[Stream]:
        key = stream.key
        async with self._request(key):
            if refusal := self._refusal("store", key):
                return refusal
            there = self.streams.get(key)
            if there is None:
                return Outcome(End.GONE, message="not found")
            if there.resource_version != stream.resource_version:
                return Outcome(End.STALE, message="the object has been modified")
            self.writes.append(("store", key))
            return Outcome(End.APPLIED, self.put_stream(replace(there, tags=tuple(histories))))

    # WorkloadStore

    async def get_workload(self, kind: Kind, key: WorkloadKey) -> Workload | None:
        assert kind.name == key.kind
        async with self._request(key):
            self._maybe_unreadable()
            return self.workloads.get(key)

    async def patch_workload(
        self, kind: Kind, key: WorkloadKey, operations: Sequence[Mapping[str, object]]
    ) -> Outcome[Workload]:
        assert kind.name == key.kind
        self.tried.append((asyncio.get_running_loop().time(), key))
        self.sent.append(operations)
        if self._running[key]:
            self.overlapped.add(key)
        async with self._request(key):
            if refusal := self._refusal("patch", key):
                return refusal
            there = self.workloads.get(key)
            if there is None:
                return Outcome(End.GONE, message="not found")
            patched = _patched(there, kind, operations)
            if patched is None:
                return Outcome(End.STALE, message="the test failed")
            self.writes.append(("patch", key))
            return Outcome(End.APPLIED, self.put_workload(patched))

    def _next_version(self) -> str:
        self._version += 1
        return str(self._version)

    def _maybe_unreadable(self) -> None:
        if self.read_error:
            raise self.read_error

    def _refusal(self, verb: str, key: StreamKey | WorkloadKey) -> Outcome[Any] | None:
        self.meanwhile(verb)
        return self.fault(verb, key)

    def _request(self, key: StreamKey | WorkloadKey) -> _Request:
        return _Request(self, key)


class _Request:
    def __init__(self, cluster: FakeCluster, key: StreamKey | WorkloadKey) -> None:
        self._cluster = cluster
        self._key = key

    async def __aenter__(self) -> None:
        running = self._cluster._running
        running[self._key] += 1
        self._cluster.most_at_once = max(self._cluster.most_at_once, running.total())
        await asyncio.sleep(self._cluster.latency)

    async def __aexit__(self, *_: object) -> None:
        self._cluster._running[self._key] -= 1


def _patched(there: Workload, kind: Kind, operations: Sequence[Mapping[str, object]]) -> Workload | None:
    """Apply what our plans consist of; None if a test fails."""
    pod_spec = "".join(f"/{part}" for part in kind.pod_spec_path)
    containers = list(there.containers)
    for operation in operations:
        path = str(operation["path"])
        if path.startswith("/metadata/annotations/"):
            continue
        section, index, member = path.removeprefix(f"{pod_spec}/").split("/")
        assert section == "containers"
        if int(index) >= len(containers):
            return None
        container = containers[int(index)]
        match operation["op"], member:
            case "test", "name":
                if container.name != operation["value"]:
                    return None
            case "replace" | "add", "image":
                containers[int(index)] = replace(container, image=str(operation["value"]))
            case other:
                raise AssertionError(f"no plan of ours holds {other}")
    return replace(there, containers=tuple(containers))


@dataclass
class Notices:
    """A recorder that keeps what it is given."""

    given: list[Notice] = field(default_factory=list)

    def record(self, notice: Notice) -> None:
        self.given.append(notice)

    def reasons(self) -> list[str]:
        return [str(notice.reason) for notice in self.given]


@dataclass
class Meter:
    """Counts everything that flow counts."""

    moves: list[str] = field(default_factory=list)
    stored_seconds: list[float] = field(default_factory=list)
    patches: Counter[tuple[str, str]] = field(default_factory=Counter)
    patched_seconds: list[float] = field(default_factory=list)
    now_in_flight: int = 0
    dropped: int = 0

    def tag_moved(self, cause: str) -> None:
        self.moves.append(cause)

    def stored(self, seconds: float) -> None:
        self.stored_seconds.append(seconds)

    def patched(self, kind: str, end: str, seconds: float) -> None:
        assert seconds >= 0
        self.patches[kind, str(end)] += 1

    def patched_after_hook(self, seconds: float) -> None:
        self.patched_seconds.append(seconds)

    def in_flight(self, change: int) -> None:
        self.now_in_flight += change

    def event_dropped(self) -> None:
        self.dropped += 1
