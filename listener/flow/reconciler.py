"""Bring streams to what their spec asks: give numbers to the generations that ask for an import, settle, import.

A key says "look". The look reads the newest state and does what is missing; how that ended decides when the next look
comes. So it does not matter what was missed, or where a look was cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import structlog

from listener.core import imports
from listener.core.notices import Notice, Reason, about_stream
from listener.core.outcomes import End, Outcome
from listener.core.streams import Stream, StreamKey
from listener.errors import ClusterError, ClusterUnavailable
from listener.flow.backoff import Backoff
from listener.flow.bookkeeper import Bookkeeper, NotBooked
from listener.flow.leadership import Endless, Term
from listener.flow.state import State

log = structlog.get_logger()

_WORKERS = 20


class StreamStore(Protocol):
    """The cluster, as far as the spec of streams is written."""

    async def get_stream(self, key: StreamKey) -> Stream | None: ...

    async def patch_stream(self, key: StreamKey, operations: Sequence[Mapping[str, object]]) -> Outcome[Stream]: ...


class Importer(Protocol):
    def look(self, stream: Stream) -> None: ...


class Recorder(Protocol):
    def record(self, notice: Notice) -> None: ...


class Reconciler:
    """The looks at streams, some at a time. `ready` is waited for first: then no source seems missing that was only
    not seen yet.
    """

    def __init__(
        self,
        store: StreamStore,
        state: State,
        bookkeeper: Bookkeeper,
        settle: Callable[[Stream], Stream],
        importer: Importer,
        recorder: Recorder,
        ready: Callable[[], Awaitable[None]],
        term: Term | None = None,
    ) -> None:
        self._store = store
        self._state = state
        self._bookkeeper = bookkeeper
        self._settle = settle
        self._importer = importer
        self._recorder = recorder
        self._ready = ready
        self._term = term or Endless()
        self._backoffs: dict[StreamKey, Backoff] = {}

    async def run(self) -> None:
        await self._ready()
        async with asyncio.TaskGroup() as workers:
            for number in range(_WORKERS):
                workers.create_task(self._work(), name=f"streams {number}")

    async def _work(self) -> None:
        queue = self._state.stream_queue
        while True:
            await self._term.begun()
            key = await queue.take()
            if not self._term.is_on:
                queue.give_back(key)
                continue
            try:
                await self._look(key)
            except ClusterUnavailable as error:
                log.warning("stream.unsettled", stream=str(key), reason=str(error))
                self._retry(key, error.retry_after_seconds)
            except Exception:
                # Our bug. This key fails loudly and comes again later; the others go on.
                log.exception("stream.bug", stream=str(key))
                self._retry(key)
            finally:
                queue.done(key)

    async def _look(self, key: StreamKey) -> None:
        stream = self._state.streams.get(key)
        if stream is None:
            self._backoffs.pop(key, None)
            return
        is_numbered = True
        if operations := imports.number_generations(stream):
            numbered = await self._number(stream, operations)
            if numbered is None:
                return  # it was read anew, or it is gone: there is another look if it matters
            is_numbered = numbered is not stream
            stream = numbered
        if self._settle(stream) != stream:
            booked = await self._bookkeeper.settle(key)
            if isinstance(booked, NotBooked):
                self._refused(stream, booked.reason)
                return
            stream = booked.stream
        if is_numbered:
            self._backoffs.pop(key, None)
        self._importer.look(stream)

    async def _number(self, stream: Stream, operations: Sequence[Mapping[str, object]]) -> Stream | None:
        """Store the generations. A spec that we may not write is no reason to leave its tags alone."""
        outcome = await self._store.patch_stream(stream.key, operations)
        match outcome.end:
            case End.APPLIED if outcome.stored:
                self._state.put_stream(outcome.stored)
                return outcome.stored
            case End.STALE:
                await self._read_anew(stream.key)
                return None
            case End.GONE:
                self._state.discard_stream(stream.key)
                return None
            case End.REFUSED:
                self._refused(stream, f"its spec cannot be written: {outcome.message}")
                return stream
        raise ClusterUnavailable(outcome.message, retry_after_seconds=outcome.retry_after_seconds)

    async def _read_anew(self, key: StreamKey) -> None:
        try:
            stream = await self._store.get_stream(key)
        except ClusterError as error:
            raise ClusterUnavailable(str(error)) from error
        if stream is None:
            self._state.discard_stream(key)
        else:
            self._state.put_stream(stream)
            self._state.stream_queue.add(key)

    def _refused(self, stream: Stream, reason: str) -> None:
        log.warning("stream.refused", stream=str(stream.key), reason=reason)
        self._recorder.record(Notice(about_stream(stream.key, stream.uid), Reason.STREAM_REFUSED, reason))
        self._retry(stream.key)

    def _retry(self, key: StreamKey, at_least_seconds: float | None = None) -> None:
        backoff = self._backoffs.setdefault(key, Backoff(1, 300))
        self._state.stream_queue.add_after(key, max(backoff.next(), at_least_seconds or 0))
