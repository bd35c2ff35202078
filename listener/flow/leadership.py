"""Which replica acts: all of them take hooks and know the cluster, one fans out and imports.

A term begins when our name in the Lease is stored, and is believed in for a while from each renewal on, by a clock
that goes on while this process or machine does not. Whoever acts asks before each step whether the term is on, and
each patch once more as its bytes leave (`may_write`). So a leader that is cut off, paused or slow has stopped by itself
before another may begin. What it had sent until then is conditional on what it had seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn, Protocol

import structlog

from listener.core import leases, versions
from listener.core.leases import Lease, Sight
from listener.core.outcomes import End, Outcome
from listener.errors import ClusterError, ClusterRefused

log = structlog.get_logger()

_TRY_SECONDS = 5.0  # for one request: a second one must fit in before the term ends
_RETRY_SECONDS = 1.0
_RELEASE_SECONDS = 2.0
_RIGHTS = "the service account needs get, list, watch and patch on this lease, and create on leases in its namespace"

LeaseKey = tuple[str, str]
"""Namespace and name."""


def boot_time() -> float:
    """Seconds since the machine began, those that it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Store(Protocol):
    """Where the Lease is. Reads raise ClusterError, and return None for what is not there."""

    async def get_lease(self, namespace: str, name: str) -> Lease | None: ...

    async def create_lease(self, lease: Lease) -> Outcome[Lease]: ...

    async def store_lease(self, lease: Lease) -> Outcome[Lease]:
        """Replace it, if it is still at the resource version; else STALE."""


class Term(Protocol):
    """Whether it is ours to act."""

    @property
    def is_on(self) -> bool: ...

    async def begun(self) -> None:
        """Wait until it is on."""

    async def ended(self) -> None:
        """Wait until the one that is on is over."""


class Endless:
    """There is no other replica: it is always ours to act."""

    is_on = True

    async def begun(self) -> None: ...

    async def ended(self) -> None:
        await asyncio.get_running_loop().create_future()


