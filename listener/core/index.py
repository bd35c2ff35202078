"""Who cares about what, in both directions: streams and workloads as last seen, core's only objects with state.

A repository's push asks which streams it feeds; a stream that changed asks which others take tags from it; a tag that
moved asks which workloads follow it. All indexes forget exactly what they learned: entries leave with the last one
that needed them. Reads are copies, so a caller may put while it iterates. This room must not know who feeds it; it
relies on being used from one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from listener.core.streams import Repository, Resolved, Source, Stream, StreamKey
from listener.core.versions import is_newer
from listener.core.workloads import Workload, WorkloadKey

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class StreamNews:
    """What a state of a stream brought. `moved` are the tags that now resolve to something else, or to nothing any
    more, or whose names are looked up from now on; `concerns` the other streams that take tags from it, if anything
    changed that they see.
    """

    moved: frozenset[str] = frozenset()
    concerns: frozenset[StreamKey] = frozenset()


class StreamIndex:
    """The streams as last seen, found by key, by the repositories that feed them and by the streams they follow."""

    def __init__(self) -> None:
        self._streams: dict[StreamKey, Stream] = {}
        self._fed_by: dict[Repository, set[StreamKey]] = {}
        self._followers: dict[StreamKey, set[StreamKey]] = {}
        self._importing: dict[Source, set[tuple[StreamKey, str]]] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def put(self, stream: Stream) -> StreamNews | None:
        """Take a state in; return what is new in it.

        None for a state of the same object that is not newer, which is ignored, so that an echo or an old page undoes
        nothing.
        """
        before = self._streams.get(stream.key)
        if before and before.uid == stream.uid and not is_newer(stream.resource_version, before.resource_version):
            return None
        self._streams[stream.key] = stream
        if before is None or (before.spec_tags, before.repository) != (stream.spec_tags, stream.repository):
            _drop(self._fed_by, before.repositories() if before else (), stream.key)
            _add(self._fed_by, stream.repositories(), stream.key)
            _drop(self._followers, before.sources() if before else (), stream.key)
            _add(self._followers, stream.sources(), stream.key)
            for source, tag in _imported(before):
                _drop(self._importing, [source], tag)
            for source, tag in _imported(stream):
                _add(self._importing, [source], tag)
        was, now = before.resolve_all() if before else {}, stream.resolve_all()
        moved = frozenset(tag for tag in was.keys() | now.keys() if was.get(tag) != now.get(tag))
        if before and stream.local_lookup and not before.local_lookup:
            moved |= now.keys()  # those who only named them wait for that
        is_seen = before is None or _shown(before) != _shown(stream)
        return StreamNews(moved, self.followers(stream.key) if is_seen else frozenset())

    def discard(self, key: StreamKey) -> StreamNews:
        """Forget a stream; return the tags that resolved until now, and who took tags from it."""
        stream = self._streams.pop(key, None)
        if stream is None:
            return StreamNews()
        _drop(self._fed_by, stream.repositories(), key)
        _drop(self._followers, stream.sources(), key)
        for source, tag in _imported(stream):
            _drop(self._importing, [source], tag)
        return StreamNews(frozenset(stream.resolve_all()), self.followers(key))

    def followers(self, key: StreamKey) -> frozenset[StreamKey]:
        """Return the other streams with tags that come from this one, whether it exists or not."""
        return frozenset(self._followers.get(key, ()))

    def importing(self, source: Source) -> frozenset[tuple[StreamKey, str]]:
        """Return the tags, by stream and name, whose spec imports an image of a registry."""
        return frozenset(self._importing.get(source, ()))

    def get(self, key: StreamKey) -> Stream | None:
        """Return the stream as last seen."""
        return self._streams.get(key)

    def resolve(self, key: StreamKey, tag: str) -> Resolved | None:
        """Return what a consumer of the tag pulls, None while it points at nothing. Fan-outs ask by the thousand."""
        stream = self._streams.get(key)
        return stream.resolve(tag) if stream else None

    def keys(self, namespace: str | None = None) -> frozenset[StreamKey]:
        """Return the streams of a namespace, or of all."""
        return frozenset(key for key in self._streams if namespace in (None, key.namespace))

    def fed_by(self, repository: Repository) -> frozenset[StreamKey]:
        """Return the streams that take images from a (completed) repository."""
        return frozenset(self._fed_by.get(repository, ()))

    def beside(self, repository: Repository) -> tuple[tuple[StreamKey, Repository], ...]:
        """Return a stream that takes images from another repository of the same registry, and that; or nothing."""
        for other, keys in self._fed_by.items():
            if other.registry == repository.registry and other != repository:
                return ((min(keys), other),)
        return ()


class WorkloadIndex:
    """The workloads with a trigger annotation, or with a name that may be looked up, as last seen: found by key and by
    the tags they follow or name.
    """

    def __init__(self) -> None:
        self._workloads: dict[WorkloadKey, Workload] = {}
        self._naming: dict[tuple[StreamKey, str], set[WorkloadKey]] = {}
        self._named: set[WorkloadKey] = set()  # those whose names were looked up: they may be set back
        self._followers: dict[tuple[StreamKey, str], set[WorkloadKey]] = {}
        self._pausing: dict[tuple[StreamKey, str], set[WorkloadKey]] = {}

    def __len__(self) -> int:
        return len(self._workloads)

    def put(self, workload: Workload) -> bool:
        """Take a state in; return whether it must be planned: it is new, or what planning reads has changed.

        A state of the same object that is not newer is ignored. A workload without triggers, problems and names is not
        kept, and a known one that becomes so is forgotten, for nothing is left to plan; unless it had names: who sets
        those again is to be noticed.
        """
        before = self._workloads.get(workload.key)
        same_object = before is not None and before.uid == workload.uid
        if before and same_object and not is_newer(workload.resource_version, before.resource_version):
            return False
        if workload.lookups:
            self._named.add(workload.key)
        elif not _has_triggers(workload) and not (same_object and workload.key in self._named):
            self.discard(workload.key)
            return False
        self._workloads[workload.key] = workload
        if before is None or before.triggers != workload.triggers:
            _drop(self._followers, _followed(before) if before else (), workload.key)
            _add(self._followers, _followed(workload), workload.key)
            _drop(self._pausing, _paused(before) if before else (), workload.key)
            _add(self._pausing, _paused(workload), workload.key)
        if before is None or before.lookups != workload.lookups:
            _drop(self._naming, _names(before) if before else (), workload.key)
            _add(self._naming, _names(workload), workload.key)
        return not (before and same_object and before.planned == workload.planned)

    def discard(self, key: WorkloadKey) -> None:
        """Forget a workload, if it is known."""
        workload = self._workloads.pop(key, None)
        if workload:
            _drop(self._followers, _followed(workload), key)
            _drop(self._pausing, _paused(workload), key)
            _drop(self._naming, _names(workload), key)
            self._named.discard(key)

    def get(self, key: WorkloadKey) -> Workload | None:
        """Return the workload as last seen."""
        return self._workloads.get(key)

    def keys(self, kind: str, namespace: str | None = None) -> frozenset[WorkloadKey]:
        """Return the known workloads of a kind, in a namespace or in all."""
        return frozenset(key for key in self._workloads if key.kind == kind and namespace in (None, key.namespace))

    def affected(self, stream: StreamKey, tag: str) -> frozenset[WorkloadKey]:
        """Return the workloads with a trigger on the tag that is not paused."""
        return frozenset(self._followers.get((stream, tag), ()))

    def paused(self, stream: StreamKey, tag: str) -> frozenset[WorkloadKey]:
        """Return the workloads whose triggers on the tag are all paused."""
        return frozenset(self._pausing.get((stream, tag), ()))

    def naming(self, stream: StreamKey, tag: str) -> frozenset[WorkloadKey]:
        """Return the workloads with an image that may be the tag's name, whether it is looked up or not."""
        return frozenset(self._naming.get((stream, tag), ()))

    def counts(self) -> Mapping[str, int]:
        """Return how many workloads of each kind have triggers."""
        return Counter(key.kind for key, workload in self._workloads.items() if _has_triggers(workload))


