"""Bring workloads to what their tags say: many at once, one never twice at once, each failure alone.

A key says "look". The look reads the newest state, plans, and sends at most one patch; how that ended decides when the
next look comes. So a fan-out that was killed, cut or refused in the middle goes on by itself wherever it is started
again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

import structlog

from listener.core import contests, managers, plans, runs
from listener.core.actions import ImageChange, Operation, Plan, Start, View
from listener.core.contests import Contest
from listener.core.kinds import Form, Kind
from listener.core.managers import Manager
from listener.core.notices import Notice, Reason, about_workload
from listener.core.outcomes import End, Outcome, shortened
from listener.core.spans import NO_TRACER, Span, Tracer
from listener.core.streams import StreamKey
from listener.core.workloads import Workload, WorkloadKey
from listener.errors import ClusterError
from listener.flow.backoff import Backoff
from listener.flow.leadership import Endless, Term
from listener.flow.state import State
from listener.flow.waiting import Waiting

log = structlog.get_logger()

_TRACED_SECONDS = 600  # what is applied weeks later is no part of a push
_LASTS = 3  # failures of one sort in a row: fewer pass by themselves
_LONGEST_REASON = 500  # of an Event's 1,024 characters; some refusals hold the whole pod template

T = TypeVar("T")


class WorkloadStore(Protocol):
    """The cluster, as far as workloads are read and changed by name."""

    async def get_workload(self, kind: Kind, key: WorkloadKey) -> Workload | None: ...

    async def patch_workload(
        self, kind: Kind, key: WorkloadKey, operations: Sequence[Operation]
    ) -> Outcome[Workload]: ...

    async def start(self, namespace: str, start: Start) -> Outcome[None]: ...

    async def get_run_record(self, namespace: str, start: Start) -> str | None: ...

    async def managers(self, kind: Kind, key: WorkloadKey) -> Sequence[Manager]: ...


class Admission(AbstractContextManager[Any], Protocol):
    """One patch that may be under way."""

    def ended(
        self,
        seconds: float,
        *,
        throttled: bool = False,
        failed: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None: ...


class Throttle(Protocol):
    """How many patches at once, and how fast."""

    async def opens(self) -> None: ...

    def enter(self) -> Admission | None: ...


class Meter(Protocol):
    def patched(self, kind: str, end: str, seconds: float) -> None: ...

    def patched_after_hook(self, seconds: float) -> None: ...


class Recorder(Protocol):
    @property
    def is_full(self) -> bool: ...

    def drop(self) -> None: ...

    def record(self, notice: Notice) -> None: ...


class Ledger(Protocol):
    """Who keeps account of how looks end."""

    def patched(self, key: WorkloadKey, changes: Sequence[ImageChange]) -> None: ...

    def failed(self, key: WorkloadKey, reason: str, *, is_final: bool = False) -> None: ...

    def left(self, key: WorkloadKey) -> None: ...

    def gone(self, key: WorkloadKey) -> None: ...


class NoLedger:
    """Nobody keeps account."""

    def patched(self, key: WorkloadKey, changes: Sequence[ImageChange]) -> None: ...

    def failed(self, key: WorkloadKey, reason: str, *, is_final: bool = False) -> None: ...

    def left(self, key: WorkloadKey) -> None: ...

    def gone(self, key: WorkloadKey) -> None: ...


@dataclass(slots=True)
class _Failing:
    """A workload whose patches fail: when to try again, and how often in a row they have ended the same way."""

    backoff: Backoff
    end: End | None = None
    times: int = 0

    def lasts(self, end: End) -> bool:
        """Take one more end in; tell whether it is one of a row that will not pass by itself."""
        self.times = self.times + 1 if end is self.end else 1
        self.end = end
        return self.times >= _LASTS


class FanOut:
    """The looks at workloads: by `workers` at once at most, and as many patches as the throttle lets through."""

    def __init__(
        self,
        store: WorkloadStore,
        state: State,
        recorder: Recorder,
        meter: Meter,
        throttle: Throttle,
        now: Callable[[], datetime],
        *,
        kinds: Sequence[Kind],
        workers: int,
        change_cause: bool = True,
        ledger: Ledger | None = None,
        term: Term | None = None,
        tracer: Tracer = NO_TRACER,
        streams_known: Callable[[], Awaitable[None]] | None = None,
        namespaces: Collection[str] = (),
    ) -> None:
        """`streams_known` is waited for before a stream is said to be missing; without it all are known. They are
        those of `namespaces`, none means all.
        """
        self._store = store
        self._state = state
        self._recorder = recorder
        self._meter = meter
        self._throttle = throttle
        self._now = now
        self._ledger = NoLedger() if ledger is None else ledger
        self._term = term or Endless()
        self._kinds: Mapping[str, Kind] = {kind.label: kind for kind in kinds}
        self._workers = workers
        self._tracer = tracer
        self._view = View(
            state.resolve, state.delivery_id, change_cause, state.streams.get, self._trace, namespaces=namespaces
        )
        self._backoffs: dict[WorkloadKey, _Failing] = {}
        self._told: dict[WorkloadKey, tuple[str, tuple[str, ...]]] = {}  # uid, and the problems its people were told of
        self._waiting = Waiting(state, streams_known or _at_once, namespaces)
        self._built: dict[WorkloadKey, tuple[str, ...]] = {}  # uid, and the images that a build was asked for with

    async def run(self) -> None:
        async with asyncio.TaskGroup() as workers:
            for number in range(self._workers):
                workers.create_task(self._work(), name=f"fan-out {number}")
            workers.create_task(self._forget_terms(), name="fan-out terms")
            workers.create_task(self._waiting.run(), name="fan-out streams")

    async def _forget_terms(self) -> None:
        """Another replica has acted since: what we knew of our own doing is worth nothing any more."""
        while True:
            await self._term.begun()
            await self._term.ended()
            again = {*self._backoffs, *self._told, *self._waiting.clear(), *self._state.contests.clear()}
            for known in (self._backoffs, self._told, self._built):
                known.clear()
            for key in sorted(again):  # for the next term, should there be one
                self._state.queue.add(key, key.namespace)

    def invalid(self) -> Mapping[str, int]:
        """How many workloads of each kind have a trigger that cannot be followed."""
        return Counter(key.kind for key in self._told)

    def waiting(self) -> Mapping[str, int]:
        """How many workloads of each kind have a trigger whose tag has been missing for minutes."""
        return self._waiting.counts()

    async def _work(self) -> None:
        queue = self._state.queue
        while True:
            await self._term.begun()
            await self._throttle.opens()
            key = await queue.take()
            if not self._term.is_on:
                queue.give_back(key)
                continue
            try:
                if not await self._look(key):
                    queue.give_back(key)
                    continue
            except Exception as error:
                # Our bug. This key fails loudly and comes again later; the others go on.
                log.exception("fanout.bug", workload=str(key))
                self._ledger.failed(key, f"a bug of the service: {error!r}")
                self._retry(key)
            # A round that ends here may ask for this key again: before nothing seems left to do.
            self._state.rounds.begun(key)
            queue.done(key)

    async def _look(self, key: WorkloadKey) -> bool:
        """Tell whether it came to an end; False: nothing was done yet, for no patch may be sent now."""
        workload, kind = self._state.workloads.get(key), self._kinds[key.kind]
        if workload is None:
            self._forget(key)
            return True
        lost = self._state.contests.lost(key)
        leave = {(name, contest.image) for name, contest in lost.items()}
        plan = plans.plan(workload, kind, self._view, now=self._now(), leave=leave)
        if self._comes_again(key, plan):
            return True
        is_asked_for = kind.form is Form.BUILD_CONFIG and self._built.get(key) == _asked(workload, plan)
        sends = bool(plan.changes) and not is_asked_for
        admission = self._throttle.enter() if sends else None
        if sends and admission is None:
            return False
        self._state.rounds.begun(key)
        self._tell_problems(workload, kind, plan)
        self._tell_missing(workload, kind)
        newly_left = self._state.contests.leave(key, {name: lost[name] for name in plan.left})
        if plan.left:
            self._ledger.left(key)
        if admission is None:
            self._backoffs.pop(key, None)
            self._state.contests.settled(key)
        else:
            with admission:
                await self._act(workload, kind, plan, admission)
        if newly_left:
            await self._tell_contested(workload, kind, newly_left)
        return True

    def _comes_again(self, key: WorkloadKey, plan: Plan) -> bool:
        """Tell whether the next round of a tag that moves in a burst will bring these changes, and newer ones."""
        rounds = self._state.rounds
        return bool(plan.changes) and all(rounds.comes_again((c.stream, c.tag), key) for c in plan.changes)

    async def _act(self, workload: Workload, kind: Kind, plan: Plan, admission: Admission) -> None:
        key = workload.key
        trace, delivery = (plan.why.trace, plan.why.delivery) if plan.why else ("", "")
        step, (kind_label, namespace, name) = "start" if plan.start else "patch", key
        with self._tracer.span(step, trace, kind=kind_label, namespace=namespace, name=name, delivery=delivery) as span:
            if plan.start:
                await self._start(workload, kind, plan, plan.start, admission, span)
                return
            images = {change.target: change.after for change in plan.changes}
            put_back = self._state.contests.sent(key, images)
            with self._state.expecting(workload, images):
                request = self._store.patch_workload(kind, key, plan.operations)
                outcome = await self._measured(kind, plan, request, admission, span)
                await self._conclude(workload, kind, plan.changes, outcome, put_back)

    def _trace(self, stream: StreamKey, tag: str) -> str:
        """The trace of the delivery that brought a tag where it is, if it came to this process, and lately."""
        arrival = self._state.arrival(stream, tag)
        if arrival is None or not arrival.trace:
            return ""
        return arrival.trace if asyncio.get_running_loop().time() - arrival.received <= _TRACED_SECONDS else ""

    async def _conclude(
        self,
        workload: Workload,
        kind: Kind,
        changes: Sequence[ImageChange],
        outcome: Outcome[Workload],
        put_back: Collection[str] = (),
    ) -> None:
        """Draw the consequences of how a patch ended."""
        key = workload.key
        match outcome.end:
            case End.APPLIED if outcome.stored:
                self._state.refresh_workload(outcome.stored)
                if undone := _undone(outcome.stored, changes):
                    why = f"the API server took the patch, and stored {undone}: does an admission webhook set it back?"
                    self._tell_failed(workload, kind, Outcome(End.REFUSED, message=why))
                    self._retry(key)
                    return
                self._backoffs.pop(key, None)
                self._state.contests.settled(key)
                self._tell_applied(outcome.stored, kind, changes, put_back)
            case End.STALE:
                self._tell_failed(workload, kind, outcome)
                await self._look_again(kind, key)
            case End.GONE:
                # The watch will say so too; until then there is nothing to do for it.
                self._backoffs.pop(key, None)
            case _:
                self._tell_failed(workload, kind, outcome)
                if outcome.is_final:
                    self._backoffs.pop(key, None)  # another image, or a change of the object, brings it here again
                else:
                    self._retry(key, outcome.retry_after_seconds)

    async def _start(
        self, workload: Workload, kind: Kind, plan: Plan, start: Start, admission: Admission, span: Span
    ) -> None:
        """Start a build or a run; then let the workload remember it, or see that the server did."""
        key = workload.key
        outcome = await self._measured(kind, plan, self._store.start(key.namespace, start), admission, span)
        operations = plan.operations
        changes: Sequence[ImageChange] = plan.changes
        match outcome.end:
            case End.APPLIED:
                log.info("run.started", workload=str(key), name=start.name, plural=start.plural)
                if kind.form is Form.BUILD_CONFIG:
                    self._built[key] = _asked(workload, plan)
            case End.STALE if kind.form is Form.RUN:
                # It was started before, by another replica or before a restart, perhaps with images of that time.
                try:
                    text = await self._store.get_run_record(key.namespace, start)
                except ClusterError as error:
                    log.warning("fanout.unreadable", workload=str(key), reason=str(error))
                    self._retry(key)
                    return
                operations = runs.catch_up(workload, text)
                changes = ()
            case End.UNREACHABLE | End.REFUSED if kind.form is Form.BUILD_CONFIG:
                # A server that has built these images says so with 500; its BuildConfig tells when it is read anew.
                self._tell_failed(workload, kind, outcome)
                await self._look_again(kind, key)
                return
            case _:
                self._tell_failed(workload, kind, outcome)
                self._retry(key, outcome.retry_after_seconds)
                return
        if not operations:
            self._backoffs.pop(key, None)
            self._tell_applied(workload, kind, changes)
            return
        stored = await self._store.patch_workload(kind, key, operations)
        await self._conclude(workload, kind, changes, stored)

    async def _measured(
        self, kind: Kind, plan: Plan, request: Awaitable[Outcome[T]], admission: Admission, span: Span
    ) -> Outcome[T]:
        clock = asyncio.get_running_loop().time
        started = clock()
        outcome = await request
        ended = clock()
        admission.ended(
            ended - started,
            throttled=outcome.end is End.THROTTLED or outcome.retry_after_seconds is not None,
            failed=outcome.end is End.UNREACHABLE,
            retry_after_seconds=outcome.retry_after_seconds,
        )
        self._meter.patched(kind.label, outcome.end, ended - started)
        span.note(end=outcome.end, failed=outcome.end in (End.REFUSED, End.THROTTLED, End.UNREACHABLE))
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
        asked_about = self._state.workloads.get(key)
        uid = asked_about.uid if asked_about else ""
        try:
            workload = await self._store.get_workload(kind, key)
        except ClusterError as error:
            log.warning("fanout.unreadable", workload=str(key), reason=str(error))
            self._retry(key)
            return
        if workload is not None:
            self._state.refresh_workload(workload)
            self._retry(key)
        elif (known := self._state.workloads.get(key)) and known.uid == uid:
            self._state.discard_workload(key)

    def _forget(self, key: WorkloadKey) -> None:
        """The workload is gone, and so is what was kept for it."""
        self._backoffs.pop(key, None)
        self._told.pop(key, None)
        self._waiting.forget(key)
        self._built.pop(key, None)
        self._state.contests.forget(key)
        self._ledger.gone(key)

    def _retry(self, key: WorkloadKey, at_least_seconds: float | None = None) -> None:
        delay = self._failing(key).backoff.next()
        self._state.queue.add_after(key, max(delay, at_least_seconds or 0), key.namespace)

    def _failing(self, key: WorkloadKey) -> _Failing:
        return self._backoffs.setdefault(key, _Failing(Backoff(1, 300)))

    def _tell_applied(
        self, workload: Workload, kind: Kind, changes: Sequence[ImageChange], put_back: Collection[str] = ()
    ) -> None:
        if not changes:
            return
        self._ledger.patched(workload.key, [change for change in changes if not change.is_lookup])
        moved = "; ".join([f"{c.target or kind.name}: {c.before or 'no image'} -> {c.after}" for c in changes])
        log.info("workload.patched", workload=str(workload.key), changes=moved)
        if self._recorder.is_full:  # as for most of a large fan-out
            self._recorder.drop()
        else:
            self._notify(workload, kind, Reason.IMAGE_TRIGGERED, f"{self._reason(changes, put_back)}; {moved}")

    def _reason(self, changes: Sequence[ImageChange], put_back: Collection[str]) -> str:
        """Say why, once for each tag."""
        return ", ".join(dict.fromkeys([f"{c.stream}:{c.tag} {self._what_happened(c, put_back)}" for c in changes]))

    def _what_happened(self, change: ImageChange, put_back: Collection[str]) -> str:
        if change.is_lookup:
            return "is what the image names"
        if change.target in put_back:
            return "has not moved, so an edit is put back (pause the trigger to keep it)"
        # A workload that is new, or whose trigger is, has an image that the tag never had.
        stream = self._state.streams.get(change.stream)
        return "moved" if stream and change.before in stream.earlier(change.tag) else "is followed"

    def _tell_problems(self, workload: Workload, kind: Kind, plan: Plan) -> None:
        """Say what is wrong with the triggers, once for each state of them."""
        if not plan.problems:
            self._told.pop(workload.key, None)
            return
        told = (workload.uid, plan.problems)
        if self._told.get(workload.key) == told:
            return
        self._told[workload.key] = told
        for problem in plan.problems:
            log.warning("trigger.invalid", workload=str(workload.key), problem=problem)
            self._notify(workload, kind, Reason.TRIGGER_INVALID, problem)

    def _tell_missing(self, workload: Workload, kind: Kind) -> None:
        """Say which tags are not there, once that has lasted."""
        if missing := self._waiting.look(workload):
            log.warning("trigger.waits", workload=str(workload.key), reason=missing)
            message = f"it waits for a tag: {shortened(missing, _LONGEST_REASON)}"
            self._notify(workload, kind, Reason.TRIGGER_WAITS, message)

    def _tell_failed(self, workload: Workload, kind: Kind, outcome: Outcome[Any]) -> None:
        """Say that a patch failed, on the workload too where its owner can mend that. That somebody was faster is no
        failure until it lasts.
        """
        lasts = self._failing(workload.key).lasts(outcome.end)
        if outcome.end is End.STALE and not lasts:
            return
        log.warning("patch.failed", workload=str(workload.key), end=outcome.end, reason=outcome.message)
        self._ledger.failed(workload.key, outcome.message or outcome.end, is_final=outcome.is_final)
        if outcome.end in (End.REFUSED, End.STALE) or (lasts and outcome.is_for_want_of_a_webhook):
            advice = ""
            if outcome.is_final:
                advice = f"; a {kind.name} cannot be changed so: put the trigger on what creates it, or create it anew"
            what = "the image could not be set" if kind.pod_spec_path else "the trigger failed"
            how = ", each time for a conflict" if outcome.end is End.STALE else ""
            message = f"{what}{how}: {shortened(outcome.message, _LONGEST_REASON)}{advice}"
            self._notify(workload, kind, Reason.TRIGGER_FAILED, message)

    async def _tell_contested(self, workload: Workload, kind: Kind, lost: Mapping[str, Contest]) -> None:
        """Say who keeps setting an image back, and what would end that."""
        try:
            known = await self._store.managers(kind, workload.key)
        except ClusterError as error:
            log.warning("fanout.unreadable", workload=str(workload.key), reason=str(error))
            known = ()
        for container, contest in lost.items():
            manager = managers.of_image(known, kind.pod_spec_path, container)
            message = contests.sentence(contest, manager, workload, kind, container)
            log.warning("trigger.contested", workload=str(workload.key), reason=message)
            self._notify(workload, kind, Reason.TRIGGER_CONTESTED, message)

    def _notify(self, workload: Workload, kind: Kind, reason: Reason, message: str) -> None:
        self._recorder.record(Notice(about_workload(workload.key, kind, workload.uid), reason, message))


async def _at_once() -> None:
    """Nothing is to be waited for."""


def _undone(stored: Workload, changes: Sequence[ImageChange]) -> str:
    """Say which of the changes the answer to a patch does not show; "" if it shows them all."""
    has = contests.images(stored)
    return ", ".join(
        f"{has[change.target]} in container {change.target}"
        for change in changes
        if has.get(change.target, change.after) != change.after
    )


def _asked(workload: Workload, plan: Plan) -> tuple[str, ...]:
    """What tells one request for a build from the next."""
    return workload.uid, *(change.after for change in plan.changes)