async def during(term: Term, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do some work from the beginning of a term on, and no longer than it lasts."""
    await term.begun()
    working = asyncio.create_task(work())
    ending = asyncio.create_task(term.ended())
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, ending):
            task.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)
    if not working.cancelled():
        working.result()


class Leadership:
    """Our part in the election, and a Sink of what is seen of the Lease."""

    def __init__(
        self,
        store: Store,
        key: LeaseKey,
        identity: str,
        now: Callable[[], datetime],
        clock: Callable[[], float] = boot_time,
    ) -> None:
        """`identity` is ours alone, and of this process alone."""
        self.key = key
        self._store = store
        self._identity = identity
        self._now = now
        self._clock = clock
        self._sight: Sight | None = None
        self._until = float("-inf")  # the end of the term, unless it is renewed
        self._resigns = False
        self._leads = False  # as far as it was told
        self._is_doubtful = False  # whether the Lease must be read, for a watch may tell of what is long over
        self._is_writing = False  # or has written, and knows of no answer
        self._timer: asyncio.TimerHandle | None = None
        self._begun = asyncio.Event()
        self._ended = asyncio.Event()
        self._seen = asyncio.Event()
        self._told = ""

    # The term

    @property
    def is_on(self) -> bool:
        """Whether something may be begun."""
        return not self._resigns and self.may_write()

    def may_write(self) -> bool:
        """Whether something that was begun may be written."""
        return self._clock() < self._until

    async def begun(self) -> None:
        while not self.is_on:
            self._begun.clear()
            await self._begun.wait()

    async def ended(self) -> None:
        await self._ended.wait()

    def resign(self) -> None:
        """Begin nothing more. The term goes on for what is under way, until `release`."""
        self._resigns = True

    async def release(self) -> None:
        """End the term, and let the next one begin at once. End `run` before, and see that no patch is under way."""
        may_be_ours = self.may_write() or self._is_writing
        self._leads = False
        self._lose("")
        if may_be_ours:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RELEASE_SECONDS):
                    await self._give_up()

    async def _give_up(self) -> None:
        is_sure = not self._is_writing
        while is_sure or await self._read():
            if self._sight is None or self._sight.lease.holder != self._identity:
                return
            outcome = await self._try(self._store.store_lease, leases.released(self._sight.lease, self._now()))
            if outcome.end is not End.STALE:
                log.info("leader.released", lease=self._name, is_stored=outcome.end is End.APPLIED)
                return
            is_sure = False

    # What is seen of the Lease: a Sink

    def put(self, lease: Lease) -> None:
        known = self._sight.lease.resource_version if self._sight else ""
        if known and versions.is_surely_older(lease.resource_version, known):
            return
        self._see(lease)

    def discard(self, _: LeaseKey) -> None:
        self._is_doubtful = True
        self._seen.set()

    def known(self, _: str | None) -> Iterable[LeaseKey]:
        return (self.key,) if self._sight and self._sight.lease.resource_version else ()

    def _miss(self) -> None:
        """Somebody deleted it. Who held it may not know yet: it is left the same time as one that is not renewed."""
        if self._sight is None:
            self._sight = Sight(Lease(*self.key), self._clock())
        elif self._sight.lease.resource_version:
            self._lose("its Lease was deleted")
            self._sight = Sight(replace(self._sight.lease, resource_version=""), self._clock())

    def _see(self, lease: Lease) -> None:
        now = self._clock()
        before = self._sight.lease.holder if self._sight else ""
        self._sight = self._sight.then(lease, now) if self._sight else Sight(lease, now)
        if lease.holder != self._identity:
            self._lose(f"{lease.holder or 'nobody'} holds its Lease now")
            if lease.holder and lease.holder != before:
                log.info("leader.other", lease=self._name, holder=lease.holder)
        self._seen.set()

    # The election

    async def run(self) -> NoReturn:
        while True:
            self._seen.clear()
            seconds = await self._step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._seen.wait()

    async def _step(self) -> float:
        """Do what is due, and tell when to come again, unless something is seen before."""
        if self._sight is None or self._is_doubtful:
            if not await self._read():
                return _RETRY_SECONDS
            assert self._sight is not None  # noqa: S101 - it was read
        lease, now = self._sight.lease, self._clock()
        if lease.holder == self._identity and self.may_write():
            due = self._until - leases.HELD_SECONDS + leases.RENEW_SECONDS
            if now < due:
                return due - now
            return await self._write(leases.renewed(lease, self._now()))
        if now < self._sight.free_at:
            return self._sight.free_at - now
        if self._resigns:
            return leases.LIFE_SECONDS
        return await self._write(leases.taken(lease, self._identity, self._now()))

    async def _write(self, lease: Lease) -> float:
        sent = self._clock()
        self._is_writing = True
        outcome = await self._try(
            self._store.store_lease if lease.resource_version else self._store.create_lease, lease
        )
        self._is_writing = outcome.end is End.UNREACHABLE
        match outcome.end:
            case End.APPLIED if outcome.stored:
                self._hold(outcome.stored, sent)
                return leases.RENEW_SECONDS
            case End.STALE:
                return 0 if await self._read() else _RETRY_SECONDS
            case End.GONE if lease.resource_version:
                self._miss()
                return 0
        self._complain(outcome.message, hint=_RIGHTS if outcome.may_pass else "")
        return _RETRY_SECONDS

    async def _read(self) -> bool:
        """Look at the Lease itself; what the watch tells may be old."""
        try:
            async with asyncio.timeout(_TRY_SECONDS):
                found = await self._store.get_lease(*self.key)
        except TimeoutError:
            self._complain(f"no answer within {_TRY_SECONDS:g} s")
            return False
        except ClusterError as error:
            is_refused = isinstance(error, ClusterRefused) and error.status in (401, 403)
            self._complain(str(error), hint=_RIGHTS if is_refused else "")
            return False
        self._is_doubtful = False
        if found is None:
            self._miss()
        else:
            self._see(found)
        return True

    async def _try(self, write: Callable[[Lease], Awaitable[Outcome[Lease]]], lease: Lease) -> Outcome[Lease]:
        try:
            async with asyncio.timeout(_TRY_SECONDS):
                return await write(lease)
        except TimeoutError:
            return Outcome(End.UNREACHABLE, message=f"no answer within {_TRY_SECONDS:g} s")

    def _hold(self, lease: Lease, sent: float) -> None:
        if self._sight and versions.is_surely_older(lease.resource_version, self._sight.lease.resource_version):
            return  # an answer that was long on its way: others have written since
        self._sight = Sight(lease, self._clock())
        self._until = sent + leases.HELD_SECONDS
        self._watch_the_clock()
        self._told = ""
        self._begun.set()
        self._ended.clear()
        if not self._leads:
            self._leads = True
            log.info("leader.began", lease=self._name, holder=self._identity, transitions=lease.transitions)

    def _watch_the_clock(self) -> None:
        """Have the term's end told in time, whatever the election waits for."""
        if self._timer:
            self._timer.cancel()
        if self.may_write():
            seconds = self._until - self._clock()
            self._timer = asyncio.get_running_loop().call_later(seconds, self._watch_the_clock)
        else:
            self._timer = None
            self._lose(f"its Lease could not be renewed for {leases.HELD_SECONDS:g} s")

    def _lose(self, why: str) -> None:
        self._until = float("-inf")
        self._ended.set()
        if self._leads:
            self._leads = False
            log.warning("leader.ended", lease=self._name, reason=why)

    def _complain(self, reason: str, *, hint: str = "") -> None:
        """Tell it, once for each reason."""
        if reason != self._told:
            self._told = reason
            hints = {"hint": hint} if hint else {}
            log.warning("leader.unrenewed", lease=self._name, reason=reason, is_leading=self.may_write(), **hints)

    @property
    def _name(self) -> str:
        return "/".join(self.key)
