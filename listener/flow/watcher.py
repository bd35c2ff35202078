"""Follow one collection of the cluster: list it, watch it, and when the watch cannot go on, list again and compare.

What is seen goes to a sink, one object at a time; nothing is kept here but the place where the watch goes on. Any
answer, error or silence of the API server leads back to one of two steps, "watch on" or "list again", never out of the
loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Generic, Protocol, TypeVar

import structlog

from listener.core.changes import Gone, Mark, Page, Seen
from listener.core.versions import is_surely_older
from listener.errors import ClusterError, ClusterRefused, ClusterUnavailable, WatchExpired, WatchSilent
from listener.flow.backoff import Backoff

log = structlog.get_logger()

_LONGEST_ADVICE_SECONDS = 60  # API servers say 1 to 30; a watcher that is silent for minutes counts as hung

_ABSENT_SECONDS = 30  # until a kind is looked for again that the cluster did not serve

# Silent watches in a row. After the first the connection is believed to have been dead. A server that was restored from
# a backup waits, without a word, for a version that it has not come to: only another list leads out of that.
_SILENT_WATCHES = 2

K = TypeVar("K")
V = TypeVar("V")
V_contra = TypeVar("V_contra", contravariant=True)


class Source(Protocol[K, V]):
    """What is followed: one resource, in one namespace or in all."""

    @property
    def resource(self) -> str:
        """The plural, for logs and metrics."""

    @property
    def namespace(self) -> str | None:
        """None: all of them."""

    @property
    def is_optional(self) -> bool:
        """Whether a cluster may well not serve it, or not to us."""

    def pages(self) -> AsyncIterator[Page[K, V]]: ...

    def changes(self, resource_version: str) -> AsyncIterator[Seen[V] | Gone[K] | Mark]: ...


class Sink(Protocol[K, V_contra]):
    """Who wants to know."""

    def put(self, value: V_contra) -> None: ...

    def discard(self, key: K) -> None: ...

    def known(self, namespace: str | None) -> Iterable[K]:
        """The keys that are believed to exist there; what a fresh list does not name is discarded."""


class Watcher(Generic[K, V]):
    """Keeps a sink in step with a source, for ever."""

    def __init__(self, source: Source[K, V], sink: Sink[K, V], backoff: Backoff | None = None) -> None:
        self._source = source
        self._sink = sink
        self._backoff = backoff or Backoff(0.5, 30)
        self._synced = asyncio.Event()
        self._position: str | None = None  # the resource version to watch on from; None: list first
        self._reached = ""  # the last position that there was
        self._silences = 0  # watches in a row that told nothing
        self._is_absent = False
        self._last_seen: float | None = None
        self._last_step = asyncio.get_running_loop().time()

    @property
    def resource(self) -> str:
        return self._source.resource

    @property
    def is_synced(self) -> bool:
        """Whether everything was seen at least once."""
        return self._synced.is_set()

    @property
    def age_seconds(self) -> float | None:
        """Time since the API server last gave a sign of life here; None before the first."""
        if self._last_seen is None:
            return None
        return asyncio.get_running_loop().time() - self._last_seen

    @property
    def idle_seconds(self) -> float:
        """Time since this loop last did anything at all. Its own time limits keep this far below five minutes."""
        return asyncio.get_running_loop().time() - self._last_step

    async def synced(self) -> None:
        """Wait until everything was seen once."""
        await self._synced.wait()

    async def run(self) -> None:
        while True:
            self._last_step = asyncio.get_running_loop().time()
            try:
                if self._position is None:
                    self._position = await self._list()
                await self._watch(self._position)
            except (WatchExpired, ClusterRefused) as error:
                # A server that will not go on from here (it was restored, or serves the resource anew) may well list.
                was_listing = self._position is None
                self._position = None
                is_absent = isinstance(error, ClusterRefused) and error.status in (403, 404)
                if is_absent and was_listing and self._source.is_optional:
                    await self._do_without(error)
                else:
                    await self._pause(error)
            except WatchSilent as error:
                self._silences += 1
                if self._silences >= _SILENT_WATCHES:
                    self._position = None
                self._tell(error, 0)  # it has taken its time
            except ClusterError as error:
                await self._pause(error)

    async def _list(self) -> str:
        """Take in everything, then forget what is not there any more. Returns where to watch on."""
        listed: set[K] = set()
        position = ""
        restored: list[V] = []
        async for page in self._source.pages():
            self._alive()
            listed |= page.keys
            position = page.resource_version
            if is_surely_older(position, self._reached):
                restored += page.objects
                continue
            for value in page.objects:
                self._sink.put(value)
        if is_surely_older(position, self._reached):
            self._begin_anew(position)
            for value in restored:
                self._sink.put(value)
        for key in set(self._sink.known(self._source.namespace)) - listed:
            self._sink.discard(key)
        if not self._synced.is_set() or self._is_absent:
            self._is_absent = False
            log.info("watch.synced", resource=self.resource, namespace=self._source.namespace, objects=len(listed))
            self._synced.set()
        self._reached, self._silences = position, 0
        return position

    def _begin_anew(self, position: str) -> None:
        """Forget everything, for what is put in its place at once.

        Lists tell the newest state, so one that is older than what was told before is of a cluster that was restored.
        What we know of it is yet to come, or never will, and must not count as newer. One that has come as far again
        before it is listed is not recognized: a restart of this process sees it afresh.
        """
        log.warning(
            "watch.restored",
            resource=self.resource,
            namespace=self._source.namespace,
            reached=self._reached,
            restored_to=position,
        )
        self._reached = position
        for key in tuple(self._sink.known(self._source.namespace)):
            self._sink.discard(key)

    async def _watch(self, position: str) -> None:
        """Take in changes until the server ends the watch."""
        started = asyncio.get_running_loop().time()
        async for change in self._source.changes(position):
            self._alive()
            self._backoff.reset()
            self._silences = 0
            match change:
                case Seen(value=value):
                    self._sink.put(value)
                case Gone(key=key):
                    self._sink.discard(key)
            self._position = self._reached = change.resource_version
        self._alive()
        if asyncio.get_running_loop().time() - started < 1:
            # A server (or a proxy) that ends each watch at once must not be asked a thousand times a second.
            await asyncio.sleep(self._backoff.next())

    async def _do_without(self, error: ClusterError) -> None:
        """There is nothing to follow; a definition or a right may come later."""
        self._alive()
        for key in tuple(self._sink.known(self._source.namespace)):
            self._sink.discard(key)
        if not self._is_absent:
            log.info("watch.absent", resource=self.resource, namespace=self._source.namespace, reason=str(error))
            self._is_absent = True
        self._synced.set()
        await asyncio.sleep(_ABSENT_SECONDS)

    async def _pause(self, error: ClusterError) -> None:
        seconds = self._backoff.next()
        if isinstance(error, ClusterUnavailable) and error.retry_after_seconds:
            seconds = max(seconds, min(error.retry_after_seconds, _LONGEST_ADVICE_SECONDS))
        self._tell(error, seconds)
        await asyncio.sleep(seconds)

    def _tell(self, error: ClusterError, seconds: float) -> None:
        """Say why the watch does not go on, and when it does."""
        hint = {}
        if isinstance(error, ClusterRefused) and error.status == 403:
            hint = {"hint": f"the service account needs list and watch on {self.resource}"}
        elif isinstance(error, ClusterRefused) and error.status == 404:
            hint = {"hint": f"the cluster does not serve {self.resource}: is the CustomResourceDefinition installed?"}
        log.warning(
            "watch.interrupted", resource=self.resource, reason=str(error), retry_in_seconds=round(seconds, 1), **hint
        )

    def _alive(self) -> None:
        self._last_seen = self._last_step = asyncio.get_running_loop().time()
