"""Workloads as commands use them: read, list, change with a patch that is planned anew when it came too late.

Also what their tags point at: many streams at once, some of which we may have no right to read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from listener.cli import output
from listener.cli.streams import ATTEMPTS, NOT_SERVED, CommandFailed, again, line
from listener.core import overview, streams
from listener.core.actions import Operation, View
from listener.core.kinds import KINDS, Kind
from listener.core.outcomes import Outcome
from listener.core.streams import Resolved, Stream, StreamKey
from listener.core.trigger_edits import Found
from listener.core.workloads import Workload, WorkloadKey
from listener.edges import objects
from listener.errors import ClusterRefused, NotServed

if TYPE_CHECKING:
    from listener.edges.cluster import Cluster, Collection

T = TypeVar("T")
V = TypeVar("V")

FORBIDDEN = 403
AT_ONCE = 10
"""Requests in flight: a person waits for them, and nobody else shall."""


def named(key: WorkloadKey) -> str:
    """A workload in a sentence; one of a file may have no namespace."""
    return str(key) if key.namespace else f"{key.kind.lower()} {key.name}"


async def each(work: Callable[[T], Awaitable[V]], over: Iterable[T]) -> list[V]:
    """Do the same for many, `AT_ONCE` at a time; the results in order. The first failure ends the others."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(value: T) -> V:
        async with free:
            return await work(value)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(value)) for value in over]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Streams as they were read: None for one that does not exist; one that may not be read is not in it.

    Those outside of `namespaces` (none means all) are there for whoever reads them, but resolve to nothing, as for the
    service.
    """

    streams: Mapping[StreamKey, Stream | None] = field(default_factory=dict)
    namespaces: Sequence[str] = ()

    def resolve(self, key: StreamKey, tag: str) -> Resolved | None:
        stream = None if streams.hindrance(key, self.namespaces) else self.streams.get(key)
        return stream.resolve(tag) if stream else None

    def missing(self, key: StreamKey, tag: str) -> str:
        """Tell why a tag points at nothing, as far as is known."""
        if key not in self.streams:
            return f"there is no right to read ImageStream {key}"
        return overview.missing(key, tag, self.streams[key])

    @property
    def view(self) -> View:
        return View(self.resolve, lambda _, __: None, stream=self.streams.get, namespaces=self.namespaces)


class Workloads:
    """The workloads of one cluster, of these kinds; they follow streams of these namespaces, none means all."""

    def __init__(self, cluster: Cluster, kinds: Sequence[Kind] = KINDS, namespaces: Sequence[str] = ()) -> None:
        self.cluster = cluster
        self.kinds = kinds
        self._namespaces = namespaces

    async def get(self, kind: Kind, key: WorkloadKey) -> tuple[Found, Workload]:
        """Read a workload, as its owner wrote it and as planning needs it. Raises CommandFailed, ClusterUnavailable."""

        def read(raw: bytes | msgspec.Raw) -> tuple[Found, Workload]:
            return Found(kind, msgspec.json.decode(raw)), objects.read_workload(kind, raw)

        try:
            found = await self.cluster.of_kind(kind, key.namespace, read).get(key.name)
        except NotServed as error:
            raise CommandFailed(
                f"the cluster does not serve {kind.name} of {kind.api_version}; name another cluster with --kubeconfig"
                " or --context"
            ) from error
        except ClusterRefused as error:
            advice = (
                f"ask for the right to get {kind.name}s there"
                if error.status in (401, FORBIDDEN)
                else "see the API server's log"
            )
            raise CommandFailed(f"{named(key)} cannot be read: {line(str(error))}; {advice}") from error
        if found is None:
            raise CommandFailed(
                f"there is no {kind.name} {key.name} in namespace {key.namespace}; name another namespace with -n"
            )
        return found

    async def change(
        self, kind: Kind, key: WorkloadKey, plan: Callable[[Found], Sequence[Operation]]
    ) -> tuple[Found, bool]:
        """Send the patch that `plan` makes of the workload as it is now; of a newer one if that came too late.

        Return it as it was, and whether there was anything to write. Raises CommandFailed, ClusterUnavailable, and
        whatever `plan` refuses with.
        """
        for _ in range(ATTEMPTS):
            found, _workload = await self.get(kind, key)
            operations = plan(found)
            if not operations:
                return found, False
            outcome: Outcome[Any] = await self.cluster.patch_workload(kind, key, operations)
            if outcome.stored is not None:
                return found, True
            await again(named(key), outcome, f"ask for the right to get and patch {kind.name}s there")
        raise CommandFailed(f"{named(key)} was changed by others {ATTEMPTS} times in a row; try again")

    async def streams(self, keys: Iterable[StreamKey]) -> Snapshot:
        """Read these streams. Raises CommandFailed where none are served, ClusterUnavailable."""
        wanted = sorted(set(keys))

        async def read(key: StreamKey) -> tuple[StreamKey, Stream | None] | None:
            try:
                return key, await self.cluster.get_stream(key)
            except NotServed as error:
                raise CommandFailed(NOT_SERVED) from error
            except ClusterRefused as error:
                if error.status != FORBIDDEN:
                    raise
                return None

        return Snapshot(dict(found for found in await each(read, wanted) if found), self._namespaces)


class Listing:
    """Lists of everything there is to see: in all the namespaces that were asked for, else in one of them.

    `namespaces` holds None for all there are. What there was no right to is told by `tell`, once.
    """

    def __init__(self, namespaces: Sequence[str | None], fallback: str) -> None:
        self._namespaces = namespaces
        self._fallback = fallback
        self._narrowed: list[str] = []
        self._forbidden: list[str] = []

    async def of(self, collection: Callable[[str | None], Collection[Any, V]], keep: Callable[[V], bool]) -> list[V]:
        """List, and keep what is asked for; nothing of a kind that is not served. Raises ClusterUnavailable."""
        found: list[V] = []
        for namespace in self._namespaces:
            here = collection(namespace)
            try:
                found += await _all(here, keep)
            except NotServed as error:
                if here.resource == "imagestreams":
                    raise CommandFailed(NOT_SERVED) from error
                return []
            except ClusterRefused as error:
                if error.status != FORBIDDEN:
                    raise
                if namespace is None:
                    found += await self._narrowly(collection(self._fallback), keep)
                else:
                    self._forbidden.append(str(here))
        return found

    async def _narrowly(self, there: Collection[Any, V], keep: Callable[[V], bool]) -> list[V]:
        """List in the one namespace that is left."""
        try:
            found = await _all(there, keep)
        except ClusterRefused as error:
            if error.status != FORBIDDEN:
                raise
            self._forbidden.append(str(there))
            return []
        self._narrowed.append(there.resource)
        return found

    def tell(self) -> None:
        """Say what was not looked at."""
        if self._narrowed:
            output.note(
                f"only namespace {self._fallback} is looked at, for there is no right to list"
                f" {', '.join(sorted(self._narrowed))} in all"
            )
        if self._forbidden:
            output.note(f"not looked at, for there is no right to list them: {', '.join(sorted(self._forbidden))}")


async def _all(collection: Collection[Any, V], keep: Callable[[V], bool]) -> list[V]:
    return [value async for page in collection.pages() for value in page.objects if keep(value)]
