"""Image streams as commands use them: read, change with a patch that is planned anew when it came too late, wait.

A command writes what is wanted (the spec), the service alone does it and tells so (the status). So a change that was
stored is kept whatever happens then, and a command that gives up waiting says so.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from listener import logs, settings
from listener.cli.options import Common
from listener.cli.output import Progress
from listener.core import edits
from listener.core.edits import Found, Operation
from listener.core.names import TagName
from listener.core.outcomes import End, Outcome
from listener.core.streams import Stream, StreamKey
from listener.edges import objects
from listener.errors import ClusterRefused, ClusterUnavailable, ListenerError

if TYPE_CHECKING:
    from listener.edges.cluster import Cluster

ATTEMPTS = 10  # as many as oc makes
_PAUSES_SECONDS = (0.05, 1.0)
_FORBIDDEN = "ask for the right to get, create and patch imagestreams and imagestreams/status there"
NOT_SERVED = (
    "the cluster does not serve ImageStreams (image.openshift.io/v1): install the chart there, or name another cluster"
    " with --kubeconfig or --context"
)

Plan = Callable[[Found], Sequence[Operation]]


class CommandFailed(ListenerError):
    """What was asked for is not done, or was not seen to be done. The message says what to do."""


class StreamMissing(CommandFailed):
    """There is no such stream."""

    def __init__(self, key: StreamKey) -> None:
        super().__init__(
            f"there is no ImageStream {key.name} in namespace {key.namespace}; name another namespace with -n, or see"
            " `kubectl get imagestreams --all-namespaces`"
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A stream before and after a write of ours; the same where there was nothing to write."""

    before: Stream
    after: Stream


class Streams:
    """The image streams of one cluster. `timeout_seconds` is how long `until` waits."""

    def __init__(self, cluster: Cluster, *, timeout_seconds: float) -> None:
        self._cluster = cluster
        self.timeout_seconds = timeout_seconds

    async def get(self, key: StreamKey) -> Found:
        """Read a stream. Raises StreamMissing, ClusterUnavailable, and CommandFailed if we may not."""
        if found := await self._find(key):
            return found
        raise StreamMissing(key)

    async def _find(self, key: StreamKey) -> Found | None:
        from listener.edges.cluster import STREAMS_PATH, Collection  # noqa: PLC0415 - half a second to import

        streams = Collection(self._cluster, STREAMS_PATH, "imagestreams", key.namespace, _read, StreamKey)
        try:
            return await streams.get(key.name)
        except ClusterRefused as error:
            if error.status == 404:
                raise CommandFailed(NOT_SERVED) from error
            advice = _FORBIDDEN if error.status in (401, 403) else "see the API server's log"
            raise CommandFailed(f"ImageStream {key} cannot be read: {line(str(error))}; {advice}") from error

    async def change(
        self, key: StreamKey, plan: Plan, *, spec_if_missing: Mapping[str, Any] | None = None, subresource: str = ""
    ) -> Change:
        """Send the patch that `plan` makes of the stream as it is now; of a newer one if that was not the last word.

        No operations: nothing is sent. A stream that is missing is made with that spec, where there is one. Raises
        CommandFailed, StreamMissing, ClusterUnavailable, and whatever `plan` refuses with.
        """
        for _ in range(ATTEMPTS):
            found = await self._find(key)
            if found is not None:
                operations = plan(found)
                if not operations:
                    return Change(found.stream, found.stream)
                before = found.stream
                outcome = await self._cluster.patch_stream(key, operations, subresource=subresource)
            elif spec_if_missing is not None:
                before = Stream(key, "", "", 0, "", "", (), ())
                outcome = await self._cluster.create_stream(key, spec_if_missing)
            else:
                raise StreamMissing(key)
            if outcome.stored is not None:
                return Change(before, outcome.stored)
            await again(f"ImageStream {key}", outcome, _FORBIDDEN)
        raise CommandFailed(f"ImageStream {key} was changed by others {ATTEMPTS} times in a row; try again")

    async def until(self, key: StreamKey, happened: Callable[[Stream], bool], what: str) -> Stream:
        """Look at the stream until the service has done it; `what` ends "the service has not …" if it never does.

        Raises CommandFailed, then, and if the stream is gone.
        """
        started = time.monotonic()
        trouble = ""
        pause, longest = _PAUSES_SECONDS
        try:
            with Progress() as progress:
                async with asyncio.timeout(self.timeout_seconds):
                    while True:
                        try:
                            stream = (await self.get(key)).stream
                            if happened(stream):
                                return stream
                        except ClusterUnavailable as error:
                            trouble = f" (lately: {line(str(error))})"
                        progress.tell(f"waiting for the service: {key} … {time.monotonic() - started:.0f} s")
                        await asyncio.sleep(pause)
                        pause = min(2 * pause, longest)
        except TimeoutError as error:
            raise CommandFailed(
                f"the spec of ImageStream {key} is written, but within {self.timeout_seconds:g} s the service has not"
                f" {what}{trouble}. The change is kept and takes effect when the service runs: check that"
                f" `listener serve` runs and looks at namespace {key.namespace}, and what it logs"
            ) from error

    async def until_done(self, name: TagName, change: Change) -> Stream:
        """Wait until the service has done what a spec tag asks for since `change`.

        Raises CommandFailed, also with the reason why it could not be done.
        """
        stream = change.after
        if self.timeout_seconds:
            stream = await self.until(name.key, is_done(name, change), f"acted on tag {name.tag}")
        if self.timeout_seconds and (why := edits.complaint(stream, name.tag)):
            raise CommandFailed(f"{name.full}: {why.reason}: {line(why.message)}")
        return stream


