"""Import whole repositories: the first of their tags become tags of the stream (`spec.dockerImageRepository`).

It is done once, and again when the mark that it was done is taken away. What failed is told on the stream itself, which
OpenShift does not do, and tried again where that can help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from listener.core import conditions, imports
from listener.core.conditions import Problem
from listener.core.notices import Notice, Reason, about_stream
from listener.core.outcomes import End, Outcome
from listener.core.references import Reference
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.errors import ClusterUnavailable, RegistryError
from listener.flow.backoff import Backoff
from listener.flow.bookkeeper import Booked, Bookkeeper, Cause
from listener.flow.findings import Finding, Findings, Follower, Recorder, Written
from listener.flow.inquiry import Access, Inquiry
from listener.flow.marks import Marks
from listener.flow.state import State

log = structlog.get_logger()


class StreamStore(Protocol):
    """The cluster, as far as tags are added to the spec of streams."""

    async def patch_stream(self, key: StreamKey, operations: Sequence[Mapping[str, object]]) -> Outcome[Stream]: ...


class Queue(Protocol):
    """Who does the work when its time has come."""

    def add(self, key: StreamKey) -> None: ...

    def add_after(self, key: StreamKey, seconds: float) -> None: ...


class Repositories:
    """`look` says which streams' repositories are to be imported, `take` does it."""

    def __init__(
        self,
        store: StreamStore,
        state: State,
        bookkeeper: Bookkeeper,
        inquiry: Inquiry,
        findings: Findings,
        marks: Marks,
        recorder: Recorder,
        queue: Queue,
        backoff: Callable[[Problem], Backoff | None],
        *,
        max_tags: int,
    ) -> None:
        """`backoff` is how what failed is tried again, None if trying cannot help."""
        self._store = store
        self._state = state
        self._bookkeeper = bookkeeper
        self._inquiry = inquiry
        self._findings = findings
        self._marks = marks
        self._recorder = recorder
        self._queue = queue
        self._backoff = backoff
        self._max_tags = max_tags
        self._asked: set[StreamKey] = set()  # whose import was asked for, and has not ended
        # By uid: imported, which we have no right to note. Once a process is enough.
        self._unmarked: dict[StreamKey, str] = {}
        self._backoffs: dict[StreamKey, Backoff] = {}

    def look(self, stream: Stream) -> None:
        """Have the stream's repository imported, if that was not done, or failed."""
        if imports.wants_repository(stream):
            if stream.key not in self._asked and self._unmarked.get(stream.key) != stream.uid:
                self._asked.add(stream.key)
                self._queue.add(stream.key)
            return
        self._unmarked.pop(stream.key, None)
        problem = imports.repository_failure(stream) or imports.unfinished(stream)
        if problem and stream.key not in self._backoffs:
            self._retry(stream.key, problem)

    async def take(self, key: StreamKey) -> bool | None:
        """Import the repository; tell whether that changed a tag, None if it failed. Raises ClusterUnavailable."""
        stream = self._state.streams.get(key)
        whole = stream.whole_repository() if stream else None
        if stream is None or whole is None:
            self._forget(key)
            return False
        try:
            access = await self._inquiry.access(key.namespace, whole, insecure=stream.insecure_repository)
            found = imports.order_tags(await self._inquiry.tags(whole, access))[: self._max_tags]
        except RegistryError as error:
            await self._failed(stream, error)
            return None
        # A tag that the spec names comes from where it says, and is asked for on its own.
        free = [tag for tag in found if stream.spec_tag(tag) is None]
        findings = await asyncio.gather(*(self._look_up(stream, whole, tag, access) for tag in free))
        booked = await self._bookkeeper.book(key, lambda s: self._with(s, findings), cause=Cause.IMPORT)
        if isinstance(booked, Booked):
            self._findings.tell(booked.stream, booked.answer)
            # The spec follows the status, so that no tag of it waits for an import that was made already.
            good = [finding.follower.tag for finding in findings if finding.error is None]
            await self._add_tags(booked.stream, whole, good)
        changed = isinstance(booked, Booked) and bool(booked.answer)
        await self._mark(key, changed=changed)
        self._asked.discard(key)
        self._come_back(key, [finding.error for finding in findings if finding.error])
        return changed

    async def _look_up(self, stream: Stream, whole: Reference, tag: str, access: Access) -> Finding:
        """Ask for one tag of a repository, as the spec tag that it is to become."""
        image = replace(whole, tag=tag, digest=None)
        spec_tag = SpecTag(tag, "DockerImage", from_name=str(image), insecure=stream.insecure_repository)
        follower = replace(Follower.of(stream, tag, spec_tag.repository_name()), spec_tag=spec_tag)
        try:
            described = await self._inquiry.head(image, access)
            digest = await self._inquiry.image(image, described, spec_tag, access)
        except RegistryError as error:
            return Finding(follower, error=error)
        return Finding(follower, digest, described.digest)

    def _with(self, stream: Stream, findings: Iterable[Finding]) -> tuple[Stream, list[Written]]:
        """The stream with the tags that were found, and a condition on those that could not be imported."""
        written = []
        for finding in findings:
            before = stream.history(finding.follower.tag)
            if finding.error is None and finding.follower.has_moved(before):
                continue  # pushed to while we asked: its spec tag brings it here again
            spec_tag = finding.follower.spec_tag
            assert spec_tag is not None  # noqa: S101 - each of these findings has one
            after = self._findings.outcome(stream, replace(spec_tag, generation=stream.generation + 1), finding)
            if after is not before:
                stream = stream.with_history(after)
                written.append(Written(before, after))
        success = conditions.succeeded(now=self._findings.now(), generation=stream.generation)
        return replace(stream, conditions=conditions.put(stream.conditions, success)), written

    async def _add_tags(self, stream: Stream, whole: Reference, tags: Sequence[str]) -> None:
        if not tags:
            return
        outcome = await self._store.patch_stream(stream.key, imports.add_tags(stream, tags, whole))
        if outcome.end is not End.APPLIED or outcome.stored is None:
            raise ClusterUnavailable(f"tags of {whole} cannot be added to ImageStream {stream.key}: {outcome.message}")
        self._state.put_stream(outcome.stored)

    async def _failed(self, stream: Stream, error: RegistryError) -> None:
        problem = Problem(error.reason)
        condition = conditions.failed(
            conditions.IMPORT_SUCCESS, problem, str(error), now=self._findings.now(), generation=stream.generation
        )

        def change(found: Stream) -> tuple[Stream, None]:
            return replace(found, conditions=conditions.put(found.conditions, condition)), None

        if imports.repository_failure(stream) is None:
            log.warning("import.failed", stream=str(stream.key), why=error.reason, reason=str(error))
            message = f"{stream.repository} could not be imported: {error.reason}: {error}"
            self._recorder.record(Notice(about_stream(stream.key, stream.uid), Reason.IMPORT_FAILED, message))
        if problem is Problem.UNAUTHORIZED:
            self._inquiry.forget_secrets(stream.key.namespace)
        self._retry(stream.key, problem)
        await self._bookkeeper.book(stream.key, change, cause=Cause.IMPORT)
        await self._mark(stream.key, changed=False)
        self._asked.discard(stream.key)

    def _come_back(self, key: StreamKey, errors: Sequence[RegistryError]) -> None:
        """Try tags again that could not be imported, if that can help."""
        if not errors:
            self._backoffs.pop(key, None)
        for problem in sorted({Problem(error.reason) for error in errors}):
            self._retry(key, problem)

    def _retry(self, key: StreamKey, problem: Problem) -> None:
        backoff = self._backoffs.get(key) or self._backoff(problem)
        if backoff:
            self._backoffs[key] = backoff
            self._queue.add_after(key, backoff.next())

    async def _mark(self, key: StreamKey, *, changed: bool) -> None:
        stream = self._state.streams.get(key)
        if stream is None or not (changed or imports.wants_repository(stream)):
            return
        if not await self._marks.repository_tried(stream):
            log.warning("import.unmarked", stream=str(key), hint="the service account needs patch on imagestreams")
            self._unmarked[key] = stream.uid

    def _forget(self, key: StreamKey) -> None:
        self._backoffs.pop(key, None)
        self._asked.discard(key)
        self._unmarked.pop(key, None)
