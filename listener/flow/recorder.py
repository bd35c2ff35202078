"""Send Events, behind the work they tell of. They never compete with patches, and a flood of them says what it left
out.

A notice that equals one sent before raises that Event's count instead of making a new one. While workloads wait for
their patch nothing is sent; then at most `per_second`, warnings first: most of them are told once only. What does not
fit into the queue is dropped and counted: the metric and the log tell all of it, an Event is for the person who looks
at one object.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from listener.core.notices import Notice
from listener.core.outcomes import End, Outcome
from listener.flow.leadership import Endless, Term, during

log = structlog.get_logger()

_LONGEST_ADVICE_SECONDS = 60


class EventStore(Protocol):
    """The cluster, as far as Events are written."""

    async def create_event(self, name: str, notice: Notice, *, count: int, first: str, last: str) -> Outcome[None]: ...

    async def repeat_event(self, name: str, notice: Notice, *, count: int, last: str) -> Outcome[None]: ...


class Work(Protocol):
    """What goes before Events."""

    async def idle(self) -> None: ...


class Meter(Protocol):
    def event_dropped(self) -> None: ...


@dataclass(slots=True)
class _Pending:
    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class _Sent:
    name: str
    count: int


class Recorder:
    """Takes notices at once, sends them when there is room."""

    def __init__(
        self,
        store: EventStore,
        work: Work,
        meter: Meter,
        now: Callable[[], datetime],
        *,
        per_second: float = 10,
        queue_limit: int = 1000,
        remembered: int = 4000,
        term: Term | None = None,
    ) -> None:
        self._store = store
        self._work = work
        self._meter = meter
        self._now = now
        self._interval = 1 / per_second
        self._queue_limit = queue_limit
        self._remembered = remembered
        self._term = term or Endless()
        self._warnings: OrderedDict[Notice, _Pending] = OrderedDict()
        self._news: OrderedDict[Notice, _Pending] = OrderedDict()
        self._sent: OrderedDict[Notice, _Sent] = OrderedDict()
        self._arrived = asyncio.Event()
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._warnings) + len(self._news)

    @property
    def is_full(self) -> bool:
        """Whether a piece of news would be dropped now: then it need not be written, only counted (`drop`)."""
        return len(self) >= self._queue_limit

    def record(self, notice: Notice) -> None:
        """Ask for an Event. Returns at once. Where there is no room, a warning takes that of the last piece of news."""
        now = self._now()
        line = self._warnings if notice.reason.is_warning else self._news
        if known := line.get(notice):
            known.count += 1
            known.last = now
            return
        if self.is_full:
            self.drop()
            if line is self._news or not self._news:
                return
            self._news.popitem()
        line[notice] = _Pending(1, now, now)
        self._arrived.set()

    def drop(self) -> None:
        """Count a notice that is left out."""
        self._dropped += 1
        self._meter.event_dropped()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            if self._term.is_on:
                await during(self._term, self._work.idle)
            notice, pending = (self._warnings or self._news).popitem(last=False)
            if not self._warnings and not self._news:
                self._arrived.clear()
                self._tell_dropped()
            outcome = await self._send(notice, pending)
            if outcome.end is not End.APPLIED:
                # An Event is worth no retry: the object may be gone, and the log has said it already.
                log.info("event.unsent", subject=notice.subject.name, reason=notice.reason, why=outcome.message)
            advice = min(outcome.retry_after_seconds or 0, _LONGEST_ADVICE_SECONDS)
            await asyncio.sleep(max(self._interval, advice))

    async def _send(self, notice: Notice, pending: _Pending) -> Outcome[None]:
        last = _time(pending.last)
        if sent := self._sent.pop(notice, None):
            count = sent.count + pending.count
            outcome = await self._store.repeat_event(sent.name, notice, count=count, last=last)
            if outcome.end is not End.GONE:
                self._sent[notice] = _Sent(sent.name, count)
                return outcome
        name = f"{notice.subject.name}.{secrets.token_hex(8)}"
        outcome = await self._store.create_event(
            name, notice, count=pending.count, first=_time(pending.first), last=last
        )
        if outcome.end is End.APPLIED:
            self._sent[notice] = _Sent(name, pending.count)
            if len(self._sent) > self._remembered:
                self._sent.popitem(last=False)
        return outcome

    def _tell_dropped(self) -> None:
        if self._dropped:
            log.info("events.dropped", count=self._dropped, queue_limit=self._queue_limit)
            self._dropped = 0


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
