"""Keep account of fan-outs: who was patched, who was not and why, and when all of it was rolled out.

What others tell costs a look into a dictionary, so a fan-out of ten thousand workloads does not wait for its account.
Only what nobody could count afterwards is counted then; the rest is read off the index when a record is written.

An account is opened by the very write that moves the tag, so whoever goes on after a kill finds it. What came of it is
written behind the patches: when no workload waits any more, when all is rolled out, and in between from time to time.
Nothing is kept of a fan-out once its record is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from math import inf
from typing import Protocol

import structlog

from listener.core import fanouts, followers
from listener.core.actions import ImageChange
from listener.core.fanouts import Failure, FanOutRecord, Phase
from listener.core.receipts import Arrival
from listener.core.streams import Stream, StreamKey
from listener.core.workloads import Workload, WorkloadKey
from listener.errors import ClusterError
from listener.flow.bookkeeper import Bookkeeper, Cause, NotBooked
from listener.flow.leadership import Endless, Term, during
from listener.flow.state import State

log = structlog.get_logger()

_INTERVAL_SECONDS = 3
"""Between two writes of one stream's records, and how long patches hold one up."""
_REST_SECONDS = 0.25
"""Without patches, before records are written: a push that follows at once has to wait for no write of the stream."""
_STALLED_SECONDS = 600
"""Without anything happening; as long as a Deployment waits before it says that it makes no progress."""
_LONGEST_SECONDS = 3600
_SWEEP_SECONDS = 30
_START_SECONDS = 60
_LEFT = "left to somebody who keeps setting the image back; an Event on it names who"


class Work(Protocol):
    """What goes before records."""

    async def idle(self) -> None: ...

    async def quiet(self, seconds: float) -> None: ...

    def __contains__(self, key: WorkloadKey) -> bool: ...


