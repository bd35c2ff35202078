"""The worlds that flow's Protocols ask for, in memory: small, strict, and slow by as much as a test wants.

`FakeCluster` keeps the promises flow relies on: a write needs the newest resource version, a JSON Patch whose `test`
fails changes nothing, what is not there is gone.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from listener.core import lookups, runs, triggers
from listener.core.actions import LAST_TRIGGERED, Start
from listener.core.deployment_configs import ConfigTrigger
from listener.core.history import TagHistory, TagItem
from listener.core.keyring import Credential, PullSecret
from listener.core.kinds import DEPLOYMENT, DEPLOYMENT_CONFIG, Form, Kind
from listener.core.managers import Manager
from listener.core.manifests import OCI_INDEX, OCI_MANIFEST, Child, Described
from listener.core.notices import Notice, Reason
from listener.core.outcomes import End, Outcome
from listener.core.receipts import Arrival
from listener.core.references import Reference
from listener.core.streams import REPOSITORY_CHECK, SpecTag, Stream, StreamKey
from listener.core.triggers import Triggers
from listener.core.workloads import Container, Workload, WorkloadKey
from listener.errors import RegistryError, RegistryRefused

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


def following(tag: str, source: str, *, kind: str = "DockerImage", generation: int = 1, **more: Any) -> SpecTag:
    return SpecTag(tag, kind, "", source, generation=generation, **more)


def unsettled(stream: Stream) -> Stream:
    """For tests in which nothing follows anything."""
    return stream


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
        WorkloadKey(kind.label, namespace, name),
        uid or f"uid of {name}",
        str(version),
        triggers.parse(text, namespace=namespace, kind=kind),
        (Container("app", image),),
        (),
    )


def named(found: Workload, *containers: Container) -> Workload:
    """The workload as it is read, with those containers, where names of stream tags are looked up."""
    names = lookups.find(found.key.namespace, {"containers": containers}, forced=False)
    return replace(found, containers=containers, lookups=names)


def deployment_config(name: str, image: str = "") -> Workload:
    """A DeploymentConfig with one container `app` that follows web:latest, as its owner writes it."""
    trigger = ConfigTrigger(WEB, "latest", False, "PATH", 0, "web:latest", ("app",), "")
    key = WorkloadKey(DEPLOYMENT_CONFIG.label, "shop", name)
    return Workload(key, f"uid of {name}", "1", Triggers((trigger,)), (Container("app", image),), ())


def with_last(found: Workload, image: str) -> Workload:
    """The DeploymentConfig once its only trigger has set that image."""
    (trigger,) = found.triggers.valid
    assert isinstance(trigger, ConfigTrigger)
    return replace(found, triggers=Triggers((replace(trigger, last=image),)))


def image_of(found: Workload) -> str:
    return found.containers[0].image


@dataclass
class FakeCluster:
    """Streams and workloads by key. Every request takes `latency` seconds and is decided when that time is over.

    `fault` may answer a write in the cluster's stead; `meanwhile` runs before a write is decided, as somebody else
    would. `writes` lists the writes that were stored, `tried` and `sent` when and what was patched, stored or not;
    `most_at_once` is how many requests ran together, `overlapped` the workloads that were patched twice at once. `runs`
    are what was started, by name; for a build that is the name and how many there were before.
    """

    latency: float = 0.01
    namespaces: set[str] = field(default_factory=lambda: {"shop"})
    streams: dict[StreamKey, Stream] = field(default_factory=dict)
    workloads: dict[WorkloadKey, Workload] = field(default_factory=dict)
    runs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    field_managers: dict[WorkloadKey, Sequence[Manager]] = field(default_factory=dict)
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

    async def store_status(self, stream: Stream) -> Outcome[Stream]:
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
            stored = replace(
                there,
                tags=stream.tags,
                conditions=stream.conditions,
                status_repository=stream.status_repository,
                public_repository=stream.public_repository,
                fan_outs=stream.fan_outs,
            )
            return Outcome(End.APPLIED, self.put_stream(stored))

    async def patch_stream(self, key: StreamKey, operations: Sequence[Mapping[str, Any]]) -> Outcome[Stream]:
        async with self._request(key):
            if refusal := self._refusal("spec", key):
                return refusal
            there = self.streams.get(key)
            if there is None:
                return Outcome(End.GONE, message="not found")
            patched = _with_spec(there, operations)
            if patched is None:
                return Outcome(End.STALE, message="the test failed")
            self.writes.append(("spec", key))
            return Outcome(End.APPLIED, self.put_stream(replace(patched, generation=there.generation + 1)))

    async def annotate_stream(self, stream: Stream, annotations: Mapping[str, str]) -> Outcome[Stream]:
        key = stream.key
        async with self._request(key):
            if refusal := self._refusal("annotate", key):
                return refusal
            there = self.streams.get(key)
            if there is None:
                return Outcome(End.GONE, message="not found")
            if there.resource_version != stream.resource_version:
                return Outcome(End.STALE, message="the object has been modified")
            assert list(annotations) == [REPOSITORY_CHECK]
            self.writes.append(("annotate", key))
            return Outcome(End.APPLIED, self.put_stream(replace(there, is_checked=bool(annotations[REPOSITORY_CHECK]))))

    # WorkloadStore

    async def get_workload(self, kind: Kind, key: WorkloadKey) -> Workload | None:
        assert kind.label == key.kind
        async with self._request(key):
            self._maybe_unreadable()
            return self.workloads.get(key)

    async def patch_workload(
        self, kind: Kind, key: WorkloadKey, operations: Sequence[Mapping[str, object]]
    ) -> Outcome[Workload]:
        assert kind.label == key.kind
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

    async def start(self, namespace: str, start: Start) -> Outcome[None]:
        key = StreamKey(namespace, start.name)
        async with self._request(key):
            if refusal := self._refusal("start", key):
                return refusal
            name = f"{start.name}-{len(self.runs)}" if start.subresource else start.name
            if name in self.runs:
                return Outcome(End.STALE, message="already exists")
            self.writes.append(("start", key))
            self.runs[name] = start.body
            return Outcome(End.APPLIED)

    async def get_run_record(self, namespace: str, start: Start) -> str | None:
        async with self._request(StreamKey(namespace, start.name)):
            self._maybe_unreadable()
            found: str | None = self.runs[start.name]["metadata"].get("annotations", {}).get(LAST_TRIGGERED)
            return found

    async def managers(self, kind: Kind, key: WorkloadKey) -> Sequence[Manager]:
        assert kind.label == key.kind
        async with self._request(key):
            self._maybe_unreadable()
            return self.field_managers.get(key, ())

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


def _with_spec(there: Stream, operations: Sequence[Mapping[str, Any]]) -> Stream | None:
    """Apply what our writes of a spec consist of; None if a test fails."""
    spec_tags = list(there.spec_tags)
    for operation in operations:
        match operation["op"], operation["path"].split("/")[1:]:
            case "test", ["metadata", "resourceVersion"]:
                if operation["value"] != there.resource_version:
                    return None
            case "add", ["spec", "tags", index, "generation"]:
                spec_tags[int(index)] = replace(spec_tags[int(index)], generation=operation["value"])
            case "add", ["spec", "tags"]:
                spec_tags = [_added(tag) for tag in operation["value"]]
            case "add", ["spec", "tags", "-"]:
                spec_tags.append(_added(operation["value"]))
            case other:
                raise AssertionError(f"no write of ours holds {other}")
    return replace(there, spec_tags=tuple(spec_tags))


def _added(tag: Mapping[str, Any]) -> SpecTag:
    source = tag["from"]
    return SpecTag(tag["name"], source["kind"], "", source["name"], generation=tag["generation"])


def _patched(there: Workload, kind: Kind, operations: Sequence[Mapping[str, object]]) -> Workload | None:
    """Apply what our plans consist of; None if a test fails."""
    pod_spec = "".join(f"/{part}" for part in kind.pod_spec_path)
    containers = list(there.containers)
    for operation in operations:
        path = str(operation["path"])
        if path == "/metadata/uid":
            if there.uid != operation["value"]:
                return None
            continue
        if path.startswith("/metadata/annotations/"):
            if kind.form is Form.RUN:
                there = replace(there, record=runs.read_record(str(operation["value"])))
            continue
        if path.startswith("/spec/triggers/"):
            if path.endswith("/lastTriggeredImage"):
                there = with_last(there, str(operation["value"]))
            continue
        section, index, member = path.removeprefix(f"{pod_spec}/").split("/")
        assert section == "containers"
        if int(index) >= len(containers):
            return None
        container = containers[int(index)]
        match operation["op"], member:
            case "test", "name" | "image" as field:
                if getattr(container, field) != operation["value"]:
                    return None
            case "replace" | "add", "image":
                containers[int(index)] = replace(container, image=str(operation["value"]))
            case other:
                raise AssertionError(f"no plan of ours holds {other}")
    return named(there, *containers) if there.lookups else replace(there, containers=tuple(containers))


@dataclass
class FakeRegistry:
    """Registries by the text of a reference, as completed: `r.example/shop/web:latest`. Every question takes `latency`.

    `puts` an image where a tag is; by digest every image is there but those of the letters in `lacks`, and those in
    `late` are there when so many seconds have passed. `error` may refuse any question, `refuses` those of a username;
    `meanwhile` runs before a question is answered, as somebody else would. `asked` lists what was asked for and with
    which usernames ("" for none), `insecurely` what may be asked for over plain http, `most_at_once` how many questions
    ran together.
    """

    latency: float = 0.01
    images: dict[str, Described] = field(default_factory=dict)
    indexes: dict[str, tuple[Child, ...]] = field(default_factory=dict)
    lacks: str = ""
    late: dict[str, float] = field(default_factory=dict)
    error: Callable[[str], RegistryError | None] = lambda _reference: None
    refuses: Callable[[str, str], RegistryError | None] = lambda _reference, _user: None
    meanwhile: Callable[[str], None] = lambda _reference: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    insecurely: set[str] = field(default_factory=set)
    most_at_once: int = 0
    _running: int = 0

    def put(self, letter: str, tag: str = "latest", repository: str = REPOSITORY) -> None:
        self.images[f"{repository}:{tag}"] = Described(digest(letter), OCI_MANIFEST)

    def put_index(self, letter: str, *children: Child, tag: str = "latest") -> None:
        self.images[f"{REPOSITORY}:{tag}"] = Described(digest(letter), OCI_INDEX)
        self.indexes[digest(letter)] = children

    async def head(self, reference: Reference, credentials: Sequence[Credential], *, insecure: bool) -> Described:
        async with self._question(reference, credentials, insecure):
            found = self.images.get(str(reference.with_defaults()))
            if found is None and reference.digest and self._holds(reference.digest):
                found = Described(reference.digest, OCI_INDEX if reference.digest in self.indexes else OCI_MANIFEST)
            if found is None:
                raise RegistryRefused(f'dockerimage "{reference}" not found', reason="NotFound")
            return found

    async def children(
        self, reference: Reference, credentials: Sequence[Credential], *, insecure: bool
    ) -> tuple[Child, ...]:
        async with self._question(reference, credentials, insecure):
            return self.indexes[reference.digest or ""]

    async def tags(self, reference: Reference, credentials: Sequence[Credential], *, insecure: bool) -> tuple[str, ...]:
        async with self._question(reference, credentials, insecure):
            name = str(replace(reference.with_defaults(), tag=None))
            return tuple(known.rpartition(":")[2] for known in self.images if known.rpartition(":")[0] == name)

    def by_tag(self) -> list[str]:
        """What was asked for by tag, in short."""
        return [name.rpartition("/")[2] for name, _ in self.asked if "@" not in name]

    def by_digest(self) -> str:
        """The letters of what was asked for by digest."""
        return "".join(name[-1] for name, _ in self.asked if "@" in name)

    def _holds(self, digest: str) -> bool:
        return digest[-1] not in self.lacks and asyncio.get_running_loop().time() >= self.late.get(digest[-1], 0)

    @asynccontextmanager
    async def _question(
        self, reference: Reference, credentials: Sequence[Credential], insecure: bool
    ) -> AsyncIterator[None]:
        name = str(reference.with_defaults())
        self.insecurely |= {name} if insecure else set()
        user = credentials[0].username if credentials else ""
        self.asked.append((name, user))
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        try:
            await asyncio.sleep(self.latency)
            self.meanwhile(name)
            if error := self.error(name) or self.refuses(name, user):
                raise error
            yield
        finally:
            self._running -= 1


@dataclass
class FakeSecrets:
    """The pull secrets of each namespace: a username for every host."""

    users: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None
    reads: int = 0

    async def pull_secrets(self, namespace: str) -> list[PullSecret]:
        self.reads += 1
        await asyncio.sleep(0.01)
        if self.error:
            raise self.error
        if namespace not in self.users:
            return []
        config = {"auths": {"r.example": {"username": self.users[namespace], "password": "secret"}}}
        data = {".dockerconfigjson": json.dumps(config).encode()}
        return [PullSecret("pull", "kubernetes.io/dockerconfigjson", data)]


@dataclass
class Notices:
    """A recorder that keeps what it is given."""

    given: list[Notice] = field(default_factory=list)
    dropped: int = 0
    is_full: bool = False

    def drop(self) -> None:
        self.dropped += 1

    def record(self, notice: Notice) -> None:
        self.given.append(notice)

    def of(self, reason: Reason) -> list[Notice]:
        return [notice for notice in self.given if notice.reason is reason]

    def reasons(self) -> list[str]:
        return [str(notice.reason) for notice in self.given]


@dataclass
class Meter:
    """Counts everything that flow counts."""

    moves: list[str] = field(default_factory=list)
    stored_seconds: list[float] = field(default_factory=list)
    patches: Counter[tuple[str, str]] = field(default_factory=Counter)
    patched_seconds: list[float] = field(default_factory=list)
    dropped: int = 0
    imports: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)

    def imported(self, registry: str, outcome: str) -> None:
        self.imports[registry, outcome] += 1

    def hook_missed(self, registry: str) -> None:
        self.missed.append(registry)

    def tag_moved(self, cause: str) -> None:
        self.moves.append(cause)

    def stored(self, seconds: float) -> None:
        self.stored_seconds.append(seconds)

    def patched(self, kind: str, end: str, seconds: float) -> None:
        assert seconds >= 0
        self.patches[kind, str(end)] += 1

    def patched_after_hook(self, seconds: float) -> None:
        self.patched_seconds.append(seconds)

    def event_dropped(self) -> None:
        self.dropped += 1
