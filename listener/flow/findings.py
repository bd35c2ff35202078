"""What registries said of tags, and how it is written into streams: where it is still true, and only where it is news.

A finding is of the moment when the registry was asked. The tag may have moved meanwhile, or ask for something else:
then it is not written. This room must not know when registries are asked.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from listener.core import conditions, imports
from listener.core.conditions import Problem
from listener.core.history import TagHistory, TagItem
from listener.core.notices import Notice, Reason, about_stream
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.errors import ClusterError, RegistryError
from listener.flow.bookkeeper import Booked, Bookkeeper, Cause
from listener.flow.state import State

log = structlog.get_logger()


class Recorder(Protocol):
    def record(self, notice: Notice) -> None: ...


@dataclass(frozen=True, slots=True)
class Follower:
    """A tag that takes its images from a source, as it stood when the source was asked.

    `name` is the repository as its owner wrote it. `spec_tag` is None for a tag that is only pushed to.
    """

    stream: StreamKey
    tag: str
    name: str
    spec_tag: SpecTag | None
    newest: TagItem | None
    insecure: bool

    @classmethod
    def of(cls, stream: Stream, tag: str, name: str) -> Follower:
        """Take down how a tag stands now."""
        spec_tag = stream.spec_tag(tag)
        if spec_tag and spec_tag.source() is None:
            spec_tag = None  # a placeholder: it is only pushed to
        insecure = spec_tag.insecure if spec_tag else stream.insecure_repository
        return cls(stream.key, tag, name, spec_tag, stream.history(tag).newest, insecure)

    def is_import(self, known: TagHistory) -> bool:
        """Whether a failure to ask is a failure of the tag: it is imported, and not only confirmed."""
        return self.spec_tag is not None and (
            imports.wants_import(self.spec_tag, known)
            or imports.is_scheduled(self.spec_tag, known)
            or imports.failure(known) is not None
        )

    def asks_the_same(self, spec_tag: SpecTag) -> bool:
        """Whether a spec tag of now asks for what was asked for."""
        return self.spec_tag is not None and self.spec_tag.asks() == spec_tag.asks()

    def has_moved(self, known: TagHistory) -> bool:
        """Whether the tag came to point elsewhere since."""
        return _place(known) != (self.newest.place if self.newest else None)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a registry said for one follower: the digest it takes and the one that was chosen from, or an error."""

    follower: Follower
    digest: str = ""
    followed: str = ""
    error: RegistryError | None = None

    @property
    def contradicts(self) -> bool:
        """Whether the registry names another image than the one where the tag stood."""
        return bool(self.digest and self.follower.newest and self.follower.newest.image != self.digest)


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of findings.

    `late` are followers that had moved meanwhile: they are to be asked for again. `changed` are the streams where an
    import changed something. `failure` is why some could not be stored now; the others are.
    """

    moved: bool = False
    late: tuple[Follower, ...] = ()
    changed: tuple[StreamKey, ...] = ()
    failure: ClusterError | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A tag's history before and after."""

    before: TagHistory
    after: TagHistory