class Meter(Protocol):
    def rolled_out_after_hook(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class _Failed:
    reason: str
    is_final: bool


@dataclass(slots=True, eq=False)
class _FanOut:
    """One that is followed. `base` is its record as we found it: what another process counted stays in it.

    `record` is what was last made of it. `rolling` are the patched ones that are not rolled out yet; `progress` is when
    something came of it last (loop time).
    """

    stream: StreamKey
    base: FanOutRecord
    record: FanOutRecord
    opened: float
    progress: float
    is_stored: bool
    patched: set[WorkloadKey] = field(default_factory=set)
    failed: dict[WorkloadKey, _Failed] = field(default_factory=dict)
    rolling: set[WorkloadKey] = field(default_factory=set)
    rollouts: int = 0
    rolled_out: int = 0
    patches: tuple[datetime, datetime] | None = None
    ends: tuple[datetime, datetime] | None = None
    arrival: Arrival | None = None

    @property
    def is_behind(self) -> bool:
        """Whether more was rolled out than its record says."""
        return self.base.rolled_out + self.rolled_out != self.record.rolled_out

    def is_stalled(self, now: float) -> bool:
        return now - self.progress >= _STALLED_SECONDS or now - self.opened >= _LONGEST_SECONDS


@dataclass(slots=True, eq=False)
class _Book:
    """What is to be written of one stream: the fan-outs that are followed, by tag, and records that are closed."""

    fan_outs: dict[str, _FanOut] = field(default_factory=dict)
    closed: list[FanOutRecord] = field(default_factory=list)
    not_before: float = -inf


def opening(state: State, now: Callable[[], datetime]) -> Callable[[Stream, Mapping[str, tuple[Cause, str]]], Stream]:
    """Return what opens the accounts of moved tags, given with their cause and delivery, in the stream that moves
    them. A tag that nobody follows has none.
    """

    def opened(stream: Stream, moved: Mapping[str, tuple[Cause, str]]) -> Stream:
        started = fanouts.written(now())
        records = []
        for tag, (cause, delivery) in moved.items():
            resolved = stream.resolve(tag)
            followed_by = state.workloads.affected(stream.key, tag) | state.workloads.paused(stream.key, tag)
            if resolved and followed_by:
                record = FanOutRecord(tag, resolved.pull_spec, resolved.digest, resolved.generation, started)
                records.append(replace(record, cause=cause.value, delivery=delivery, matched=len(followed_by)))
        return _with(stream, records) if records or stream.fan_outs else stream

    return opened


class Ledger:
    """Takes note at once, writes when there is room. `ready` is waited for first: then who was patched by a former
    process can be told.
    """

    def __init__(
        self,
        state: State,
        bookkeeper: Bookkeeper,
        work: Work,
        meter: Meter,
        now: Callable[[], datetime],
        ready: Callable[[], Awaitable[None]],
        term: Term | None = None,
    ) -> None:
        self._state = state
        self._bookkeeper = bookkeeper
        self._work = work
        self._meter = meter
        self._now = now
        self._ready = ready
        self._term = term or Endless()
        self._books: dict[StreamKey, _Book] = {}
        self._rolling: dict[WorkloadKey, tuple[_FanOut, ...]] = {}
        self._dirty: dict[StreamKey, float] = {}  # which streams are to be written, and not before when
        self._changed = asyncio.Event()
        self._next_sweep = -inf
        # Until the first fan-out after a start is over a patch needs no move that we saw.
        self._is_catching_up = True

    @property
    def followed(self) -> int:
        """How many fan-outs are followed now."""
        return sum(len(book.fan_outs) for book in self._books.values())

    # What others tell

    def tag_moved(self, key: StreamKey, tag: str) -> None:
        if not self._term.is_on:
            return  # whoever leads keeps account
        self._overtake(key, tag)
        self._open(key, tag)

    def stream_gone(self, key: StreamKey) -> None:
        book = self._books.pop(key, None)
        for fan_out in book.fan_outs.values() if book else ():
            self._let_go(fan_out)
        self._dirty.pop(key, None)

    def patched(self, key: WorkloadKey, changes: Sequence[ImageChange]) -> None:
        """A workload got images, and the state knows it."""
        for change in changes:
            fan_out = self._find(change.stream, change.tag)
            if fan_out and fan_out.base.docker_image_reference == change.after:
                self._patched(fan_out, key)

    def failed(self, key: WorkloadKey, reason: str, *, is_final: bool = False) -> None:
        """A workload could not be patched; unless that is final, it is tried again."""
        workload = self._state.workloads.get(key)
        if workload is None:
            return
        for stream, tag in {(trigger.stream, trigger.tag) for trigger in workload.triggers.valid if not trigger.paused}:
            fan_out = self._find(stream, tag)
            if fan_out is None or followers.stands_at(workload, stream, tag, fan_out.base.docker_image_reference):
                continue
            is_named = key in fan_out.failed or len(fan_out.failed) < fanouts.MAX_FAILURES
            found = _Failed(fanouts.on_one_line(reason) if is_named else "", is_final)
            if fan_out.failed.get(key) != found:
                fan_out.failed[key] = found
                self._touch(stream)

    def left(self, key: WorkloadKey) -> None:
        """A workload's image was left to somebody else."""
        for fan_out in self._rolling.get(key, ()):
            self._stop_rolling(fan_out, key)
        self.failed(key, _LEFT, is_final=True)

    def gone(self, key: WorkloadKey) -> None:
        """A workload is followed no more. What came of it stays counted."""
        for fan_out in self._rolling.get(key, ()):
            self._stop_rolling(fan_out, key)

    def not_rolling(self, key: WorkloadKey) -> None:
        """A workload does not roll out by itself. One that did, before somebody paused it, counts no more as such."""
        for fan_out in self._rolling.get(key, ()):
            fan_out.rollouts -= 1
            self._stop_rolling(fan_out, key)

    def rolled_out(self, workload: Workload) -> None:
        """A workload is rolled out, as it is now."""
        for fan_out in self._rolling.get(workload.key, ()):
            if followers.has_image(workload, fan_out.base.docker_image_reference):
                self._rolled_out(fan_out, workload.key)

    # Writing

    async def run(self) -> None:
        await self._ready()
        while True:
            await during(self._term, self._keep)
            for books in (self._books, self._rolling, self._dirty):
                books.clear()

    async def _keep(self) -> None:
        """Go on from what is stored, for a term."""
        self._is_catching_up = True
        self._resume()
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                await self._work.idle()
        self._is_catching_up = False
        while True:
            await self._something_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_SECONDS):
                    await self._work.quiet(_REST_SECONDS)
            now = _clock()
            for key in [key for key, due in self._dirty.items() if due <= now]:
                await self._write(key)

    async def flush(self) -> None:
        """Write what is not written yet, now."""
        for key in tuple(self._dirty):
            await self._write(key)

    async def _something_due(self) -> None:
        while True:
            now = _clock()
            if self._books and now >= self._next_sweep:
                self._sweep(now)
            due = min(self._dirty.values(), default=inf)
            if due <= now:
                return
            self._changed.clear()
            until = min(due, self._next_sweep) if self._books else inf
            with suppress(TimeoutError):
                async with asyncio.timeout(None if until == inf else until - now):
                    await self._changed.wait()

    def _sweep(self, now: float) -> None:
        """Look after what no news comes of: who waits or is stalled, how far a long rollout is, what could not be
        written; and forget the books that are closed.
        """
        self._next_sweep = now + _SWEEP_SECONDS
        for key, book in tuple(self._books.items()):
            if book.closed or any(
                each.record.phase is Phase.PATCHING or each.is_behind or each.is_stalled(now)
                for each in book.fan_outs.values()
            ):
                self._touch(key)
            elif not book.fan_outs and book.not_before <= now and key not in self._dirty:
                del self._books[key]

    async def _write(self, key: StreamKey) -> None:
        """Write a stream's records. If that fails, what is closed goes with the next write, and the rest anyway."""
        self._dirty.pop(key, None)
        book = self._books.get(key)
        if book is None:
            return
        book.not_before = _clock() + _INTERVAL_SECONDS
        closed, book.closed = book.closed, []
        records = list(closed)
        for tag, fan_out in tuple(book.fan_outs.items()):
            record = self._record(fan_out)
            if not record.phase.is_open:
                del book.fan_outs[tag]
                self._let_go(fan_out)
            if record.matched or fan_out.is_stored:
                fan_out.is_stored = True
                records.append(record)
                closed += [] if record.phase.is_open else [record]
        if not records:
            return
        try:
            booked = await self._bookkeeper.book(key, partial(_merge, records), cause=Cause.TAG)
        except ClusterError as error:
            log.warning("fanout.unrecorded", stream=str(key), reason=str(error))
            book.closed = [*closed, *book.closed][-fanouts.MAX_RECORDS :]
        except Exception:
            log.exception("ledger.bug", stream=str(key))
        else:
            if isinstance(booked, NotBooked):
                log.warning("fanout.unrecorded", stream=str(key), reason=booked.reason)

    def _record(self, fan_out: _FanOut) -> FanOutRecord:
        """The account as it is now. This alone looks at every follower."""
        base, key, place = fan_out.base, fan_out.stream, fan_out.base.docker_image_reference
        following = self._state.workloads.affected(key, base.tag)
        paused = self._state.workloads.paused(key, base.tag)
        current, waiting, hindered = 0, 0, dict[WorkloadKey, str]()
        for each in following - fan_out.patched:
            workload = self._state.workloads.get(each)
            if workload is None:
                continue
            if each in self._work:
                waiting += 1  # whatever its turn will bring; thousands of them are not worth a closer look yet
                fan_out.failed.pop(each, None)
            elif followers.stands_at(workload, key, base.tag, place):
                current += 1
                fan_out.failed.pop(each, None)
            elif each in fan_out.failed:
                pass
            elif why := followers.hindrance(workload, key, base.tag):
                hindered[each] = fanouts.on_one_line(why)
            else:
                waiting += 1
        for each in fan_out.failed.keys() - following:
            del fan_out.failed[each]
        if waiting or not all(failed.is_final for failed in fan_out.failed.values()):
            phase = Phase.PATCHING
        else:
            phase = Phase.ROLLING_OUT if fan_out.rolling else Phase.DONE
        if phase.is_open and fan_out.is_stalled(_clock()):
            phase = Phase.TIMED_OUT
        reasons = {each: failed.reason for each, failed in fan_out.failed.items()} | dict(sorted(hindered.items()))
        patched = base.patched + len(fan_out.patched)
        fan_out.record = replace(
            self._counted(fan_out),
            phase=phase,
            matched=max(len(following | paused), patched),
            current=max(0, current - base.patched),
            paused=len(paused - fan_out.patched),
            waiting=waiting,
            failed=len(reasons),
            failures=_failures(reasons),
        )
        return fan_out.record

    def _counted(self, fan_out: _FanOut) -> FanOutRecord:
        """The account's own counts and times, on top of what was there before."""
        base = fan_out.base
        found = replace(
            base,
            patched=base.patched + len(fan_out.patched),
            rollouts=base.rollouts + fan_out.rollouts,
            rolled_out=base.rolled_out + fan_out.rolled_out,
        )
        if fan_out.patches:
            first, last = map(fanouts.written, fan_out.patches)
            found = replace(found, first_patched=base.first_patched or first, last_patched=last)
        if fan_out.ends:
            first, last = map(fanouts.written, fan_out.ends)
            found = replace(found, first_rolled_out=base.first_rolled_out or first, last_rolled_out=last)
        return found

    # Taking note

    def _touch(self, key: StreamKey) -> None:
        if key not in self._dirty and (book := self._books.get(key)):
            self._dirty[key] = book.not_before
            self._changed.set()

    def _find(self, key: StreamKey, tag: str) -> _FanOut | None:
        book = self._books.get(key)
        if book and (fan_out := book.fan_outs.get(tag)):
            return fan_out
        return self._catch_up(key, tag) if self._is_catching_up else None

    def _catch_up(self, key: StreamKey, tag: str) -> _FanOut | None:
        """Follow a fan-out that began while nobody looked, unless it is over."""
        stream = self._state.streams.get(key)
        resolved = stream.resolve(tag) if stream else None
        if stream is None or resolved is None:
            return None
        known = fanouts.newest(stream.fan_outs, tag)
        if known and known.docker_image_reference == resolved.pull_spec and not known.phase.is_open:
            return None
        return self._open(key, tag)

    def _open(self, key: StreamKey, tag: str) -> _FanOut | None:
        """Follow the fan-out of the place where a tag is now, and go on from its record if there is one."""
        stream = self._state.streams.get(key)
        resolved = stream.resolve(tag) if stream else None
        if stream is None or resolved is None:
            return None
        base = fanouts.newest(stream.fan_outs, tag)
        is_stored = base is not None and base.phase.is_open and base.docker_image_reference == resolved.pull_spec
        if base is None or not is_stored:
            arrival = self._state.arrival(key, tag)
            started, delivery = fanouts.written(self._now()), arrival.delivery_id if arrival else ""
            base = FanOutRecord(
                tag, resolved.pull_spec, resolved.digest, resolved.generation, started, delivery=delivery
            )
        base = replace(base, failed=0, failures=())
        now = _clock()
        fan_out = _FanOut(key, base, base, now, now, is_stored)
        self._books.setdefault(key, _Book()).fan_outs[tag] = fan_out
        self._touch(key)
        return fan_out

    def _overtake(self, key: StreamKey, tag: str) -> None:
        """Close the account of where the tag was. Whom it had not reached it never will: nobody is looked at."""
        book = self._books.get(key)
        fan_out = book.fan_outs.pop(tag, None) if book else None
        if book is None or fan_out is None:
            return
        self._let_go(fan_out)
        last, counted = fan_out.record, self._counted(fan_out)
        record = replace(counted, phase=Phase.SUPERSEDED, failed=len(fan_out.failed))
        if record.has_reached:
            matched = len(self._state.workloads.affected(key, tag) | self._state.workloads.paused(key, tag))
            reached = record.patched + last.current + last.paused + record.failed
            record = replace(
                record,
                matched=max(matched, reached),
                current=last.current,
                paused=last.paused,
                waiting=max(0, matched - reached),
                failures=_failures({each: failed.reason for each, failed in fan_out.failed.items()}),
            )
        if record.has_reached or fan_out.is_stored:
            book.closed = [*book.closed, record][-fanouts.MAX_RECORDS :]
            self._touch(key)

    def _patched(self, fan_out: _FanOut, key: WorkloadKey) -> None:
        moment = self._now()
        fan_out.patches = (fan_out.patches or (moment,))[0], moment
        fan_out.progress = _clock()
        fan_out.failed.pop(key, None)
        workload = self._state.workloads.get(key)
        is_new = key not in fan_out.patched and key not in fan_out.rolling
        if is_new and workload and workload.is_rolled_out is not None:
            fan_out.rollouts += 1
            self._roll(fan_out, key)
        fan_out.patched.add(key)
        self._touch(fan_out.stream)
        if workload and workload.is_rolled_out:  # what the watch saw was faster than the patch's answer
            self.rolled_out(workload)

    def _rolled_out(self, fan_out: _FanOut, key: WorkloadKey) -> None:
        moment = self._now()
        fan_out.ends = (fan_out.ends or (moment,))[0], moment
        fan_out.progress = _clock()
        fan_out.rolled_out += 1
        fan_out.arrival = fan_out.arrival or self._state.arrival(fan_out.stream, fan_out.base.tag)
        if fan_out.arrival:
            self._meter.rolled_out_after_hook(fan_out.progress - fan_out.arrival.received)
        self._stop_rolling(fan_out, key)

    def _roll(self, fan_out: _FanOut, key: WorkloadKey) -> None:
        fan_out.rolling.add(key)
        self._rolling[key] = (*self._rolling.get(key, ()), fan_out)

    def _stop_rolling(self, fan_out: _FanOut, key: WorkloadKey) -> None:
        self._forget_rolling(fan_out, key)
        fan_out.rolling.discard(key)
        if not fan_out.rolling:
            self._touch(fan_out.stream)

    def _let_go(self, fan_out: _FanOut) -> None:
        for key in fan_out.rolling:
            self._forget_rolling(fan_out, key)

    def _forget_rolling(self, fan_out: _FanOut, key: WorkloadKey) -> None:
        others = tuple(other for other in self._rolling.get(key, ()) if other is not fan_out)
        if others:
            self._rolling[key] = others
        else:
            self._rolling.pop(key, None)

    def _resume(self) -> None:
        """Go on with the accounts that a former process left open, and close those whose tag moved on since."""
        for key in sorted(self._state.streams.keys()):
            stream = self._state.streams.get(key)
            for record in stream.fan_outs if stream else ():
                if not record.phase.is_open:
                    continue
                resolved = self._state.resolve(key, record.tag)
                fan_out = None
                if resolved and resolved.pull_spec == record.docker_image_reference:
                    fan_out = self._find(key, record.tag)
                if fan_out and fan_out.base.is_same(record):
                    self._see_rolling(fan_out)
                else:
                    closed = replace(record, phase=Phase.SUPERSEDED)
                    self._books.setdefault(key, _Book()).closed.append(closed)
                self._touch(key)

    def _see_rolling(self, fan_out: _FanOut) -> None:
        """Find those that a former process patched and that are not rolled out yet: the others are, meanwhile."""
        base, key = fan_out.base, fan_out.stream
        found = 0
        for each in self._state.workloads.affected(key, base.tag) - fan_out.patched:
            workload = self._state.workloads.get(each)
            if (
                workload
                and workload.is_rolled_out is False
                and followers.stands_at(workload, key, base.tag, base.docker_image_reference)
            ):
                found += 1
                self._roll(fan_out, each)
        rollouts = max(base.rollouts, found)
        rolled_out = max(base.rolled_out, rollouts - found)
        fan_out.base = replace(base, rollouts=rollouts, rolled_out=rolled_out)
        if rolled_out > base.rolled_out:
            moment = self._now()
            fan_out.ends = (fan_out.ends or (moment,))[0], moment


def _failures(reasons: Mapping[WorkloadKey, str]) -> tuple[Failure, ...]:
    named = [Failure(key.kind, key.namespace, key.name, reason) for key, reason in reasons.items() if reason]
    return tuple(named[: fanouts.MAX_FAILURES])


def _merge(records: Sequence[FanOutRecord], stream: Stream) -> tuple[Stream, None]:
    return _with(stream, records), None


def _with(stream: Stream, records: Sequence[FanOutRecord]) -> Stream:
    places = {tag: resolved.pull_spec for tag, resolved in stream.resolve_all().items()}
    merged = fanouts.merge(stream.fan_outs, records, places)
    return stream if merged == stream.fan_outs else replace(stream, fan_outs=merged)


def _clock() -> float:
    return asyncio.get_running_loop().time()