def _imported(stream: Stream | None) -> Iterable[tuple[Source, tuple[StreamKey, str]]]:
    """The images that a stream's spec tags import, and which tags do."""
    for spec_tag in stream.spec_tags if stream else ():
        if stream and (source := spec_tag.source()):
            yield source, (stream.key, spec_tag.name)


def _shown(stream: Stream) -> tuple[object, ...]:
    """What other streams see of one."""
    return stream.tags, stream.spec_tags, stream.shared_with


def _has_triggers(workload: Workload) -> bool:
    return bool(workload.triggers.valid or workload.triggers.problems)


def _names(workload: Workload) -> Iterable[tuple[StreamKey, str]]:
    return {(found.stream, found.tag) for found in workload.lookups}


def _followed(workload: Workload) -> Iterable[tuple[StreamKey, str]]:
    return {(trigger.stream, trigger.tag) for trigger in workload.triggers.valid if not trigger.paused}


def _paused(workload: Workload) -> Iterable[tuple[StreamKey, str]]:
    paused = {(trigger.stream, trigger.tag) for trigger in workload.triggers.valid if trigger.paused}
    return paused.difference(_followed(workload)) if paused else ()


def _add(index: dict[_K, set[_V]], keys: Iterable[_K], value: _V) -> None:
    for key in keys:
        index.setdefault(key, set()).add(value)


def _drop(index: dict[_K, set[_V]], keys: Iterable[_K], value: _V) -> None:
    for key in keys:
        index[key].discard(value)
        if not index[key]:
            del index[key]