class Findings:
    """Writes findings, and tells people of imports that began to fail or ended well."""

    def __init__(
        self,
        state: State,
        bookkeeper: Bookkeeper,
        recorder: Recorder,
        now: Callable[[], datetime],
        *,
        history_limit: int,
    ) -> None:
        self._state = state
        self._bookkeeper = bookkeeper
        self._recorder = recorder
        self._now = now
        self._limit = history_limit

    async def store(self, findings: Sequence[Finding]) -> Stored:
        """Write what changes, stream by stream; one that cannot be written does not keep the others from it."""
        by_stream: dict[StreamKey, list[Finding]] = defaultdict(list)
        for finding in findings:
            if self._is_news(finding):
                by_stream[finding.follower.stream].append(finding)
        if not by_stream:
            return Stored()
        stored = await asyncio.gather(*(self._store_for(key, found) for key, found in by_stream.items()))
        return Stored(
            any(each.moved for each in stored),
            tuple(late for each in stored for late in each.late),
            tuple(key for each in stored for key in each.changed),
            next((each.failure for each in stored if each.failure), None),
        )

    def outcome(self, stream: Stream, spec_tag: SpecTag | None, finding: Finding) -> TagHistory:
        """Return what a finding makes of a tag's history: the very same one if it is no news."""
        follower, now = finding.follower, self.now()
        known = stream.history(follower.tag)
        if spec_tag is None:
            return imports.confirmed(
                stream, follower.tag, name=follower.name, digest=finding.digest, now=now, limit=self._limit
            )
        if finding.error:
            problem = Problem(finding.error.reason)
            after = imports.import_failed(stream, spec_tag, problem, str(finding.error), now=now)
            return known if after == known else after
        return imports.imported(
            stream,
            spec_tag,
            name=follower.name,
            digest=finding.digest,
            followed=finding.followed,
            now=now,
            limit=self._limit,
        )

    def tell(self, stream: Stream, written: Sequence[Written]) -> None:
        """Tell of imports. What moved is told where it is written."""
        subject = about_stream(stream.key, stream.uid)
        for each in written:
            was, now = (known.condition(conditions.IMPORT_SUCCESS) for known in (each.before, each.after))
            if now is None or (was and (was.status, was.reason, was.message) == (now.status, now.reason, now.message)):
                continue
            tag = f"{stream.key.name}:{each.after.tag}"
            if now.status == "True" and each.after.newest:
                message = f"{tag} was imported: {each.after.newest.docker_image_reference}"
                self._recorder.record(Notice(subject, Reason.IMPORT_SUCCEEDED, message))
            elif now.status == "False":
                log.warning(
                    "import.failed", stream=str(stream.key), tag=each.after.tag, why=now.reason, reason=now.message
                )
                message = f"{tag} could not be imported: {now.reason}: {now.message}"
                self._recorder.record(Notice(subject, Reason.IMPORT_FAILED, message))

    def now(self) -> str:
        """The time, as streams hold it."""
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _is_news(self, finding: Finding) -> bool:
        """Whether there is anything to write, by what is known: most polls end here."""
        stream = self._state.streams.get(finding.follower.stream)
        return stream is not None and self._applied(stream, finding) is not stream.history(finding.follower.tag)

    async def _store_for(self, key: StreamKey, findings: Sequence[Finding]) -> Stored:
        late: list[Follower] = []

        def change(stream: Stream) -> tuple[Stream, list[Written]]:
            late.clear()
            written = []
            for finding in findings:
                before = stream.history(finding.follower.tag)
                after = self._applied(stream, finding)
                if after is None:
                    late.append(finding.follower)
                elif after is not before:
                    stream = stream.with_history(after)
                    written.append(Written(before, after))
            return stream, written

        try:
            booked = await self._bookkeeper.book(key, change, cause=Cause.IMPORT)
        except ClusterError as failure:
            return Stored(failure=failure)
        if not isinstance(booked, Booked):
            log.warning("import.refused", stream=str(key), reason=booked.reason)
            return Stored()
        self.tell(booked.stream, booked.answer)
        is_import = bool(booked.answer) and any(finding.follower.spec_tag for finding in findings)
        moved = any(_place(each.before) != _place(each.after) for each in booked.answer)
        return Stored(moved, tuple(late), (key,) if is_import else ())

    def _applied(self, stream: Stream, finding: Finding) -> TagHistory | None:
        """The tag's history after a finding, the very same one if nothing changes, None if the finding is too late."""
        follower = finding.follower
        known = stream.history(follower.tag)
        spec_tag = stream.spec_tag(follower.tag)
        is_another = follower.spec_tag is not None and spec_tag is not follower.spec_tag
        if is_another and (spec_tag is None or not follower.asks_the_same(spec_tag)):
            return known  # it asks for something else by now, and that is asked for on its own
        if finding.error:
            is_failure = spec_tag is not None and follower.is_import(known)
            return self.outcome(stream, spec_tag, finding) if is_failure else known
        if follower.has_moved(known):
            return None
        return self.outcome(stream, spec_tag if follower.spec_tag else None, finding)


def _place(known: TagHistory) -> tuple[str, str] | None:
    return known.newest.place if known.newest else None
