"""Bring workloads to what their tags say: many at once, one never twice at once, each failure alone.

A key says "look". The look reads the newest state, plans, and sends at most one patch; how that ended decides when the
next look comes. So a fan-out that was killed, cut or refused in the middle goes on by itself wherever it is started
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import structlog

from listener.core import patches
from listener.core.notices import Notice, Reason, about_workload
from listener.core.outcomes import End, Outcome
from listener.core.patches import ImageChange, PatchPlan
from listener.core.streams import StreamKey
from listener.core.workloads import KINDS, Kind, Workload, WorkloadKey
from listener.errors import ClusterError
from listener.flow.backoff import Backoff
from listener.flow.state import State

log = structlog.get_logger()

_KINDS: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}


class WorkloadStore(Protocol):
    """The cluster, as far as workloads are read and patched by name."""

    async def get_workload(self, kind: Kind, key: WorkloadKey) -> Workload | None: ...

    async def patch_workload(
        self, kind: Kind, key: WorkloadKey, operations: Sequence[Mapping[str, object]]
    ) -> Outcome[Workload]: ...


class Meter(Protocol):
    def patched(self, kind: str, end: str, seconds: float) -> None: ...

    def patched_after_hook(self, seconds: float) -> None: ...

    def in_flight(self, change: int) -> None: ...


class Recorder(Protocol):
    def record(self, notice: Notice) -> None: ...


class FanOut:
    """The looks at workloads, `max_in_flight` at a time."""

    def __init__(
        self,
        store: WorkloadStore,
        state: State,
        recorder: Recorder,
        meter: Meter,
        now: Callable[[], datetime],
        *,
        max_in_flight: int,
        change_cause: bool = True,
    ) -> None:
        self._store = store
        self._state = state
        self._recorder = recorder
        self._meter = meter
        self._now = now
        self._max_in_flight = max_in_flight
        self._change_cause = change_cause
        self._backoffs: dict[WorkloadKey, Backoff] = {}
        self._told: dict[WorkloadKey, tuple[str, tuple[str, ...]]] = {}  # uid, and the problems its people were told of

    async def run(self) -> None:
        async with asyncio.TaskGroup() as workers:
            for number in range(self._max_in_flight):
                workers.create_task(self._work(), name=f"fan-out {number}")

    async def _work(self) -> None:
        queue = self._state.queue
        while True:
            key = await queue.take()
            try:
                await self._look(key)
            except Exception:
                # Our bug. This key fails loudly and comes again later; the others go on.
                log.exception("fanout.bug", workload=str(key))
                self._retry(key)
            finally:
                queue.done(key)

    async def _look(self, key: WorkloadKey) -> None:
        workload = self._state.workloads.get(key)
        if workload is None:
            self._backoffs.pop(key, None)
            self._told.pop(key, None)
            return
        kind = _KINDS[key.kind]
        plan = patches.plan(
            workload,
            kind,
            self._state.resolve,
            now=self._now(),
            delivery=self._delivery_id,
            change_cause=self._change_cause,
        )
        self._tell_problems(workload, kind, plan)
        if not plan.operations:
            self._backoffs.pop(key, None)
            return
        outcome = await self._send(kind, key, plan)
        match outcome.end:
            case End.APPLIED if outcome.stored:
                self._backoffs.pop(key, None)
                self._state.refresh_workload(outcome.stored)
                self._tell_applied(outcome.stored, kind, plan.changes)
            case End.STALE:
                await self._look_again(kind, key)
            case End.GONE:
                # The watch will say so too; until then there is nothing to do for it.
                self._backoffs.pop(key, None)
            case _:
                self._tell_failed(workload, kind, outcome)
                self._retry(key, outcome.retry_after_seconds)

    async def _send(self, kind: Kind, key: WorkloadKey, plan: PatchPlan) -> Outcome[Workload]:
        clock = asyncio.get_running_loop().time
        started = clock()
        self._meter.in_flight(+1)
        try:
            outcome = await self._store.patch_workload(kind, key, plan.operations)
        finally:
            self._meter.in_flight(-1)
        ended = clock()
        self._meter.patched(kind.name, outcome.end, ended - started)
        if outcome.end is End.APPLIED:
            for change in plan.changes:
                if arrival := self._state.arrival(change.stream, change.tag):
                    self._meter.patched_after_hook(ended - arrival.received)
        return outcome

    async def _look_again(self, kind: Kind, key: WorkloadKey) -> None:
        """Somebody changed it since we read it. Read it anew; that puts the key back into the queue, if it matters.

        A state that is not news came through the watch meanwhile, or the patch does not fit for another reason: then
        wait, for asking again at once could go on for ever.
        """
        try:
            workload = await self._store.get_workload(kind, key)
        except ClusterError as error:
            log.warning("fanout.unreadable", workload=str(key), reason=str(error))
            self._retry(key)
            return
        if workload is None:
            self._state.discard_workload(key)
            return
        self._state.refresh_workload(workload)
        self._retry(key)

    def _retry(self, key: WorkloadKey, at_least_seconds: float | None = None) -> None:
        backoff = self._backoffs.setdefault(key, Backoff(1, 300))
        self._state.queue.add_after(key, max(backoff.next(), at_least_seconds or 0))

    def _delivery_id(self, stream: StreamKey, tag: str) -> str | None:
        arrival = self._state.arrival(stream, tag)
        return arrival.delivery_id if arrival else None

    def _tell_applied(self, workload: Workload, kind: Kind, changes: Sequence[ImageChange]) -> None:
        moved = "; ".join(f"{c.container}: {c.before or 'no image'} -> {c.after}" for c in changes)
        log.info("workload.patched", workload=str(workload.key), changes=moved)
        subject = about_workload(workload.key, kind.api_version, workload.uid)
        why = ", ".join(dict.fromkeys(f"{c.stream}:{c.tag}" for c in changes))
        self._recorder.record(Notice(subject, Reason.IMAGE_TRIGGERED, f"{why} moved; {moved}"))

    def _tell_problems(self, workload: Workload, kind: Kind, plan: PatchPlan) -> None:
        """Say what is wrong with the triggers, once for each state of them."""
        if not plan.problems:
            self._told.pop(workload.key, None)
            return
        told = (workload.uid, plan.problems)
        if self._told.get(workload.key) == told:
            return
        self._told[workload.key] = told
        subject = about_workload(workload.key, kind.api_version, workload.uid)
        for problem in plan.problems:
            log.warning("trigger.invalid", workload=str(workload.key), problem=problem)
            self._recorder.record(Notice(subject, Reason.TRIGGER_INVALID, problem))

    def _tell_failed(self, workload: Workload, kind: Kind, outcome: Outcome[Workload]) -> None:
        log.warning("patch.failed", workload=str(workload.key), end=outcome.end, reason=outcome.message)
        if outcome.end is End.REFUSED:
            subject = about_workload(workload.key, kind.api_version, workload.uid)
            message = f"the image could not be set: {outcome.message}"
            self._recorder.record(Notice(subject, Reason.TRIGGER_FAILED, message))