def is_done(name: TagName, change: Change) -> Callable[[Stream], bool]:
    """Return what tells whether the service has done what a spec tag asks for since `change`."""

    def happened(stream: Stream) -> bool:
        if stream.spec_tag(name.tag) is None:
            raise CommandFailed(f"somebody took {name.full} out of the spec meanwhile")
        return edits.is_done(stream, name.tag, after=change.before.generation)

    return happened


@asynccontextmanager
async def connected(common: Common, *, timeout_seconds: float = 0) -> AsyncIterator[tuple[Streams, str]]:
    """Connect to the cluster that was asked for; yield its streams and the namespace to look in."""
    settings_of(common)
    async with cluster_of(common) as cluster:
        yield Streams(cluster, timeout_seconds=timeout_seconds), common.namespace or cluster.namespace


@asynccontextmanager
async def cluster_of(common: Common, *, with_lookups: bool = False) -> AsyncIterator[Cluster]:
    """Connect to the cluster that was asked for. With lookups, workloads come with their images that may be names."""
    from listener.edges.cluster import Cluster  # noqa: PLC0415 - half a second to import, which no mistyped name need wait

    async with await Cluster.connect(
        kubeconfig=common.kubeconfig, context=common.context, with_lookups=with_lookups
    ) as cluster:
        yield cluster


def settings_of(common: Common) -> settings.Settings:
    """Read the settings, if any are named, and log as they say; without them only what is wrong is logged."""
    found = settings.Settings(logging=settings.Logging(level="warning"))
    if common.config:
        found = settings.load(common.config, os.environ)
    logs.configure(found.logging.level, found.logging.format)
    return found


def _read(raw: bytes | msgspec.Raw) -> Found:
    return Found(objects.read_stream(raw), msgspec.json.decode(raw))


async def again(what: str, outcome: Outcome[Any], forbidden: str) -> None:
    """Return when it makes sense to try a write again. Raises CommandFailed where it does not.

    `forbidden` advises who may not write.
    """
    message = line(outcome.message)
    match outcome.end:
        case End.STALE:
            return
        case End.THROTTLED:
            await asyncio.sleep(outcome.retry_after_seconds or 1)
        case End.GONE:
            raise CommandFailed(f"{what} cannot be written: {message}")
        case End.UNREACHABLE:
            raise CommandFailed(f"it is not known whether {what} was written: {message}; try again")
        case _:
            advice = f"; {forbidden}" if outcome.may_pass else ""
            raise CommandFailed(f"{what} cannot be written: {message}{advice}")


def line(text: str) -> str:
    """The same on one line."""
    return " ".join(text.split())
