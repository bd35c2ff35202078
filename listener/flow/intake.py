"""From the pushes of one delivery to stored history: which stream tags each push concerns, and what became of it.

A delivery is answered only when everything it moved is stored. What can never be taken is answered too, with the
reason; only what could not be confirmed or stored *now* is an error, for then the sender shall come again. One part
that fails does not keep the others from being stored.

There is one end to "come again". A sender that repeats its first event until it is taken would send nothing else while
a registry cannot read one manifest. So a push that came in vain for five minutes, while its registry answers about
other images, is acknowledged though nothing of it is stored, and its tag is handed to the importer, which asks until
the registry can say where it is. That much is promised as long as this process lives. After a restart a tag with a
scheduled import is asked for anyway; one that is only pushed to waits for its next push. The stream's Event says so.

What a delivery says is checked with its registry before (`verification`); a moment after, the importer looks where the
registry has put the tag.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog

from listener.core import pushes
from listener.core.events import Parsed, PushEvent, Remark
from listener.core.manifests import Described
from listener.core.notices import Notice, Reason, about_stream
from listener.core.origins import Origin
from listener.core.pushes import CLOCKS_APART, Effect, Push
from listener.core.receipts import Arrival, Moved, Receipt
from listener.core.spans import NO_TRACER, Tracer
from listener.core.streams import Source, Stream, StreamKey
from listener.errors import ClusterUnavailable, Deferred, Unconfirmed
from listener.flow.bookkeeper import Booked, Bookkeeper, Cause, Change, NotBooked
from listener.flow.concerned import Wanted, concerned
from listener.flow.inquiry import Inquiry
from listener.flow.lasting import Lasting
from listener.flow.overdue import Overdue
from listener.flow.questions import Question, Questions, Recent
from listener.flow.state import State
from listener.flow.together import together
from listener.flow.verification import Refused, Unanswered, Verification

log = structlog.get_logger()

_ASK_SHARE = 0.6  # of the time that a sender waits, for all that its delivery asks
_ANSWER_SHARE = 0.95  # of it, for all: what is stored later is stored, but its sender is told to come again
_STORED_SECONDS, _STORED_AT_LEAST_SECONDS = 8.0, 0.25
_MISSED_SECONDS, _MOST_MISSED = 60.0, 1000
_UNTAKEN_SECONDS, _MOST_UNTAKEN = 3600.0, 1000
_TURNS = 3  # to judge a push by a history that others change meanwhile


class Meter(Protocol):
    def stored(self, seconds: float) -> None: ...


class Recorder(Protocol):
    def record(self, notice: Notice) -> None: ...


class Importer(Protocol):
    def announced(self, source: Source, digest: str) -> None: ...


@dataclass(slots=True)
class _Outcome:
    """What became of the pushes to one stream, as far as it has come. `recorded` is no news, and nothing to be done."""

    recorded: list[Wanted] = field(default_factory=list)
    news: list[Wanted] = field(default_factory=list)
    taken: list[tuple[Push, Effect]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    unanswered: list[Unanswered] = field(default_factory=list)
    unstored: NotBooked | None = None
    failures: list[Deferred] = field(default_factory=list)


class Intake:
    """Takes parsed deliveries. `namespaces` limits where streams are; empty means everywhere."""

    def __init__(
        self,
        bookkeeper: Bookkeeper,
        state: State,
        inquiry: Inquiry,
        importer: Importer,
        recorder: Recorder,
        meter: Meter,
        *,
        history_limit: int,
        namespaces: Iterable[str] = (),
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._bookkeeper = bookkeeper
        self._state = state
        self._inquiry = inquiry
        self._importer = importer
        self._recorder = recorder
        self._meter = meter
        self._limit = history_limit
        self._namespaces = frozenset(namespaces)
        self._tracer = tracer
        self._lasting = Lasting[Question, Described]()
        self._overdue = Overdue()
        self._missed = Recent(seconds=_MISSED_SECONDS, most=_MOST_MISSED)
        self._untaken = Recent(seconds=_UNTAKEN_SECONDS, most=_MOST_UNTAKEN)

    async def take(self, origin: Origin, parsed: Parsed, arrival: Arrival, *, patience_seconds: float) -> Receipt:
        """Store what the pushes move. Raises Deferred if some of it could not be confirmed or stored now.

        `patience_seconds` is how long the sender waits.

        To deliver again after that is safe: what was stored is then unchanged.
        """
        found = concerned(origin, parsed, self._state.streams, self._namespaces)
        known = [self._is_recorded(wanted, arrival) for wanted in found.wanted]
        if all(known):
            if origin.verify:
                self._announce(_Outcome(found.wanted))
            return Receipt((), _unchanged(found.wanted), tuple(found.ignored), tuple(found.refused))
        refused = found.refused
        outcomes: dict[StreamKey, _Outcome] = defaultdict(_Outcome)
        for wanted, is_recorded in zip(found.wanted, known, strict=True):
            outcome = outcomes[wanted.target.stream]
            (outcome.recorded if is_recorded else outcome.news).append(wanted)
        seconds = _ASK_SHARE * patience_seconds
        async with Questions(self._inquiry, self._lasting, self._state, self._missed, seconds=seconds) as questions:
            verification = Verification(
                questions, self._state, self._overdue, asks=origin.verify, believes=origin.believes_unverified
            )
            until = arrival.received + _ANSWER_SHARE * patience_seconds
            works = (self._take_for(key, verification, arrival, outcome, until) for key, outcome in outcomes.items())
            for bug in await together(works):
                if bug is not None:  # it goes before "come again": it must be seen
                    raise bug
        moved: list[Moved] = []
        unchanged: list[Moved] = []
        given_up: list[tuple[StreamKey, Unanswered]] = []
        failures: list[Deferred] = []
        for key, outcome in outcomes.items():
            if origin.verify:
                self._announce(outcome)
            unchanged += _unchanged(outcome.recorded)
            for push, effect in outcome.taken:
                # What waits at a held tag, or came late, is stored; it has moved nothing.
                (moved if effect is Effect.MOVED else unchanged).append(Moved(key, push.tag, push.digest))
            refused += self._tell_refused(key, outcome)
            failures += outcome.failures
            given_up += [(key, each) for each in outcome.unanswered]
        if failures:
            raise failures[0]
        unanswered = self._tell_unanswered(given_up)
        if moved:
            self._meter.stored(asyncio.get_running_loop().time() - arrival.received)
        return Receipt(tuple(moved), tuple(unchanged), tuple(found.ignored), tuple(refused), tuple(unanswered))

    async def _take_for(
        self,
        key: StreamKey,
        verification: Verification,
        arrival: Arrival,
        outcome: _Outcome,
        until: float,
    ) -> None:
        """Store one stream's news, each once its registry has said enough about it. The sender waits `until` then."""
        checks = [self._push(verification, each, arrival) for each in outcome.news]
        found = await self._sorted(key, arrival, outcome, checks)
        create = any(each.target.create for each in outcome.news)
        for turn in range(_TURNS):
            # A stream that is to be made is made even for pushes that are given up: only then is it asked for.
            if not (found or (create and outcome.unanswered and turn == 0)):
                return
            left = until - asyncio.get_running_loop().time()
            seconds = min(max(left, _STORED_AT_LEAST_SECONDS), _STORED_SECONDS)
            try:
                with self._tracer.span("store", arrival.trace, stream=key):
                    async with asyncio.timeout(seconds):
                        booked = await self._bookkeeper.book(
                            key, self._change(found), cause=Cause.PUSH, arrival=arrival, create=create, attest=True
                        )
            except TimeoutError:
                why = f"ImageStream {key} was not stored within {seconds:.1f} s, and may yet be"
                outcome.failures.append(ClusterUnavailable(why))
                return
            except Deferred as error:
                outcome.failures.append(error)
                return
            if not isinstance(booked, Booked):
                outcome.unstored = booked
                return
            again = [(push, effect) for push, effect in booked.answer if _is_open(effect)]
            outcome.taken += [(push, effect) for push, effect in booked.answer if not _is_open(effect)]
            checks = [verification.checked(key, push, effect, turn=turn + 1) for push, effect in again]
            found = await self._sorted(key, arrival, outcome, checks)
        if found:
            outcome.failures.append(Unconfirmed(f"ImageStream {key} was moved by others while its registry was asked"))

    async def _sorted(
        self,
        key: StreamKey,
        arrival: Arrival,
        outcome: _Outcome,
        checks: Sequence[Awaitable[Push | Refused | Unanswered]],
    ) -> list[Push]:
        """Return the pushes that may be stored; what is refused or has to come again is noted in the outcome."""
        pushes_: list[Push] = []
        if not checks:
            return pushes_
        with self._tracer.span("verify", arrival.trace, stream=key) as span:
            answers = await together(checks)
            span.note(failed=not all(isinstance(answer, Push) for answer in answers))
        for answer in answers:
            match answer:
                case Push():
                    pushes_.append(answer)
                case Refused():
                    outcome.refused.append(answer)
                case Unanswered():
                    outcome.unanswered.append(answer)
                case Deferred():
                    outcome.failures.append(answer)
                case BaseException():
                    raise answer
        return pushes_

    def _is_recorded(self, wanted: Wanted, arrival: Arrival) -> bool:
        """Whether the stream holds just that already: then nobody need be asked, though what we know may be old.

        Senders repeat themselves, and tell each replica: most of what comes is this, and nearly all of it is at a head.
        """
        event, target = wanted.event, wanted.target
        stream = self._state.streams.get(target.stream)
        if stream is None or event.digest is None or event.timestamp is None:
            return False
        place = f"{target.name}@{event.digest}", event.digest
        if pushes.is_head(stream, target.tag, place, event.timestamp):
            return True
        push = _named(wanted, event.digest, arrival)
        return pushes.is_recorded(stream, push) and pushes.take(stream, push, limit=self._limit)[0] is stream

    async def _push(self, verification: Verification, wanted: Wanted, arrival: Arrival) -> Push | Refused | Unanswered:
        """What is to be stored for one tag, checked by what is known of its stream."""
        target = wanted.target
        if wanted.event.digest is None:
            return await verification.resolved(target.stream, target.tag, wanted.source, partial(_of, wanted, arrival))
        push = _named(wanted, wanted.event.digest, arrival)
        stream = self._state.streams.get(target.stream)
        effect = pushes.take(stream, push, limit=self._limit)[1] if stream else Effect.UNSEEN
        return await verification.checked(target.stream, push, effect, turn=0)

    def _change(self, found: Sequence[Push]) -> Change[tuple[tuple[Push, Effect], ...]]:
        def change(stream: Stream) -> tuple[Stream, tuple[tuple[Push, Effect], ...]]:
            taken = []
            for push in found:
                stream, effect = pushes.take(stream, push, limit=self._limit)
                taken.append((push, effect))
            return stream, tuple(taken)

        return change

    def _announce(self, outcome: _Outcome) -> None:
        """Have tags looked up in a moment. Of what was not taken only so many: anybody can make up names.

        What is given up is always among them; so much is not given up at once.
        """
        taken = {each.source: each.event.digest or "" for each in outcome.recorded}
        taken |= {push.source: push.followed for push, _ in outcome.taken}
        given_up = {each.source for each in outcome.unanswered}
        for each in (*outcome.recorded, *outcome.news):
            if each.source in taken or each.source in given_up or self._untaken.add(each.source):
                self._importer.announced(each.source, taken.get(each.source) or each.event.digest or "")

    def _tell_refused(self, key: StreamKey, outcome: _Outcome) -> list[Remark]:
        """Tell the stream's people, and return what the sender is told."""
        if not (outcome.refused or outcome.unstored):
            return []
        told = {refused.message: refused.why for refused in outcome.refused}
        if outcome.unstored:
            told[outcome.unstored.reason] = outcome.unstored.reason
        if stream := self._state.streams.get(key):
            for message in told:
                self._recorder.record(Notice(about_stream(key, stream.uid), Reason.PUSH_REFUSED, message))
        return [Remark(f"ImageStream {key}", why, is_internal=True) for why in told.values()]

    def _tell_unanswered(self, given_up: Sequence[tuple[StreamKey, Unanswered]]) -> list[Remark]:
        """Tell people of pushes that are acknowledged and stored nowhere; return what the sender is told."""
        remarks = []
        for key, each in given_up:
            log.warning("hook.push_unanswered", stream=str(key), source=str(each.source), reason=each.message)
            why = "its registry cannot speak about it, and is asked again until it can"
            what = f"push of {each.source} to ImageStream {key}"
            remarks.append(Remark(what, f"{why}: {each.message}", is_internal=True))
            if stream := self._state.streams.get(key):
                message = f"a push of {each.source} is not stored: {why}: {each.message}"
                self._recorder.record(Notice(about_stream(key, stream.uid), Reason.PUSH_UNANSWERED, message))
        return remarks


def _unchanged(recorded: Sequence[Wanted]) -> tuple[Moved, ...]:
    return tuple(Moved(each.target.stream, each.target.tag, each.event.digest or "") for each in recorded)


def _is_open(effect: Effect) -> bool:
    """Whether nothing was done yet."""
    return effect in (Effect.UNSURE, Effect.UNSEEN)


def _named(wanted: Wanted, digest: str, arrival: Arrival) -> Push:
    """The push of an image that its sender named."""
    return _of(wanted, arrival, digest, _pushed(wanted.event, arrival))


def _of(wanted: Wanted, arrival: Arrival, digest: str, pushed: str = "") -> Push:
    """The push of an image; of one that its registry names nobody knows when it was pushed."""
    target, created = wanted.target, arrival.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Push(target.tag, wanted.source, target.name, digest, digest, created, pushed)


def _pushed(event: PushEvent, arrival: Arrival) -> str:
    """The registry's time of a push. One that is yet to come orders nothing: every later push would seem late."""
    is_to_come = event.timestamp is not None and event.timestamp > arrival.at + CLOCKS_APART
    return "" if is_to_come else pushes.time_text(event.timestamp)
