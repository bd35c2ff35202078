"""Store what arrived in the history of streams: the step after which nothing that was acknowledged can be lost.

Each stream has one write under way at a time. What arrives meanwhile joins the next one, so a burst of pushes to a
stream costs a handful of writes and never conflicts with itself. Somebody else's write in between is a conflict: read
again, apply the changes again to what is there now, write again. A change is therefore a pure function of the stream.
Every write also settles the stream, so what follows a tag moves in the same write as the tag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

import structlog

from listener.core.history import TagChange, TagItem
from listener.core.notices import Notice, Reason, about_stream
from listener.core.outcomes import End, Outcome
from listener.core.receipts import Arrival
from listener.core.streams import Stream, StreamKey
from listener.errors import ClusterRefused, ClusterUnavailable
from listener.flow.backoff import Backoff
from listener.flow.state import State

log = structlog.get_logger()

_ATTEMPTS = 10

A = TypeVar("A")
Change = Callable[[Stream], tuple[Stream, A]]
"""Turns a stream into what it shall be (the very same object: nothing to write), and an answer for the one who asked.
It may be called several times, each time with a newer stream."""


class StreamStore(Protocol):
    """The cluster, as far as streams are read and written by name."""

    async def get_stream(self, key: StreamKey) -> Stream | None: ...

    async def create_stream(self, key: StreamKey) -> Outcome[Stream]: ...

    async def store_status(self, stream: Stream) -> Outcome[Stream]: ...


class Meter(Protocol):
    def tag_moved(self, cause: str) -> None: ...


class Recorder(Protocol):
    def record(self, notice: Notice) -> None: ...


class Cause(StrEnum):
    """Why a tag moved: the label of a metric, and the end of a sentence."""

    PUSH = "push"
    IMPORT = "import"
    TAG = "tag"
    ROLLBACK = "rollback"
    RELEASE = "release"


_SENTENCES: Mapping[Cause, str] = {
    Cause.PUSH: "by a push",
    Cause.IMPORT: "by an import",
    Cause.TAG: "with what its spec tag names",
    Cause.ROLLBACK: "by a rollback, and is held there",
    Cause.RELEASE: "when it was released",
}


@dataclass(frozen=True, slots=True)
class Booked(Generic[A]):
    """Everything is stored. `answer` is the change's own, for the stream as it was when it was written."""

    stream: Stream
    answer: A


@dataclass(frozen=True, slots=True)
class NotBooked:
    """The cluster will never take it, and says why."""

    reason: str


@dataclass(slots=True, eq=False)
class _Job:
    change: Change[Any]
    cause: Cause
    arrival: Arrival | None
    create: bool
    attest: bool
    answer: asyncio.Future[Booked[Any] | NotBooked]


@dataclass(frozen=True, slots=True)
class _Move:
    change: TagChange
    cause: Cause
    arrival: Arrival | None


