"""Store what arrived in the history of streams: the step after which nothing that was acknowledged can be lost.

Each stream has one write under way at a time. What arrives meanwhile joins the next one, so a burst of pushes to a
stream costs a handful of writes and never conflicts with itself. Somebody else's write in between is a conflict: read
again, apply the rules again to what is there now, write again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from listener.core import history
from listener.core.history import TagChange, TagHistory, TagItem
from listener.core.outcomes import End, Outcome
from listener.core.receipts import Arrival
from listener.core.streams import Stream, StreamKey
from listener.errors import ClusterRefused, ClusterUnavailable
from listener.flow.backoff import Backoff
from listener.flow.state import State

log = structlog.get_logger()

_ATTEMPTS = 10


class StreamStore(Protocol):
    """The cluster, as far as streams are read and written by name."""

    async def get_stream(self, key: StreamKey) -> Stream | None: ...

    async def create_stream(self, key: StreamKey) -> Outcome[Stream]: ...

    async def store_tags(self, stream: Stream, histories: Sequence[TagHistory]) -> Outcome[Stream]: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One image for one tag. The item's generation is set when it is written, from the stream as it is then."""

    tag: str
    item: TagItem
    arrival: Arrival


@dataclass(frozen=True, slots=True)
class Booked:
    """Everything that moved is stored. `changes` runs parallel to the entries; None: the tag was there already."""

    stream: Stream
    changes: tuple[TagChange | None, ...]


@dataclass(frozen=True, slots=True)
class NotBooked:
    """The cluster will never take it, and says why."""

    reason: str


class _Job:
    __slots__ = ("answer", "create", "entries")

    def __init__(self, entries: Sequence[Entry], *, create: bool) -> None:
        self.entries = entries
        self.create = create
        self.answer: asyncio.Future[Booked | NotBooked] = asyncio.get_running_loop().create_future()


class Bookkeeper:
    """Writes tag histories, one stream at a time, many streams at once (at most `max_in_flight`)."""

    def __init__(self, store: StreamStore, state: State, *, history_limit: int, max_in_flight: int) -> None:
        self._store = store
        self._state = state
        self._limit = history_limit
        self._slots = asyncio.Semaphore(max_in_flight)
        self._jobs: dict[StreamKey, list[_Job]] = {}
        self._writers: set[asyncio.Task[None]] = set()

    async def book(self, key: StreamKey, entries: Sequence[Entry], *, create: bool = False) -> Booked | NotBooked:
        """Store the entries, in their order; with `create`, make the stream if there is none.

        Raises ClusterUnavailable when it could not be stored now. It goes on to the end even if the caller is
        cancelled.
        """
        job = _Job(entries, create=create)
        if key in self._jobs:
            self._jobs[key].append(job)
        else:
            self._jobs[key] = [job]
            writer = asyncio.create_task(self._write_all(key), name=f"bookkeeper {key}")
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return await asyncio.shield(job.answer)

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

    async def _write(self, key: StreamKey, jobs: Sequence[_Job]) -> Sequence[Booked | NotBooked]:
        backoff = Backoff(0.005, 0.2)
        create = any(job.create for job in jobs)
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
            after, answers = self._apply(stream, jobs)
            if after is stream:
                if is_fresh:
                    self._state.put_stream(stream)
                    return answers
                # What we know may be older than what another replica stored. Only the cluster can say "unchanged".
                stream = None
                continue
            outcome = await self._store.store_tags(stream, after.tags)
            match outcome.end:
                case End.APPLIED if outcome.stored:
                    self._remember(outcome.stored, jobs, answers)
                    self._state.put_stream(outcome.stored)
                    return [replace(answer, stream=outcome.stored) for answer in answers]
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

    def _apply(self, stream: Stream, jobs: Sequence[_Job]) -> tuple[Stream, list[Booked]]:
        after = stream
        answers = []
        for job in jobs:
            changes = []
            for entry in job.entries:
                before = after.history(entry.tag)
                item = replace(entry.item, generation=stream.generation)
                tag_history, change = history.record(before, item, limit=self._limit)
                if tag_history is not before:
                    after = after.with_history(tag_history)
                changes.append(change)
            answers.append(Booked(stream, tuple(changes)))
        return after, answers

    def _remember(self, stream: Stream, jobs: Sequence[_Job], answers: Sequence[Booked]) -> None:
        for job, answer in zip(jobs, answers, strict=True):
            for entry, change in zip(job.entries, answer.changes, strict=True):
                if change:
                    self._state.remember_arrival(stream.key, entry.tag, entry.item.image, entry.arrival)

    def _give_up(self, what: str, outcome: Outcome[Stream], jobs: Sequence[_Job]) -> Sequence[NotBooked]:
        """Tell what can pass from what cannot. A missing right can be mended, so it must not cost a push."""
        if outcome.end is End.REFUSED and not outcome.may_pass:
            return [NotBooked(f"{what}: {outcome.message}")] * len(jobs)
        raise ClusterUnavailable(f"{what}: {outcome.message}", retry_after_seconds=outcome.retry_after_seconds)