class Bookkeeper:
    """Writes the status of streams, one stream at a time, many streams at once (at most `max_in_flight`)."""

    def __init__(
        self,
        store: StreamStore,
        state: State,
        settle: Callable[[Stream], Stream],
        recorder: Recorder,
        meter: Meter,
        *,
        max_in_flight: int,
        account: Callable[[Stream, Mapping[str, tuple[Cause, str]]], Stream] = lambda stream, _: stream,
    ) -> None:
        """`account` adds to a stream what shall be stored with its moved tags, given with their cause and delivery."""
        self._store = store
        self._state = state
        self._settle = settle
        self._recorder = recorder
        self._meter = meter
        self._account = account
        self._slots = asyncio.Semaphore(max_in_flight)
        self._jobs: dict[StreamKey, list[_Job]] = {}
        self._writers: set[asyncio.Task[None]] = set()

    async def book(
        self,
        key: StreamKey,
        change: Change[A],
        *,
        cause: Cause,
        arrival: Arrival | None = None,
        create: bool = False,
        attest: bool = False,
    ) -> Booked[A] | NotBooked:
        """Store a change; with `create`, make the stream if there is none.

        With `attest` the answer holds for the stream as the cluster has it, even if it says that nothing changed: what
        we know may be older than what another replica stored. Raises ClusterUnavailable when it could not be stored
        now. It goes on to the end even if the caller is cancelled.
        """
        answer: asyncio.Future[Booked[A] | NotBooked] = asyncio.get_running_loop().create_future()
        job = _Job(change, cause, arrival, create, attest, answer)
        if key in self._jobs:
            self._jobs[key].append(job)
        else:
            self._jobs[key] = [job]
            writer = asyncio.create_task(self._write_all(key), name=f"bookkeeper {key}")
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return await asyncio.shield(answer)

    async def settle(self, key: StreamKey) -> Booked[None] | NotBooked:
        """Store a stream as it should be by what is known now. Raises as `book` does."""
        return await self.book(key, lambda stream: (stream, None), cause=Cause.TAG)

    async def _write_all(self, key: StreamKey) -> None:
        while jobs := self._jobs[key]:
            self._jobs[key] = []
            try:
                async with self._slots:
                    answers = await self._write(key, jobs)
            except Exception as error:
                for job in jobs:
                    if not job.answer.done():
                        job.answer.set_exception(error)
                        job.answer.exception()  # its caller may be gone; that is no reason for a warning
            else:
                for job, answer in zip(jobs, answers, strict=True):
                    if not job.answer.done():
                        job.answer.set_result(answer)
        del self._jobs[key]

    async def _write(self, key: StreamKey, jobs: Sequence[_Job]) -> Sequence[Booked[Any] | NotBooked]:
        backoff = Backoff(0.005, 0.2)
        create = any(job.create for job in jobs)
        attest = any(job.attest for job in jobs)
        stream = self._state.streams.get(key)
        is_fresh = False
        for _ in range(_ATTEMPTS):
            if stream is None:
                stream, is_fresh = await self._read(key), True
            if stream is None:
                if not create:
                    return [NotBooked(f"ImageStream {key} does not exist any more")] * len(jobs)
                made = await self._store.create_stream(key)
                match made.end:
                    case End.APPLIED:
                        stream = made.stored
                        log.info("stream.created", stream=str(key))
                    case End.STALE:  # somebody else was faster
                        continue
                    case End.GONE:
                        reason = f"namespace {key.namespace!r} does not exist; create it and push again"
                        return [NotBooked(reason)] * len(jobs)
                    case _:
                        return self._give_up(f"ImageStream {key} cannot be created", made, jobs)
            assert stream is not None  # noqa: S101 - for the type checker: each way above ends with one
            after, answers, moves = self._apply(stream, jobs)
            if after == stream:
                if is_fresh or not attest:
                    self._state.put_stream(stream)
                    return [Booked(stream, answer) for answer in answers]
                # Only the cluster can say "unchanged".
                known, stream, is_fresh = stream, await self._read(key), True
                if stream and stream.resource_version == known.resource_version:
                    return [Booked(known, answer) for answer in answers]
                continue
            arrivals = {m.change.tag: (m.change.after.image, m.arrival) for m in moves if m.arrival}
            with self._state.bringing(key, arrivals):
                outcome = await self._store.store_status(after)
                if outcome.stored:
                    self._state.put_stream(outcome.stored)
            match outcome.end:
                case End.APPLIED if outcome.stored:
                    self._tell(outcome.stored, moves)
                    return [Booked(outcome.stored, answer) for answer in answers]
                case End.STALE:
                    await asyncio.sleep(backoff.next())
                    stream = None
                case End.GONE:
                    self._state.discard_stream(key)
                    stream = None
                case _:
                    return self._give_up(f"the history of ImageStream {key} cannot be stored", outcome, jobs)
        raise ClusterUnavailable(f"ImageStream {key} was changed by others {_ATTEMPTS} times while we wrote to it")

    async def _read(self, key: StreamKey) -> Stream | None:
        try:
            return await self._store.get_stream(key)
        except ClusterRefused as refusal:
            # A missing right can be mended, so it must not cost a push.
            raise ClusterUnavailable(f"ImageStream {key} cannot be read: {refusal}") from refusal

    def _apply(self, stream: Stream, jobs: Sequence[_Job]) -> tuple[Stream, list[Any], list[_Move]]:
        """The stream after all jobs, settled; the jobs' answers; and each tag that moved, with its last cause."""
        after = stream
        answers = []
        moved: dict[str, tuple[Cause, Arrival | None]] = {}
        for job in jobs:
            before = after
            after, answer = job.change(before)
            answers.append(answer)
            moved |= {change.tag: (job.cause, job.arrival) for change in _changes(before, after)}
        brought = {_head(after, tag).image: arrival for tag, (_, arrival) in moved.items()}
        settled = self._settle(after)
        for change in _changes(after, settled):
            # What follows a tag that a delivery moved was moved by that delivery.
            moved[change.tag] = (_why(after, change), brought.get(change.after.image))
        moves = [_Move(change, *moved[change.tag]) for change in _changes(stream, settled)]
        if moves:
            why = {m.change.tag: (m.cause, m.arrival.delivery_id if m.arrival else "") for m in moves}
            settled = self._account(settled, why)
        return settled, answers, moves

    def _tell(self, stream: Stream, moves: Sequence[_Move]) -> None:
        subject = about_stream(stream.key, stream.uid)
        for move in moves:
            self._meter.tag_moved(move.cause)
            where = f"{stream.key.name}:{move.change.tag} moved to {move.change.after.docker_image_reference}"
            self._recorder.record(Notice(subject, Reason.TAG_MOVED, f"{where} {_SENTENCES[move.cause]}"))

    def _give_up(self, what: str, outcome: Outcome[Stream], jobs: Sequence[_Job]) -> Sequence[NotBooked]:
        """Tell what can pass from what cannot. A missing right can be mended, so it must not cost a push."""
        if outcome.end is End.REFUSED and not outcome.may_pass:
            return [NotBooked(f"{what}: {outcome.message}")] * len(jobs)
        raise ClusterUnavailable(f"{what}: {outcome.message}", retry_after_seconds=outcome.retry_after_seconds)


def _changes(before: Stream, after: Stream) -> list[TagChange]:
    """Which tags point elsewhere, or for the first time."""
    if before.tags is after.tags:
        return []
    known = {history.tag: history for history in before.tags}
    changes = []
    for history in after.tags:
        was, now = known[history.tag].head if history.tag in known else None, history.head
        if now and (was is None or was.place != now.place):
            changes.append(TagChange(history.tag, was, now))
    return changes


def _why(before: Stream, change: TagChange) -> Cause:
    """Why settling moved a tag."""
    spec_tag = before.spec_tag(change.tag)
    if spec_tag and spec_tag.hold:
        return Cause.ROLLBACK
    return Cause.RELEASE if before.history(change.tag).waiting else Cause.TAG


def _head(stream: Stream, tag: str) -> TagItem:
    head = stream.history(tag).head
    assert head is not None  # noqa: S101 - the tag moved there
    return head
